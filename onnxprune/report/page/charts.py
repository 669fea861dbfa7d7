"""Charts of latency, training and layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from onnxprune.report.figures import LatencyFigures
from onnxprune.report.page.chart import Chart, Legend, Table, number, sample, swatch
from onnxprune.report.page.svg import Frame, drawing, frame, line, mark, padded, tag
from onnxprune.report.schema import LayerRecord, TrainingRecord
from onnxprune.report.units import milliseconds, percent

_BINS = 110
_LANE = 92
_STAIRCASE_SIZE = (300, 190)
_STAIRCASES = 12
_FEWEST_POINTS = 3


def latency_chart(before: LatencyFigures, after: LatencyFigures) -> Chart:
    """Draw the distribution of all runs of the original and of the result, one above the other."""
    samples = [np.concatenate([np.asarray(s) for s in figures.samples_ms]) for figures in (before, after)]
    low, high = min(s.min() for s in samples), max(figures.p99_ms for figures in (before, after))
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
    rows = [_latency_row(name, f) for name, f in zip(names, (before, after), strict=True)]
    headers = ("", "p50", "95 % confidence", "p90", "p99", "mean", "spread of sessions", "sessions", "runs")
    legend = (
        Legend(swatch("fill before"), "original"),
        Legend(swatch("fill after"), "result"),
        Legend(sample(tag("line", class_="p50", x1=9, x2=9, y1=1, y2=17)), "p50, the median over sessions"),
        Legend(sample(tag("line", class_="session", x1=9, x2=9, y1=5, y2=13)), "median of one session"),
    )
    title = "Latency of every run"
    svg = drawing("latency", title, text, parts, size)
    return Chart("latency", title, text, svg, legend, Table(headers, tuple(rows)))


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
    label = {"x": middle + (6 if right else -6), "text_anchor": "start" if right else "end"}
    return [
        tag("polygon", class_=f"fill {kind}", points=points),
        tag("line", class_="axis", x1=area.x.start, x2=area.x.stop, y1=base, y2=base),
        *(tag("line", class_="session", x1=x, x2=x, y1=base + 2, y2=base + 8) for x in medians),
        tag("line", class_="p50", x1=middle, x2=middle, y1=base - _LANE + 22, y2=base),
        tag("text", f"{name}: {milliseconds(figures.p50_ms)}", class_="value", y=base - _LANE + 30, **label),
    ]


def _latency_row(name: str, figures: LatencyFigures) -> tuple[str, ...]:
    low, high = figures.ci95_ms
    runs = sum(len(session) for session in figures.samples_ms)
    return (
        name,
        milliseconds(figures.p50_ms),
        f"{milliseconds(low)} to {milliseconds(high)}",
        milliseconds(figures.p90_ms),
        milliseconds(figures.p99_ms),
        milliseconds(figures.mean_ms),
        percent(figures.spread),
        str(len(figures.samples_ms)),
        str(runs),
    )


def training_chart(trainings: Sequence[TrainingRecord]) -> Chart | None:
    """Draw the metric on the validation part, epoch by epoch, of every stage; None where there is none."""
    curves = [[(e.epoch, e.val_metric) for e in t.epochs if e.val_metric is not None] for t in trainings]
    values = [value for curve in curves for _, value in curve]
    if len(values) < 2:
        return None
    area = frame(
        (0, max(epoch for curve in curves for epoch, _ in curve)), padded(values), ("epoch", "validation metric (%)")
    )
    parts = area.axes()
    for index, (training, curve) in enumerate(zip(trainings, curves, strict=True)):
        points = area.points(curve)
        kind = f"stage-{index % 4}"
        parts.append(line(points, f"curve {kind}"))
        parts += [mark("circle", point, f"dot {kind}", 2.6) for point in points]
        kept = [point for point, (epoch, _) in zip(points, curve, strict=True) if epoch == training.best_epoch]
        parts += [mark("star", point, "chosen", 7) for point in kept]
        if len(trainings) > 1 and points:
            x, y = points[-1]
            parts.append(tag("text", f"stage {index + 1}", class_="value", x=x - 4, y=y - 9, text_anchor="end"))
    last = trainings[-1]
    text = f"Epoch 0 is the healed network before training; the weights of epoch {last.best_epoch} were kept."
    if last.best_epoch == 0:
        text = "Epoch 0 is the healed network before training; training did not improve on it, so it was kept."
    rows = [
        (str(stage), str(e.epoch), number(e.train_loss, 4), number(e.val_metric, 2), f"{e.elapsed_s:.1f} s")
        for stage, training in enumerate(trainings, start=1)
        for e in training.epochs
    ]
    title = "Training"
    table = Table(("stage", "epoch", "training loss", "validation metric (%)", "time"), tuple(rows))
    legend = (Legend(sample(mark("star", (9, 9), "chosen", 5)), "kept"),)
    svg = drawing("training", title, text, parts, (area.width, area.height))
    return Chart("training", title, text, svg, legend, table)


def staircase_charts(layers: Sequence[LayerRecord]) -> tuple[Chart, ...]:
    """Draw what the costliest layers take over their output channels, the original's and the result's count marked."""
    known = [layer for layer in layers if len(layer.staircase) >= _FEWEST_POINTS]
    costliest = sorted(known, key=lambda layer: -layer.before_ms)[:_STAIRCASES]
    shown = [layer for layer in known if layer in costliest]
    return tuple(_staircase(index, layer) for index, layer in enumerate(shown))


def _staircase(index: int, layer: LayerRecord) -> Chart:
    top = max(ms for _, ms in layer.staircase)
    area = frame((0, layer.channels_before[1]), (0, top * 1.08), ("output channels", "ms"), _STAIRCASE_SIZE)
    points = area.points(layer.staircase)
    parts = [*area.axes(), line(points, "curve stage-0"), *(mark("circle", p, "dot stage-0", 2.2) for p in points)]
    chosen = 0 if layer.channels_after is None else layer.channels_after[1]
    parts.append(mark("square", _on(area, layer, layer.channels_before[1]), "mark before", 4.5))
    if chosen:
        parts.append(mark("star", _on(area, layer, chosen), "chosen", 6.5))
    outcome = f"{layer.channels_before[1]} → {chosen} channels" if chosen else "the layer is gone"
    text = f"At {layer.channels_before[0]} input channels: {outcome}."
    table = Table(
        ("output channels", "ms"), tuple((str(count), f"{ms:.4g}") for count, ms in layer.staircase)
    )
    svg = drawing(f"stairs-{index}", layer.name, text, parts, _STAIRCASE_SIZE)
    return Chart(f"stairs-{index}", layer.name, text, svg, (), table)


def staircase_legend() -> tuple[Legend, ...]:
    """Explain the marks of the staircases."""
    return (
        Legend(sample(mark("circle", (9, 9), "dot stage-0", 3)), "measured"),
        Legend(sample(mark("square", (9, 9), "mark before", 4.5)), "original's count"),
        Legend(sample(mark("star", (9, 9), "chosen", 5)), "chosen count"),
    )


def _on(area: Frame, layer: LayerRecord, count: int) -> tuple[float, float]:
    """Return where a count lies on the measured line."""
    counts, ms = zip(*layer.staircase, strict=True)
    return area.points([(count, float(np.interp(count, counts, ms)))])[0]
