"""An observer that keeps for the record what it passes on."""

from __future__ import annotations

import time

from onnxprune.progress import Observer
from onnxprune.report import StepTime


class Collecting:
    """Passes everything on, and keeps the warnings and the time of each step for the report.

    Attributes:
        place: Where the run is, shown before the names of its steps: `stage 1 of 2`. Of a step that is repeated, the
            report has the time of all stages.
        warnings: What was warned of.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._seconds: dict[str, float] = {}
        self._step, self._since_s = "", time.monotonic()
        self.place = ""
        self.warnings: list[str] = []
        self.advance = observer.advance

    def stage(self, name: str, total: int | None = None) -> None:
        """End the step before, and pass the new one on."""
        now_s = time.monotonic()
        if self._step:
            self._seconds[self._step] = self._seconds.get(self._step, 0.0) + now_s - self._since_s
        self._step, self._since_s = name, now_s
        self._observer.stage(f"{self.place}: {name}" if self.place else name, total)

    def steps(self) -> tuple[StepTime, ...]:
        """Return the seconds of every step, those of the current one so far."""
        seconds = dict(self._seconds)
        seconds[self._step] = seconds.get(self._step, 0.0) + time.monotonic() - self._since_s
        return tuple(StepTime(name=name, seconds=round(spent, 3)) for name, spent in seconds.items())

    def warn(self, message: str) -> None:
        """Keep the message and pass it on, once."""
        if message not in self.warnings:
            self.warnings.append(message)
            self._observer.warn(message)
