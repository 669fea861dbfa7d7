"""Distillation by what layers give inside, beside the outputs.

With f_l the teacher's output of layer l, restricted to the channels that the student still has, and g_l the student's,

    loss = mean over the chosen layers of ||g_l - f_l||^2 / ||f_l||^2

Since the student's channels are some of the teacher's, no projection has to be learned (as FitNets need: Romero et al.,
arXiv 1412.6550).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onnxprune.training.losses import normalised_error
from onnxprune.training.matching import Layer, Rows, channel_axes, hooked

_LAYERS = 6


class Features:
    """Keeps what chosen layers of student and teacher gave in their last run."""

    def __init__(self, rows: Rows, device: torch.device) -> None:
        """Prepare.

        Args:
            rows: The teacher's output channels that the student has, by the name of a convolution's or matrix product's
                weight or a BatchNorm's running mean.
            device: Where the networks are.
        """
        self._rows = {name: torch.as_tensor(kept, device=device) for name, kept in rows.items()}
        self._chosen: dict[str, int] = {}
        self._student: dict[str, Tensor] = {}
        self._teacher: dict[str, Tensor] = {}

    @property
    def chosen(self) -> tuple[str, ...]:
        """The layers that are compared."""
        return tuple(self._chosen)

    @contextmanager
    def watching(self, student: nn.Module, teacher: nn.Module, inputs: tuple[Tensor, ...]) -> Iterator[None]:
        """Watch both networks; `inputs` are a batch to find the layers with, a few of which are chosen, evenly."""
        axes = channel_axes(student, inputs, self._rows)
        shared = [name for name, axis in axes.items() if axis == 1]
        # The last product of most convolutional networks gives the outputs, which are compared anyway.
        shared = shared if len(shared) >= _LAYERS else list(axes)
        places = {round(place) for place in np.linspace(0, len(shared) - 1, _LAYERS)} if shared else set()
        self._chosen = {shared[place]: axes[shared[place]] for place in sorted(places)}
        with ExitStack() as stack:
            for module, store in ((student, self._student), (teacher, self._teacher)):
                stack.enter_context(hooked(module, partial(self._keep, store)))
            yield

    def _keep(self, into: dict[str, Tensor], layer: Layer, _: tuple[Any, ...], output: Tensor) -> None:
        if layer.name in self._chosen:
            into[layer.name] = output

    def loss(self) -> Tensor | None:
        """Return the loss of the last batch; None where the networks share no layer."""
        terms = [
            normalised_error(
                self._student[name].float(), self._teacher[name].float().index_select(axis, self._rows[name])
            )
            for name, axis in self._chosen.items()
            if name in self._student and name in self._teacher
        ]
        return torch.stack(terms).mean() if terms else None
