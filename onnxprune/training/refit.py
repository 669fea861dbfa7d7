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

from onnxprune.healing import MOST_INPUTS, SolvableLayer, correction, patches, positions_of, product, wanted_positions

_CHUNK = 4_096


class Refit:
    """Solves layers against what they gave in the original."""

    def __init__(self, layers: Mapping[str, SolvableLayer], seed: int) -> None:
        """Prepare.

        Args:
            layers: The layers that can be solved, by the name of their weight in the module.
            seed: Seed of the positions.
        """
        self._layers = layers
        self._seed = seed
        self._wanted: dict[str, tuple[tuple[np.ndarray, ...], np.ndarray]] = {}

    def note(self, name: str, weight: nn.Parameter, output: Tensor) -> None:
        """Keep what a layer of the original gives, at sampled positions."""
        layer = self._layers.get(name)
        if layer is None:
            return
        inputs = weight.numel() // weight.shape[layer.out_axis]
        rng = np.random.default_rng([self._seed, len(name), inputs])
        positions = positions_of(layer, tuple(output.shape), wanted_positions(inputs), rng)
        self._wanted[name] = positions, _channels_at(layer, output, positions)

    def solve(self, name: str, weight: nn.Parameter, bias: nn.Parameter, x: Tensor, rows: np.ndarray) -> bool:
        """Solve a layer of the pruned network, in place; tell whether that was possible.

        Args:
            name: Of the layer.
            weight: Its weight.
            bias: Its bias.
            x: What it reads.
            rows: The original's output channels that it has.
        """
        if name not in self._wanted:
            return False
        layer = self._layers[name]
        matrix = layer.matrix(weight.detach().cpu().numpy()).astype(np.float64)
        if matrix.shape[1] > MOST_INPUTS:
            return False
        positions, wanted = self._wanted[name]
        wanted = wanted[:, rows]
        x_mean, gram, cross = _moments(layer, x.detach().cpu().numpy(), positions, wanted)
        added = correction(gram, cross - product(matrix, gram))
        if added is None:
            return False
        matrix += added
        solved = layer.tensor(matrix, weight.detach().cpu().numpy())
        weight.data.copy_(torch.from_numpy(solved))
        bias.data.copy_(torch.from_numpy(wanted.mean(axis=0, dtype=np.float64) - matrix @ x_mean))
        return True


def _channels_at(layer: SolvableLayer, output: Tensor, positions: tuple[np.ndarray, ...]) -> np.ndarray:
    """Gather an output at some positions, shape (positions, channels)."""
    array = output.detach().cpu().numpy()
    picked: np.ndarray = np.moveaxis(array, 1, -1)[positions] if layer.kernel else array[positions]
    return picked


def _moments(
    layer: SolvableLayer, x: np.ndarray, positions: tuple[np.ndarray, ...], y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return E[x], Cov[x, x] and Cov[y, x] over the positions, a part of them at a time."""
    count = len(positions[0])
    total, square, joint = (np.zeros(()) for _ in range(3))
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        read = patches(layer, x, tuple(place[part] for place in positions))
        total = total + read.sum(axis=0, dtype=np.float64)
        square = square + product(read.T, read)
        joint = joint + product(y[part].T, read)
    x_mean, y_mean = total / count, y.mean(axis=0, dtype=np.float64)
    gram, cross = square / count, joint / count
    return x_mean, gram - np.outer(x_mean, x_mean), cross - np.outer(y_mean, x_mean)
