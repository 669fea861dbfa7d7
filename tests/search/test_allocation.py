"""Closed-form costs, allocations, and the walk to a target, on small networks and made-up devices."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxprune.channels import analyse, prune
from onnxprune.errors import TargetOutOfReachError
from onnxprune.graph import concrete_shapes, graph_cost, load, resolve_input_shapes
from onnxprune.latency import LayerSpec
from onnxprune.search import (
    Subject,
    find_plan,
    full_counts,
    in_reach,
    keep_mask,
    latency_problem,
    out_of_reach,
    paper_problem,
)
from onnxprune.search.admissible import multiples
from onnxprune.search.allocation import global_path, uniform_path
from onnxprune.search.costs import ProductCost, bytes_cost, macs_cost
from onnxprune.search.reach import reach
from onnxprune.search.sizes import paper_cost
from onnxprune.search.target import parse_count, parse_latency, parse_size, ratio_target

NETWORK = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[n, 3, 8, 8] x) => (float[n, 10] y)
<float[64, 3, 3, 3] w1, float[64, 64, 3, 3] w2, float[64, 1, 3, 3] w3, float[48, 128, 1, 1] w4, float[10, 48] w5>
{
    a = Conv<pads = [1, 1, 1, 1]>(x, w1)
    b = Relu(a)
    c = Conv<pads = [1, 1, 1, 1]>(b, w2)
    d = Add(c, b)
    e = Conv<pads = [1, 1, 1, 1], group = 64>(d, w3)
    f = Concat<axis = 1>(d, e)
    g = Conv(f, w4)
    h = GlobalAveragePool(g)
    i = Flatten(h)
    y = Gemm<transB = 1>(i, w5)
}
"""


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    proto = onnx.parser.parse_model(NETWORK)
    rng = np.random.default_rng(0)
    shapes = {"w1": (64, 3, 3, 3), "w2": (64, 64, 3, 3), "w3": (64, 1, 3, 3), "w4": (48, 128, 1, 1), "w5": (10, 48)}
    del proto.graph.initializer[:]
    for name, shape in shapes.items():
        proto.graph.initializer.append(
            onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        )
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    onnx.save(proto, path)
    model = load(path)
    channels = analyse(model)
    scores = np.random.default_rng(1).uniform(0.5, 1.5, channels.unit_count)
    return Subject(model, channels, concrete_shapes(model, resolve_input_shapes(model)), scores)


@given(shares=st.lists(st.floats(0.05, 1.0), min_size=2, max_size=2))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_closed_forms_equal_the_costs_of_the_pruned_network(subject: Subject, shares: list[float]) -> None:
    counts = np.maximum(1, (full_counts(subject.channels) * np.array(shares)).astype(int))
    pruned = prune(subject.model, subject.channels, keep_mask(subject.channels, subject.scores, counts))
    paper, cost = paper_cost(subject.model, subject.channels, subject.shapes), graph_cost(pruned)
    stored = bytes_cost(paper, len(counts)).total(counts)
    assert (paper.macs_of(counts), paper.parameters_of(counts), stored) == (
        cost.macs,
        cost.parameters,
        cost.weight_bytes,
    )


def test_the_best_units_stay(subject: Subject) -> None:
    counts = np.array([5, 7])
    keep = keep_mask(subject.channels, subject.scores, counts)
    for group, count in zip(subject.channels.groups, counts, strict=True):
        kept = subject.scores[group.units][keep[group.units]]
        dropped = subject.scores[group.units][~keep[group.units]]
        assert len(kept) == count
        assert kept.min() >= dropped.max()


def test_admissible_counts_are_multiples_of_the_step(subject: Subject) -> None:
    assert multiples(subject.channels, [16, 16]).counts == ((64, 48, 32, 16), (48, 32, 16))
    assert multiples(subject.channels, [64, 1]).counts[0] == (64, 48, 32, 16)
    assert multiples(subject.channels, [64, 1], fine=False).counts[0] == (64,)


def test_uniform_removes_the_same_share_everywhere(subject: Subject) -> None:
    path = uniform_path(paper_problem(subject, 4))
    assert path[0].tolist() == [64, 48]
    for counts in path:
        assert np.ptp(counts / np.array([64, 48])) <= 0.1
    assert all((after <= before).all() for before, after in itertools.pairwise(path))


def test_global_takes_first_what_matters_least(subject: Subject) -> None:
    scores = subject.scores.copy()
    scores[subject.channels.groups[1].units[:16]] = 1e-6
    path = global_path(replace(paper_problem(subject, 16), scores=scores))
    assert path[1].tolist() == [64, 32]
    assert path[-1].tolist() == [16, 16]


def test_global_never_takes_a_step_that_saves_nothing(subject: Subject) -> None:
    path = global_path(replace(paper_problem(subject, 16), cost=ProductCost([], 2)))
    assert [counts.tolist() for counts in path] == [[64, 48]]


@pytest.mark.parametrize("wobble", [0.0, 0.1])
@pytest.mark.parametrize("target", [80.0, 50.0, 13.0])
def test_reach_ends_just_below_the_target(wobble: float, target: float) -> None:
    true = [100 - 0.5 * i for i in range(190)]
    predicted = [cost * (1 + wobble * np.sin(i / 20)) * 1.3 for i, cost in enumerate(true)]
    reached = reach(predicted, true.__getitem__, target, original=100.0)
    assert reached.index is not None
    assert true[reached.index] <= target
    assert true[reached.index] >= 0.95 * target
    assert len(reached.probes) <= 8


def test_reach_says_how_low_it_came() -> None:
    reached = reach([10, 8, 6], [10.0, 8.0, 6.0].__getitem__, 5.0, original=10.0)
    assert reached.index is None
    assert reached.lowest == 6.0


@pytest.mark.parametrize(
    ("target", "cost"),
    [
        (parse_count("50%", "macs"), lambda m, _: graph_cost(m).macs),
        (parse_count("50%", "params"), lambda m, _: graph_cost(m).parameters),
        (parse_size("50%"), lambda m, _: graph_cost(m).weight_bytes),
        (ratio_target(0.5), lambda _, c: c.sum()),
    ],
)
@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_plans_meet_targets_that_need_no_measurement(
    subject: Subject, target: object, cost: Callable[..., float], allocation: str
) -> None:
    problem = paper_problem(subject, round_to=4)
    plan = find_plan(problem, target, allocation)  # type: ignore[arg-type]
    pruned = prune(subject.model, subject.channels, plan.keep)
    share = cost(pruned, plan.counts) / cost(subject.model, full_counts(subject.channels))
    assert 0.4 <= share <= 0.5


class Staircase:
    """A device whose layers cost a step for every 16 channels, and twice as much off multiples of 4."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.saved = False

    def count_ms(self, channels: int) -> float:
        return -(-channels // 16) * (2.0 if channels % 4 else 1.0)

    def cost_ms(self, spec: LayerSpec) -> float:
        return self.count_ms(spec.channels_in) * self.count_ms(spec.channels_out)

    def granule(self, spec: LayerSpec, axis: str) -> int:  # noqa: ARG002
        return 16

    def surface(self, spec: LayerSpec, granule_in: int, granule_out: int) -> Callable[[int, int], float]:  # noqa: ARG002
        return lambda a, b: self.cost_ms(spec.at(a, b))

    def save(self) -> bool:
        self.saved = True
        return True

    def latency_ms(self, keep: np.ndarray) -> float:
        counts = [int(keep[group.units].sum()) for group in self.subject.channels.groups]
        a, b = (self.count_ms(count) for count in counts)
        return 1.0 * a + a * a + a * a + 2 * a * b + b


@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_latency_targets_end_on_efficient_counts(subject: Subject, allocation: str) -> None:
    device = Staircase(subject)
    original = device.latency_ms(np.ones(subject.channels.unit_count, dtype=bool))
    problem = latency_problem(subject, device, original)
    plan = find_plan(problem, parse_latency("60%"), allocation, evaluator=device, original_ms=original)  # type: ignore[arg-type]
    assert plan.achieved <= 0.6 * original
    assert all(count % 16 == 0 for count in plan.counts)
    assert device.saved


def test_equal_shares_that_fall_far_below_a_latency_take_counts_between_the_efficient_ones(subject: Subject) -> None:
    class Smooth(Staircase):
        """Layers are said to be efficient by 16 channels only, but every channel counts."""

        def count_ms(self, channels: int) -> float:
            return channels / 16

    device = Smooth(subject)
    original = device.latency_ms(np.ones(subject.channels.unit_count, dtype=bool))
    problem = latency_problem(subject, device, original)
    plain, close = (
        find_plan(problem, parse_latency("50%"), "uniform", evaluator=device, original_ms=original, any_count=any_count)
        for any_count in (False, True)
    )
    assert plain.achieved < 0.47 * original
    assert 0.47 * original <= close.achieved <= 0.5 * original
    assert np.ptp(close.counts / np.array([64, 48])) <= 0.1


def test_counts_within_a_block_that_are_slower_are_left_out(subject: Subject) -> None:
    class Narrow(Staircase):
        """Fewer channels than the network has cost more, as on integers below 16."""

        def cost_ms(self, spec: LayerSpec) -> float:
            full = max(group.size for group in self.subject.channels.groups)
            return super().cost_ms(spec) + (100.0 if 4 < spec.channels_out < min(full, 64) else 0.0)

        def granule(self, spec: LayerSpec, axis: str) -> int:  # noqa: ARG002
            return 64

    device = Narrow(subject)
    slow = latency_problem(subject, device, 1e4).admissible.counts
    fast = latency_problem(subject, Staircase64(subject), 1e4).admissible.counts
    assert all(set(few) <= set(many) for few, many in zip(slow, fast, strict=True))
    assert sum(map(len, slow)) < sum(map(len, fast))


class Staircase64(Staircase):
    """Asks for blocks larger than the network's groups."""

    def granule(self, spec: LayerSpec, axis: str) -> int:  # noqa: ARG002
        return 64


@pytest.mark.parametrize(("text", "wider"), [("40%", False), ("5%", True)])
def test_less_efficient_counts_are_allowed_where_the_target_needs_them(
    subject: Subject, text: str, wider: bool
) -> None:
    device = Staircase(subject)
    original = device.latency_ms(np.ones(subject.channels.unit_count, dtype=bool))
    problem = latency_problem(subject, device, original)
    target = parse_latency(text)
    allowed = in_reach(problem, target, target.resolve(original)).admissible
    assert (allowed != problem.admissible) == wider
    for group, few, many in zip(subject.channels.groups, problem.admissible.counts, allowed.counts, strict=True):
        assert many[: len(few)] == few
        assert list(many) == sorted(set(many), reverse=True)
        assert many[-1] >= 0.1 * group.size


def test_a_measurement_that_was_disturbed_does_not_refuse_a_ratio(subject: Subject) -> None:
    class Disturbed(Staircase):
        """Every count but the full one seems slow."""

        def granule(self, spec: LayerSpec, axis: str) -> int:
            return spec.channels_in if axis == "in" else spec.channels_out

        def cost_ms(self, spec: LayerSpec) -> float:
            full = {group.size for group in self.subject.channels.groups}
            return super().cost_ms(spec) + (100.0 if spec.channels_out < max(full) else 0.0)

    target = ratio_target(0.4)
    problem = latency_problem(subject, Disturbed(subject), 1e4)
    with pytest.raises(TargetOutOfReachError):
        find_plan(problem, target, "global")
    assert find_plan(in_reach(problem, target, 0.6), target, "global").achieved <= 0.6


def test_what_is_allowed_for_a_target_goes_down_to_what_must_stay(subject: Subject) -> None:
    problem = latency_problem(subject, Staircase64(subject), 1e4)
    least = np.array([group.size - 3 for group in subject.channels.groups])
    held = replace(problem, admissible=problem.admissible.at_least(least))
    assert in_reach(held, ratio_target(0.01), 0.99, least).admissible.smallest.tolist() == least.tolist()


def test_an_impossible_target_names_the_lowest_possible(subject: Subject) -> None:
    device = Staircase(subject)
    original = device.latency_ms(np.ones(subject.channels.unit_count, dtype=bool))
    problem = latency_problem(subject, device, original)
    with pytest.raises(TargetOutOfReachError, match=r"out of reach.* smallest network that pruning gives has 6 ms"):
        find_plan(problem, parse_latency("1%"), "global", evaluator=device, original_ms=original)


@pytest.mark.parametrize(
    ("asked", "lowest", "advice"),
    [
        ("1%", 365_659.0, "365,659 MACs (1.05%)"),
        ("1.045%", 365_800.0, "365,800 MACs (1.05%)"),
        ("0.5%", 365_659.0, "365,659 MACs (1%)"),
        ("20%", 13_000_000.4, "13,000,001 MACs (37%)"),
    ],
)
def test_the_advice_of_an_impossible_target_is_not_what_was_asked_for(asked: str, lowest: float, advice: str) -> None:
    target, original = parse_count(asked), 35_000_000.0
    assert f"gives has {advice}. Ask for that much" in str(
        out_of_reach(target, target.resolve(original), lowest, original)
    )
    assert parse_count(advice.partition("(")[2][:-1]).value > target.value


def test_the_advice_in_milliseconds_is_rounded_up() -> None:
    said = str(out_of_reach(parse_latency("9ms"), 9.0, 9.981, 20.0))
    assert "gives has 9.99 ms (50%). Ask for that much" in said


def test_a_budget_is_kept_where_the_latency_is_flat(subject: Subject) -> None:
    problem = paper_problem(subject, 1)
    flat = replace(problem, cost=ProductCost([], len(subject.channels.groups)))
    budget = macs_cost(problem.paper, len(subject.channels.groups))
    *_, smallest = global_path(flat, budget)
    assert smallest.tolist() == flat.admissible.smallest.tolist()
