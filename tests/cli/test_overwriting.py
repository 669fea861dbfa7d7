"""No result overwrites what a command reads, nor another result: refused before any work, with both options."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.errors import OutputError
from onnxprune.report import write_report
from tests.cli.conftest import Run
from tests.report.conftest import small_cnn
from tests.report.records import make_report

PRUNE = ("prune", "v.onnx", "--ratio", "0.3")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with one of everything that a command reads."""
    monkeypatch.chdir(tmp_path)
    onnx.save(small_cnn(), "v.onnx")
    onnx.save(small_cnn(), "w.onnx")
    onnx.save_model(small_cnn(), "outside.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    np.savez("s.npz", x=np.zeros((8, 3, 8, 8), np.float32))
    Path("p.json").write_text('{"scale": 1.0}')
    Path("shares.json").write_text('{"first": 0.5}')
    Path("onnxprune.toml").write_text("[bench]\nsessions = 2\n")
    Path("pictures").mkdir()
    Path("pictures/a.png").write_bytes(b"picture")
    Path("runs/a/stage-1").mkdir(parents=True)
    for name in ("run.json", "history.jsonl", "stage-1/scores.safetensors", "small.onnx"):
        (Path("runs/a") / name).write_text("something of a run")
    write_report(make_report(), Path("runs/a/report.json"))
    write_report(make_report(), Path("c.report.json"))
    Path("alias.onnx").symlink_to("v.onnx")
    os.link("v.onnx", "twin.onnx")
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("inspect", "v.onnx", "--svg", "v.onnx"), ("--svg", "MODEL")),
        (("inspect", "v.onnx", "--html", "./v.onnx"), ("--html", "MODEL")),
        (("inspect", "v.onnx", "--html", "a.html", "--svg", "a.html"), ("--svg", "--html")),
        (("bench", "w.onnx", "v.onnx", "--report", "v.onnx"), ("--report", "MODEL")),
        (("bench", "v.onnx", "--report", "alias.onnx"), ("--report", "MODEL")),
        (("bench", "v.onnx", "--report", "twin.onnx"), ("--report", "MODEL")),
        (("bench", "v.onnx", "--junit", "onnxprune.toml"), ("--junit", "--config")),
        (("bench", "v.onnx", "--compare", "c.report.json", "--report", "c.report.json"), ("--report", "--compare")),
        (("bench", "outside.onnx", "--report", "weights.bin"), ("--report", "the weights of MODEL")),
        (("compare", "v.onnx", "w.onnx", "--summary", "w.onnx"), ("--summary", "SECOND")),
        (("compare", "v.onnx", "w.onnx", "--data", "s.npz", "--junit", "s.npz"), ("--junit", "--data")),
        (("profile", "v.onnx", "--plot", "v.onnx"), ("--plot", "MODEL")),
        ((*PRUNE, "--junit", "v.onnx", "-o", "y.onnx"), ("--junit", "MODEL")),
        ((*PRUNE, "--summary", "v.onnx", "-o", "y.onnx"), ("--summary", "MODEL")),
        ((*PRUNE, "--report", "v.onnx"), ("--report", "MODEL")),
        ((*PRUNE, "-o", "vv.onnx", "--report", "vv.onnx"), ("--output", "--report")),
        ((*PRUNE, "--junit", "v.pruned.onnx"), ("--output", "--junit")),
        ((*PRUNE, "--summary", "s.md", "--junit", "s.md"), ("--summary", "--junit")),
        ((*PRUNE, "--outputs", "v.onnx", "-o", "y.onnx"), ("--outputs", "MODEL")),
        ((*PRUNE, "--data", "s.npz", "-o", "s.npz"), ("--output", "--data")),
        ((*PRUNE, "--data", "pictures", "--test", "s.npz", "--report", "s.npz"), ("--report", "--test")),
        ((*PRUNE, "--data", "pictures", "--junit", "pictures/a.png"), ("--junit", "--data")),
        ((*PRUNE, "--preprocess", "p.json", "--report", "p.json"), ("--report", "--preprocess")),
        ((*PRUNE, "--run-dir", "r", "--report", "r/run.json"), ("--report", "--run-dir")),
        ((*PRUNE, "--run-dir", "r", "-o", "r/stage-1/healed.onnx"), ("--output", "--run-dir")),
        ((*PRUNE, "--max-drop", "1", "-o", "y.onnx", "--report", "y.rejected.onnx"), ("--output", "--report")),
        (("prune", "v.onnx", "--ratios", "shares.json", "--report", "shares.json"), ("--report", "--ratios")),
        ((*PRUNE, "--dry-run", "--junit", "v.onnx"), ("--junit", "MODEL")),
        (("report", "c.report.json", "-o", "c.report.json"), ("--output", "REPORT")),
        (("report", "runs/a", "-o", "runs/a/run.json"), ("--output", "REPORT")),
        (("report", "runs/a", "-o", "runs/a/small.onnx", "--markdown"), ("--output", "REPORT")),
        (("plot", "runs/a", "-o", "runs/a/history.jsonl"), ("--output-dir", "DIR")),
    ],
)
def test_what_is_read_stays_and_results_do_not_collide(
    run: Run, folder: Path, arguments: tuple[str, ...], options: tuple[str, str]
) -> None:
    before = contents(folder)
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert "overwrite" in result.stderr
    for option in options:
        assert option in result.stderr
    assert contents(folder) == before


def test_results_of_the_run_before_may_be_written_again(run: Run, folder: Path) -> None:
    files = ("--report", "r/r.json", "--summary", "r/s.md", "--junit", "r/j.xml", "-o", "r/small.onnx")
    Path("r").mkdir()
    for _ in range(2):
        result = run(*PRUNE, "--round-to", "2", *files)
        assert result.exit_code == 0, result.output
    assert Path("r/s.md").read_text().count("### onnxprune") == 2
    for _ in range(2):
        assert run("report", "runs/a").exit_code == 0
        assert run("report", "runs/a", "--markdown", "-o", "runs/a/summary.md").exit_code == 0


def test_devices_take_several_results(run: Run, folder: Path) -> None:
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDWR | os.O_NONBLOCK)
    try:
        result = run("inspect", "v.onnx", "--svg", "pipe", "--html", "pipe")
        assert result.exit_code == 0, result.output
        assert os.read(reader, 1 << 20).startswith(b"<svg")
    finally:
        os.close(reader)
    assert Path("pipe").is_fifo()


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_result_does_not_go_to_a_device(run: Run, folder: Path, more: tuple[str, ...]) -> None:
    result = run(*PRUNE, "-o", os.devnull, *more, "--report", "r.json")
    assert result.exit_code == 1
    assert f"--output '{os.devnull}' is no file but a device" in result.stderr
    assert not Path("r.json").exists()


def test_the_library_refuses_it_too(folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(OutputError, match=r"--report 'v\.onnx' would overwrite MODEL"):
        onnxprune.prune("v.onnx", ratio=0.3, report="v.onnx")
    with pytest.raises(OutputError, match=r"--report 'v\.onnx' would overwrite MODEL"):
        onnxprune.bench(["w.onnx", "v.onnx"], report="v.onnx")
    with pytest.raises(OutputError, match=r"--output 'p\.json' would overwrite --preprocess"):
        onnxprune.prune("v.onnx", ratio=0.3, data="s.npz", preprocess="p.json", output="p.json")
    assert contents(folder) == before
