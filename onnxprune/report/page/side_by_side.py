"""Models side by side as Markdown, and what a command that failed says."""

from __future__ import annotations

from onnxprune.report.baseline import device_line
from onnxprune.report.bench import BenchResult
from onnxprune.report.bench_tables import regression_line
from onnxprune.report.comparison import Comparison
from onnxprune.report.page.markdown import escaped, table
from onnxprune.report.units import change, count, counted, data_size, interval, milliseconds, percent, points


def bench_markdown(result: BenchResult) -> str:
    """Return the latencies as Markdown."""
    rows = []
    for model in result.models:
        latency = model.latency
        ratio = "1.000" if model.ratio is None else f"{model.ratio:.3f}"
        figures = [milliseconds(latency.p50_ms), ratio, interval(*latency.ci95_ms), milliseconds(latency.p90_ms)]
        rows.append([model.path, *figures, percent(latency.spread), count(model.macs), data_size(model.file_bytes)])
    headers = ("model", "p50", "ratio", "95 % CI of p50", "p90", "spread", "MACs", "size")
    marks = {"regression": "❌", "no regression": "✅", "undecided": "⚠️"}
    compared = [f"\n{marks[record.verdict]} {escaped(regression_line(record))}" for record in result.regressions]
    measured_on = escaped(f"Measured on {device_line(result.device)}.")
    return _text(["### onnxprune: latency", "", *table(headers, rows), *compared, "", measured_on, *_warned(result)])


def comparison_markdown(comparison: Comparison) -> str:
    """Return a comparison as Markdown."""
    first, second = comparison.models
    costs = [
        ("latency p50", first.latency.p50_ms, second.latency.p50_ms, milliseconds),
        ("MACs", first.macs, second.macs, count),
        ("parameters", first.parameters, second.parameters, count),
        ("file size", first.file_bytes, second.file_bytes, data_size),
    ]
    rows = [(name, show(a), show(b), change(a, b)) for name, a, b, show in costs]
    if comparison.top1 is not None:
        before, after = comparison.top1
        rows.insert(0, ("top-1", f"{before:.2f} %", f"{after:.2f} %", points(before, after)))
    low, high = comparison.latency_ratio_ci95
    ratio = f"latency ratio {comparison.latency_ratio:.3f} (95 % confidence {low:.3f} to {high:.3f})"
    lines = ["### onnxprune: two models", "", *table(("", first.path, second.path, "change"), rows), "", f"- {ratio}"]
    on = counted(comparison.samples, "random input" if comparison.synthetic else "sample")
    if comparison.agreement is not None:
        lines.append(f"- same top class for {comparison.agreement:.2f} % of {on}")
    if comparison.kl is not None:
        lines.append(f"- KL divergence {comparison.kl:.3g} nats")
    lines += [
        f"- output {escaped(output.name)}: relative error "
        f"{'not finite' if output.relative_error is None else f'{output.relative_error:.3g}'} on {on}"
        for output in comparison.outputs
    ]
    return _text([*lines, *_warned(comparison)])


def failure_markdown(operation: str, subject: str, message: str) -> str:
    """Say that a command failed, and why."""
    return _text([f"### onnxprune {operation}: {escaped(subject)}", "", f"❌ {escaped(message)}"])


def _warned(record: BenchResult | Comparison) -> list[str]:
    return [f"\n> ⚠️ {escaped(warning)}" for warning in record.warnings]


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
