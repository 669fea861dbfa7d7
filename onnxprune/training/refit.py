"""Weights solved again, layer by layer, on what the healed network before them gives.

With x what a layer reads in the pruned network, y what it gives in the original and W its weights, at sampled
positions of calibration samples,

    W <- W + argmin over D of E|y - (W + D) x - b|^2 + l |D|^2,     b = E[y] - W E[x]

so a layer makes up for what the layers before it have changed, too (He et al., "Channel pruning", arXiv 1707.06168,
section 3.3).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from onnxprune.healing import (
    MOST_INPUTS,
    SolvableLayer,
    correction,
    patches,
    positions_of,
    product,
    ridge_for,
    wanted_positions,
)

_CHUNK = 4_096


class Refit:
    """Solves layers against what they gave in the original."""

    def __init__(self, layers: Mapping[str, SolvableLayer], offsets: Mapping[str, str], seed: int) -> None:
        """Prepare.

        Args:
            layers: The layers that can be solved, by the name of their weight in the module.
            offsets: The names in the module of what takes up a shift of a layer's output, by that of its weight.
            seed: Seed of the positions.
        """
        self._layers = layers
        self._offsets = offsets
        self._seed = seed
        self._wanted: dict[str, tuple[tuple[np.ndarray, ...], np.ndarray]] = {}

    def note(self, name: str, weight: nn.Parameter, output: Tensor, teacher: nn.Module) -> None:
        """Keep what a layer of the original gives, at sampled positions, with what is added to it."""
        layer = self._layers.get(name)
        if layer is None:
            return
        inputs = weight.numel() // weight.shape[layer.out_axis]
        rng = np.random.default_rng([self._seed, len(name), inputs])
        positions = positions_of(layer, tuple(output.shape), wanted_positions(inputs), rng)
        wanted = _channels_at(layer, output, positions)
        if layer.added:
            wanted = wanted + teacher.get_parameter(self._offsets[name]).detach().cpu().numpy()
        self._wanted[name] = positions, wanted

    def solve(self, name: str, weight: nn.Parameter, student: nn.Module, x: Tensor, rows: np.ndarray) -> bool:
        """Solve a layer of the pruned network, in place; tell whether that was possible.

        Args:
            name: Of the layer.
            weight: Its weight.
            student: The pruned network.
            x: What it reads.
            rows: The original's output channels that it has.
        """
        # Without anything that takes up the mean, what was solved from moments is better. A BatchNorm's is matched.
        if name not in self._wanted or (name not in self._offsets and self._layers[name].norm is None):
            return False
        layer = self._layers[name]
        matrix = layer.matrix(weight.detach().cpu().numpy())
        if matrix.shape[1] > MOST_INPUTS:
            return False
        positions, wanted = self._wanted[name]
        wanted = wanted[:, rows]
        x_mean, gram, cross = _moments(layer, x.detach().cpu().numpy(), positions, wanted, matrix)
        added = correction(gram, cross, ridge_for(len(gram), len(positions[0])))
        if added is None:
            return False
        matrix = matrix + added
        solved = layer.tensor(matrix, weight.detach().cpu().numpy())
        weight.data.copy_(torch.from_numpy(solved))
        if name in self._offsets:
            bias = torch.from_numpy(wanted.mean(axis=0, dtype=np.float64) - matrix @ x_mean)
            student.get_parameter(self._offsets[name]).data.copy_(bias)
        return True


def _channels_at(layer: SolvableLayer, output: Tensor, positions: tuple[np.ndarray, ...]) -> np.ndarray:
    """Gather an output at some positions, shape (positions, channels)."""
    array = output.detach().cpu().numpy()
    picked: np.ndarray = np.moveaxis(array, 1, -1)[positions] if layer.kernel else array[positions]
    return picked


def _moments(
    layer: SolvableLayer, x: np.ndarray, positions: tuple[np.ndarray, ...], y: np.ndarray, matrix: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return E[x], Cov[x, x] and Cov[y - W x, x] over the positions, a part of them at a time."""
    count = len(positions[0])
    # Around points near the means, and of what is left to explain: in float32, large means and outputs would drown
    # what a small ridge brings out.
    x_center, y_center = np.zeros(()), y.mean(axis=0)
    total, square, left_total, joint = (np.zeros(()) for _ in range(4))
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        read = patches(layer, x, tuple(place[part] for place in positions))
        if start == 0:
            x_center = read.mean(axis=0)
        read = read - x_center
        left = y[part] - y_center - product(read, matrix.T)
        total, left_total = total + read.sum(axis=0, dtype=np.float64), left_total + left.sum(axis=0, dtype=np.float64)
        square = square + product(read.T, read)
        joint = joint + product(left.T, read)
    offset, left_mean = total / count, left_total / count
    return x_center + offset, square / count - np.outer(offset, offset), joint / count - np.outer(left_mean, offset)
