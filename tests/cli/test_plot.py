"""`onnxprune plot`: what it writes, and what it says of the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.report.test_seen import LOOKS, NETWORK, evaluated, judged, took


def history(folder: Path, *lines: dict[str, object]) -> Path:
    folder.mkdir()
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (NETWORK, LOOKS, *lines)))
    return folder


@pytest.mark.slow
def test_a_run_of_the_published_agent_is_drawn_and_the_rest_said(run: Run, tmp_path: Path) -> None:
    lines = [evaluated(8, 99), evaluated(7, 95), evaluated(6, 96), took(6, 6e6)]
    folder = history(tmp_path / "a", *lines)
    result = run("plot", folder)
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        *(f"wrote {folder / 'plots' / name}.svg" for name in ("learning", "channels", "front")),
        "front.svg shows 2 of 3 structures: of the others no cost is logged",
        "no training.svg: nothing was trained",
    ]


@pytest.mark.slow
def test_a_whole_run_says_nothing_else(run: Run, tmp_path: Path) -> None:
    epoch = {"kind": "epoch", "stage": 1, "epoch": 0, "val_metric": 90.0}
    result = run("plot", history(tmp_path / "a", judged(6, 96), took(6, 6e6), epoch), "--format", "png")
    assert [line.split()[0] for line in result.output.splitlines()] == ["wrote"] * 4


def test_a_run_that_no_metric_is_known_of_says_so(run: Run, tmp_path: Path) -> None:
    failed = {**evaluated(7, -1e300), "failure": "only one class"}
    result = run("plot", history(tmp_path / "a", failed))
    assert result.exit_code == 0
    reason = "none of 1 evaluation has a metric"
    assert result.output.splitlines()[:3] == [f"no {name}.svg: {reason}" for name in ("learning", "channels", "front")]


def test_pictures_may_lie_beside_the_runs_files(run: Run, tmp_path: Path) -> None:
    folder = history(tmp_path / "a", judged(6, 96), took(6, 6e6))
    result = run("plot", folder, "-o", folder, "--format", "png")
    assert result.exit_code == 0, result.output
    assert {"history.jsonl", "learning.png"} <= {file.name for file in folder.iterdir()}
