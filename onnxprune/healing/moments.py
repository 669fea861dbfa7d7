"""Second moments of what layers read in the original, and weights solved again from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Protocol

import numpy as np
import onnx_ir as ir

from onnxprune.channels import ChannelMap
from onnxprune.graph import concrete_shapes, in_float32, input_specs, real_values, store_real_values
from onnxprune.healing.activations import open_values
from onnxprune.healing.layers import Layer, kept_part, patches, positions_of, runs_of, solvable_layers
from onnxprune.healing.solve import correction, product, ridge_for

_FLOAT = 4
_RUN_BYTES = 256 << 20
# Beyond this a solve takes seconds and the matrix hundreds of megabytes; such layers keep their weights.
MOST_INPUTS = 4608
_POSITIONS_PER_INPUT, _FEWEST_POSITIONS, _MOST_POSITIONS = 8, 2_000, 40_000


class Samples(Protocol):
    """Samples that run together."""

    @property
    def inputs(self) -> tuple[np.ndarray, ...]:
        """Arrays in the order of the model's inputs."""


@dataclass(frozen=True)
class Moment:
    """What one layer reads in the original.

    Attributes:
        layer: The layer.
        weight: The original's, as a matrix of shape (channels out, inputs).
        shape: The weight's own shape.
        mean: E[x], shape (inputs,).
        positions: How many were sampled.
        covariance: E[(x - E[x]) (x - E[x])'], or E[x x'] where nothing can take up a shift of the mean.
        gain: What a BatchNormalization behind the layer multiplies by, shape (channels out,); None without one.
    """

    layer: Layer
    weight: np.ndarray
    shape: tuple[int, ...]
    mean: np.ndarray
    positions: int
    covariance: np.ndarray
    gain: np.ndarray | None = None


Moments = Mapping[str, Moment]
"""Moments by node name."""


def collect_moments(model: ir.Model, batches: Sequence[Samples], *, seed: int = 0) -> Moments:
    """Run a network on calibration samples and take the moments of what its layers read.

    Args:
        model: The original.
        batches: Calibration samples; labels are not used.
        seed: Seed of the positions.
    """
    layers = [layer for layer in solvable_layers(model) if _inputs(model, layer) <= MOST_INPUTS]
    inputs = [str(spec.name) for spec in input_specs(model)]
    model = in_float32(model)
    shapes = concrete_shapes(model, {n: a.shape for n, a in zip(inputs, batches[0].inputs, strict=True)})
    layers = [layer for layer in layers if layer.source in shapes and layer.target in shapes]
    sizes = {layer.node: _FLOAT * (prod(shapes[layer.source]) + prod(shapes[layer.target])) for layer in layers}
    found: dict[str, Moment] = {}
    for run in runs_of(layers, sizes, _RUN_BYTES):
        found.update(_run_moments(model, run, batches, seed))
    return found


def _inputs(model: ir.Model, layer: Layer) -> int:
    tensor = model.graph.initializers[layer.weight].const_value
    assert tensor is not None
    shape = tensor.shape.numpy()
    return int(np.prod(shape)) // int(shape[layer.out_axis])


def _weight(model: ir.Model, layer: Layer) -> np.ndarray:
    return _constant(model, layer.weight)


def _constant(model: ir.Model, name: str) -> np.ndarray:
    return real_values(model.graph.initializers[name])


def wanted_positions(inputs: int) -> int:
    """Say how many positions a layer with so many inputs is solved on."""
    return int(np.clip(_POSITIONS_PER_INPUT * inputs, _FEWEST_POSITIONS, _MOST_POSITIONS))


def solving_macs(model: ir.Model) -> float:
    """Return the MACs of solving every layer once: n positions of k inputs take n k^2 / 2 + k^3 / 3."""
    inputs = np.array([_inputs(model, layer) for layer in solvable_layers(model)], dtype=float)
    inputs = inputs[inputs <= MOST_INPUTS]
    positions = np.array([wanted_positions(int(count)) for count in inputs])
    return float((positions * inputs**2 / 2 + inputs**3 / 3).sum())


# Sums of huge activations become infinite; whoever cannot do without such a layer's says so.
@np.errstate(over="ignore", invalid="ignore")
def _run_moments(model: ir.Model, layers: list[Layer], batches: Sequence[Samples], seed: int) -> dict[str, Moment]:
    names = list(dict.fromkeys(name for layer in layers for name in (layer.source, layer.target)))
    values_of = open_values(model, names)
    sums: dict[str, _Sums] = {}
    for number, batch in enumerate(batches):
        values = values_of(batch.inputs)
        for layer in layers:
            rng = np.random.default_rng([seed, number, len(layer.node)])
            count = -(-wanted_positions(_inputs(model, layer)) // len(batches))
            positions = positions_of(layer, values[layer.target].shape, count, rng)
            x = patches(layer, values[layer.source], positions)
            sums[layer.node] = _summed(x, sums.get(layer.node))
    return {layer.node: _moment(model, layer, sums[layer.node]) for layer in layers}


@dataclass(frozen=True)
class _Sums:
    """Sums of what a layer reads, around a point near its mean: in float32, large means drown small variances.

    Attributes:
        center: The point, shape (inputs,).
        seen: Positions summed.
        total: Of x - center, shape (inputs,).
        square: Of (x - center) (x - center)', shape (inputs, inputs).
    """

    center: np.ndarray
    seen: int
    total: np.ndarray
    square: np.ndarray


def _summed(x: np.ndarray, before: _Sums | None) -> _Sums:
    center = x.mean(axis=0) if before is None else before.center
    x = x - center
    total, square = x.sum(axis=0, dtype=np.float64), x.T @ x
    if before is None:
        return _Sums(center, len(x), total, square)
    return _Sums(center, before.seen + len(x), before.total + total, before.square + square)


def _moment(model: ir.Model, layer: Layer, sums: _Sums) -> Moment:
    weight = _weight(model, layer)
    offset = sums.total / sums.seen
    mean, second = sums.center + offset, sums.square / sums.seen - np.outer(offset, offset)
    if layer.offset is None:
        second = second + np.outer(mean, mean)
    gain = None
    if layer.norm is not None:
        scale, variance = (_constant(model, name) for name in (layer.norm.scale, layer.norm.variance))
        gain = scale / np.sqrt(variance + layer.norm.epsilon)
    return Moment(layer, layer.matrix(weight).copy(), weight.shape, mean, sums.seen, second.astype(np.float32), gain)


def heal_weights(
    pruned: ir.Model, channels: ChannelMap, keep: np.ndarray, moments: Moments, *, ridge: float | None = None
) -> ir.Model:
    """Solve again the weights of every layer that lost inputs.

    Args:
        pruned: What surgery made of the original; it is not changed.
        channels: The original's analysis.
        keep: Whether each unit stays, shape (units,).
        moments: Of the original, from `collect_moments`.
        ridge: See `correction`; None: as `ridge_for` says.

    Returns:
        The healed model.
    """
    healed = pruned.clone()
    for moment in moments.values():
        kept = kept_part(moment.layer, channels, keep, moment.shape)
        if kept.columns.all():
            continue
        stay, gone = np.flatnonzero(kept.columns), np.flatnonzero(~kept.columns)
        lost = moment.weight[np.ix_(kept.rows, gone)]
        if moment.layer.weight not in healed.graph.initializers:
            # The layer is gone; if it was the end of a branch, its bias is what stays of it.
            if len(stay) == 0:
                _shift_constant(healed, moment, lost @ moment.mean[gone], kept.rows)
            continue
        cross = product(lost, moment.covariance[np.ix_(gone, stay)])
        strength = ridge_for(len(stay), moment.positions) if ridge is None else ridge
        added = correction(moment.covariance[np.ix_(stay, stay)], cross, strength)
        if added is None:
            continue
        shift = lost @ moment.mean[gone] - added @ moment.mean[stay]
        _add(healed, moment.layer, added, shift)
    return healed


def _add(model: ir.Model, layer: Layer, added: np.ndarray, shift: np.ndarray) -> None:
    """Add to a layer's weights, shape (channels out, inputs), and to the mean of its outputs, shape (channels out,)."""
    value = model.graph.initializers[layer.weight]
    old = real_values(value)
    store_real_values(value, layer.tensor(layer.matrix(old) + added, old))
    _shift(model, layer, shift)


def _shift_constant(model: ir.Model, moment: Moment, shift: np.ndarray, rows: np.ndarray) -> None:
    """Add to what stays of a branch: the last layer's bias, or the shift of the BatchNormalization behind it."""
    layer = moment.layer
    if layer.norm is None or moment.gain is None:
        _shift(model, layer, shift)
    else:
        _shift(model, replace(layer, offset=layer.norm.shift, sign=1.0), shift * moment.gain[rows])


def _shift(model: ir.Model, layer: Layer, shift: np.ndarray) -> None:
    """Add to the mean of a layer's outputs, shape (channels out,), if anything can take it up."""
    offset = model.graph.initializers.get(layer.offset or "")
    if offset is None or offset.const_value is None:
        return
    now = real_values(offset)
    if now.size == shift.size:
        store_real_values(offset, now + layer.sign * shift.reshape(now.shape))
