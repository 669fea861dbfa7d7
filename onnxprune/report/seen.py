"""What a run found of structures, in one form for judgements and for the looks of agents that note no judgements."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxprune.report.history import History
from onnxprune.search.candidates import WORST
from onnxprune.search.target import REMOVED

SAMPLED, BEGINNING = "sampled", "what a stage begins with"
"""Sources of what no judgement names a source of."""


@dataclass(frozen=True)
class Seen:
    """A structure and how good a run found it.

    Attributes:
        stage: Number of the stage.
        source: Who proposed it.
        units: Units that each group keeps.
        score: What the search goes by: the reward where it is judged, else the metric; in points.
        metric: In percent.
        cost: In the target's unit; None where it is not logged.
        samples: Samples it was seen on.
        all_samples: Samples that its stage judges on at the most.
    """

    stage: int
    source: str
    units: tuple[int, ...]
    score: float
    metric: float
    cost: float | None
    samples: int
    all_samples: int

    @property
    def whole(self) -> bool:
        """Whether it was seen on all samples."""
        return self.samples >= self.all_samples

    @property
    def competes(self) -> bool:
        """Whether it can be a stage's best: what a stage begins with is none of its proposals."""
        return self.whole and self.source != BEGINNING


@dataclass(frozen=True)
class Chosen:
    """What a stage took.

    Attributes:
        stage: Number of the stage.
        cost: In the target's unit.
        metric: In percent, before training; None where it was fitted after all judging.
    """

    stage: int
    cost: float
    metric: float | None


def structures_seen(history: History) -> tuple[Seen, ...]:
    """Return the structures that a run judged and that have a metric, in order."""
    lines = history.judged or tuple(_last_looks(history))
    sources = {} if history.judged else _beginnings(history)
    costs = {tuple(s["units"]): s["predicted_cost"] for s in history.sampled if s.get("predicted_cost") is not None}
    costs |= {tuple(s["units"]): s["cost"] for s in history.structures if s.get("cost") is not None}
    costs[tuple(history.units.tolist())] = history.cost
    most = _most_samples(lines) | history.looks
    return tuple(
        Seen(
            stage=line["stage"],
            source=line["source"] if history.judged else sources.get((line["stage"], units), SAMPLED),
            units=units,
            score=line["reward"] if history.judged else line["metric"],
            metric=line["metric"],
            cost=line.get("predicted_cost", costs.get(units)),
            samples=line["samples"],
            all_samples=most[line["stage"]],
        )
        for line in lines
        for units in [tuple(line["units"])]
    )


def by_stage(seen: Sequence[Seen]) -> list[list[Seen]]:
    """Return structures stage by stage, in order."""
    return [[s for s in seen if s.stage == number] for number in sorted({s.stage for s in seen})]


def best_so_far(stage: Sequence[Seen]) -> list[Seen | None]:
    """Return, for each structure of a stage, the best of those up to it that were judged on all samples."""
    best: Seen | None = None
    found = []
    for seen in stage:
        if seen.competes and (best is None or seen.score > best.score):
            best = seen
        found.append(best)
    return found


def unbeaten(seen: Sequence[Seen], unit: str) -> list[tuple[float, float]]:
    """Return cost and metric of what nothing judged on all samples beats in both, the smallest structure first.

    Args:
        seen: The structures.
        unit: Unit of the target, which says whether more is smaller.
    """
    sign = -1 if unit == REMOVED else 1
    front, best = [], -math.inf
    for cost, negative in sorted((sign * s.cost, -s.metric) for s in seen if s.whole and s.cost is not None):
        if -negative > best:
            best = -negative
            front.append((sign * cost, best))
    return front


def structures_chosen(history: History, seen: Sequence[Seen]) -> list[Chosen]:
    """Return what stages took, where its cost is known."""
    chosen = []
    for structure in history.structures:
        stage, units = structure["stage"], tuple(structure["units"])
        judged = max((s for s in seen if (s.stage, s.units) == (stage, units)), key=lambda s: s.samples, default=None)
        cost = structure.get("cost", None if judged is None else judged.cost)
        if cost is not None:
            metric = judged.metric if judged is not None and judged.whole else _elsewhere(history, stage, units)
            chosen.append(Chosen(stage, cost, metric))
    return chosen


def _elsewhere(history: History, stage: int, units: tuple[int, ...]) -> float | None:
    """Return the metric of a structure that has no judgement of its own: a finalist that was fitted to the target."""
    lines = [line for line in (*history.confirmed, *_last_looks(history)) if _has_metric(line)]
    found = (line["metric"] for line in lines if (line["stage"], tuple(line["units"])) == (stage, units))
    return next(found, None)


def _last_looks(history: History) -> Iterator[Mapping[str, Any]]:
    """Give the last look at each structure that has a metric, in the order of the first looks."""
    last: dict[tuple[int, tuple[int, ...]], Mapping[str, Any]] = {}
    for line in history.evaluated:
        if _has_metric(line):
            last[line["stage"], tuple(line["units"])] = line
    yield from last.values()


def _has_metric(line: Mapping[str, Any]) -> bool:
    # Outputs that are not finite leave the worst there is, and no reason.
    return line.get("metric") is not None and WORST < line["metric"] < math.inf


def _most_samples(lines: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    most: dict[int, int] = {}
    for line in lines:
        most[line["stage"]] = max(most.get(line["stage"], 0), line["samples"])
    return most


def _beginnings(history: History) -> dict[tuple[int, tuple[int, ...]], str]:
    """Return what each stage goes on from: the original, and what the stage before took."""
    taken = {(structure["stage"] + 1, tuple(structure["units"])): BEGINNING for structure in history.structures}
    return {(1, tuple(history.units.tolist())): BEGINNING, **taken}
