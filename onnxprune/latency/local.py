"""This machine: onnxruntime in this process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxprune.errors import DeviceError
from onnxprune.latency import hardware
from onnxprune.latency.conditions import Seen, conditions, summary
from onnxprune.latency.device import Feeds, ModelSource, Progress
from onnxprune.latency.inside import NodeProfile, PeakMemory
from onnxprune.latency.interleaved import measure_rounds
from onnxprune.latency.layer_costs import LayerCosts, ProfilingTimer
from onnxprune.latency.on_device.breakdown import node_times
from onnxprune.latency.on_device.loaded import providers_of
from onnxprune.latency.on_device.machine import Watch
from onnxprune.latency.on_device.memory import ChildFailedError, peak_memory
from onnxprune.latency.on_device.timing import Runner, nodes_by_provider, whole_round
from onnxprune.latency.options import MeasureOptions
from onnxprune.latency.providers import PROVIDERS, fallback_note, require_provider
from onnxprune.latency.session import Session
from onnxprune.latency.stats import LatencyStats


class LocalDevice:
    """onnxruntime in this process."""

    name = "local"
    busy_s = None

    def __init__(
        self,
        open_session: Callable[[str, ModelSource, MeasureOptions], Runner] = Session,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Args are for tests.

        Args:
            open_session: Loads a model.
            clock: Seconds.
        """
        self._open = open_session
        self._clock = clock
        self._notes: list[str] = []
        self._placed: set[tuple[str, str]] = set()
        self._noted: set[str] = set()
        self._seen: list[Seen] = []

    @property
    def conditions(self) -> dict[str, float | bool]:
        """What was read of the machine while it measured; see `conditions.summary`."""
        return summary(self._seen)

    def fingerprint(self, options: MeasureOptions) -> dict[str, object]:
        """Return the CPU (and GPU), onnxruntime's version, provider and threads."""
        return hardware.fingerprint(options)

    def layer_costs(self, options: MeasureOptions) -> LayerCosts:
        """Return the table of this machine, with what earlier runs measured."""
        return LayerCosts(ProfilingTimer(options))

    def measure(
        self,
        models: Mapping[str, ModelSource],
        feeds: Mapping[str, Feeds],
        options: MeasureOptions,
        on_progress: Progress | None = None,
    ) -> dict[str, LatencyStats]:
        """Measure models in `options.sessions` rounds of turns; see `Device.measure`."""

        def run_round(names: Sequence[str]) -> dict[str, dict[str, Any]]:
            def open_runner(name: str) -> Runner:
                return self._open(name, models[name], options)

            return whole_round(open_runner, names, feeds, options, self._clock)

        seen: list[Seen] = []

        def watched(names: Sequence[str]) -> dict[str, dict[str, Any]]:
            watch = Watch()
            timed = run_round(names)
            seen.append(watch.stop())
            return timed

        # What finding the provider takes is no part of loading the first model.
        require_provider(options.provider)
        result = measure_rounds(models, feeds, options.sessions, watched, on_progress)
        self._see_conditions(seen)
        for name in models:
            self._see_fallback(name, models[name], feeds[name], options)
        return result

    def profile(self, name: str, source: ModelSource, feeds: Feeds, options: MeasureOptions) -> NodeProfile:
        """Return what each node takes; see `Device.profile`."""
        with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
            session = Session(name, source, options, profile=Path(folder) / "profile")
            return NodeProfile.from_dict(node_times(session, feeds))

    def peak_memory(self, name: str, source: Path, feeds: Feeds, options: MeasureOptions) -> PeakMemory:
        """Return the memory of a fresh process; see `Device.peak_memory`."""
        require_provider(options.provider)
        try:
            return PeakMemory(**peak_memory(source, feeds, options, providers_of(options.full_provider, options)))
        except ChildFailedError as error:
            raise DeviceError(f"the memory of model '{name}' cannot be measured: {error}") from error

    def take_notes(self) -> tuple[str, ...]:
        """Return what was seen since the last call; see `Device.take_notes`."""
        notes, self._notes = tuple(self._notes), []
        return notes

    def _see_conditions(self, seen: Sequence[Seen]) -> None:
        """Note what bears on the figures, each kind once: a search measures hundreds of times."""
        self._seen += seen
        for kind, note in conditions(seen).items():
            if kind not in self._noted:
                self._notes.append(f"this machine {note}")
            self._noted.add(kind)

    def _see_fallback(self, name: str, source: ModelSource, feeds: Feeds, options: MeasureOptions) -> None:
        """Look, once for each model and provider, for nodes that it leaves to the CPU."""
        provider = options.full_provider
        if provider == PROVIDERS["cpu"] or (name, provider) in self._placed:
            return
        self._placed.add((name, provider))
        with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
            session = Session(name, source, options, profile=Path(folder) / "profile")
            note = fallback_note(provider, nodes_by_provider(session, feeds))
        if note is not None:
            self._notes.append(f"model '{name}': {note}")
