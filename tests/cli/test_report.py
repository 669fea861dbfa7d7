"""`onnxprune report`: from a real run's report to the page and to Markdown; refusals leave no file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxprune.report import read_report, write_report
from tests.cli.conftest import Run
from tests.report.records import make_report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a report."""
    path = tmp_path / "out"
    path.mkdir()
    write_report(make_report(), path / "small.report.json")
    return path


@pytest.mark.slow
def test_a_run_directory_holds_the_report_of_its_run(run: Run, model: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    done = run("prune", model, "--ratio", "0.4", "-o", tmp_path / "small.onnx", "--run-dir", directory)
    assert done.exit_code == 0, done.output
    report = read_report(directory / "report.json")
    assert report == read_report(tmp_path / "small.report.json")
    assert [layer.name for layer in report.layers] == ["first", "second", "depthwise", "classifier"]
    by_name = {layer.name: layer for layer in report.layers}
    after = {group.name: group.channels_after for group in report.groups}
    assert by_name["first"].channels_before == (3, 16)
    assert by_name["first"].channels_after == (3, after["first"])
    assert by_name["second"].channels_after == (after["first"], after["second"])
    for layer in report.layers:
        assert layer.staircase[-1] == (layer.channels_before[1], layer.before_ms)
        assert layer.after_ms is not None

    result = run("report", directory)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"wrote {directory / 'report.html'}\n"
    assert "cnn.onnx, pruned" in (directory / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_no_layers_are_measured_where_the_block_is_given(run: Run, model: Path, tmp_path: Path) -> None:
    options = ("--target-macs", "60%", "--round-to", "2", "-o", tmp_path / "small.onnx")
    assert run("prune", model, *options).exit_code == 0
    assert read_report(tmp_path / "small.report.json").layers == ()


def test_where_the_page_goes(run: Run, folder: Path, tmp_path: Path) -> None:
    assert run("report", folder / "small.report.json", "-o", tmp_path / "a.html").exit_code == 0
    assert run("report", folder, "-q").stdout == ""
    assert (tmp_path / "a.html").read_bytes() == (folder / "small.report.html").read_bytes()


def test_markdown_goes_to_stdout_or_to_a_file(run: Run, folder: Path, tmp_path: Path) -> None:
    result = run("report", folder, "--markdown")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("### onnxprune: model.onnx")
    assert run("report", folder, "--markdown", "-o", tmp_path / "a.md").exit_code == 0
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == result.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no JSON", "is not a report: it is not JSON"),
        ('{"a": 1}', "has no field 'schema_version'"),
        (json.dumps({"schema_version": 2, "onnxprune_version": "9.9"}), "is a report of schema version 2"),
        (json.dumps({"schema_version": 1}), "is not a valid report: field 'onnxprune_version'"),
        (json.dumps({"schema_version": 1, "operation": "bench"}), "is a record of 'bench'"),
        (None, "holds no report"),
    ],
)
def test_what_is_no_report(run: Run, tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    before = sorted(tmp_path.iterdir())
    result = run("report", tmp_path)
    assert result.exit_code == 1
    assert message in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_page_that_cannot_be_written(run: Run, folder: Path, tmp_path: Path) -> None:
    result = run("report", folder, "-o", tmp_path / "none" / "a.html")
    assert result.exit_code == 1
    assert "does not exist" in result.stderr
    assert "is a directory" in run("report", folder, "-o", tmp_path).stderr
