"""What a CI system gets: exit codes, Markdown, JUnit XML, plain output; and what --dry-run foresees."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import onnx_ir as ir
import pytest

from onnxprune.graph import is_quantised
from onnxprune.latency import LatencyStats
from onnxprune.pipeline.measuring import Bench, measure_beside
from onnxprune.pipeline.prepare import Network
from onnxprune.pipeline.quantising import Quantiser, fastest
from onnxprune.report import BenchResult, Preview, Report
from tests.cli.conftest import Run
from tests.cli.test_end_to_end import pictures
from tests.report.junit_structure import check_structure

PRUNE = ("--target-macs", "60%", "--round-to", "2")


def cases(path: Path) -> dict[str, str]:
    """Read a JUnit file: what became of each test case."""
    root = ET.parse(path).getroot()
    check_structure(root)
    return {
        case.get("name", ""): (case[0].tag if case[0].tag != "system-out" else "ok") for case in root.iter("testcase")
    }


def test_a_run_tells_what_it_checked(run: Run, model: Path, tmp_path: Path) -> None:
    summary, junit = tmp_path / "summary.md", tmp_path / "junit.xml"
    summary.write_text("what was there\n")
    options = ("-o", tmp_path / "small.onnx", "--summary", summary, "--junit", junit, "--json")
    result = run("prune", model, *PRUNE, *options)
    assert result.exit_code == 0, result.output
    assert Report.from_json(result.stdout).operation == "prune"
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("what was there\n### onnxprune: cnn.onnx\n")
    assert "Target met" in text
    assert cases(junit) == {"target met": "ok", "max-drop": "skipped", "verification": "ok", "output written": "ok"}
    figures = {p.get("name"): p.get("value") for p in ET.parse(junit).getroot().iter("property")}
    assert figures["target"] == "60%"
    assert float(figures["latency-after-ms"] or 0) > 0


@pytest.mark.parametrize(
    ("target", "network", "code", "expected"),
    [
        ("--target-macs=0.1%", "cnn.onnx", 3, {"target met": "failure", "output written": "skipped"}),
        ("--target-macs=60%", "none.onnx", 1, {"target met": "skipped", "output written": "error"}),
    ],
)
def test_a_run_that_fails_tells_it_too(
    run: Run, model: Path, tmp_path: Path, *, target: str, network: str, code: int, expected: dict[str, str]
) -> None:
    summary, junit = tmp_path / "summary.md", tmp_path / "junit.xml"
    result = run("prune", tmp_path / network, target, "--round-to", "2", "--summary", summary, "--junit", junit)
    assert result.exit_code == code
    found = cases(junit)
    assert {name: found[name] for name in expected} == expected
    said = [e.get("message", "") for e in ET.parse(junit).iter() if e.tag in {"failure", "error"}]
    assert result.stderr.endswith(f"Error: {said[0]}\n")
    assert summary.read_text(encoding="utf-8").startswith("### onnxprune prune: ")


def test_max_drop_exceeded(run: Run, model: Path, tmp_path: Path) -> None:
    summary, junit = tmp_path / "summary.md", tmp_path / "junit.xml"
    options = ("--importance", "random", "--data", pictures(tmp_path), "--max-drop", "0", "-o", tmp_path / "small.onnx")
    result = run(
        *("prune", model, "--target-macs", "30%", "--round-to", "2", *options),
        *("--summary", summary, "--junit", junit, "--json", "--outputs", tmp_path / "outputs"),
    )
    assert result.exit_code == 4, result.output
    outputs = dict(line.split("=", 1) for line in (tmp_path / "outputs").read_text().splitlines())
    assert outputs["model"] == str(tmp_path / "small.rejected.onnx")
    assert outputs["report"] == str(tmp_path / "small.report.json")
    assert float(outputs["accuracy-drop"]) > 0
    found = cases(junit)
    assert found == {"target met": "ok", "max-drop": "failure", "verification": "ok", "output written": "skipped"}
    text = summary.read_text(encoding="utf-8")
    assert "more than the 0 allowed" in text
    assert "| MACs |" in text
    assert result.stdout == (tmp_path / "small.report.json").read_text(encoding="utf-8")
    assert Report.from_json(result.stdout).output.path.endswith("small.rejected.onnx")


def test_max_drop_exceeded_tells_of_a_record_that_is_kept_nowhere(run: Run, model: Path, tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    options = ("--importance", "random", "--data", pictures(tmp_path), "--max-drop", "0", "-o", tmp_path / "small.onnx")
    result = run(
        *("prune", model, "--target-macs", "30%", "--round-to", "2", *options),
        *("--report", os.devnull, "--junit", junit, "--json"),
    )
    assert result.exit_code == 4, result.output
    assert Report.from_json(result.stdout).output.path.endswith("small.rejected.onnx")
    assert cases(junit)["max-drop"] == "failure"


def test_outputs_of_a_result_follow_what_was_there_and_an_error_adds_none(
    run: Run, model: Path, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    outputs.write_text("before=1\n")
    assert run("prune", model, "--target-macs", "0.1%", "--round-to", "2", "--outputs", outputs).exit_code == 3
    assert outputs.read_text() == "before=1\n"
    assert run("prune", model, *PRUNE, "-o", tmp_path / "small.onnx", "--outputs", outputs).exit_code == 0
    before, *lines = outputs.read_text().splitlines()
    assert before == "before=1"
    found = dict(line.split("=", 1) for line in lines)
    assert (found["model"], found["report"]) == (str(tmp_path / "small.onnx"), str(tmp_path / "small.report.json"))
    assert float(found["latency-before"]) > 0
    assert float(found["latency-after"]) > 0
    assert found["accuracy-drop"] == ""


def test_a_file_for_ci_in_a_missing_folder_is_refused_at_once(run: Run, model: Path, tmp_path: Path) -> None:
    result = run("prune", model, *PRUNE, "--junit", tmp_path / "none" / "junit.xml")
    assert result.exit_code == 1
    assert "does not exist" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cnn.onnx"]


def test_bench_and_compare(run: Run, model: Path, tmp_path: Path) -> None:
    summary, junit = tmp_path / "summary.md", tmp_path / "junit.xml"
    files = ("--summary", summary, "--junit", junit)
    result = run("bench", model, "--sessions", "1", "--json", *files)
    assert result.exit_code == 0, result.output
    BenchResult.model_validate_json(result.stdout)
    assert cases(junit) == {f"measured {model}": "ok"}
    assert run("compare", model, model, "--sessions", "1", "--samples", "2", *files).exit_code == 0
    assert cases(junit) == {"compared": "ok"}
    text = summary.read_text(encoding="utf-8")
    assert text.index("### onnxprune: latency") < text.index("### onnxprune: two models")
    assert run("bench", tmp_path / "none.onnx", *files).exit_code == 1
    assert cases(junit) == {"measured": "error"}


@pytest.mark.parametrize(("command", "case"), [("bench", "measured"), ("compare", "compared"), ("prune", "output")])
def test_sizes_of_an_unnamed_input_of_a_model_that_cannot_be_read(
    run: Run, model: Path, tmp_path: Path, command: str, case: str
) -> None:
    summary, junit = tmp_path / "summary.md", tmp_path / "junit.xml"
    more = {"bench": (), "compare": (model,), "prune": PRUNE}[command]
    files = ("--summary", summary, "--junit", junit)
    result = run(command, tmp_path / "none.onnx", *more, "--input-shape", "1x3x8x8", *files)
    assert result.exit_code == 1
    assert [what for name, what in cases(junit).items() if name.startswith(case)] == ["error"]
    assert "none.onnx" in summary.read_text(encoding="utf-8")


def test_a_pipe_gets_no_colours_and_no_bars(model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "onnxprune", "prune", str(model), *PRUNE, "-o", str(tmp_path / "small.onnx")]
    plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**plain, "TERM": "xterm-256color"})
    assert "wrote" in done.stdout
    for character in ("\x1b", "\r", "━", "✓"):
        assert character not in done.stdout + done.stderr


def test_dry_run_says_what_would_be_done_and_writes_nothing(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONNXPRUNE_CACHE", str(tmp_path / "cache"))
    before = sorted(tmp_path.rglob("*"))
    result = run("prune", model, "--target-macs", "70%", "--dry-run", "--junit", tmp_path / "junit.xml")
    assert result.exit_code == 0, result.output
    assert sorted(tmp_path.rglob("*")) == before
    for text in (
        "This run would prune",
        "2 groups",
        "reachable",
        "MACs 70%: at most",
        "cnn.pruned.onnx",
        "junit.xml",
    ):
        assert text in result.stdout
    assert "about" in result.stdout.splitlines()[-1]
    assert "no data given" in result.stderr


@pytest.mark.slow
def test_dry_run_of_compress_counts_what_compress_then_does(run: Run, model: Path, tmp_path: Path) -> None:
    data = pictures(tmp_path)
    command = ("compress", model, "--target-macs", "60%", "--data", data, "--epochs", "2", "--search-budget", "6")
    options = ("--batch-size", "8", "-o", tmp_path / "small.onnx", "--round-to", "2")
    before = sorted(tmp_path.rglob("*"))
    dry = run(*command, *options, "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    assert sorted(tmp_path.rglob("*")) == before
    preview = Preview.model_validate_json(dry.stdout)
    assert {step.name for step in preview.steps} >= {"searching", "healing", "distilling"}
    assert preview.seconds == pytest.approx(sum(step.seconds for step in preview.steps), abs=0.1)

    assert run(*command, *options).exit_code == 0
    report = Report.from_json((tmp_path / "small.report.json").read_text())
    assert report.training is not None
    assert report.learning is not None
    assert preview.epochs == report.training.epochs[-1].epoch
    assert preview.structures >= len(report.learning.judged)
    assert preview.allocation == report.learning.agent
    assert preview.allowed == report.target.value
    assert (preview.macs, preview.coverage, preview.groups) == (report.before.macs, report.coverage, len(report.groups))
    assert preview.outputs == (str(tmp_path / "small.onnx"), str(tmp_path / "small.report.json"))


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--target-macs", "0.1%"), 3, "is out of reach"),
        (("--target-latency", "0.0001ms"), 3, "is out of reach"),
        (("--target-macs", "60%", "--data", "nowhere"), 1, "there is no file or folder 'nowhere'"),
        (("--target-macs", "60%", "-o", "none/x.onnx"), 1, "does not exist"),
        (("--target-macs", "60%", "--provider", "coreml"), 1, "has no provider 'coreml'"),
        ((), 2, "give a target"),
    ],
)
def test_dry_run_fails_as_the_run_would(
    run: Run, model: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    result = run("prune", model, "--dry-run", *options)
    assert result.exit_code == code, result.output
    assert message in " ".join(result.stderr.split())
    assert result.stdout == ""


def int8_takes(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Let the original in int8 take a share of what it takes in float."""

    def told(quantiser: Quantiser, bench: Bench, **options: bool) -> tuple[Quantiser, LatencyStats, LatencyStats]:
        chosen, before, after = fastest(quantiser, bench, **options)
        return chosen, before, replace(after, p50_ms=share * before.p50_ms)

    monkeypatch.setattr("onnxprune.pipeline.quantising.fastest", told)


def test_dry_run_says_where_int8_alone_meets_the_target(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    int8_takes(monkeypatch, 0.5)
    options = ("--target-latency", "80%", "--quantize", "int8", "--data", pictures(tmp_path), "--epochs", "1")
    result = run("compress", model, *options, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    found = Preview.model_validate_json(result.stdout)
    assert (found.operation, found.allocation, found.structures, found.epochs) == ("compress", "int8 alone", 0, 0)
    assert any("int8 alone meets the target" in warning for warning in found.warnings)


def test_dry_run_measures_structures_quantised_where_the_result_will_be(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[bool] = []

    def noted(network: Network, pruned: ir.Model, bench: Bench) -> tuple[LatencyStats, LatencyStats]:
        measured.append(is_quantised(bench.delivered(pruned)))
        return measure_beside(network, pruned, bench)

    monkeypatch.setattr("onnxprune.pipeline.measuring.measure_beside", noted)
    int8_takes(monkeypatch, 2.0)
    options = ("--target-latency", "99%", "--quantize", "int8", "--data", pictures(tmp_path), "--epochs", "1")
    result = run("compress", model, *options, "--dry-run", "--json")
    assert result.exit_code in (0, 3), result.output
    assert measured
    assert all(measured)
    if result.exit_code == 0:
        assert Preview.model_validate_json(result.stdout).quantize == "int8"


def test_dry_run_refuses_a_folder_that_holds_a_run(run: Run, model: Path, tmp_path: Path) -> None:
    folder = ("--run-dir", tmp_path / "run")
    assert run("prune", model, *PRUNE, "-o", tmp_path / "out.onnx", *folder).exit_code == 0
    result = run("prune", model, *PRUNE, *folder, "--dry-run")
    assert result.exit_code == 1
    assert "holds a run already" in result.stderr


def test_dry_run_says_which_limit_puts_a_target_out_of_reach(run: Run, model: Path) -> None:
    result = run("prune", model, "--target-macs", "20%", "--max-ratio", "0.1", "--round-to", "1", "--dry-run")
    assert result.exit_code == 3
    assert "with --max-ratio 0.1" in result.stderr


def test_dry_run_tells_what_a_ratio_removes(run: Run, model: Path) -> None:
    result = run("prune", model, "--ratio", "0.3", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    preview = Preview.model_validate_json(result.stdout)
    assert (preview.unit, preview.original, preview.allowed) == ("share of channels removed", 0.0, 0.3)
    assert preview.smallest is not None
    assert preview.smallest > 0.3
    lines = " ".join(run("prune", model, "--ratio", "0.3", "--dry-run").stdout.split())
    assert "30.0 % of the channels removed; at most" in lines


def test_dry_run_with_ratios_of_groups(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "shares.json").write_text(json.dumps({"first": 0.5}))
    result = run("prune", model, "--ratios", tmp_path / "shares.json", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert Preview.model_validate_json(result.stdout).allocation == "ratios"


@pytest.mark.parametrize(
    "options",
    [("--ratio", "0.18", "--max-ratio", "0.2"), ("--ratio", "0.3", "--max-ratio", "0.2"), ("--ratio", "0.95")],
)
def test_dry_run_refuses_what_the_run_refuses_in_the_same_words(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.setenv("ONNXPRUNE_CACHE", str(tmp_path / "cache"))
    dry, done = (run("prune", model, *options, *more, "-q") for more in (("--dry-run",), ()))
    assert dry.exit_code == done.exit_code, done.output
    errors = [[line for line in result.stderr.splitlines() if line.startswith("Error")] for result in (dry, done)]
    assert errors[0] == errors[1]
    most = set(re.findall(r"(?:at most|with --max-ratio [\d.]+,) ([\d.]+)", "".join(errors[0])))
    assert len(most) <= 1


def test_dry_run_says_where_the_target_is_met_already(run: Run, model: Path) -> None:
    result = run("prune", model, "--target-params", "500M", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    (met,) = [warning for warning in Preview.model_validate_json(result.stdout).warnings if "as it is" in warning]
    assert met.endswith("nothing needs to be removed")
    assert met in result.stderr


def test_the_share_that_can_go_can_be_asked_for(run: Run, model: Path) -> None:
    refused = run("prune", model, "--ratio", "0.95", "--round-to", "1", "-q")
    (most,) = re.findall(r"at most ([\d.]+) can go", refused.stderr)
    assert run("prune", model, "--ratio", most, "--round-to", "1", "-q").exit_code == 0
