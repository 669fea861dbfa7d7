"""A comparison as tables for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from onnxprune.report.comparison import Comparison
from onnxprune.report.tables import elided, figures_table
from onnxprune.report.units import change, count, counted, data_size, milliseconds, points


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Show costs and accuracy of both models, the difference of each output, and the worst samples."""
    tables = [_both(comparison), _outputs(comparison)]
    return [*tables, _worst(comparison)] if comparison.worst else tables


def comparison_lines(comparison: Comparison) -> list[str]:
    """Say in a line each how far the models agree, and how sure the ratio of their latencies is."""
    on = counted(comparison.samples, "random input" if comparison.synthetic else "sample")
    on += "" if comparison.synthetic else f" of {comparison.data}"
    low, high = comparison.latency_ratio_ci95
    lines = [f"compared on {on}"]
    if comparison.agreement is not None:
        kl = "" if comparison.kl is None else f", KL divergence {comparison.kl:.4g} nats"
        lines.append(f"same top class for {comparison.agreement:.2f} % of them{kl}")
    lines.append(f"latency ratio {comparison.latency_ratio:.3f} (95 % confidence {low:.3f} to {high:.3f})")
    return lines


def _both(comparison: Comparison) -> Table:
    first, second = comparison.models
    table = figures_table("", elided(first.path), elided(second.path), "change")
    rows: list[tuple[str, str, str, str]] = []
    if comparison.top1 is not None:
        before, after = comparison.top1
        rows.append(("top-1", f"{before:.2f} %", f"{after:.2f} %", points(before, after)))
    costs = [
        ("latency p50", first.latency.p50_ms, second.latency.p50_ms, milliseconds),
        ("latency p90", first.latency.p90_ms, second.latency.p90_ms, milliseconds),
        ("MACs", first.macs, second.macs, count),
        ("parameters", first.parameters, second.parameters, count),
        ("file size", first.file_bytes, second.file_bytes, data_size),
    ]
    rows += [(name, show(a), show(b), change(a, b)) for name, a, b, show in costs]
    for row in rows:
        table.add_row(*row)
    return table


def _outputs(comparison: Comparison) -> Table:
    table = figures_table("output", "relative error", "largest difference")
    for output in comparison.outputs:
        table.add_row(Text(elided(output.name)), _number(output.relative_error), _number(output.max_abs))
    return table


def _worst(comparison: Comparison) -> Table:
    classes = comparison.worst[0].first is not None
    table = figures_table("worst samples", comparison.divergence, *(["label", "first", "second"] if classes else []))
    for sample in comparison.worst:
        name = f"{sample.index}" + ("" if sample.name is None else f"  {elided(sample.name)}")
        label = "" if sample.label is None else str(sample.label)
        table.add_row(
            Text(name), _number(sample.divergence), *([label, str(sample.first), str(sample.second)] if classes else [])
        )
    return table


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"
