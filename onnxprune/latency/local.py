"""This machine: onnxruntime in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from onnxprune.errors import DeviceError
from onnxprune.latency import hardware
from onnxprune.latency.device import Feeds, ModelSource, Progress
from onnxprune.latency.layer_costs import LayerCosts, ProfilingTimer
from onnxprune.latency.options import MeasureOptions
from onnxprune.latency.session import Session
from onnxprune.latency.stats import LatencyStats, summarise

# Timed runs in a row before the next model's turn. Turns of one run each would time every model with the
# others' weights in the cache; the first run of a turn is not timed for the same reason.
_TURN_RUNS = 5
# Sessions hold their weights in packed copies: several networks of this size at once would crowd a small machine.
_HELD_BYTES = 256 << 20


class Runner(Protocol):
    """A loaded model."""

    def run(self, feeds: Feeds) -> None:
        """Run once."""


class LocalDevice:
    """onnxruntime in this process."""

    name = "local"

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
        """Measure models in `options.sessions` rounds; each round has a fresh session of every model.

        Within a round the models take turns of a few runs until each has run long enough; the order changes
        from round to round. Models too large to be held side by side are held one after the other. See
        `Device.measure`.
        """
        if missing := [name for name in models if name not in feeds]:
            raise DeviceError(f"no inputs were given for model '{missing[0]}'")
        samples: dict[str, list[list[float]]] = {name: [] for name in models}
        names = list(models)
        for session in range(options.sessions):
            first = session % max(len(names), 1)
            order = names[first:] + names[:first]
            for together in [order] if _fit_together(models) else [[name] for name in order]:
                runners = {name: self._open(name, models[name], options) for name in together}
                for name, timed in self._round(runners, feeds, options).items():
                    samples[name].append(timed)
                del runners
            if on_progress is not None:
                on_progress((session + 1) * len(names), options.sessions * len(names))
        return {name: summarise(samples[name]) for name in models}

    def _round(
        self, runners: Mapping[str, Runner], feeds: Mapping[str, Feeds], options: MeasureOptions
    ) -> dict[str, list[float]]:
        for name, runner in runners.items():
            for _ in range(options.warmup):
                runner.run(feeds[name])
        timed: dict[str, list[float]] = {name: [] for name in runners}
        while waiting := [name for name in runners if not _enough(timed[name], options)]:
            for name in waiting:
                if len(runners) > 1:
                    runners[name].run(feeds[name])
                turn = _turn(timed[name], options)
                timed[name] += [self._time(runners[name], feeds[name]) for _ in range(turn)]
        return timed

    def _time(self, runner: Runner, feeds: Feeds) -> float:
        start = self._clock()
        runner.run(feeds)
        return (self._clock() - start) * 1e3


def _fit_together(models: Mapping[str, ModelSource]) -> bool:
    return sum(_bytes(source) for source in models.values()) <= _HELD_BYTES


def _bytes(source: ModelSource) -> int:
    """Return the size of a model with the weights beside it."""
    if isinstance(source, bytes):
        return len(source)
    return sum(file.stat().st_size for file in source.parent.glob(f"{source.name}*") if file.is_file())


def _enough(timed_ms: Sequence[float], options: MeasureOptions) -> bool:
    long_enough = len(timed_ms) >= options.min_runs and sum(timed_ms) >= options.session_ms
    return long_enough or len(timed_ms) >= options.max_runs


def _turn(timed_ms: Sequence[float], options: MeasureOptions) -> int:
    """Return how many runs are timed before the next model's turn."""
    limit = options.min_runs if sum(timed_ms) >= options.session_ms else options.max_runs
    return min(_TURN_RUNS, limit - len(timed_ms))
