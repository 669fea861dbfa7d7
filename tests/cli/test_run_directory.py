"""What becomes of a --run-dir when its run fails, and which folders are taken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "p"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def pictures(path: Path, count: int = 64) -> Path:
    np.savez(path, x=np.random.default_rng(0).standard_normal((count, 3, 8, 8)).astype(np.float32))
    return path


FAILURES = [
    pytest.param(("--target-macs", "50%", "--data", "no_such.npz"), 1, id="data"),
    pytest.param(("--target-macs", "50%", "-o", "no_such_folder/p.onnx"), 1, id="output"),
    pytest.param(("--target-macs", "50%", "--importance", "taylor"), 1, id="criterion"),
    pytest.param(("--target-macs", "0.1%"), 3, id="target"),
    pytest.param(("--target-latency", "0.0001ms"), 3, id="latency"),
]


@pytest.mark.parametrize(("wrong", "code"), FAILURES)
def test_a_run_that_fails_at_the_start_can_be_corrected(
    run: Run, model: Path, folder: Path, wrong: tuple[str, ...], code: int
) -> None:
    told = ("prune", model, "--round-to", "1", "--run-dir", folder)
    assert run(*told, *wrong).exit_code == code
    assert not folder.parent.exists()
    assert run(*told, "--target-macs", "50%").exit_code == 0
    assert (folder / "report.json").is_file()


def test_only_what_the_run_wrote_goes(run: Run, model: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / ".gitkeep").touch()
    assert run("prune", model, "--target-macs", "0.1%", "--round-to", "1", "--run-dir", folder).exit_code == 3
    assert names(folder) == [".gitkeep"]


def test_what_was_judged_is_kept(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    told = ("--target-macs", "20%", "--round-to", "1", "--importance", "l1", "--max-drop", "0")
    failed = run("prune", model, *told, "--data", pictures(tmp_path / "d.npz"), "--run-dir", folder)
    assert failed.exit_code == 4
    assert {"run.json", "history.jsonl", "report.json"} <= {*names(folder)}


def test_a_run_that_is_taken_up_is_kept_whatever_fails(run: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    data = pictures(tmp_path / "d.npz")
    told = ("--target-macs", "50%", "--round-to", "1", "--importance", "l1", "--data", data)
    assert run("prune", model, *told, "--run-dir", folder).exit_code == 0
    for name in ("history.jsonl", "report.json", "stage-1/scores.safetensors"):
        (folder / name).unlink()
    data.rename(tmp_path / "away.npz")
    assert run("resume", folder).exit_code == 1
    (tmp_path / "away.npz").rename(data)
    assert run("resume", folder).exit_code == 0


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_folder_of_something_else_is_refused(run: Run, model: Path, folder: Path, more: tuple[str, ...]) -> None:
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine")
    result = run("prune", model, "--target-macs", "50%", "--round-to", "1", "--run-dir", folder, *more)
    assert result.exit_code == 1
    assert "holds other files, and no run (thesis.txt): give a new or an empty folder as --run-dir" in result.stderr
    assert run("resume", folder).exit_code == 1
    assert names(folder) == ["thesis.txt"]


def test_what_a_kill_at_the_very_start_leaves_is_no_hindrance(run: Run, model: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (folder / ".run.json.0a1b2c3d.tmp").write_text("{")
    assert run("prune", model, "--target-macs", "50%", "--round-to", "1", "--run-dir", folder).exit_code == 0


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_folder_that_cannot_be_made_is_refused(run: Run, model: Path, more: tuple[str, ...]) -> None:
    (model.parent / "file").touch()
    told = ("--target-macs", "50%", "--round-to", "1", "--run-dir", model.parent / "file" / "run")
    result = run("prune", model, *told, *more)
    assert result.exit_code == 1
    assert f"the run directory '{model.parent / 'file' / 'run'}'" in result.stderr


def test_a_lock_that_cannot_be_opened_is_no_bug(run: Run, model: Path, folder: Path) -> None:
    (folder / "lock").mkdir(parents=True)
    result = run("prune", model, "--target-macs", "50%", "--round-to", "1", "--run-dir", folder)
    assert result.exit_code == 1
    assert f"cannot use the run directory '{folder}': Is a directory ('{folder / 'lock'}')" in result.stderr


def test_going_on_shows_the_traceback_of_an_unexpected_error(
    run: Run, model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("prune", model, "--target-macs", "50%", "--round-to", "1", "--run-dir", folder).exit_code == 0

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken inside")

    monkeypatch.setattr("onnxprune.pipeline.prune", fail)
    assert "Traceback" not in run("resume", folder).stderr
    assert "Traceback" in run("resume", folder, "-v").stderr


_CAPABILITIES = "-dac_override,-dac_read_search"


def as_a_user(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line without the right of root to write anywhere."""
    command = [sys.executable, "-m", "onnxprune", *map(str, arguments)]
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root may write everywhere, and there is no setpriv to take that right away")
        command = [setpriv, f"--bounding-set={_CAPABILITIES}", f"--inh-caps={_CAPABILITIES}", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
@pytest.mark.parametrize(("mode", "below"), [(0o555, ""), (0o600, "run")])
def test_a_folder_without_permission_is_refused(
    model: Path, folder: Path, *, mode: int, below: str, more: tuple[str, ...]
) -> None:
    folder.mkdir(parents=True)
    folder.chmod(mode)
    told = ("--target-macs", "50%", "--round-to", "1", "--run-dir", folder / below, "-o", model.with_name("p.onnx"))
    result = as_a_user("prune", model, *told, *more)
    folder.chmod(0o755)
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith(f"Error: cannot use the run directory '{folder / below}': ")
    assert "ermission" in result.stderr
    assert names(folder) == []
