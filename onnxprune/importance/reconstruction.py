"""Reconstruction: what is lost with a unit after the units that stay have made up for it as well as they can.

With C the covariance of what a layer reads, W its weights and P the columns of a unit, removing P and solving the rest
of W again raises the squared error of the layer's outputs by

    tr(W_P  (((C + l)^-1)_PP)^-1  W_P')  -  l |W_P|^2    (optimal brain surgeon; Kurtic et al., "ZipLM", 2023, eq. 3)

where l is the ridge that the rest is solved with: subtracted, so that a channel that says nothing costs nothing.
Units of a group go one by one, the cheapest first, and C^-1 and W are updated after each. A unit's score is the error
it adds when its turn comes, as a share of the output's variance, summed over the layers that read it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnxprune.channels import ChannelMap, Group
from onnxprune.errors import CriterionError
from onnxprune.healing import Moment, collect_moments, ridge_for
from onnxprune.importance.registry import Criterion, CriterionInputs, SliceScores, criterion, register

# Units of a large group go several at a time.
_STEPS = 96


@dataclass
class _Reader:
    """One layer that reads a group, while units go.

    Attributes:
        columns: Columns of each unit, shape (units, columns each).
        inverse: Inverse of the regularised covariance of what is left, shape (inputs, inputs).
        weight: Weights that make up for what has gone, shape (channels out, inputs).
        ridge: What was added to the covariance's diagonal.
        scale: What errors are divided by: the variance of the layer's outputs.
    """

    columns: np.ndarray
    inverse: np.ndarray
    weight: np.ndarray
    ridge: float
    scale: float

    def errors(self, left: np.ndarray) -> np.ndarray:
        """Return what each of some units would cost, shape (len(left),)."""
        columns = self.columns[left]
        blocks = np.linalg.inv(self.inverse[columns[:, :, None], columns[:, None, :]])
        own = self.weight[:, columns].transpose(1, 0, 2)
        errors = np.einsum("uoi,uij,uoj->u", own, blocks, own) - self.ridge * np.einsum("uoi,uoi->u", own, own)
        return np.asarray(np.maximum(errors / self.scale, 0.0))

    def remove(self, units: np.ndarray) -> None:
        """Let units go, and make up for them with what is left."""
        gone = self.columns[units].reshape(-1)
        rows = self.inverse[gone]
        solved = np.linalg.solve(rows[:, gone], rows)
        self.weight = self.weight - self.weight[:, gone] @ solved
        self.inverse = self.inverse - rows.T @ solved


def _reconstruction(inputs: CriterionInputs) -> Iterator[SliceScores]:
    moments = collect_moments(inputs.model, inputs.calibration or (), seed=inputs.seed)
    groups = inputs.channels.groups
    columns = {
        (group.index, name): found
        for group in groups
        for name, moment in moments.items()
        if (found := _columns(inputs.channels, group, moment)) is not None
    }
    waiting = Counter(name for _, name in columns)
    inverses: dict[str, tuple[np.ndarray, float]] = {}
    unread = np.ones(inputs.channels.unit_count, dtype=bool)
    for done, group in enumerate(groups, start=1):
        names = [name for index, name in columns if index == group.index]
        for name in names:
            if name not in inverses:
                inverses[name] = _inverse(moments[name])
        if names:
            unread[group.units] = False
            readers = [_reader(moments[name], columns[group.index, name], *inverses[name]) for name in names]
            yield SliceScores(f"group '{group.name}'", group.units, _scores(readers, group.size))
        waiting.subtract(names)
        # Inverses are as large as the moments; they go with the last group that a layer reads.
        inverses = {name: inverse for name, inverse in inverses.items() if waiting[name] > 0}
        if inputs.on_batch is not None:
            inputs.on_batch(done, len(groups))
    yield from _by_weights(inputs, unread)


def _by_weights(inputs: CriterionInputs, units: np.ndarray) -> Iterator[SliceScores]:
    """Score the units that only grouped or transposed convolutions read, which are not solved again, by weights."""
    for item in criterion("reader_l1").slices(inputs) if units.any() else ():
        mine = (item.units >= 0) & units[item.units]
        if mine.any():
            yield SliceScores(item.source, np.where(mine, item.units, -1), item.scores)


def _inverse(moment: Moment) -> tuple[np.ndarray, float]:
    """Return the inverse of the regularised covariance, and the ridge.

    Raises:
        CriterionError: What the layer reads is too large for either.
    """
    covariance = moment.covariance.astype(np.float64)
    share = ridge_for(len(covariance), moment.positions)
    ridge = share * float(np.trace(covariance)) / len(covariance) or 1.0
    covariance[np.diag_indices_from(covariance)] += ridge
    if not np.isfinite(covariance).all():
        raise CriterionError(
            f"importance 'reconstruction': what layer '{moment.layer.node}' reads on the data is so large that its "
            "squares overflow. Check the scale of the data (--preprocess), or choose an importance that needs none, "
            "such as reader_l1"
        )
    return np.linalg.inv(covariance), ridge


def _columns(channels: ChannelMap, group: Group, moment: Moment) -> np.ndarray | None:
    """Find the columns of each unit in a layer's weights, shape (units, columns each); None where it reads none."""
    layer = moment.layer
    units = channels.axis(layer.weight, 1 - layer.out_axis)
    if units is None:
        return None
    window = int(np.prod(moment.shape[2:])) if len(moment.shape) > 2 else 1
    of_column = np.repeat(units, window)
    mine = np.flatnonzero(np.isin(of_column, group.units))
    if len(mine) == 0:
        return None
    # A group's units are on an axis equally often, so that sorting by unit gives equal rows.
    return mine[np.argsort(of_column[mine], kind="stable")].reshape(group.size, -1)


def _reader(moment: Moment, columns: np.ndarray, inverse: np.ndarray, ridge: float) -> _Reader:
    weight = moment.weight.astype(np.float64)
    variance = float(np.einsum("ij,jk,ik->", weight, moment.covariance, weight, optimize=True))
    return _Reader(columns, inverse, weight, ridge, max(variance, 1e-12))


def _scores(readers: list[_Reader], size: int) -> np.ndarray:
    """Let the units of a group go, the cheapest first; return what each added."""
    scores = np.zeros(size)
    left = np.arange(size)
    at_once = -(-size // _STEPS)
    highest = 0.0
    while len(left) > 1:
        errors = np.sum([reader.errors(left) for reader in readers], axis=0)
        order = np.argsort(errors, kind="stable")[: min(at_once, len(left) - 1)]
        going = left[order]
        # A unit that goes later is worth no less.
        highest = max(highest, float(errors[order[-1]]))
        scores[going] = highest
        left = np.setdiff1d(left, going)
        for reader in readers:
            reader.remove(going)
    last = float(np.sum([reader.errors(left) for reader in readers])) if len(left) else 0.0
    scores[left] = max(highest, last)
    return scores


register(
    Criterion(
        name="reconstruction",
        summary="error of the layers that read a channel, once the others have made up for it",
        needs="data",
        slices=_reconstruction,
    )
)
