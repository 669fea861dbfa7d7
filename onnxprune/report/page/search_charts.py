"""Charts of a search: how it learned, and what accuracy costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from onnxprune.report.page.chart import Chart, Legend, Table, sample
from onnxprune.report.page.svg import Frame, drawing, frame, mark, padded, steps, tag
from onnxprune.report.schema import JudgedStructure, LearningRecord, SearchProbe, TargetRecord
from onnxprune.report.units import change, count, percent, quantity, score, score_digits, score_label
from onnxprune.search.target import REMOVED

_SHAPES = {"global": "diamond", "uniform": "square", "random": "triangle"}
_FEWEST_PROBES = 3


@dataclass(frozen=True)
class StageLearning:
    """What an agent judged in one stage.

    Attributes:
        number: Of the stage, from 1.
        judged: The structures, in order.
        chosen: What the stage took, as channels of each group.
    """

    number: int
    judged: tuple[JudgedStructure, ...]
    chosen: tuple[int, ...]

    @property
    def samples(self) -> int:
        """Most samples that a structure was judged on."""
        return max(judged.samples for judged in self.judged)

    @property
    def taken(self) -> JudgedStructure | None:
        """The judged structure that was taken; None where it was refined afterwards."""
        same = [judged for judged in self.judged if judged.channels == self.chosen]
        return max(same, key=lambda judged: judged.samples) if same else None


def learning_chart(stages: Sequence[StageLearning], metric: str | None) -> Chart:
    """Draw the reward of every structure in the order of judging, and the best so far.

    Args:
        stages: What was judged.
        metric: The name of what it was judged by, where it is known.
    """
    every = [judged for stage in stages for judged in stage.judged]
    rewards = [judged.reward for judged in every]
    area = frame((0, len(every)), _upper(rewards), ("structures judged", "reward (points)"), whole=True)
    parts = area.axes()
    parts += _marks(area, [(i + 0.5, j.reward, j) for i, j in enumerate(every)])
    start = 0
    for stage in stages:
        if start:
            x = area.x.at(start)
            parts.append(tag("line", class_="divider", x1=x, x2=x, y1=area.y.start, y2=area.y.stop))
        parts.append(steps(area.points(_best_so_far(stage, start)), "best"))
        start += len(stage.judged)
    best = max(every, key=lambda judged: (judged.samples, judged.reward))
    text = f"{len(every)} structures were pruned, healed and judged; the best reached a reward of {best.reward:.2f} "
    text += f"({best.source}, {score(best.metric, metric)} untrained)."
    if min(rewards) < area.y.low:
        text += " Those far below stand on the lower edge."
    if len(stages) > 1:
        text += " Dotted lines part the stages."
    title = "How the search learned"
    legend = (*_sources(every), Legend(sample(tag("line", class_="best", x1=1, x2=17, y1=9, y2=9)), "best so far"))
    svg = drawing("learning", title, text, parts, (area.width, area.height))
    return Chart("learning", title, text, svg, legend, _judged_table(stages, metric))


def front_chart(stages: Sequence[StageLearning], target: TargetRecord, metric: str | None) -> Chart:
    """Draw metric against cost of everything judged, the front of what nothing beats in both, and the choice.

    Args:
        stages: What was judged.
        target: What was asked for.
        metric: The name of what it was judged by, where it is known.
    """
    limit, show, removed = target.value, quantity(target.kind).show, target.unit == REMOVED
    every = [judged for stage in stages for judged in stage.judged]
    divisor, prefix = _prefix(max(judged.cost for judged in every))
    costs = [judged.cost / divisor for judged in every]
    spread = padded(costs, 0.35)
    near = spread[0] <= limit / divisor <= spread[1]
    area = frame(
        padded([*costs, limit / divisor] if near else costs),
        _upper([j.metric for j in every]),
        (f"predicted cost ({prefix}{target.unit})", score_label("metric, untrained", metric)),
    )
    parts = [
        *area.axes(),
        *(_target(area, limit / divisor, show(limit)) if near else []),
        *_marks(area, [(cost, j.metric, j) for cost, j in zip(costs, every, strict=True)]),
        steps(area.points(_front(zip(costs, [j.metric for j in every], strict=True), removed)), "best"),
    ]
    taken = [stage.taken for stage in stages]
    parts += [mark("star", area.points([(j.cost / divisor, j.metric)])[0], "chosen", 8) for j in taken if j is not None]
    chosen = taken[-1]
    text = "Every judged structure by what it costs and what it is worth before training."
    if chosen is not None:
        text += f" Chosen: {show(chosen.cost)} predicted, {score(chosen.metric, metric)}."
    if not near:
        text += f" The target, {show(limit)}, lies outside: predictions are corrected by measuring."
    title = "What accuracy costs"
    legend = [
        *_sources(every),
        Legend(sample(tag("line", class_="best", x1=1, x2=17, y1=9, y2=9)), "front: nothing judged beats it in both"),
    ]
    if any(taken):
        legend.append(Legend(sample(mark("star", (9, 9), "chosen", 5)), "chosen"))
    rows = sorted({(judged.cost, judged.metric, judged.source) for judged in every}, reverse=removed)
    best = dict(_front(((cost, value) for cost, value, _ in rows), removed))
    table = Table(
        ("on the front: predicted cost", "metric", "found by"),
        tuple((show(cost), score(value, metric), source) for cost, value, source in rows if best.get(cost) == value),
    )
    svg = drawing("front", title, text, parts, (area.width, area.height))
    return Chart("front", title, text, svg, tuple(legend), table)


def _target(area: Frame, limit: float, text: str) -> list[Markup]:
    x = area.x.at(limit)
    at, anchor = (x - 5, "end") if x > area.width / 2 else (x + 5, "start")
    return [
        tag("line", class_="target", x1=x, x2=x, y1=area.y.start, y2=area.y.stop),
        tag("text", f"target {text}", class_="value", x=at, y=area.y.stop - 3, text_anchor=anchor),
    ]


def prediction_chart(probes: Sequence[SearchProbe], unit: str, show: Callable[[float], str]) -> Chart | None:
    """Draw what was predicted of the structures that the search measured, and what they turned out to cost.

    Args:
        probes: The measured structures, in order.
        unit: Unit of the target.
        show: Writes a cost.
    """
    known = [(probe.predicted, probe.measured) for probe in probes if probe.predicted is not None]
    delivered = [probe.delivered for probe in probes if probe.predicted is not None]
    if len(known) < _FEWEST_PROBES:
        return None
    divisor, prefix = _prefix(max(measured for _, measured in known))
    points = [(predicted / divisor, measured / divisor) for predicted, measured in known]
    low, high = padded([value for point in points for value in point])
    area = frame((low, high), (low, high), (f"predicted ({prefix}{unit})", f"measured ({prefix}{unit})"))
    parts = [
        *area.axes(),
        tag("line", class_="divider", x1=area.x.start, y1=area.y.start, x2=area.x.stop, y2=area.y.stop),
    ]
    places = list(zip(area.points(points), delivered, strict=True))
    parts += [mark("circle", place, "point source-other", 3.2) for place, taken in places if not taken]
    parts += [mark("star", place, "chosen", 7) for place, taken in places if taken]
    errors = sorted(abs(measured / predicted - 1) for predicted, measured in known if predicted)
    text = f"{len(known)} structures were measured whole"
    text += f"; half of the predictions were within {percent(errors[len(errors) // 2])}." if errors else "."
    text += " On the dotted line both are the same."
    rows = [
        (
            str(number),
            "" if p.predicted is None else show(p.predicted),
            show(p.measured),
            "" if p.predicted is None else change(p.predicted, p.measured),
            "" if p.macs is None else count(p.macs),
        )
        for number, p in enumerate(probes, start=1)
    ]
    legend = [Legend(sample(mark("circle", (9, 9), "point source-other", 3.2)), "measured by the search")]
    if any(delivered):
        legend.append(Legend(sample(mark("star", (9, 9), "chosen", 5)), "delivered"))
    title = "Predicted and measured"
    table = Table(("", "predicted", "measured", "difference", "MACs"), tuple(rows))
    svg = drawing("predicted", title, text, parts, (area.width, area.height))
    return Chart("predicted", title, text, svg, tuple(legend), table)


def stages_of(
    learning: LearningRecord | None,
    chosen: tuple[int, ...],
    stages: Sequence[tuple[LearningRecord | None, tuple[int, ...]]],
) -> list[StageLearning]:
    """Return what was judged in each stage that searched."""
    found = stages or [(learning, chosen)]
    return [
        StageLearning(number, record.judged, channels)
        for number, (record, channels) in enumerate(found, start=1)
        if record is not None and record.judged
    ]


def _marks(area: Frame, points: Iterable[tuple[float, float, JudgedStructure]]) -> list[Markup]:
    """Draw judged structures; plain allocations lie on top, since there are few of them."""
    ordered = sorted(points, key=lambda point: point[2].source in _SHAPES)
    return [
        mark(_SHAPES.get(j.source, "circle"), area.points([(x, y)])[0], f"point {_kind(j.source)}", _size(j.source))
        for x, y, j in ordered
    ]


def _sources(judged: Sequence[JudgedStructure]) -> list[Legend]:
    names = dict.fromkeys(j.source for j in judged)
    return [
        Legend(sample(mark(_SHAPES.get(name, "circle"), (9, 9), f"point {_kind(name)}", _size(name))), name)
        for name in names
    ]


def _kind(source: str) -> str:
    return f"source-{source}" if source in ("global", "uniform", "random", "rl") else "source-other"


def _size(source: str) -> float:
    return 4.6 if source in _SHAPES else 3.0


def _best_so_far(stage: StageLearning, start: int) -> list[tuple[float, float]]:
    best, points = -np.inf, []
    for position, judged in enumerate(stage.judged):
        if judged.samples == stage.samples and judged.reward > best:
            best = judged.reward
            points.append((start + position + 0.5, best))
    return [*points, (start + len(stage.judged), best)]


def _front(points: Iterable[tuple[float, float]], removed: bool) -> list[tuple[float, float]]:
    """Return what nothing beats in both, the smallest first: what costs least, or what most is removed of."""
    best, front = -np.inf, []
    for cost, metric in sorted(points, key=lambda point: (-point[0] if removed else point[0], -point[1])):
        if metric > best:
            best = metric
            front.append((cost, metric))
    return front


def _upper(values: Sequence[float]) -> tuple[float, float]:
    """Return the range of the better values: a few hopeless ones must not press all others together."""
    high, low = max(values), float(np.percentile(values, 10))
    room = max((high - low) * 0.25, 0.2)
    return max(low - room, min(*values, low) - room), high + room


def _judged_table(stages: Sequence[StageLearning], metric: str | None) -> Table:
    rows = [
        (
            str(stage.number),
            str(j.round),
            j.source,
            f"{j.cost:.4g}",
            score_digits(j.metric, metric),
            f"{j.reward:.2f}",
            str(j.samples),
            f"{j.elapsed_s:.1f} s",
        )
        for stage in stages
        for j in stage.judged
    ]
    judged = score_label("metric", metric)
    headers = ("stage", "round", "proposed by", "predicted cost", judged, "reward", "samples", "time")
    return Table(headers, tuple(rows))


def _prefix(value: float) -> tuple[float, str]:
    return next(((size, name) for size, name in ((1e9, "G "), (1e6, "M "), (1e3, "k ")) if value >= size), (1.0, ""))
