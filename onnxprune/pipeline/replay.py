"""A device, a judge and a clock whose answers are kept in a journal: a run that goes on gets the same ones again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from onnxprune.journal import Journal
from onnxprune.latency import Device, Feeds, LatencyStats, LayerCosts, MeasureOptions, ModelSource, summarise
from onnxprune.latency.device import Progress
from onnxprune.search import Judge, TimeUp, Verdict


class RecordedDevice:
    """A device whose measurements are written down."""

    def __init__(self, device: Device, journal: Journal) -> None:
        """Measure on a device, or take what a journal has."""
        self._device = device
        self._journal = journal
        self._notes: list[str] = []

    @property
    def name(self) -> str:
        """Name for reports."""
        return self._device.name

    @property
    def busy_s(self) -> float | None:
        """Seconds that another machine was asked for; what is replayed takes none."""
        return self._device.busy_s

    @property
    def conditions(self) -> Mapping[str, float | bool]:
        """What was read of the machine while it measured."""
        return self._device.conditions

    def fingerprint(self, options: MeasureOptions) -> dict[str, object]:
        """Return what a latency depends on."""
        return self._device.fingerprint(options)

    def layer_costs(self, options: MeasureOptions) -> LayerCosts:
        """Return the table of the device, which answers what it answered before."""
        table = self._device.layer_costs(options)
        table.recall = lambda layer, make: float(
            self._journal.observe("layer", {"layer": layer}, lambda: {"ms": make()})["ms"]
        )
        table.recall_known = lambda what, make: self._journal.observe(
            "known", {"what": what}, lambda: {"points": make()}
        )["points"]
        return table

    def measure(
        self,
        models: Mapping[str, ModelSource],
        feeds: Mapping[str, Feeds],
        options: MeasureOptions,
        on_progress: Progress | None = None,
    ) -> dict[str, LatencyStats]:
        """Measure models side by side, or return what was measured of them before."""

        def make() -> dict[str, Any]:
            stats = self._device.measure(models, feeds, options, on_progress)
            p50 = {name: round(stat.p50_ms, 4) for name, stat in stats.items()}
            samples = {name: stat.to_dict()["samples_ms"] for name, stat in stats.items()}
            notes = self._device.take_notes()
            return {"p50_ms": p50, "samples_ms": samples, **({"notes": list(notes)} if notes else {})}

        key = {"models": {name: _digest(source) for name, source in models.items()}, "sessions": options.sessions}
        found = self._journal.observe("latency", key, make)
        self._notes += found.get("notes", [])
        return {name: summarise(found["samples_ms"][name]) for name in models}

    def take_notes(self) -> tuple[str, ...]:
        """Return what was seen since the last call, now or when it was measured."""
        notes, self._notes = tuple(self._notes), []
        return notes


class SearchClock:
    """Seconds of searching, of the attempts before too, from its first reading on.

    What is planned and measured before the search is replayed at once when a run goes on, and what judges is made
    again, so neither counts.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Stand at 0."""
        self._now = now
        self._zero_s: float | None = None

    def __call__(self) -> float:
        """Return the seconds."""
        if self._zero_s is None:
            self._zero_s = self._now()
        return self._now() - self._zero_s

    def catch_up(self, seconds: float) -> None:
        """Stand at least at this many seconds."""
        self._zero_s = self._now() - max(self(), seconds)

    def set_back(self, seconds: float) -> None:
        """Stand at this many seconds again."""
        self._zero_s = self._now() - seconds


def recorded_end(journal: Journal, stage: int) -> TimeUp:
    """Return what says whether a stage's search has used up its time, as it was said before.

    What is replayed is seldom as fast as it was. Decided anew, a search would end elsewhere and take another structure
    than the one that was healed and trained.
    """

    def time_up(judged: int, up: bool) -> bool:
        return bool(journal.observe("time", {"stage": stage, "judged": judged}, lambda: {"up": up})["up"])

    return time_up


class RecordedJudge:
    """A judge that is made only when something new is to be judged."""

    def __init__(self, make: Callable[[], Judge], journal: Journal, stage: int, clock: SearchClock) -> None:
        """Prepare.

        Args:
            make: Makes the judge, which runs the original on the evaluation samples.
            journal: What was judged before.
            stage: Number of the stage.
            clock: The search's.
        """
        self._make, self._judge = make, None
        self._journal, self._stage, self._clock = journal, stage, clock
        self._looks: tuple[int, ...] | None = None

    _judge: Judge | None

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of samples of the successive looks."""
        if self._looks is None:
            kept = self._journal.observe("looks", {"stage": self._stage}, lambda: {"samples": list(self._made().looks)})
            self._looks = tuple(kept["samples"])
        return self._looks

    def judge(self, counts: np.ndarray, samples: int) -> Verdict:
        """Evaluate a structure, or return what was found of it before."""

        def make() -> dict[str, Any]:
            verdict = self._made().judge(counts, samples)
            return {**_kept(verdict), "elapsed_s": round(self._clock(), 3)}

        key = {"stage": self._stage, "units": counts.tolist(), "samples": samples}
        found = self._journal.observe("evaluation", key, make)
        self._clock.catch_up(found["elapsed_s"])
        return Verdict(found["reward"], found["metric"], samples, found.get("failure"))

    def confirm(self, counts: np.ndarray) -> Verdict:
        """Evaluate a structure as the final network, or return what was found of it before."""

        def make() -> dict[str, Any]:
            return _kept(self._made().confirm(counts))

        found = self._journal.observe("confirmation", {"stage": self._stage, "units": counts.tolist()}, make)
        return Verdict(found["reward"], found["metric"], self.looks[-1], found.get("failure"))

    def _made(self) -> Judge:
        if self._judge is None:
            before_s = self._clock()
            self._judge = self._make()
            self._clock.set_back(before_s)
        return self._judge


def _digest(source: ModelSource) -> str:
    # Files are temporary copies of what the run itself wrote; their names tell them apart.
    return hashlib.sha256(source).hexdigest()[:16] if isinstance(source, bytes) else source.name


def _kept(verdict: Verdict) -> dict[str, Any]:
    kept: dict[str, Any] = {"reward": verdict.reward, "metric": verdict.metric}
    return kept if verdict.failure is None else {**kept, "failure": verdict.failure}
