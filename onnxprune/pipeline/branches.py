"""Which branches a search may take out whole, and what is at stake with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from onnxprune.channels import Branch, find_branches
from onnxprune.healing import open_values
from onnxprune.pipeline.prepare import Network
from onnxprune.search import Problem
from onnxprune.training import Batch

# A branch always counts for something, and never for everything.
_STAKES = (0.02, 0.95)
_RUN_BYTES = 256 << 20


def with_branches(problem: Problem, network: Network, batches: Sequence[Batch]) -> Problem:
    """Allow a problem's groups to go whole where the graph can do without.

    The stake of a residual branch is the variance of what it adds, over samples and positions, as a share of the
    variance of the sum. Of a branch that is concatenated it is its share of the channels.

    Args:
        problem: What is decided.
        network: The network.
        batches: Calibration samples; labels are not used.
    """
    branches = find_branches(network.model, network.channels)
    if not branches:
        return problem
    variances = _variances(network, branches, batches)
    stakes = np.ones(len(network.channels.groups))
    for group, branch in branches.items():
        shares = [variances[part] / max(variances[whole], 1e-12) for part, whole in branch.joins]
        stake = float(np.mean(shares)) if shares else _share_of_channels(network, group)
        # A branch inside another is at stake with both; the lesser stake is what it adds in the end.
        stakes[list(branch.groups)] = np.minimum(stakes[list(branch.groups)], np.clip(stake, *_STAKES))
    return replace(
        problem,
        admissible=problem.admissible.with_nothing(branches),
        branches={group: branch.groups for group, branch in branches.items()},
        stakes=stakes,
    )


def _variances(network: Network, branches: Mapping[int, Branch], batches: Sequence[Batch]) -> dict[str, float]:
    """Return the variance of the values that are joined, about each channel's mean, over all samples."""
    names = sorted({name for branch in branches.values() for join in branch.joins for name in join})
    if not names:
        return {}
    found: dict[str, float] = {}
    for some in _runs(network, names, len(batches[0].positions)):
        values_of = open_values(network.model, some)
        spreads = {name: _Spread() for name in some}
        for batch in batches:
            for name, value in values_of(batch.inputs).items():
                spreads[name].add(value)
        found |= {name: spread.variance() for name, spread in spreads.items()}
    return found


class _Spread:
    """Adds up a value's entries over batches, which may be of one sample each."""

    def __init__(self) -> None:
        self._count = 0.0
        self._sums: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0

    def add(self, value: np.ndarray) -> None:
        """Add a batch, shape (samples, channels, ...)."""
        rest = tuple(axis for axis in range(value.ndim) if axis != 1)
        self._sums = self._sums + value.sum(axis=rest, dtype=np.float64)
        self._squares = self._squares + np.square(value, dtype=np.float64).sum(axis=rest)
        self._count += prod(value.shape[axis] for axis in rest)

    def variance(self) -> float:
        """Return the sum over the channels of each one's variance."""
        mean = np.asarray(self._sums) / self._count
        return float(np.maximum(np.asarray(self._squares) / self._count - mean**2, 0.0).sum())


def _runs(network: Network, names: Sequence[str], samples: int) -> Iterator[list[str]]:
    """Cut values into runs whose arrays fit into memory together."""
    run: list[str] = []
    used = 0.0
    for name in names:
        size = 4 * prod(network.shapes.get(name, ())) * samples / network.batch
        if run and used + size > _RUN_BYTES:
            yield run
            run, used = [], 0.0
        run.append(name)
        used += size
    yield run


def _share_of_channels(network: Network, group: int) -> float:
    """Return a group's share of the channels that the layers that read it read, on average."""
    channels, units = network.channels, network.channels.groups[group].units
    shares = []
    for node in network.model.graph:
        value = node.inputs[0] if node.op_type in {"Conv", "Gemm", "MatMul"} else None
        axes = channels.axes.get(str(value.name), ()) if value is not None else ()
        masks = [np.isin(axis, units) for axis in axes if axis is not None]
        shares += [float(mask.mean()) for mask in masks if mask.any()]
    return float(np.mean(shares)) if shares else 1.0
