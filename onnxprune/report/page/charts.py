"""Charts of latency, training and layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup

from onnxprune.report.figures import LatencyFigures
from onnxprune.report.page.chart import Chart, Legend, Table, number, sample, swatch
from onnxprune.report.page.svg import Frame, drawing, frame, line, mark, padded, tag
from onnxprune.report.schema import LayerRecord, TrainingRecord
from onnxprune.report.tables import shortened
from onnxprune.report.units import interval, milliseconds, percent, score_digits, score_label

_BINS = 110
_LANE = 92
_FAR = 1.25
_WIDEST = 4.0
_STAIRCASE_SIZE = (300, 190)
_STAIRCASES = 12
_STAR = mark("star", (9, 9), "chosen", 5)
_FEWEST_POINTS = 3
_SMALLEST_SHARE = 0.015


def latency_chart(before: LatencyFigures, after: LatencyFigures) -> Chart:
    """Draw the distribution of all runs of the original and of the result, one above the other."""
    samples = [np.concatenate([np.asarray(s) for s in figures.samples_ms]) for figures in (before, after)]
    low = min(float(s.min()) for s in samples)
    # A few runs that something else interrupted must not press all others together.
    both = (before, after)
    high = min(max(f.p99_ms for f in both), _FAR * max(f.p90_ms for f in both), _WIDEST * max(f.p50_ms for f in both))
    high = max(high, *(float(np.median(session)) for f in both for session in f.samples_ms))
    room = max((high - low) * 0.06, high * 0.01)
    size = (480, 2 * _LANE + 62)
    area = frame((max(0.0, low - room), high + room), (0, 1), ("milliseconds a run", ""), size)
    parts = area.axes()
    names = ("original", "result")
    for row, (figures, runs) in enumerate(zip((before, after), samples, strict=True)):
        parts += _lane(area, runs, figures, names[row], 10.0 + _LANE * (row + 1))
    beyond = sum(int((s > area.x.high).sum()) for s in samples)
    text = (
        f"Every timed run, interleaved in the same {len(before.samples_ms)} sessions. Half of the runs take less than "
        f"{milliseconds(before.p50_ms)} in the original and {milliseconds(after.p50_ms)} in the result."
    )
    if beyond:
        text += f" {beyond} slower runs lie beyond the right edge."
    legend = (
        Legend(swatch("fill before"), "original"),
        Legend(swatch("fill after"), "result"),
        Legend(sample(tag("line", class_="p50", x1=9, x2=9, y1=1, y2=17)), "p50, the median over sessions"),
        Legend(sample(tag("line", class_="session", x1=9, x2=9, y1=5, y2=13)), "median of one session"),
    )
    title = "Latency of every run"
    svg = drawing("latency", title, text, parts, size)
    return Chart("latency", title, text, svg, legend, _latency_table(before, after))


def _lane(area: Frame, runs: np.ndarray, figures: LatencyFigures, name: str, base: float) -> list[Markup]:
    """Draw one histogram on a base line, its sessions' medians below."""
    kind = "before" if name == "original" else "after"
    counts, edges = np.histogram(runs, bins=_BINS, range=(area.x.low, area.x.high))
    heights = base - counts / max(counts.max(), 1) * (_LANE - 34)
    outline = [(area.x.at(edges[0]), base)]
    for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
        outline += [(area.x.at(left), float(height)), (area.x.at(right), float(height))]
    outline.append((area.x.at(edges[-1]), base))
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
    middle = area.x.at(figures.p50_ms)
    medians = [area.x.at(float(np.median(session))) for session in figures.samples_ms]
    # The label goes to the side where there is room for it.
    right = middle < area.width * 0.6
    at, anchor = (middle + 6, "start") if right else (middle - 6, "end")
    return [
        tag("polygon", class_=f"fill {kind}", points=points),
        tag("line", class_="axis", x1=area.x.start, x2=area.x.stop, y1=base, y2=base),
        *(tag("line", class_="session", x1=x, x2=x, y1=base + 2, y2=base + 8) for x in medians),
        tag("line", class_="p50", x1=middle, x2=middle, y1=base - _LANE + 22, y2=base),
        tag(
            "text",
            f"{name}: {milliseconds(figures.p50_ms)}",
            class_="value",
            x=at,
            y=base - _LANE + 30,
            text_anchor=anchor,
        ),
    ]


def _latency_table(before: LatencyFigures, after: LatencyFigures) -> Table:
    rows: list[tuple[str, Callable[[LatencyFigures], str]]] = [
        ("p50", lambda f: milliseconds(f.p50_ms)),
        ("95 % confidence", lambda f: interval(*f.ci95_ms)),
        ("p90", lambda f: milliseconds(f.p90_ms)),
        ("p99", lambda f: milliseconds(f.p99_ms)),
        ("mean", lambda f: milliseconds(f.mean_ms)),
        ("spread of sessions", lambda f: percent(f.spread)),
        ("sessions", lambda f: str(len(f.samples_ms))),
        ("runs", lambda f: str(sum(len(session) for session in f.samples_ms))),
    ]
    return Table(("", "original", "result"), tuple((name, show(before), show(after)) for name, show in rows))


def training_chart(trainings: Sequence[TrainingRecord], metric: str | None) -> Chart | None:
    """Draw the metric on the validation part, epoch by epoch, of every stage; None where there is none.

    Args:
        trainings: The training of each stage.
        metric: Its name, where it is known.
    """
    label = score_label("validation metric", metric)
    curves = [[(e.epoch, e.val_metric) for e in t.epochs if e.val_metric is not None] for t in trainings]
    values = [value for curve in curves for _, value in curve]
    if len(values) < 2:
        return None
    last_epoch = max(epoch for curve in curves for epoch, _ in curve)
    area = frame((0, last_epoch), padded(values), ("epoch", label), whole=True)
    parts = area.axes()
    for index, (training, curve) in enumerate(zip(trainings, curves, strict=True)):
        points = area.points(curve)
        kind = f"stage-{index % 4}"
        parts.append(line(points, f"curve {kind}"))
        parts += [mark("circle", point, f"dot {kind}", 2.6) for point in points]
        kept = [point for point, (epoch, _) in zip(points, curve, strict=True) if epoch == training.best_epoch]
        parts += [mark("star", point, "chosen", 7) for point in kept]
    last = trainings[-1]
    text = f"Epoch 0 is the healed network before training; the weights of epoch {last.best_epoch} were kept."
    if last.best_epoch == 0:
        text = "Epoch 0 is the healed network before training; training did not improve on it, so it was kept."
    rows = [
        (str(stage), str(e.epoch), number(e.train_loss, 4), _shown(e.val_metric, metric), f"{e.elapsed_s:.1f} s")
        for stage, training in enumerate(trainings, start=1)
        for e in training.epochs
    ]
    title = "Training"
    table = Table(("stage", "epoch", "training loss", label, "time"), tuple(rows))
    legend = [Legend(sample(_STAR), "kept")]
    if len(trainings) > 1:
        stages = range(len(trainings))
        legend += [Legend(sample(mark("circle", (9, 9), f"dot stage-{n % 4}")), f"stage {n + 1}") for n in stages]
    svg = drawing("training", title, text, parts, (area.width, area.height))
    return Chart("training", title, text, svg, tuple(legend), table)


def _shown(value: float | None, metric: str | None) -> str:
    return "" if value is None else score_digits(value, metric)


def staircase_charts(layers: Sequence[LayerRecord]) -> tuple[Chart, ...]:
    """Draw what the costliest layers take over their output channels, the original's and the chosen counts marked.

    Layers of one kind were measured once, and stand in one chart.
    """
    kinds: dict[object, list[LayerRecord]] = {}
    for layer in layers:
        if len(layer.staircase) >= _FEWEST_POINTS:
            kinds.setdefault((layer.op, layer.channels_before, layer.staircase), []).append(layer)
    least_ms = _SMALLEST_SHARE * sum(layer.before_ms for layer in layers)
    costs = sorted((sum(layer.before_ms for layer in same) for same in kinds.values()), reverse=True)
    least_ms = max([least_ms, *costs[_STAIRCASES - 1 : _STAIRCASES]])
    shown = [same for same in kinds.values() if sum(layer.before_ms for layer in same) >= least_ms]
    return tuple(_staircase(index, same) for index, same in enumerate(shown))


def _staircase(index: int, same: Sequence[LayerRecord]) -> Chart:
    first = same[0]
    channels_in, channels_out = first.channels_before
    stairs = dict(first.staircase)
    area = frame(
        (0, channels_out), (0, max(stairs.values()) * 1.08), ("output channels", "ms"), _STAIRCASE_SIZE, whole=True
    )
    points = area.points(first.staircase)
    parts = [*area.axes(), line(points, "curve stage-0"), *(mark("circle", p, "dot stage-0", 2.2) for p in points)]
    if channels_out in stairs:
        parts.append(mark("square", area.points([(channels_out, stairs[channels_out])])[0], "mark before", 4.5))
    chosen = Counter(0 if layer.channels_after is None else layer.channels_after[1] for layer in same)
    for count in sorted(count for count in chosen if count):
        x = area.x.at(count)
        parts.append(tag("line", class_="count", x1=x, x2=x, y1=area.y.start, y2=area.y.stop))
        if min(stairs) <= count <= channels_out:
            at = float(np.interp(count, sorted(stairs), [stairs[c] for c in sorted(stairs)]))
            parts.append(mark("star", area.points([(count, at)])[0], "chosen", 6.5))
    name = shortened(first.name) + (f" + {len(same) - 1} alike" if len(same) > 1 else "")
    text = f"{channels_in} channels in; out {channels_out} → {_chosen(chosen)}."
    table = Table(("output channels", "ms"), tuple((str(count), f"{ms:.4g}") for count, ms in first.staircase))
    svg = drawing(f"stairs-{index}", name, text, parts, _STAIRCASE_SIZE)
    return Chart(f"stairs-{index}", name, text, svg, (), table)


def _chosen(counts: Counter[int]) -> str:
    """Write chosen counts: `16 (3 layers), 24`; 0 means that the layer is gone."""
    parts = []
    for count, layers in sorted(counts.items(), reverse=True):
        several = f" ({layers} layers)" if layers > 1 and len(counts) > 1 else ""
        parts.append((str(count) if count else "gone") + several)
    return ", ".join(parts)


def staircase_legend() -> tuple[Legend, ...]:
    """Explain the marks of the staircases."""
    return (
        Legend(sample(mark("circle", (9, 9), "dot stage-0", 3)), "measured"),
        Legend(sample(mark("square", (9, 9), "mark before", 4.5)), "original's count"),
        Legend(sample(Markup("").join([tag("line", class_="count", x1=9, x2=9, y1=0, y2=18), _STAR])), "chosen count"),
    )
