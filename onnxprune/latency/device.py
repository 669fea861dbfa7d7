"""What a device is: something that runs ONNX models and says how long that takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from onnxprune.latency.inside import NodeProfile, PeakMemory
from onnxprune.latency.options import MeasureOptions
from onnxprune.latency.stats import LatencyStats

if TYPE_CHECKING:
    from onnxprune.latency.layer_costs import LayerCosts

ModelSource = Path | bytes
"""A model: its file, or its serialised bytes."""

Feeds = Mapping[str, np.ndarray]
"""An array for each input of a model."""

Progress = Callable[[int, int], None]
"""Called with the steps done and their total."""


class Device(Protocol):
    """Runs models and measures their latency."""

    @property
    def name(self) -> str:
        """Name for reports."""

    def fingerprint(self, options: MeasureOptions) -> dict[str, object]:
        """Return what a latency depends on: hardware, onnxruntime version, provider, threads."""

    def layer_costs(self, options: MeasureOptions) -> LayerCosts:
        """Return the table of what single layers cost here."""

    def measure(
        self,
        models: Mapping[str, ModelSource],
        feeds: Mapping[str, Feeds],
        options: MeasureOptions,
        on_progress: Progress | None = None,
    ) -> dict[str, LatencyStats]:
        """Measure models side by side, interleaved, so that what disturbs the machine disturbs all of them.

        Args:
            models: The models by name.
            feeds: Inputs of each model, by the same names.
            options: What to measure on and for how long.
            on_progress: Called after each session of each model.

        Returns:
            Latency by model name.

        Raises:
            DeviceError: The provider or a model does not run here; the message names the model.
        """

    def take_notes(self) -> tuple[str, ...]:
        """Return what was seen since the last call that bears on the figures, as sentences; each is said once.

        Nodes that fell back to the CPU, a device that throttles or is busy, a connection that was lost and resumed.
        """


class InspectableDevice(Device, Protocol):
    """A device that looks into models too, beside measuring them."""

    def profile(self, name: str, source: ModelSource, feeds: Feeds, options: MeasureOptions) -> NodeProfile:
        """Return what each node of a model takes, by onnxruntime's profiler.

        Raises:
            DeviceError: The provider or the model does not run here.
        """

    def peak_memory(self, name: str, source: Path, feeds: Feeds, options: MeasureOptions) -> PeakMemory:
        """Return the memory of a fresh process that loads and runs a model.

        Raises:
            DeviceError: The process failed; the message names the model.
        """
