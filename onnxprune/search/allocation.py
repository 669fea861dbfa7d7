"""How many units each group keeps: the uniform and the global allocation, as paths of ever smaller structures.

An allocation is a sequence of structures from the unpruned network to the smallest one. A target is then reached by
walking along the path, which is what `search.reach` does; so each allocation is made once, whatever the target.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from onnxprune.search.admissible import CostModel, Problem

# Shares that the uniform allocation removes, in steps fine enough to land within 5 % of a target.
_UNIFORM_STEPS = 200
# How much time leads over the budget. With 2, networks pruned to equal MACs were at least as fast as those of every
# tool compared in benchmarks/peers.py; with 1, one of them was 4 % slower.
_BUDGET_EXPONENT = 2.0
# A step over a plateau of the latency saves nothing there, but something of the budget: at equal shares of both, a
# hundredth.
_LEAST_SAVED = 0.01
# Counts below its own that a group's next step may lead to, beside the least one.
_STEPS_AHEAD = 4
# Share of its importance that a group loses that had none.
_LOST_WITH_DEAD = 1e-6


def uniform_path(problem: Problem) -> list[np.ndarray]:
    """Remove the same share of every group, as far as admissible counts allow.

    Returns:
        Structures, shape (groups,) each, from the unpruned one downward.
    """
    sizes = np.array([group.size for group in problem.channels.groups])
    path = [problem.admissible.largest]
    for step in range(1, _UNIFORM_STEPS + 1):
        wanted = sizes * (1 - step / _UNIFORM_STEPS)
        counts = np.array([problem.admissible.nearest(g, wanted[g]) for g in range(len(sizes))])
        if not np.array_equal(counts, path[-1]):
            path.append(counts)
    return path


def global_path(
    problem: Problem, budget: CostModel | None = None, preference: np.ndarray | None = None
) -> list[np.ndarray]:
    """Remove, step by step, the units that cost the most for the least importance.

    With R the share of its importance that a group keeps and e its stake, the loss is the sum over the groups of
    -log(1 - e (1 - R)): removing the same importance hurts a group more the less it has left, and a branch less the
    less it adds to. A branch can go whole, in one step, at a loss of -log(1 - e). Each step goes to the group with the
    least loss for the cost it saves. Where the budget is another cost (MACs, bytes), the price is multiplied by the
    square of the budget a step saves over the cost it saves, so that at equal budget the network is the one that
    costs less.

    Args:
        problem: The network; its cost predicts what a step saves.
        budget: What the target limits, where that is not the cost itself.
        preference: Shape (groups,): a group's loss counts exp(preference) times. None: all count alike.

    Returns:
        Structures, shape (groups,) each, from the unpruned one downward.
    """
    price = _priced(problem, budget)
    admissible = problem.admissible
    weights, kept = _weights(problem, preference), _kept_importances(problem)
    counts = admissible.largest
    path = [counts.copy()]
    heap: list[tuple[float, int, int]] = []

    def best_step(group: int) -> tuple[float, int] | None:
        step = _best_step(problem, group, counts, kept[group], price)
        return None if step is None else (step[0] * weights[group], step[1])

    def push(group: int) -> None:
        step = best_step(group)
        if step is not None:
            heapq.heappush(heap, (step[0], group, step[1]))

    for group in range(len(counts)):
        push(group)
    while heap:
        expected, group, count = heapq.heappop(heap)
        if count >= counts[group]:
            continue
        step = best_step(group)
        if step is None:
            continue
        # Prices change with the neighbours' counts; one that rose goes back into the queue.
        if heap and step[0] > max(expected, heap[0][0]) * 1.0001:
            heapq.heappush(heap, (step[0], group, step[1]))
            continue
        counts[_going(problem, group, step[1])] = step[1]
        path.append(counts.copy())
        push(group)
    return path


def _going(problem: Problem, group: int, count: int) -> list[int]:
    """Return the groups whose count a step changes: a branch that goes whole takes others along."""
    return [group] if count > 0 else list(problem.branches[group])


def fill(
    problem: Problem, counts: np.ndarray, budget: CostModel, limit: float, preference: np.ndarray | None = None
) -> np.ndarray:
    """Give channels back wherever the budget has room for them, the most valuable for their cost first.

    A walk down ends up to one step below the budget, and a step can be large; smaller ones elsewhere fill the gap.

    Args:
        problem: The network.
        counts: A structure within the budget, shape (groups,).
        budget: What the target limits.
        limit: The most it may be.
        preference: As for `global_path`.

    Returns:
        A structure within the budget, nowhere smaller than the given one.
    """
    return growth(problem, counts, budget, limit, preference)[-1]


def growth(
    problem: Problem,
    counts: np.ndarray,
    budget: CostModel,
    limit: float,
    preference: np.ndarray | None = None,
    *,
    closed: Collection[int] = (),
) -> list[np.ndarray]:
    """Return the way that `fill` takes, one step of one group after the other.

    Args:
        problem: The network.
        counts: A structure within the budget, shape (groups,).
        budget: What the target limits.
        limit: The most it may be.
        preference: As for `global_path`.
        closed: Groups that get nothing.

    Returns:
        Structures within the budget, from the given one upward.
    """
    weights, kept = _weights(problem, preference), _kept_importances(problem)
    path, room = [counts.copy()], limit - budget.total(counts)
    open_groups = set(range(len(counts))) - set(closed)
    while open_groups:
        counts, best = path[-1].copy(), None
        for group in sorted(open_groups):
            step = _step_up(group, counts, problem.admissible.counts[group], budget)
            if step is None or step[1] > room:
                open_groups.discard(group)
                continue
            count, price = step
            gain = weights[group] * float(np.log(kept[group][count] / kept[group][counts[group]])) / max(price, 1e-12)
            if best is None or gain > best[0]:
                best = (gain, group, count, price)
        if best is None:
            break
        counts[best[1]] = best[2]
        room -= best[3]
        path.append(counts)
    return path


def _step_up(group: int, counts: np.ndarray, allowed: tuple[int, ...], budget: CostModel) -> tuple[int, float] | None:
    """Find the next larger count of a group and what it costs; what has gone whole does not come back."""
    current = int(counts[group])
    larger = [count for count in allowed if count > current]
    if not larger or current == 0:
        return None
    before = budget.around(group, counts)
    counts[group] = larger[-1]
    price = budget.around(group, counts) - before
    counts[group] = current
    return larger[-1], price


@dataclass(frozen=True)
class _Price:
    """What a loss of importance is set against.

    Attributes:
        cost: What predicts the latency.
        budget: What the target limits, where that is not the latency.
        least: What a step is taken to save of the cost, at least, for each unit of the budget that it saves.
    """

    cost: CostModel
    budget: CostModel | None
    least: float

    def around(self, group: int, counts: np.ndarray) -> tuple[float, float]:
        """Return the cost and the budget that one group's count affects."""
        cost = self.cost.around(group, counts)
        return cost, cost if self.budget is None else self.budget.around(group, counts)


def _priced(problem: Problem, budget: CostModel | None) -> _Price:
    if budget is None:
        return _Price(problem.cost, None, 0.0)
    whole = problem.admissible.largest
    cost = problem.cost.total(whole) or 1.0
    return _Price(problem.cost, budget, _LEAST_SAVED * cost / max(budget.total(whole), 1e-12))


def _weights(problem: Problem, preference: np.ndarray | None) -> np.ndarray:
    """What each group's loss is multiplied by, shape (groups,)."""
    return np.ones(len(problem.channels.groups)) if preference is None else np.exp(preference)


def _kept_importances(problem: Problem) -> list[np.ndarray]:
    stakes = np.ones(len(problem.channels.groups)) if problem.stakes is None else problem.stakes
    return [
        1 - stake * (1 - _kept_importance(problem.scores[group.units]))
        for group, stake in zip(problem.channels.groups, stakes, strict=True)
    ]


def _kept_importance(scores: np.ndarray) -> np.ndarray:
    """Share of a group's importance that its n best units hold, shape (units + 1,)."""
    ordered = np.sort(scores)[::-1].astype(np.float64)
    if not ordered.any():
        # All of it is dead: it goes before anything else, down to the unit that has to stay.
        return np.concatenate([[0.0], 1 - _LOST_WITH_DEAD * np.linspace(1, 0, len(ordered))])
    # Units that score nothing still hold something, or what they save could not be compared.
    ordered = ordered + 1e-3 * ordered.mean()
    return np.concatenate([[0.0], np.cumsum(ordered) / ordered.sum()])


def _best_step(
    problem: Problem, group: int, counts: np.ndarray, kept: np.ndarray, price: _Price
) -> tuple[float, int] | None:
    """Find the cheapest way down for one group: (loss per cost saved, new count)."""
    current = int(counts[group])
    lower = [count for count in problem.admissible.counts[group] if count < current]
    best: tuple[float, int] | None = None
    before = price.around(group, counts) if lower else (0.0, 0.0)
    for count in dict.fromkeys([*lower[:_STEPS_AHEAD], *lower[-1:]]):
        saved, budget_saved = _saved(problem, group, counts, count, price=price, before=before)
        saved = max(saved, price.least * budget_saved)
        if saved <= 0 or budget_saved <= 0:
            continue
        loss = float(np.log(kept[current] / kept[count]))
        asked = loss / saved * (budget_saved / saved) ** _BUDGET_EXPONENT
        if best is None or asked < best[0]:
            best = (asked, count)
    return best


def _saved(
    problem: Problem, group: int, counts: np.ndarray, count: int, *, price: _Price, before: tuple[float, float]
) -> tuple[float, float]:
    """Return what a step saves of the cost and of the budget; `before` is the group's price, `counts` stays."""
    going = _going(problem, group, count)
    whole = counts[going]
    saved, budget_saved = 0.0, 0.0
    for member in going:
        cost, budget = before if member == group else price.around(member, counts)
        counts[member] = count
        less, budget_less = price.around(member, counts)
        saved, budget_saved = saved + cost - less, budget_saved + budget - budget_less
    counts[going] = whole
    return saved, budget_saved
