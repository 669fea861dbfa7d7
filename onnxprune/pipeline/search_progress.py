"""How a search goes, in a line under its bar: the best so far and what it costs, how fast it judges, the time left."""

from __future__ import annotations

import time
from collections.abc import Callable

from onnxprune.progress import Observer
from onnxprune.report.units import quantity
from onnxprune.search import Judgement, Probe, SearchConfig, Target, Verdict, told_cost

_FINALS = "comparing the best"


class SearchProgress:
    """Shows what an agent's search under a budget finds."""

    def __init__(
        self, observer: Observer, agent: str, config: SearchConfig, target: Target, *, again: bool = False
    ) -> None:
        """Begin the step.

        Args:
            observer: Told of it.
            agent: Who searches.
            config: How long at most.
            target: What the structures' costs are of.
            again: Whether the search is over, and its best are fitted to a corrected target.
        """
        self._observer, self._config, self._target = observer, config, target
        self._best: Judgement | None = None
        self._failed, self._finals = False, again
        if again:
            observer.stage(_FINALS)
        else:
            observer.stage(f"searching ({agent})", config.evaluations if config.seconds is None else None)

    def tell(self, judgement: Judgement) -> None:
        """Show where the search stands, and once why a structure has no metric."""
        if not (judgement.verdict.known or self._failed):
            self._failed = True
            why = judgement.verdict.failure or "its outputs are not finite"
            self._observer.warn(
                f"structures without a metric count as worse than any other; {judgement.index + 1} is the first: {why}"
            )
        best = self._best
        if best is None or _rank(judgement.verdict) > _rank(best.verdict):
            best = self._best = judgement
        done, elapsed_s = judgement.index + 1, max(judgement.elapsed_s, 1e-9)
        left_s = elapsed_s / done * (self._config.evaluations - done)
        if self._config.seconds is not None:
            left_s = self._config.seconds - elapsed_s
        self._observer.advance(
            note=f"{self._found(best)}, {done / elapsed_s:.2g}/s, at most {max(left_s, 0):.0f} s left"
        )

    def tell_probe(self, probe: Probe) -> None:
        """Show that a structure was measured, which is when the best ones are fitted to the target."""
        self._begin_finals()
        self._observer.advance(0, note=f"fitted to the target: {quantity('latency').show(probe.measured)}")

    def tell_confirmation(self, number: int, count: int) -> None:
        """Show that one of the best is healed to the end and judged."""
        self._begin_finals()
        self._observer.advance(0, note=f"healing and judging {number} of {count}")

    def _begin_finals(self) -> None:
        if self._best is not None and not self._finals:
            self._finals = True
            self._observer.stage(_FINALS)

    def _found(self, best: Judgement) -> str:
        if not best.verdict.known:
            return "no metric of any yet"
        cost = told_cost(self._target.kind, best.cost)
        limited = quantity(self._target.kind)
        noun = "" if self._target.kind == "latency" else f" {limited.noun}"
        return (
            f"best {best.verdict.metric:.2f} at {limited.show(cost)}{noun} (reward {best.verdict.reward:.2f}, "
            f"{best.candidate.source})"
        )


class SamplingProgress:
    """Shows what a stage of `rl-pruner` samples."""

    def __init__(self, observer: Observer, samples: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin the step.

        Args:
            observer: Told of it.
            samples: Structures of the stage, repeated ones too.
            clock: Seconds.
        """
        self._observer, self._clock = observer, clock
        self._again = samples - 1
        self._best: float | None = None
        self._begin(samples)

    def tell(self, verdict: Verdict) -> None:
        """Show where the stage stands; one that is taken again, which begins with no look of its own, begins anew."""
        if self._done == self._samples:
            self._begin(self._again)
        self._done += 1
        if verdict.known:
            self._best = verdict.metric if self._best is None else max(self._best, verdict.metric)
        each_s = max(self._clock() - self._started_s, 1e-9) / self._done
        left_s = each_s * max(self._samples - self._done, 0)
        best = "no metric of any yet" if self._best is None else f"best {self._best:.2f}"
        self._observer.advance(note=f"{best}, {1 / each_s:.2g}/s, about {left_s:.0f} s left")

    def _begin(self, samples: int) -> None:
        self._samples, self._done, self._started_s = samples, 0, self._clock()
        self._observer.stage("sampling (rl-pruner)", samples)


def _rank(verdict: Verdict) -> tuple[int, float]:
    return verdict.samples, verdict.reward
