"""What the terminal shows: numbers as people read them, and rows that say what changed."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console, RenderableType

from onnxprune.report import (
    BenchedModel,
    BenchResult,
    CopyFigures,
    LayersRecord,
    LayerTimeRecord,
    MemoryFigures,
    TargetRecord,
    bench_table,
    changes_table,
    layer_tables,
    outcome_lines,
    runs_table,
    sizes_table,
    summary_table,
    units,
)
from onnxprune.report.schema import JudgedStructure, LearningRecord, StepTime
from onnxprune.report.tables import shortened
from tests.report.records import figures, latency, make_report, metric


def rendered(table: RenderableType) -> list[list[str]]:
    """Cells of a table's lines, those apart by two spaces or more."""
    console = Console(file=io.StringIO(), width=160)
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [[cell for cell in line.strip().split("  ") if cell] for line in text.splitlines() if line.strip()]


def row(table: RenderableType, name: str) -> list[str]:
    return [cell.strip() for cell in next(cells for cells in rendered(table) if cells[0].startswith(name))]


@pytest.mark.parametrize(
    ("unit", "largest", "scale"),
    [
        ("MACs", 24904832, units.Scale(1e6, "M MACs")),
        ("parameters", 488490, units.Scale(1e3, "k parameters")),
        ("parameters", 812, units.Scale(1, "parameters")),
        ("bytes", 1961887, units.Scale(1e6, "MB")),
        ("bytes", 812, units.Scale(1, "bytes")),
        ("ms", 0.3759, units.Scale(1, "ms")),
        ("share of channels removed", 0.5, units.Scale(0.01, "% of the channels removed")),
    ],
)
def test_axes_count_costs_in_what_people_read(unit: str, largest: float, scale: units.Scale) -> None:
    assert units.cost_scale(unit, largest) == scale


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (units.milliseconds, 0.5312, "0.531 ms"),
        (units.milliseconds, 7.4, "7.40 ms"),
        (units.milliseconds, 9.999, "10.0 ms"),
        (units.milliseconds, 34.06, "34.1 ms"),
        (units.milliseconds, 152.2, "152 ms"),
        (units.milliseconds, 12_345.0, "12.3 s"),
        (units.count, 812, "812"),
        (units.count, 4_089_184_256, "4.09 G"),
        (units.count, 25_530_472, "25.5 M"),
        (units.count, 999_999, "1.00 M"),
        (units.count, 64_000, "64.0 k"),
        (units.count, 0, "0"),
        (units.data_size, 102_000_000, "102 MB"),
        (units.data_size, 812, "812 B"),
        (units.data_size, 1_200, "1.20 kB"),
        (units.percent, 0.521, "52.1 %"),
    ],
)
def test_units(show: Callable[[float], str], value: float, text: str) -> None:
    assert show(value) == text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (100, 48, "-52 % (2.1x)"),
        (100, 95, "-5 % (1.05x)"),
        (100, 100, "0 %"),
        (1000, 1001, "0 %"),
        (100, 120, "+20 %"),
        (100, 0, "-100 %"),
        (0, 5, ""),
    ],
)
def test_change(before: float, after: float, text: str) -> None:
    assert units.change(before, after) == text


def test_summary_has_every_row() -> None:
    table = summary_table(make_report())
    assert row(table, "before") == ["before", "after", "change"]
    assert row(table, "latency p50") == ["latency p50", "1.24 ms", "0.600 ms", "-52 % (2.1x)"]
    assert row(table, "latency p90") == ["latency p90", "1.36 ms", "0.660 ms", "-52 % (2.1x)"]
    assert row(table, "MACs") == ["MACs", "31.0 M", "12.0 M", "-61 % (2.6x)"]
    assert row(table, "parameters") == ["parameters", "310 k", "120 k", "-61 % (2.6x)"]
    assert row(table, "file size") == ["file size", "1.55 MB", "600 kB", "-61 % (2.6x)"]
    assert row(table, "top-1") == ["top-1 (1000 test samples)", "92.50 %", "92.08 %", "-0.42 points"]


def test_a_metric_of_the_users_is_no_percentage() -> None:
    own = [
        figures(macs, ms, 0.0).model_copy(update={"metric": metric(value, name="mine:minus_error")})
        for macs, ms, value in ((31_000_000, 1.2, -0.1234), (12_000_000, 0.6, -0.00625))
    ]
    table = summary_table(make_report(before=own[0], after=own[1]))
    assert row(table, "mine")[1:] == ["-0.1234", "-0.00625", "+0.1171 points"]
    judged = JudgedStructure(
        round=0, source="global", channels=(9,), reward=1.0, metric=-0.5, samples=64, cost=0.5, elapsed_s=1.0
    )
    learning = LearningRecord(agent="rl", stopped_by="evaluations", judged=(judged,))
    for report in (
        make_report(before=own[0], after=own[1], learning=learning),
        make_report(before=own[0], after=own[1].model_copy(update={"metric": None}), learning=learning),
    ):
        assert "best -0.5 untrained (global: -0.5);" in outcome_lines(report)[1]
    faultless = judged.model_copy(update={"metric": -0.0})
    spotless = make_report(before=own[0], learning=learning.model_copy(update={"judged": (faultless,)}), after=own[1])
    assert "best 0 untrained (global: 0);" in outcome_lines(spotless)[1]
    assert "best -0.50 % untrained (global: -0.50 %);" in outcome_lines(make_report(learning=learning))[1]


def test_summary_says_that_inputs_were_random() -> None:
    after = figures(12_000_000, 0.6, 80.0).model_copy(
        update={"metric": metric(80.0, name="top-1 agreement", synthetic=True, samples=64)}
    )
    table = summary_table(make_report(after=after, before=figures(31_000_000, 1.2, 100.0)))
    assert row(table, "top-1 agreement")[0] == "top-1 agreement (64 random inputs)"


def test_summary_leaves_out_what_was_not_measured() -> None:
    bare = figures(31_000_000, 1.2, 90.0).model_copy(update={"latency": None, "metric": None})
    names = [cells[0].strip() for cells in rendered(summary_table(make_report(before=bare, after=bare)))]
    assert names == ["before", "MACs", "parameters", "file size"]


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (
            TargetRecord(kind="latency", requested="50%", value=0.62, unit="ms", achieved=0.6),
            "target latency: asked for 50% = 0.620 ms, reached 0.600 ms",
        ),
        (
            TargetRecord(kind="latency", requested="10ms", value=10.0, unit="ms", achieved=9.9),
            "target latency: asked for 10.0 ms, reached 9.90 ms",
        ),
        (
            TargetRecord(kind="macs", requested="0.5x", value=2e9, unit="MACs", achieved=1.95e9),
            "target MACs: asked for 0.5x = 2.00 G, reached 1.95 G",
        ),
        (
            TargetRecord(kind="size", requested="3MB", value=3e6, unit="bytes", achieved=2.9e6),
            "target file size: asked for 3.00 MB, reached 2.90 MB",
        ),
        (
            TargetRecord(kind="ratio", requested="0.3", value=0.3, unit="share", achieved=0.298),
            "target share of channels removed: asked for 30.0 %, reached 29.8 %",
        ),
    ],
)
def test_outcome_names_target_and_result(target: TargetRecord, line: str) -> None:
    assert outcome_lines(make_report(target=target))[0] == line


def test_outcome_states_the_proofs() -> None:
    _, verified, exported = outcome_lines(make_report())
    assert "relative error 3.1e-07 (allowed 1e-04)" in verified
    assert "ONNX equals PyTorch, relative error 2.0e-06" in exported
    assert len(outcome_lines(make_report(export_check=None))) == 2


def test_outcome_says_what_took_the_longest() -> None:
    steps = tuple(StepTime(name=f"step {n}", seconds=float(n)) for n in (3, 1, 40, 5, 2))
    line = outcome_lines(make_report(steps=steps))[-1]
    assert line == "took 90 s: step 40 40 s, step 5 5 s, step 3 3 s, step 2 2 s; 12 s of it on the device"


def test_changes_of_groups() -> None:
    assert row(changes_table(make_report()), "conv1") == ["conv1 + 1 more", "16", "12", "-25 % (1.3x)"]


INSIDE = {
    "memory": MemoryFigures(peak_bytes=60_000_000, base_bytes=40_000_000),
    "copies": CopyFigures(inputs_ms=0.1, outputs_ms=0.2),
}


def test_bench_compares_to_the_first_model() -> None:
    report = make_report()
    assert report.device is not None
    models = tuple(
        BenchedModel(
            path=f"/a/{name}.onnx",
            file_bytes=1_000_000,
            macs=2_000_000,
            parameters=3,
            latency=latency(ms),
            **figures,
        )
        for name, ms, figures in (
            ("first", 2.0, {}),
            (
                "second",
                1.0,
                {"ratio": 0.5, "ratio_ci95": (0.49, 0.51), "throughput": 1500.0, "load_ms": 12.0, **INSIDE},
            ),
        )
    )
    result = BenchResult(onnxprune_version="0.1.0", environment=report.environment, device=report.device, models=models)
    table = bench_table(result)
    assert row(table, "first.onnx") == ["first.onnx", "2.00 ms", "1.98 to 2.02 ms", "1.000", "3.1 %"]
    second = ["second.onnx", "1.00 ms", "0.990 to 1.01 ms", "0.500 (0.490 to 0.510)", "3.1 %"]
    assert row(table, "second.onnx") == second
    runs = runs_table(result)
    assert row(runs, "first.onnx")[1:] == ["2.20 ms", "2.40 ms", "2.04 ms"]
    assert row(runs, "second.onnx")[3:] == ["1.02 ms", "1.50 k/s", "12.0 ms", "0.100 ms", "0.200 ms"]
    sizes = sizes_table(result)
    assert row(sizes, "first.onnx") == ["first.onnx", "2.00 M", "3", "1.00 MB"]
    assert row(sizes, "second.onnx")[1:3] == ["60.0 MB", "20.0 MB"]
    same = result.model_copy(update={"models": (models[0], models[0].model_copy(update={"path": "/b/first.onnx"}))})
    assert row(bench_table(same), "/b/first.onnx")[1] == "2.00 ms"


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_has_names_and_figures_whole(width: int) -> None:
    report = make_report()
    assert report.device is not None
    named = (("fashion-resnet20.onnx", {}), ("small.onnx", {"ratio": 0.5, "ratio_ci95": (0.49, 0.51)}))
    models = tuple(
        BenchedModel(path=path, file_bytes=10, macs=20, parameters=3, latency=latency(1.0), **figures)
        for path, figures in named
    )
    result = BenchResult(onnxprune_version="0.1.0", environment=report.environment, device=report.device, models=models)
    console = Console(file=io.StringIO(), width=width)
    console.print(bench_table(result))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    # A long name goes on in the next line.
    assert "".join(line.split(" ")[0] for line in lines) == "modelfashion-resnet20.onnxsmall.onnx"
    assert {"(0.490", "0.500", "0.510)", "0.990", "1.01", "3.1", "1.000"} <= set(" ".join(lines).split())


def test_layers_are_shown_by_their_time() -> None:
    report = make_report()
    assert report.device is not None
    layers = tuple(
        LayerTimeRecord(name=name, op=op, fused=fused, kernels=2, provider="P", ms=ms, share=ms / 10)
        for name, op, fused, ms in (
            ("conv1", "Conv", ("Relu",), 2.0),
            ("fc", "Gemm", (), 5.0),
            ("", "ReorderOutput", (), 1.0),
            ("pool", "MaxPool", (), 0.5),
            ("flat", "Flatten", (), 1.5),
        )
    )
    model = BenchedModel(
        path="a.onnx",
        file_bytes=1,
        macs=1,
        parameters=1,
        latency=latency(1.0),
        layers=LayersRecord(runs=9, run_ms=11.0, kernels_ms=10.0, layers=layers),
    )
    result = BenchResult(onnxprune_version="0", environment=report.environment, device=report.device, models=(model,))
    (table,) = layer_tables(result, 4)
    assert [cell for column in table.columns[:1] for cell in map(str, column.cells)] == [
        *("fc", "conv1", "flat", "(inserted by onnxruntime, 2)", "1 others"),
    ]
    assert row(table, "conv1") == ["conv1", "Conv + Relu", "2.00 ms", "20.0 %"]
    assert row(table, "1 others") == ["1 others", "0.500 ms", "5.0 %"]


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("conv", "conv"),
        ("/layer1/layer1.0/conv1/Conv", "layer1.0/conv1/Conv"),
        ("/features/features.3/features.3.1/conv/Conv", "features.3.1/conv/Conv"),
        ("a" * 60, "a" * 20 + "..." + "a" * 21),
    ],
)
def test_shortened(name: str, short: str) -> None:
    assert shortened(name) == short
    assert len(shortened(name)) <= 44


def test_brackets_in_names_are_no_markup() -> None:
    groups = tuple(group.model_copy(update={"producers": ("[bold]conv[0]",)}) for group in make_report().groups)
    assert row(changes_table(make_report(groups=groups)), "[bold]")[0] == "[bold]conv[0]"


@pytest.mark.parametrize(
    ("delivered", "said"),
    [
        (6, ""),
        (4, "; delivered: another, found by global, which is better once it is healed to the end"),
        (3, "; delivered: another, fitted after judging"),
    ],
)
def test_a_search_is_summed_up_beside_the_plain_allocations_and_what_was_delivered(delivered: int, said: str) -> None:
    rows = [(0, "global", 4, 88.0, 100), (0, "uniform", 5, 80.0, 100), (1, "rl", 7, 95.0, 25), (1, "rl", 6, 89.5, 100)]
    judged = tuple(
        JudgedStructure(
            round=r, source=source, channels=(left,), reward=m, metric=m, samples=samples, cost=1.0, elapsed_s=1.0
        )
        for r, source, left, m, samples in rows
    )
    learning = LearningRecord(agent="rl", stopped_by="patience", judged=judged)
    groups = tuple(group.model_copy(update={"channels_after": delivered}) for group in make_report().groups)
    line = outcome_lines(make_report(learning=learning, groups=groups))[1]
    assert line == f"searched: 4 structures judged by rl, best 89.50 % untrained (global: 88.00 %){said}"
    failing = learning.model_copy(update={"failed": 3})
    assert "judged by rl, no metric of 3 more, best" in outcome_lines(make_report(learning=failing, groups=groups))[1]
