"""Before a search: a few structures measured whole correct what layers measured alone say.

Those that `onnxprune profile` measured are kept in the device's table, by what the network looks like, and serve every
later run; a run that finds none measures its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxprune.channels import ChannelMap
from onnxprune.search.admissible import Admissible, Problem
from onnxprune.search.costs import LatencyCost
from onnxprune.search.environment import Environment
from onnxprune.search.plan import Evaluator
from onnxprune.search.sizes import full_counts, keep_mask

# Structures that are measured, and how far from the original they go; the spread is that of the agents' first policy.
_STRUCTURES, _SHARES, _SPREAD = 8, (0.85, 0.3), 0.7
# The same for structures that are kept: drawn without a cost, so that they are the same in every profile.
_DRAWN_SHARES, _DRAWN_SPREAD, _LEAST_SHARE = (0.95, 0.25), 0.2, 0.1
# Fewer kept structures than this say too little.
_FEWEST_KEPT = 6
_PLAIN_ATTRIBUTES = (
    ir.AttributeType.INT,
    ir.AttributeType.INTS,
    ir.AttributeType.FLOAT,
    ir.AttributeType.FLOATS,
    ir.AttributeType.STRING,
)


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


def drawn_structures(channels: ChannelMap, admissible: Admissible, number: int, seed: int) -> list[np.ndarray]:
    """Draw structures without looking at their cost: a share of the channels, and each group's own around it.

    Args:
        channels: The analysis.
        admissible: Counts that groups may have.
        number: How many.
        seed: Seed of the draw.

    Returns:
        Counts, shape (groups,) each, in random order.
    """
    rng = np.random.default_rng(seed)
    sizes = full_counts(channels)
    result = []
    for share in np.linspace(*_DRAWN_SHARES, number):
        wanted = np.clip(rng.normal(share, _DRAWN_SPREAD, len(sizes)), _LEAST_SHARE, 1.0) * sizes
        result.append(np.array([admissible.nearest(group, count) for group, count in enumerate(wanted)]))
    return [result[index] for index in rng.permutation(number)]


def with_kept(problem: Problem, kept: Sequence[tuple[Sequence[int], float]], original_ms: float) -> Problem | None:
    """Fit the problem's latency model to structures that were measured before; None where they are too few.

    Args:
        problem: The network; its cost predicts latency.
        kept: Counts of each structure, and its latency as a share of the original's.
        original_ms: Measured p50 of the unpruned network.
    """
    if not isinstance(problem.cost, LatencyCost) or len(kept) < _FEWEST_KEPT:
        return None
    structures = [full_counts(problem.channels), *(np.array(counts) for counts, _ in kept)]
    shares = [1.0, *(share for _, share in kept)]
    return replace(problem, cost=problem.cost.refitted(structures, [share * original_ms for share in shares]))


def network_key(model: ir.Model, channels: ChannelMap, shapes: Mapping[str, Sequence[int]]) -> str:
    """Return what stands for a network in a table: operators, wiring, sizes and groups, but no weights and no names."""
    numbers: dict[str, int] = {}
    nodes = [
        [
            node.op_type,
            sorted(f"{a.name}={a.value}" for a in node.attributes.values() if a.type in _PLAIN_ATTRIBUTES),
            [
                [numbers.setdefault(str(v.name), len(numbers)), *shapes.get(str(v.name), ())]
                for v in (*node.inputs, *node.outputs)
                if v is not None
            ],
            [str(v.dtype) for v in node.outputs],
        ]
        for node in model.graph
    ]
    groups = [[group.size, group.channels_per_unit] for group in channels.groups]
    return hashlib.sha256(json.dumps([nodes, groups]).encode()).hexdigest()[:16]
