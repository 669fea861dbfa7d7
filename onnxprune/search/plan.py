"""From scores and a target to the structure that meets it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from onnxprune.channels import ChannelMap
from onnxprune.errors import TargetOutOfReachError
from onnxprune.search.admissible import CostModel, Problem, multiples
from onnxprune.search.allocation import fill, global_path, uniform_path
from onnxprune.search.costs import ShareCost, bytes_cost, macs_cost, parameters_cost
from onnxprune.search.reach import Probe, Reached, reach
from onnxprune.search.sizes import full_counts, keep_mask
from onnxprune.search.target import UNITS, Target

AllocationName = Literal["uniform", "global"]
AgentName = Literal["rl", "random", "rl-pruner"]
# Structures this close below a target are not worth another step.
_NEAR = 0.985
_ROUNDING = 1e-9
# Equal shares at counts that layers are efficient at may fall from far above a target to far below it; below this
# share of it, others are looked at.
_LEAST_OF_EQUAL_SHARES = 0.95
ALLOCATIONS: tuple[AllocationName, ...] = ("global", "uniform")
AGENTS: tuple[AgentName, ...] = ("rl", "random", "rl-pruner")


class Evaluator(Protocol):
    """Measures structures on the device; a search never sees the device itself."""

    def latency_ms(self, keep: np.ndarray) -> float:
        """Return the measured p50 of the network that keeps these units, shape (units,)."""


@dataclass(frozen=True)
class Beginning:
    """What pruning begins with, where that is not the original as it is.

    Attributes:
        how: How it is the original, such as "in int8".
        original: What the original costs, in the target's unit; relative targets are shares of it.
    """

    how: str
    original: float


@dataclass(frozen=True)
class Plan:
    """A structure that meets the target.

    Attributes:
        counts: Units that stay in each group, shape (groups,).
        keep: Whether each unit stays, shape (units,).
        achieved: Its cost in the target's unit.
        original: The unpruned network's.
        probes: The structures that were measured on the way.
    """

    counts: np.ndarray
    keep: np.ndarray
    achieved: float
    original: float
    probes: tuple[Probe, ...]


def find_plan(
    problem: Problem,
    target: Target,
    allocation: AllocationName,
    *,
    evaluator: Evaluator | None = None,
    original_ms: float | None = None,
    beginning: Beginning | None = None,
    on_probe: Callable[[Probe], None] | None = None,
    any_count: bool = False,
) -> Plan:
    """Find the largest structure of an allocation that meets a target.

    Args:
        problem: The network.
        target: What to reach.
        allocation: "uniform" or "global".
        evaluator: Measures latencies; for latency targets.
        original_ms: Measured p50 of the unpruned network; for latency targets.
        beginning: What that is, where it is not the original as it is; for latency targets.
        on_probe: Called after each measurement.
        any_count: Whether equal shares that fall well below a latency may take counts that layers are not efficient at.

    Raises:
        TargetOutOfReachError: No structure of the allocation meets it; the message says the lowest that can.
    """
    path = _path(problem, target, allocation)
    if target.kind == "latency":
        assert evaluator is not None
        assert original_ms is not None
        measured = evaluator
        predicted: Sequence[float] = [problem.cost.total(counts) for counts in path]
        original = original_ms

        def measure(counts: np.ndarray) -> float:
            return measured.latency_ms(keep_mask(problem.channels, problem.scores, counts))
    else:
        predicted = [exact(problem, target, counts) for counts in path]
        original = original_cost(problem, target)

        def measure(counts: np.ndarray) -> float:
            return exact(problem, target, counts)

    limit = limit_of(target, original)
    first, most = (original, 12) if target.kind == "latency" else (predicted[0], 64)
    on_cost = on_probe if target.kind == "latency" else None
    walk = _Walk(problem, path, predicted, first)
    reached = walk.to(limit, measure, most, on_cost)
    if reached.index is None:
        raise out_of_reach(target, limit, reached.lowest, original, beginning)
    achieved, probes = _cost_at(reached, original), walk.counted(reached)
    equal = allocation == "uniform" and any_count and target.kind == "latency"
    if equal and reached.index > 0 and achieved < limit * _LEAST_OF_EQUAL_SHARES:
        between = walk.between(reached)
        finer = between.to(limit, measure, most, on_cost)
        probes += between.counted(finer)
        if finer.index is not None:
            walk, reached, achieved = between, finer, _cost_at(finer, original)
    assert reached.index is not None
    plan = make_plan(problem, walk.path[reached.index], achieved, original, probes)
    if allocation == "global" and achieved < limit * _NEAR:
        return _filled(problem, target, plan, limit, evaluator)
    return plan


@dataclass(frozen=True)
class _Walk:
    """A path of ever smaller structures, what they should cost, and what the first does cost."""

    problem: Problem
    path: Sequence[np.ndarray]
    predicted: Sequence[float]
    first: float

    def to(
        self, limit: float, measure: Callable[[np.ndarray], float], most: int, on_probe: Callable[[Probe], None] | None
    ) -> Reached:
        """Walk to a limit, in at most so many measurements."""

        def at(index: int) -> float:
            cost = measure(self.path[index])
            if on_probe is not None:
                on_probe(Probe(index, self.predicted[index], cost))
            return cost

        return reach(self.predicted, at, limit, original=self.first, max_probes=most)

    def between(self, reached: Reached) -> _Walk:
        """Return the equal shares between the structure that was reached and the one before, at any counts."""
        problem, index = self.problem, reached.index
        assert index is not None
        every = multiples(problem.channels, [1] * len(problem.channels.groups))
        every = every.at_most(self.path[index - 1]).at_least(self.path[index])
        path = uniform_path(replace(problem, admissible=every))
        predicted = np.linspace(self.predicted[index - 1], self.predicted[index], len(path)).tolist()
        before = next((probe.measured for probe in reached.probes if probe.index == index - 1), self.first)
        return _Walk(problem, path, predicted, before)

    def counted(self, reached: Reached) -> tuple[Probe, ...]:
        """Return what was measured on the way, with its multiply-accumulates."""
        paper = self.problem.paper
        return tuple(replace(probe, macs=paper.macs_of(self.path[probe.index])) for probe in reached.probes)


def _cost_at(reached: Reached, original: float) -> float:
    return next((p.measured for p in reversed(reached.probes) if p.index == reached.index), original)


def in_reach(problem: Problem, target: Target, limit: float, floor: np.ndarray | None = None) -> Problem:
    """Allow counts that layers are not efficient at, where without them a target cannot be reached.

    What a layer is efficient at is measured, and a measurement that was disturbed may leave it a single count.

    Args:
        problem: The network, with the counts that its layers are efficient at.
        target: What to reach.
        limit: The same, in the target's unit.
        floor: Units that stay of each group whatever the target, shape (groups,); None: a tenth only.
    """
    least = problem.admissible.smallest
    lowest = problem.cost.total(least) if target.kind == "latency" else exact(problem, target, least)
    if lowest <= limit:
        return problem
    channels = problem.channels
    tenth = multiples(channels, [1] * len(channels.groups)).smallest
    return replace(problem, admissible=problem.admissible.down_to(tenth if floor is None else np.maximum(tenth, floor)))


def make_plan(
    problem: Problem, counts: np.ndarray, achieved: float, original: float, probes: tuple[Probe, ...]
) -> Plan:
    """Make a plan of a structure: of every group its most important units stay."""
    return Plan(counts, keep_mask(problem.channels, problem.scores, counts), achieved, original, probes)


def _filled(problem: Problem, target: Target, plan: Plan, limit: float, evaluator: Evaluator | None) -> Plan:
    """Give back what the last step down took too much, where smaller steps elsewhere fit below the target."""
    closed = exact_cost(problem, target)
    budget, room = problem.cost, limit / plan.achieved * problem.cost.total(plan.counts) * _NEAR
    if target.kind != "latency":
        if closed is None:
            return plan
        budget, room = closed, limit - (problem.file_overhead_bytes if target.kind == "size" else 0)
    counts = fill(problem, plan.counts, budget, room)
    if np.array_equal(counts, plan.counts):
        return plan
    larger = make_plan(problem, counts, 0.0, plan.original, plan.probes)
    if target.kind != "latency":
        return replace(larger, achieved=exact(problem, target, counts))
    assert evaluator is not None
    measured = evaluator.latency_ms(larger.keep)
    probe = Probe(len(plan.probes), budget.total(counts), measured, problem.paper.macs_of(counts))
    if measured > limit:
        return replace(plan, probes=(*plan.probes, probe))
    return replace(larger, achieved=measured, probes=(*plan.probes, probe))


def _path(problem: Problem, target: Target, allocation: AllocationName) -> list[np.ndarray]:
    if allocation == "uniform":
        return uniform_path(problem)
    if target.kind == "ratio":
        share = ShareCost(full_counts(problem.channels))
        return global_path(replace(problem, cost=share))
    budget = exact_cost(problem, target)
    return global_path(problem, budget)


def exact_cost(problem: Problem, target: Target) -> CostModel | None:
    """Return the closed form of what a target limits; None where it must be measured."""
    groups = len(problem.channels.groups)
    if target.kind == "macs":
        return macs_cost(problem.paper, groups)
    if target.kind == "params":
        return parameters_cost(problem.paper, groups)
    if target.kind == "size":
        return bytes_cost(problem.paper, groups)
    return None


def exact(problem: Problem, target: Target, counts: np.ndarray) -> float:
    """Cost of a structure that needs no measurement."""
    cost = exact_cost(problem, target)
    if cost is not None:
        return cost.total(counts) + (problem.file_overhead_bytes if target.kind == "size" else 0)
    return kept_share(problem.channels, counts)


def kept_share(channels: ChannelMap, counts: np.ndarray) -> float:
    """Return the share of the channels that a structure, shape (groups,), keeps."""
    channels_per_unit = np.array([group.channels_per_unit for group in channels.groups])
    full = full_counts(channels)
    return float((counts * channels_per_unit).sum() / (full * channels_per_unit).sum())


def original_cost(problem: Problem, target: Target) -> float:
    """Return what the unpruned network costs, in the unit of a target that needs no measurement."""
    return exact(problem, target, full_counts(problem.channels))


def limit_of(target: Target, original: float) -> float:
    """Return the most that `exact` may be, or the measured latency in ms."""
    # 1 - 0.9 is below a tenth, and so is what sums up to one.
    return 1.0 - target.value + _ROUNDING if target.kind == "ratio" else target.resolve(original)


def out_of_reach(
    target: Target, limit: float, lowest: float, unpruned: float, beginning: Beginning | None = None
) -> TargetOutOfReachError:
    """Make the error that says how low pruning gets.

    Args:
        target: What was asked for.
        limit: The same, in the target's unit.
        lowest: What the smallest structure costs.
        unpruned: What the unpruned network costs.
        beginning: What that is, where it is not the original as it is.
    """
    unit = UNITS[target.kind]
    original, aside = unpruned, ""
    if beginning is not None:
        original, aside = beginning.original, f" ({_amount(unpruned)} {unit} {beginning.how})"
    if target.kind == "ratio":
        return TargetOutOfReachError(f"cannot remove {target.text} of the channels; at most {share_off(lowest)} can go")
    return TargetOutOfReachError(
        f"target {target.kind} '{target.text}' ({_amount(limit)} {unit}) is out of reach: the original has "
        f"{_amount(original)} {unit}{aside}, and the smallest network that pruning gives has {_amount(_up(lowest))} "
        f"{unit} ({_share(lowest / original, limit / original)}). Ask for that much, or start from a smaller network"
    )


def met_already(target: Target, original: float) -> str:
    """Say that a network meets a target as it is.

    Args:
        target: What was asked for.
        original: What the network costs, in the target's unit.
    """
    return (
        f"the model meets the target {target.kind} '{target.text}' as it is, with {_amount(original)} "
        f"{UNITS[target.kind]}"
    )


def share_off(kept: float) -> str:
    """Write the share of the channels that can go where this one stays, rounded such that it can be asked for."""
    return f"{math.floor((1 - kept) * 1000 + 1e-9) / 1000:g}"


def _share(share: float, asked: float) -> str:
    """Write a share in per cent; where it reads as what was asked for, rounded up with digits that tell them apart."""
    percent, before = 100 * share, 100 * asked
    if round(percent) != round(before):
        return f"{percent:.0f}%"
    digits = next((digits for digits in range(1, 6) if round(percent, digits) != round(before, digits)), 6)
    return f"{math.ceil(percent * 10**digits) / 10**digits:.{digits}f}%"


def _up(value: float) -> float:
    """Round a cost up to what `_amount` shows of it."""
    step = 1.0 if value >= 1000 else 10.0 ** (math.floor(math.log10(value)) - 2 if value > 0 else 0)
    return math.ceil(value / step - 1e-9) * step


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
