"""Reports, inspections and comparisons as tables for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from onnxprune.channels import short_name
from onnxprune.report.figures import LatencyFigures, MetricFigures, ModelFigures
from onnxprune.report.inspection import Inspection
from onnxprune.report.schema import LearningRecord, QuantisationRecord, Report, TargetRecord, VerificationRecord
from onnxprune.report.units import change, count, counted, data_size, milliseconds, percent, points, quantity, score

_NAME_LENGTH = 44
_LONGEST_STEPS = 4


def summary_table(report: Report) -> Table:
    """Show latency, MACs, parameters, file size and accuracy before and after."""
    table = figures_table("", "before", "after", "change")
    for row in (
        *_latency_rows(report.before.latency, report.after.latency),
        *_cost_rows(report.before, report.after),
        *_metric_rows(report.before.metric, report.after.metric),
    ):
        table.add_row(*row)
    return table


def _latency_rows(before: LatencyFigures | None, after: LatencyFigures | None) -> list[tuple[str, ...]]:
    if before is None or after is None:
        return []
    figures = [
        ("latency p50", before.p50_ms, after.p50_ms),
        ("latency p90", before.p90_ms, after.p90_ms),
    ]
    return [(name, milliseconds(b), milliseconds(a), change(b, a)) for name, b, a in figures]


def _cost_rows(before: ModelFigures, after: ModelFigures) -> list[tuple[str, ...]]:
    return [
        ("MACs", count(before.macs), count(after.macs), change(before.macs, after.macs)),
        (
            "parameters",
            count(before.parameters),
            count(after.parameters),
            change(before.parameters, after.parameters),
        ),
        (
            "file size",
            data_size(before.file_bytes),
            data_size(after.file_bytes),
            change(before.file_bytes, after.file_bytes),
        ),
    ]


def _metric_rows(before: MetricFigures | None, after: MetricFigures | None) -> list[tuple[str, ...]]:
    if after is None:
        return []
    on = "random inputs" if after.synthetic else f"{after.part} samples"
    name = f"{after.name} ({after.samples} {on})"
    # An original agrees with itself, so that it may have no figure of its own.
    if before is None:
        return [(name, "", score(after.value, after.name), "")]
    change_in_points = points(before.value, after.value, after.name)
    return [(name, score(before.value, before.name), score(after.value, after.name), change_in_points)]


def metric_name(report: Report) -> str | None:
    """Return the name of the metric that a run is judged by; None where nothing was measured."""
    metric = report.after.metric or report.before.metric
    return None if metric is None else metric.name


def version_rows(quantisation: QuantisationRecord) -> list[tuple[str, str, str]]:
    """Name the network at each step of a run that ends in int8, with its latency and metric."""
    return [
        (
            version.name,
            "" if version.p50_ms is None else milliseconds(version.p50_ms),
            "" if version.metric is None else score(version.metric.value, version.metric.name),
        )
        for version in quantisation.versions
    ]


def versions_table(quantisation: QuantisationRecord) -> Table:
    """Show what each step of a run that ends in int8 cost and was worth."""
    table = figures_table("step", "latency p50", quantisation_metric(quantisation))
    for row in version_rows(quantisation):
        table.add_row(*row)
    return table


def quantisation_text(quantisation: QuantisationRecord) -> str:
    """Say in which form of int8 the result is, and how its ranges were found."""
    return (
        f"{quantisation.format} {quantisation.scheme}, ranges by {quantisation.calibration} "
        f"on {quantisation.samples} samples"
    )


def quantisation_metric(quantisation: QuantisationRecord) -> str:
    """Return the name of the metric that the steps are judged by."""
    return next((v.metric.name for v in reversed(quantisation.versions) if v.metric is not None), "metric")


def outcome_lines(report: Report) -> list[str]:
    """Say in a line each whether the target was met and what was proven."""
    lines = [f"target {target_text(report.target)}"]
    if report.learning is not None and report.learning.judged:
        lines.append(_learning_line(report, report.learning))
    elif report.learning is not None and report.learning.failed:
        lines.append(f"searched: no metric of any of {counted(report.learning.failed, 'structure')}")
    lines.append(f"verified: removing equals silencing, {_proof(report.verification)}")
    if report.export_check is not None:
        error = report.export_check.relative_error
        lines.append(f"exported: ONNX equals PyTorch, relative error {error:.1e}")
    if report.quantisation is not None:
        lines.append(f"quantised: {quantisation_text(report.quantisation)}")
    if report.steps:
        lines.append(_time_line(report))
    return lines


def _proof(check: VerificationRecord) -> str:
    """Say how far the networks differed, and what was run."""
    compared = "" if check.compared == "as they are" else f", compared {check.compared}"
    sizes = f", at {' and '.join(check.sizes)}" if len(check.sizes) > 1 else ""
    return f"relative error {check.relative_error:.1e} (allowed {check.tolerance:.0e}){compared}{sizes}"


def _time_line(report: Report) -> str:
    """Say how long it took, and what took the most of it."""
    longest = sorted(report.steps, key=lambda step: -step.seconds)[:_LONGEST_STEPS]
    parts = ", ".join(f"{step.name} {step.seconds:.0f} s" for step in longest)
    busy_s = None if report.device is None else report.device.busy_s
    device = "" if busy_s is None else f"; {busy_s:.0f} s of it on the device"
    return f"took {report.duration_s:.0f} s: {parts}{device}"


def _learning_line(report: Report, learning: LearningRecord) -> str:
    """Compare the best structure judged on all samples with the best plain allocation, and with the delivered one.

    Args:
        report: The run.
        learning: What was judged, in the last of several stages.
    """
    samples = max(judged.samples for judged in learning.judged)
    whole = [judged for judged in learning.judged if judged.samples == samples]
    best = max(whole, key=lambda judged: judged.reward)
    metric = metric_name(report)
    stages = [stage.learning for stage in report.stages if stage.learning is not None] or [learning]
    line = f"searched: {counted(sum(len(stage.judged) for stage in stages), 'structure')} judged by {learning.agent}"
    line += f" in {len(stages)} stages, " if len(stages) > 1 else ", "
    failed = sum(stage.failed for stage in stages)
    line += f"no metric of {failed} more, " if failed else ""
    line += f"best {'of the last one ' if len(stages) > 1 else ''}{score(best.metric, metric)} untrained"
    plain = [judged for judged in whole if judged.round == 0]
    if plain:
        known = max(plain, key=lambda judged: judged.reward)
        line += f" ({known.source}: {score(known.metric, metric)})"
    delivered = tuple(group.channels_after for group in report.groups)
    if best.channels == delivered:
        return line
    taken = next((judged for judged in whole if judged.channels == delivered), None)
    if taken is not None:
        return f"{line}; delivered: another, found by {taken.source}, which is better once it is healed to the end"
    return f"{line}; delivered: another" + (", fitted after judging" if report.target.kind == "latency" else "")


def target_met(target: TargetRecord) -> bool:
    """Say whether what was asked for was reached."""
    if target.kind == "ratio":
        # Whole units go: the ratio is met within one of them.
        return target.achieved >= target.value - 0.01
    return target.achieved <= target.value * (1 + 1e-6)


def target_text(target: TargetRecord) -> str:
    """Say what was asked for and what was reached."""
    limited = quantity(target.kind)
    asked, reached = limited.show(target.value), limited.show(target.achieved)
    if asked == reached and not target_met(target):
        asked, reached = f"{target.value:.5g} {target.unit}", f"{target.achieved:.5g} {target.unit}"
    if target.requested.endswith(("%", "x")) and target.kind != "ratio":
        asked = f"{target.requested} = {asked}"
    return f"{limited.noun}: asked for {asked}, reached {reached}"


def changes_table(report: Report) -> Table:
    """Show the channels of every group before and after."""
    table = figures_table("group", "before", "after", "change")
    for group in report.groups:
        table.add_row(
            _producers(group.producers),
            str(group.channels_before),
            str(group.channels_after),
            change(group.channels_before, group.channels_after),
        )
    return table


def inspection_lines(inspection: Inspection) -> list[str]:
    """Describe the model and how much of it can be pruned, in a few lines."""
    cost = inspection.cost
    inputs = ", ".join(
        f"{spec.name} {spec.dtype} [{' x '.join('?' if d is None else str(d) for d in spec.shape)}]"
        for spec in inspection.inputs
    )
    removable = sum(group.channels * len(group.producers) for group in inspection.groups)
    fixed = sum(part.channels for part in inspection.fixed)
    counted_only = " that are counted" if inspection.unreached else ""
    return [
        f"{inspection.path}: opset {inspection.opset}, IR {inspection.ir_version}, {data_size(inspection.file_bytes)}",
        f"inputs: {inputs}",
        f"{count(cost.macs)} MACs, {count(cost.parameters)} parameters, "
        f"peak activations {data_size(cost.peak_activation_bytes)}",
        f"prunable: {removable} of {removable + fixed} output channels, in {counted(len(inspection.groups), 'group')}; "
        f"they take part in {percent(inspection.coverage)} of the MACs{counted_only}",
        *(f"not reached: {line}" for line in inspection.unreached),
    ]


def groups_table(inspection: Inspection, *, members: bool = False) -> Table:
    """Show every group: producers, channels, channels per unit, MACs and parameters they take part in.

    Args:
        inspection: What was found.
        members: Name every producer, each on a line of its own.
    """
    table = figures_table("group (producers)", "channels", "per unit", "MACs", "share", "parameters")
    for group in inspection.groups:
        share = group.macs / inspection.cost.macs if inspection.cost.macs else 0.0
        table.add_row(
            Text("\n".join(map(short_name, group.producers))) if members else _producers(group.producers),
            str(group.channels),
            str(group.channels_per_unit),
            count(group.macs),
            percent(share),
            count(group.parameters),
        )
    return table


def fixed_table(inspection: Inspection, *, hints: bool = False) -> Table:
    """Show what cannot be removed and why, with `hints` also what would free it."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("fixed", no_wrap=True)
    table.add_column("channels", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    if hints:
        table.add_column("what would free them", overflow="fold")
    for part in inspection.fixed:
        hint = [Text(part.hint)] if hints else []
        table.add_row(Text(shortened(part.producer)), str(part.channels), Text(part.reason), *hint)
    return table


def figures_table(first: str, *others: str) -> Table:
    """Make an empty table: names in the first column, figures in the others."""
    # Text, not str: rich would read brackets in a name as markup.
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column(Text(first), overflow="fold")
    for name in others:
        # In a narrow terminal figures go on in the next line: else the names, which alone could shrink, would vanish.
        table.add_column(Text(name), justify="right", overflow="fold")
    return table


def shortened(name: str) -> str:
    """Drop from an exporter's node name what repeats itself, and its middle where it is still too long."""
    return elided(short_name(name))


def elided(text: str) -> str:
    """Replace the middle of a long text by dots."""
    if len(text) <= _NAME_LENGTH:
        return text
    head = (_NAME_LENGTH - 3) // 2
    return f"{text[:head]}...{text[len(text) - (_NAME_LENGTH - 3 - head) :]}"


def _producers(names: tuple[str, ...]) -> Text:
    # Text, not str: rich would read brackets in a name as markup.
    more = len(names) - 1
    return Text(shortened(names[0]) + (f" + {more} more" if more else ""))
