"""A run killed at any moment goes on, and ends as one in one piece does."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run

_KILLS = 20
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(model: Path, data: Path, output: Path, *options: str | Path) -> list[str]:
    # With fixed blocks and MACs nothing that is measured decides anything, so two runs can be compared.
    told = ("--target-macs", "30%", "--round-to", "1", "--epochs", "12", "--batch-size", "16", "--seed", "1")
    more = ("--stages", "2", "--search-budget", "40", "--data", data, "-o", output, *options)
    return [sys.executable, "-m", "onnxprune", *map(str, ("compress", model, *told, *more))]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=rng.integers(0, 10, 600))
    return tmp_path / "data.npz"


def killed(arguments: list[str], seconds: float) -> bool:
    """Start a command and kill it after some time; say whether it was still running."""
    process = subprocess.Popen(arguments, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        assert process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def seconds(arguments: list[str]) -> float:
    """Run a command to its end; return how long it took."""
    started = time.monotonic()
    subprocess.run(arguments, env=ENVIRONMENT, check=True)
    return time.monotonic() - started


@pytest.mark.slow
def test_killed_at_twenty_random_moments(model: Path, data: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.onnx"
    whole_s = seconds(command(model, data, whole, "--run-dir", tmp_path / "whole"))
    # Where starting and finishing take longer than the longest that a run is left alone, it would never get anywhere.
    finishing_s = seconds([sys.executable, "-m", "onnxprune", "resume", str(tmp_path / "whole")])
    latest_s = max(0.6 * whole_s, 2.0 * finishing_s)
    moments = random.Random(0)
    kills = attempts = 0
    while kills < _KILLS:
        attempts += 1
        folder, broken = tmp_path / f"run-{attempts}", tmp_path / f"broken-{attempts}.onnx"
        first = command(model, data, broken, "--run-dir", folder)
        again = [sys.executable, "-m", "onnxprune", "resume", str(folder)]
        # Starting takes a second or two; the rest of the time it is killed somewhere on its way.
        while killed(again if (folder / "run.json").exists() else first, moments.uniform(0.5, latest_s)):
            kills += 1
        assert broken.read_bytes() == whole.read_bytes()


def test_resume_says_what_is_wrong(run: Run, tmp_path: Path) -> None:
    result = run("resume", tmp_path)
    assert result.exit_code == 1
    assert "holds no run" in result.output
    (tmp_path / "run.json").write_text("{}")
    assert "is no record of a run" in run("resume", tmp_path).output


def test_a_finished_run_can_be_taken_up_for_its_result(run: Run, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    told = ("prune", model, "--target-macs", "50%", "--round-to", "4", "-o", output, "--run-dir", tmp_path / "run")
    assert run(*told).exit_code == 0
    content = output.read_bytes()
    output.unlink()
    again = run("resume", tmp_path / "run")
    assert again.exit_code == 0
    assert again.stderr.startswith(f"the run in '{tmp_path / 'run'}' had ended: its results are written again")
    assert output.read_bytes() == content


def test_a_directory_that_was_moved_is_gone_on_with_where_it_is(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("there", "here"):
        (tmp_path / name).mkdir()
    told = ("--target-macs", "50%", "--round-to", "4", "-o", "small.onnx", "--run-dir", "runs/a")
    monkeypatch.chdir(tmp_path / "there")
    assert run("prune", model, *told).exit_code == 0
    (tmp_path / "there" / "runs" / "a").rename(tmp_path / "here" / "b")
    # Another run lies where it was.
    assert run("prune", model, *told, "--seed", "1").exit_code == 0
    other = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "there" / "runs" / "a").iterdir()}
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "b" / "report.json").unlink()
    result = run("resume", "b")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "here" / "b" / "report.json").is_file()
    assert other == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "there" / "runs" / "a").iterdir()}


def test_a_model_that_is_gone_has_not_changed(run: Run, model: Path, tmp_path: Path) -> None:
    told = ("prune", model, "--target-macs", "50%", "--round-to", "4", "-o", tmp_path / "small.onnx")
    assert run(*told, "--run-dir", tmp_path / "run").exit_code == 0
    model.unlink()
    result = run("resume", tmp_path / "run")
    assert result.exit_code == 1
    assert f"its model's file '{model}' cannot be read: No such file or directory" in result.stderr
    assert "has changed" not in result.stderr


def test_a_restricted_run_is_told_the_same_again(run: Run, model: Path, tmp_path: Path) -> None:
    output, ratios = tmp_path / "small.onnx", tmp_path / "ratios.json"
    ratios.write_text('{"second": 0.5}')
    told = ("prune", model, "--ratios", ratios, "--keep", "fir*", "--max-ratio", "0.6", "-o", output)
    assert run(*told, "--run-dir", tmp_path / "run").exit_code == 0
    content = output.read_bytes()
    output.unlink()
    assert run("resume", tmp_path / "run").exit_code == 0
    assert output.read_bytes() == content
    ratios.write_text('{"second": 0.25}')
    changed = run("resume", tmp_path / "run")
    assert changed.exit_code == 1
    assert "a run cannot change" in changed.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals are those of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_told_to_stop(model: Path, data: Path, tmp_path: Path, number: signal.Signals) -> None:
    folder, junit, summary = (tmp_path / name for name in ("run", "junit.xml", "summary.md"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    options = ("--run-dir", folder, "--junit", junit, "--summary", summary)
    process = subprocess.Popen(
        command(model, data, tmp_path / "small.onnx", *options),
        env={**ENVIRONMENT, "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
        # What starts the tests may have told them to ignore it (nohup).
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509
    )
    end = time.monotonic() + 60
    while not (folder / "history.jsonl").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.endswith(f"Go on with: onnxprune resume {folder}\nStopped by {number.name}\n")
    assert f"Stopped by {number.name}" in junit.read_text()
    assert f"Stopped by {number.name}" in summary.read_text()
    assert not list(temporary.glob("onnxprune-*"))
    assert not (tmp_path / "small.onnx").exists()
