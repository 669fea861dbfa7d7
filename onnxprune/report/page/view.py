"""What the page says: a report's figures as text, in the order in which they are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnxprune.report.figures import MetricFigures, ModelFile
from onnxprune.report.page.chart import Chart, Legend, Table
from onnxprune.report.page.charts import latency_chart, staircase_charts, staircase_legend, training_chart
from onnxprune.report.page.search_charts import front_chart, learning_chart, prediction_chart, stages_of
from onnxprune.report.schema import Report
from onnxprune.report.tables import (
    metric_name,
    quantisation_metric,
    quantisation_text,
    shortened,
    target_met,
    target_text,
    version_rows,
)
from onnxprune.report.units import (
    change,
    count,
    counted,
    data_size,
    interval,
    is_percentage,
    milliseconds,
    percent,
    points,
    quantity,
    score,
)

_CONDITIONS = {
    "celsius": "highest temperature, °C",
    "lowest_mhz": "lowest clock, MHz",
    "highest_mhz": "highest clock, MHz",
    "others_cores": "cores used by others",
    "throttled": "throttled while it measured",
}


@dataclass(frozen=True)
class Bar:
    """A row of a table with a bar: the original's and the result's value, relative to the longest bar.

    Attributes:
        name: What it is of.
        detail: Its name in full.
        before: Length of the original's bar, percent; 0 draws none.
        after: Length of the result's.
        cells: The other columns.
    """

    name: str
    detail: str
    before: float
    after: float
    cells: tuple[str, ...]


@dataclass(frozen=True)
class BarTable:
    """A table of bars.

    Attributes:
        headers: Names of the columns, that of the bars first.
        rows: The rows.
    """

    headers: tuple[str, ...]
    rows: tuple[Bar, ...]


@dataclass(frozen=True)
class View:
    """Everything on the page.

    Attributes:
        title: What was done to which model.
        subtitle: When, how long, with what.
        headline: The result in a sentence.
        met: Whether the target was met.
        target: What was asked for and reached.
        glance: Latency, accuracy, MACs, parameters and size.
        warnings: What to keep in mind.
        versions: The network at each step of a run that ends in int8, or None.
        latency: Distributions of latency, or None.
        search: Charts of the search.
        training: The chart of the training, or None.
        staircases: Charts of single layers.
        staircase_legend: What their marks mean.
        channels: Channels of every group.
        layers: Milliseconds of every layer.
        steps: Seconds of every step.
        fixed: What cannot be removed and why.
        proof: What was proven.
        command: The command line, or None.
        facts: Environment, files and settings, by heading.
    """

    title: str
    subtitle: str
    headline: str
    met: bool
    target: str
    glance: tuple[Bar, ...]
    warnings: tuple[str, ...]
    versions: Table | None
    latency: Chart | None
    search: tuple[Chart, ...]
    training: Chart | None
    staircases: tuple[Chart, ...]
    staircase_legend: tuple[Legend, ...]
    channels: BarTable
    layers: BarTable
    steps: BarTable
    fixed: Table
    proof: tuple[tuple[str, str], ...]
    command: str | None
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def make_view(report: Report) -> View:
    """Put together what the page shows."""
    before, after = report.before.latency, report.after.latency
    trainings = [s.training for s in report.stages if s.training] or ([report.training] if report.training else [])
    return View(
        title=f"{model_name(report)}, {'compressed' if report.operation == 'compress' else 'pruned'}",
        subtitle=_subtitle(report),
        headline=headline(report),
        met=target_met(report.target),
        target=target_text(report.target),
        glance=glance(report),
        warnings=report.warnings,
        versions=versions(report),
        latency=None if before is None or after is None else latency_chart(before, after),
        search=_search(report),
        training=training_chart(trainings, metric_name(report)),
        staircases=staircase_charts(report.layers),
        staircase_legend=staircase_legend(),
        channels=_channels(report),
        layers=_layers(report),
        steps=_steps(report),
        fixed=Table(
            ("node", "channels", "why"), tuple((shortened(f.producer), str(f.channels), f.reason) for f in report.fixed)
        ),
        proof=proof(report),
        command=report.command,
        facts=_facts(report),
    )


def headline(report: Report) -> str:
    """Say in a sentence what came of it."""
    before, after = report.before, report.after
    parts = []
    if before.latency is not None and after.latency is not None and after.latency.p50_ms > 0:
        factor = before.latency.p50_ms / after.latency.p50_ms
        speed = f"{factor:.2f}x as fast" if factor < 10 else f"{factor:.0f}x as fast"
        parts.append(f"{speed}: {milliseconds(before.latency.p50_ms)} → {milliseconds(after.latency.p50_ms)}")
    elif before.macs:
        parts.append(f"{change(before.macs, after.macs)} MACs: {count(before.macs)} → {count(after.macs)}")
    if after.metric is not None and not after.metric.synthetic:
        parts.append(_metric_change(before.metric, after.metric))
    return "; ".join(parts)


def _metric_change(before: MetricFigures | None, after: MetricFigures) -> str:
    if before is None or before.name != after.name:
        return f"{after.name} {score(after.value, after.name)}"
    return (
        f"{after.name} {score(before.value, after.name)} → {score(after.value, after.name)} "
        f"({points(before.value, after.value, after.name)})"
    )


def versions(report: Report) -> Table | None:
    """Return what each step of a run that ends in int8 cost and was worth."""
    found = report.quantisation
    if found is None:
        return None
    return Table(("step", "latency p50", quantisation_metric(found)), tuple(version_rows(found)))


def glance(report: Report) -> tuple[Bar, ...]:
    """Return latency, accuracy, MACs, parameters and file size, before and after."""
    before, after = report.before, report.after
    rows = []
    if before.latency is not None and after.latency is not None:
        low, high = after.latency.ci95_ms
        detail = f"95 % confidence {interval(low, high)}"
        rows.append(_glance("latency p50", detail, before.latency.p50_ms, after.latency.p50_ms, milliseconds))
    if after.metric is not None:
        rows.append(_glance_metric(before.metric, after.metric))
    rows.append(_glance("MACs", "multiply-accumulates of one run", before.macs, after.macs, count))
    rows.append(_glance("parameters", "weights, shared ones once", before.parameters, after.parameters, count))
    rows.append(_glance("file size", "with external data", before.file_bytes, after.file_bytes, data_size))
    return tuple(rows)


def _glance(name: str, detail: str, before: float, after: float, show: Callable[[float], str]) -> Bar:
    longest = max(before, after) or 1.0
    cells = (show(before), show(after), change(before, after))
    return Bar(name, detail, 100 * before / longest, 100 * after / longest, cells)


def _glance_metric(before: MetricFigures | None, after: MetricFigures) -> Bar:
    on = "random inputs: says little about accuracy" if after.synthetic else f"{after.part} samples"
    comparable = before if before is not None and before.name == after.name else None
    cells = (
        "" if comparable is None else score(comparable.value, after.name),
        score(after.value, after.name),
        "" if comparable is None else points(comparable.value, after.value, after.name),
    )
    whole = 100.0 if is_percentage(after.name) else 0.0
    scale = max(whole, after.value, 0.0 if comparable is None else comparable.value) or 1.0
    first = 0.0 if comparable is None else 100 * max(comparable.value, 0.0) / scale
    return Bar(after.name, f"{after.samples} {on}", first, 100 * max(after.value, 0.0) / scale, cells)


def proof(report: Report) -> tuple[tuple[str, str], ...]:
    """Say what was proven, and how exactly."""
    check = report.verification
    rows = [
        (
            "removal equals silencing",
            f"relative error {check.relative_error:.1e}, allowed {check.tolerance:.0e}",
        )
    ]
    if report.export_check is not None:
        rows.append(("ONNX equals PyTorch", f"relative error {report.export_check.relative_error:.1e}"))
    if report.quantisation is not None:
        rows.append(("quantised", quantisation_text(report.quantisation)))
    return tuple(rows)


def _search(report: Report) -> tuple[Chart, ...]:
    name, chosen = metric_name(report), tuple(group.channels_after for group in report.groups)
    stages = stages_of(report.learning, chosen, [(stage.learning, stage.channels) for stage in report.stages])
    predicted = prediction_chart(report.search, report.target.unit, quantity(report.target.kind).show)
    charts = [learning_chart(stages, name), front_chart(stages, report.target, name)] if stages else []
    return tuple([*charts, predicted] if predicted is not None else charts)


def _channels(report: Report) -> BarTable:
    longest = max((group.channels_before for group in report.groups), default=1)
    rows = []
    for group in report.groups:
        more = len(group.producers) - 1
        name = shortened(group.name) + (f" + {more} more" if more else "")
        cells = (
            str(group.channels_before),
            str(group.channels_after),
            change(group.channels_before, group.channels_after),
        )
        lengths = (100 * group.channels_before / longest, 100 * group.channels_after / longest)
        rows.append(Bar(name, ", ".join(group.producers), *lengths, cells))
    return BarTable(("layers that share channels", "before", "after", "change"), tuple(rows))


def _layers(report: Report) -> BarTable:
    longest = max((max(layer.before_ms, layer.after_ms or 0.0) for layer in report.layers), default=1.0) or 1.0
    rows = []
    for layer in report.layers:
        after = layer.after_ms
        cells = (
            milliseconds(layer.before_ms),
            "gone" if after is None else milliseconds(after),
            "" if after is None else change(layer.before_ms, after),
        )
        lengths = (100 * layer.before_ms / longest, 100 * (after or 0.0) / longest)
        rows.append(Bar(shortened(layer.name), layer.name, *lengths, cells))
    return BarTable(("layer", "before", "after", "change"), tuple(rows))


def _steps(report: Report) -> BarTable:
    longest = max((step.seconds for step in report.steps), default=1.0) or 1.0
    total = sum(step.seconds for step in report.steps) or 1.0
    rows = [
        Bar(
            step.name,
            step.name,
            0.0,
            100 * step.seconds / longest,
            (_seconds(step.seconds), percent(step.seconds / total)),
        )
        for step in report.steps
    ]
    return BarTable(("step", "time", "share"), tuple(rows))


def _condition(value: float | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}"


def _facts(report: Report) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    env, device = report.environment, report.device
    machine = [
        ("CPU", env.cpu),
        ("cores", str(env.cores)),
        ("system", env.platform),
        ("Python", env.python),
        *((name, version) for name, version in env.packages.items()),
    ]
    measured = []
    if device is not None:
        measured = [("device", device.name), ("provider", device.provider), ("threads", str(device.threads))]
        measured.append(("batch", str(device.batch)))
        measured += [(name, str(value)) for name, value in device.fingerprint.items() if name not in dict(measured)]
        measured += [(_CONDITIONS.get(name, name), _condition(value)) for name, value in device.conditions.items()]
        if device.busy_s is not None:
            measured.append(("asked for, s", f"{device.busy_s:.0f}"))
    settings = [("seed", str(report.seed)), *((name, _plain(value)) for name, value in report.settings.items())]
    training = {} if report.training is None else report.training.settings
    return tuple(
        (heading, tuple(rows))
        for heading, rows in (
            ("Machine", machine),
            ("Latency measured on", measured),
            ("Original", _file(report.model)),
            ("Result", _file(report.output)),
            ("Settings", settings),
            ("Training", [(name, _plain(value)) for name, value in training.items()]),
        )
        if rows
    )


def _file(file: ModelFile) -> Sequence[tuple[str, str]]:
    inputs = "; ".join(
        f"{value.name} {value.dtype} [{', '.join('?' if size is None else str(size) for size in value.shape)}]"
        for value in file.inputs
    )
    return (
        ("file", file.path),
        ("SHA-256", file.sha256),
        ("size", data_size(file.bytes)),
        ("inputs", inputs),
        ("opset", f"{file.opset} (IR {file.ir_version})"),
    )


def _plain(value: object) -> str:
    if value is None:
        return "default"
    return value if isinstance(value, str) else json.dumps(value)


def _subtitle(report: Report) -> str:
    device = ""
    if report.device is not None:
        device = f", {report.device.name}, {report.device.provider}, {counted(report.device.threads, 'thread')}"
    return (
        f"{report.started_at.day} {report.started_at:%B %Y, %H:%M %Z}; took {_seconds(report.duration_s)}; "
        f"onnxprune {report.onnxprune_version}{device}"
    )


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def model_name(report: Report) -> str:
    """Return the name of the original's file."""
    return report.model.path.replace("\\", "/").rsplit("/", 1)[-1]
