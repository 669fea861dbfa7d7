"""Groups that can go whole, in walks and searches; latency models fitted to whole networks."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import onnx
import pytest

from onnxprune.channels import analyse, find_branches
from onnxprune.graph import concrete_shapes, load, resolve_input_shapes
from onnxprune.search import Problem, Subject, calibrated, full_counts, keep_mask, paper_problem
from onnxprune.search.allocation import fill, global_path, uniform_path
from onnxprune.search.costs import LatencyCost, LayerTerm
from onnxprune.search.sizes import AxisSizes
from tests.residual import residual_cnn


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    onnx.save(residual_cnn(), path)
    model = load(path)
    channels = analyse(model)
    shapes = concrete_shapes(model, resolve_input_shapes(model))
    whole = paper_problem(Subject(model, channels, shapes, np.ones(channels.unit_count)), 4)
    branches = {group: branch.groups for group, branch in find_branches(model, channels).items()}
    stakes = np.array([1.0, 0.3, 0.05])
    return replace(whole, admissible=whole.admissible.with_nothing(branches), branches=branches, stakes=stakes)


def latency_cost(problem: Problem, original_ms: float) -> LatencyCost:
    """A latency model of layers whose own ms are a thousandth of the product of their channels."""
    sizes = AxisSizes(problem.channels, {"a": (1, 8), "b": (1, 16), "d": (1, 8), "f": (1, 16), "h": (1, 8)})
    layers = [("a", "b"), ("b", "d"), ("d", "f"), ("f", "h")]
    terms = [LayerTerm(y, sizes.axis(x, 1), sizes.axis(y, 1), lambda i, o: i * o * 1e-3) for x, y in layers]
    return LatencyCost(terms, problem.paper, full_counts(problem.channels), original_ms)


def test_the_branch_that_adds_the_least_goes_first_and_whole(problem: Problem) -> None:
    path = global_path(problem)
    assert problem.branches == {1: (1,), 2: (2,)}
    emptied = [next(i for i, counts in enumerate(path) if counts[group] == 0) for group in (2, 1)]
    assert emptied == sorted(emptied)
    assert all(after.sum() < before.sum() for before, after in itertools.pairwise(path))
    assert path[-1].tolist() == [4, 0, 0]


def test_equal_shares_leave_something_of_everything(problem: Problem) -> None:
    assert all((counts > 0).all() for counts in uniform_path(problem))


def test_what_has_gone_does_not_come_back(problem: Problem) -> None:
    filled = fill(problem, np.array([4, 0, 4]), problem.cost, problem.cost.total(full_counts(problem.channels)))
    assert filled.tolist() == [8, 0, 16]


def test_a_layer_without_channels_costs_nothing(problem: Problem) -> None:
    cost = latency_cost(problem, original_ms=0.512)
    assert cost.total(full_counts(problem.channels)) == pytest.approx(0.512)
    assert cost.total(np.array([8, 0, 16])) == pytest.approx(0.256)


def test_the_latency_model_learns_from_whole_networks(problem: Problem) -> None:
    before = latency_cost(problem, original_ms=1.0)

    def true_ms(counts: np.ndarray) -> float:
        layers = 0.002 * (counts[0] * counts[1] + counts[0] * counts[2])
        return float(2 * layers + 0.05 * (2 * (counts[1] > 0) + 2 * (counts[2] > 0)))

    class Device:
        def latency_ms(self, keep: np.ndarray) -> float:
            return true_ms(np.array([int(keep[group.units].sum()) for group in problem.channels.groups]))

    original = true_ms(full_counts(problem.channels))
    after = calibrated(replace(problem, cost=before), Device(), original, seed=0).cost
    unseen = [np.array(counts) for counts in ([8, 16, 4], [4, 8, 0], [8, 0, 8], [4, 4, 4])]
    errors = [[abs(cost.total(c) / true_ms(c) - 1) for c in unseen] for cost in (before, after)]
    assert max(errors[1]) < 0.05
    assert np.mean(errors[1]) < 0.3 * np.mean(errors[0])


def test_on_a_device_that_sees_no_difference_channels_still_cost(problem: Problem) -> None:
    class Flat:
        def latency_ms(self, keep: np.ndarray) -> float:
            return 1.0 + 0.001 * float(keep.sum() % 3)

    after = calibrated(replace(problem, cost=latency_cost(problem, 1.0)), Flat(), 1.0, seed=0)
    assert len(global_path(after)) > 3


def test_costs_that_are_no_latency_stay(problem: Problem) -> None:
    assert calibrated(problem, None, 1.0, seed=0) is problem  # type: ignore[arg-type]


def test_a_mask_can_be_empty(problem: Problem) -> None:
    keep = keep_mask(problem.channels, problem.scores, np.array([8, 0, 4]))
    assert [int(keep[group.units].sum()) for group in problem.channels.groups] == [8, 0, 4]
