"""A device and a layer timer that compute instead of measuring, for tests of what is built on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from onnxprune.latency.device import Feeds, ModelSource, Progress
from onnxprune.latency.inside import NodeProfile, NodeTime, PeakMemory
from onnxprune.latency.layer_costs import LayerCosts
from onnxprune.latency.layers import LayerSpec
from onnxprune.latency.options import MeasureOptions
from onnxprune.latency.stats import LatencyStats, summarise


class FakeDevice:
    """A device whose latency is a function of the model; the same calls give the same samples."""

    name = "fake"
    busy_s = None

    def __init__(
        self,
        latency_ms: Callable[[str, ModelSource], float],
        noise: float = 0.0,
        seed: int = 0,
        layer_ms: Callable[[LayerSpec], float] = lambda spec: spec.channels_in * spec.channels_out * 1e-6,
        session_noise: float = 0.0,
    ) -> None:
        """Make a device.

        Args:
            latency_ms: Latency of a model, from its name and source.
            noise: Standard deviation of a run, as a fraction of the latency.
            seed: Seed of the noise.
            layer_ms: Cost of a layer.
            session_noise: Standard deviation of a whole session, as a fraction of the latency.
        """
        self._session_noise = session_noise
        self._latency_ms = latency_ms
        self._layer_ms = layer_ms
        self._noise = noise
        self._rng = np.random.default_rng(seed)
        self.measured: list[str] = []
        """Names of the models measured, in order."""

    @property
    def conditions(self) -> dict[str, float | bool]:
        """Return nothing."""
        return {}

    def fingerprint(self, options: MeasureOptions) -> dict[str, object]:
        """Return a fixed hardware, and the options' provider and threads."""
        return {"cpu": "fake", "provider": options.provider, "threads": options.threads}

    def layer_costs(self, options: MeasureOptions) -> LayerCosts:  # noqa: ARG002
        """Return a table of computed costs, kept in memory only."""
        return _Unsaved(FakeLayerTimer(self._layer_ms))

    def measure(
        self,
        models: Mapping[str, ModelSource],
        feeds: Mapping[str, Feeds],  # noqa: ARG002
        options: MeasureOptions,
        on_progress: Progress | None = None,
    ) -> dict[str, LatencyStats]:
        """Compute `options.sessions` sessions of `options.min_runs` samples of every model."""
        result = {}
        for done, (name, source) in enumerate(models.items(), start=1):
            self.measured.append(name)
            noise = self._rng.normal(0.0, self._noise, (options.sessions, options.min_runs))
            noise += self._rng.normal(0.0, self._session_noise, (options.sessions, 1))
            stats = summarise((self._latency_ms(name, source) * np.maximum(1 + noise, 0.01)).tolist())
            result[name] = replace(stats, load_ms=(1.0,) * options.sessions)
            if on_progress is not None:
                on_progress(done, len(models))
        return result

    def profile(self, name: str, source: ModelSource, feeds: Feeds, options: MeasureOptions) -> NodeProfile:  # noqa: ARG002
        """Return one node that takes the whole latency."""
        ms = self._latency_ms(name, source)
        return NodeProfile(runs=1, run_ms=ms, nodes=(NodeTime("node", "Fake", options.full_provider, ms),))

    def peak_memory(self, name: str, source: Path, feeds: Feeds, options: MeasureOptions) -> PeakMemory:  # noqa: ARG002
        """Return fixed sizes."""
        return PeakMemory(peak_bytes=3_000_000, base_bytes=1_000_000)

    def take_notes(self) -> tuple[str, ...]:
        """Return nothing."""
        return ()


class FakeLayerTimer:
    """A layer timer whose cost is a function of the layer; it remembers what it was asked."""

    def __init__(self, cost_ms: Callable[[LayerSpec], float], hardware: str = "fake") -> None:
        """Make a timer.

        Args:
            cost_ms: Cost of a layer.
            hardware: Stands in the fingerprint.
        """
        self._cost_ms = cost_ms
        self._hardware = hardware
        self.timed: list[LayerSpec] = []
        """The layers timed, in order."""

    def fingerprint(self) -> dict[str, object]:
        """Return the hardware given."""
        return {"cpu": self._hardware}

    def time_ms(self, spec: LayerSpec) -> float:
        """Compute the cost of a layer."""
        self.timed.append(spec)
        return self._cost_ms(spec)


class _Unsaved(LayerCosts):
    """Computed costs leave no file behind."""

    def save(self) -> bool:
        """Do nothing."""
        return False
