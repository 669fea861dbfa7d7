"""Benched models as tables and lines for the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from onnxprune.report.bench import BenchedModel, BenchResult, LayersRecord, LayerTimeRecord, RegressionRecord
from onnxprune.report.tables import elided, figures_table, shortened
from onnxprune.report.units import count, data_size, interval, milliseconds, percent, rate


def bench_table(result: BenchResult) -> Table:
    """Show the latency of models side by side, each with its ratio to the first."""
    table = figures_table("model", "p50", "95 % CI of p50", "ratio (95 % CI)", "spread")
    labels = _labels(result)
    for model in result.models:
        latency = model.latency
        p50, between = milliseconds(latency.p50_ms), interval(*latency.ci95_ms)
        table.add_row(labels[model.path], p50, between, _ratio(model), percent(latency.spread))
    return table


def runs_table(result: BenchResult) -> Table:
    """Show of each model what single runs, samples, loading and copies take."""
    copies = any(model.copies is not None for model in result.models)
    table = figures_table(
        "model", "p90", "p99", "mean", "throughput", "load", *(["copies in", "out"] if copies else [])
    )
    labels = _labels(result)
    for model in result.models:
        latency = model.latency
        table.add_row(
            labels[model.path],
            milliseconds(latency.p90_ms),
            milliseconds(latency.p99_ms),
            milliseconds(latency.mean_ms),
            "" if model.throughput is None else rate(model.throughput),
            "" if model.load_ms is None else milliseconds(model.load_ms),
            *(_copied(model) if copies else ()),
        )
    return table


def sizes_table(result: BenchResult) -> Table:
    """Show what each model takes beside time: memory where it was measured, multiply-accumulates, size."""
    measured = any(model.memory is not None for model in result.models)
    columns = ["peak memory", "the model's"] if measured else []
    table = figures_table("model", *columns, "MACs", "parameters", "size")
    labels = _labels(result)
    for model in result.models:
        table.add_row(
            labels[model.path],
            *(_remembered(model) if measured else ()),
            count(model.macs),
            count(model.parameters),
            data_size(model.file_bytes),
        )
    return table


def layer_tables(result: BenchResult, top: int) -> list[Table]:
    """Show of each model that was profiled the layers that take the most time."""
    labels = _labels(result)
    return [_layers(labels[model.path], model.layers, top) for model in result.models if model.layers is not None]


def bench_lines(result: BenchResult) -> list[str]:
    """Say in a line each what became of models since the baseline."""
    return [regression_line(record) for record in result.regressions]


def regression_line(record: RegressionRecord) -> str:
    """Say how a model compares with its baseline."""
    low, high = record.ratio_ci95
    found = "no significant regression" if record.verdict == "undecided" else record.verdict
    then, now, allowed = milliseconds(record.baseline_p50_ms), milliseconds(record.p50_ms), 1 + record.max_regression
    return (
        f"{record.path}: {found}; p50 {now}, {record.ratio:.3f} times the baseline's {then} "
        f"(95 % CI {low:.3f} to {high:.3f}; allowed {allowed:.3f})"
    )


def _labels(result: BenchResult) -> dict[str, Text]:
    """Call models by their files' names, where no two have the same."""
    paths = {model.path for model in result.models}
    short = len({Path(path).name for path in paths}) == len(paths)
    return {path: Text(elided(Path(path).name if short else path)) for path in paths}


def _ratio(model: BenchedModel) -> str:
    if model.ratio is None or model.ratio_ci95 is None:
        return "1.000"
    low, high = model.ratio_ci95
    return f"{model.ratio:.3f} ({low:.3f} to {high:.3f})"


def _remembered(model: BenchedModel) -> tuple[str, str]:
    memory = model.memory
    if memory is None:
        return "", ""
    return data_size(memory.peak_bytes), data_size(max(memory.peak_bytes - memory.base_bytes, 0))


def _copied(model: BenchedModel) -> tuple[str, str]:
    if model.copies is None:
        return "", ""
    return milliseconds(model.copies.inputs_ms), milliseconds(model.copies.outputs_ms)


def _layers(label: Text, record: LayersRecord, top: int) -> Table:
    table = figures_table(f"layers of {label}", "operators", "time", "share")
    ordered = sorted(record.layers, key=lambda layer: -layer.ms)
    for layer in ordered[:top]:
        table.add_row(
            Text(_name(layer)), " + ".join([layer.op, *layer.fused]), milliseconds(layer.ms), percent(layer.share)
        )
    rest = ordered[top:]
    if rest:
        share = sum(layer.share for layer in rest)
        table.add_row(f"{len(rest)} others", "", milliseconds(sum(layer.ms for layer in rest)), percent(share))
    return table


def _name(layer: LayerTimeRecord) -> str:
    return shortened(layer.name) if layer.name else f"(inserted by onnxruntime, {layer.kernels})"
