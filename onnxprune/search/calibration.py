"""Before a search: a few structures measured whole correct what layers measured alone say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from onnxprune.search.allocation import Problem
from onnxprune.search.costs import LatencyCost
from onnxprune.search.environment import Environment
from onnxprune.search.plan import Evaluator
from onnxprune.search.sizes import full_counts, keep_mask

# Structures that are measured, and how far from the original they go; the spread is that of the agents' first policy.
_STRUCTURES, _SHARES, _SPREAD = 8, (0.85, 0.3), 0.7


def calibrated(
    problem: Problem,
    evaluator: Evaluator,
    original_ms: float,
    seed: int,
    on_measured: Callable[[float, float], None] | None = None,
) -> Problem:
    """Measure random structures of several sizes, and fit the problem's latency model to them.

    Args:
        problem: The network; its cost predicts latency.
        evaluator: Measures latencies.
        original_ms: Measured p50 of the unpruned network.
        seed: Seed of the structures.
        on_measured: Called after each measurement with the predicted and the measured ms.

    Returns:
        The problem with the corrected cost; as it was where its cost is no latency.
    """
    if not isinstance(problem.cost, LatencyCost):
        return problem
    rng = np.random.default_rng(seed)
    full = full_counts(problem.channels)
    structures, measured = [full], [original_ms]
    for share in np.linspace(*_SHARES, _STRUCTURES):
        environment = Environment(problem, problem.cost, float(share) * problem.cost.total(full))
        counts = environment.act(rng.normal(0.0, _SPREAD, environment.groups))
        if counts is None:
            continue
        structures.append(counts)
        measured.append(evaluator.latency_ms(keep_mask(problem.channels, problem.scores, counts)))
        if on_measured is not None:
            on_measured(problem.cost.total(counts), measured[-1])
    return replace(problem, cost=problem.cost.refitted(structures, measured))
