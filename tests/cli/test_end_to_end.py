"""The real pipeline behind the command line, on a small network; every refusal leaves no file."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxprune.graph import load
from onnxprune.report import read_report
from tests.cli.conftest import Run


def pictures(folder: Path, shape: tuple[int, ...] = (40, 3, 8, 8), name: str = "data.npz") -> Path:
    rng = np.random.default_rng(0)
    np.savez(folder / name, x=rng.standard_normal(shape).astype(np.float32))
    return folder / name


def test_prune(run: Run, model: Path, tmp_path: Path) -> None:
    before = model.read_bytes()
    output = tmp_path / "small.onnx"
    result = run("prune", model, "--target-macs", "60%", "-o", output, "--round-to", "2")
    assert result.exit_code == 0, result.output
    assert "target MACs: asked for 60% = " in result.stdout
    report = read_report(tmp_path / "small.report.json")
    assert report.after.macs <= 0.6 * report.before.macs
    assert report.output.path == str(output)
    assert report.verification.relative_error <= report.verification.tolerance
    assert report.operation == "prune"
    assert {group.channels_after % 2 for group in report.groups} == {0}
    onnx.checker.check_model(onnx.load(output), full_check=True)
    assert model.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cnn.onnx", "small.onnx", "small.report.json"]


def test_same_seed_same_file(run: Run, model: Path, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        options = ("--target-params", "50%", "--round-to", "1", "--importance", "random", "--seed", "5")
        assert run("prune", model, *options, "-o", tmp_path / name).exit_code == 0
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.slow
def test_compress(run: Run, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    result = run(
        *("compress", model, "--target-macs", "60%", "-o", output, "--round-to", "2"),
        *("--data", pictures(tmp_path), "--epochs", "2", "--batch-size", "8", "--preprocess", "none"),
    )
    assert result.exit_code == 0, result.output
    assert "top-1 agreement" in result.stdout
    assert "exported: ONNX equals PyTorch" in result.stdout
    report = read_report(tmp_path / "small.report.json")
    assert report.training is not None
    assert report.training.epochs[-1].epoch == 2
    assert report.after.metric is not None
    assert (report.after.metric.part, report.after.metric.synthetic) == ("test", False)
    assert [value.name for value in load(output).graph.inputs] == ["image"]


@pytest.fixture
def refused(run: Run, model: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs prune, expects an exit code, and returns what it says; nothing may be written."""

    def check(code: int, *options: str | Path, target: str = "--target-macs=60%", network: Path = model) -> str:
        before = sorted(tmp_path.rglob("*"))
        result = run("prune", network, target, "--round-to", "2", *options)
        assert result.exit_code == code, result.output
        assert sorted(tmp_path.rglob("*")) == before
        assert "Traceback" not in result.output
        return " ".join(result.stderr.split())

    return check


def test_target_out_of_reach(refused: Callable[..., str]) -> None:
    assert "is out of reach" in refused(3, target="--target-macs=0.1%")


def test_nothing_to_prune(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "relu.onnx"
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17]> net (float[1, 2] a) => (float[1, 2] b) { b = Relu (a) }'
        ),
        path,
    )
    assert "there is no channel to remove" in refused(3, network=path)


def test_output_in_a_missing_folder(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(1, "-o", tmp_path / "none" / "x.onnx")
    assert "cannot write" in message
    assert "does not exist" in message


def test_output_over_the_model_or_a_folder(refused: Callable[..., str], model: Path, tmp_path: Path) -> None:
    assert "would overwrite MODEL, which is never changed; give another --output" in refused(1, "-o", model)
    assert "is a directory" in refused(1, "-o", tmp_path)


@pytest.mark.parametrize("command", ["prune", "compress"])
@pytest.mark.parametrize("network", [".", "/", ".."])
def test_a_folder_in_place_of_the_model(run: Run, tmp_path: Path, command: str, network: str) -> None:
    result = run(command, network, "--target-macs", "60%", "--junit", tmp_path / "junit.xml")
    assert result.exit_code == 1, result.output
    assert result.stderr.endswith(f"Error: '{network}' is a directory; give the .onnx file itself\n")
    assert "is a directory" in (tmp_path / "junit.xml").read_text()


@pytest.fixture
def unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that may not be read, nor what is below it. Not by its mode: to root every file is open."""
    path, access, opening, state = tmp_path / "locked", os.access, builtins.open, Path.stat
    path.write_text("{}")

    def may(file: Any, mode: int, **settings: Any) -> bool:
        return str(file) != str(path) and access(file, mode, **settings)

    def opened(file: Any, *arguments: Any, **settings: Any) -> Any:
        if str(file) == str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return opening(file, *arguments, **settings)

    def looked_at(file: Path, **settings: Any) -> os.stat_result:
        if path in file.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return state(file, **settings)

    monkeypatch.setattr(os, "access", may)
    monkeypatch.setattr(builtins, "open", opened)
    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr(Path, "stat", looked_at)
    return path


@pytest.mark.parametrize("command", ["prune", "bench", "compare", "profile", "inspect", "report"])
def test_a_file_that_may_not_be_read(run: Run, model: Path, unreadable: Path, tmp_path: Path, command: str) -> None:
    more = {"prune": ("--ratio", "0.3"), "compare": (model,)}.get(command, ())
    junit = ("--junit", tmp_path / "junit.xml") if command in {"prune", "bench", "compare"} else ()
    result = run(command, unreadable, *more, *junit)
    assert result.exit_code == 1, result.output
    assert result.stderr.endswith(f"'{unreadable}' cannot be read: Permission denied\n")
    assert not junit or "Permission denied" in junit[1].read_text()


@pytest.mark.parametrize(
    ("option", "message"),
    [("--data", "there is no file or folder"), ("--preprocess", "there is no preset and no file")],
)
def test_what_lies_below_a_folder_that_may_not_be_looked_into(
    refused: Callable[..., str], unreadable: Path, tmp_path: Path, option: str, message: str
) -> None:
    options = {"--data": pictures(tmp_path), option: unreadable / "below"}
    assert message in refused(1, *(word for pair in options.items() for word in pair))


def test_output_into_a_folder_without_a_name(refused: Callable[..., str]) -> None:
    assert "'.' is a directory; give a file name to write to" in refused(1, "-o", ".")


def test_unknown_provider(refused: Callable[..., str]) -> None:
    assert "unknown provider 'abacus'; known are cpu, cuda" in refused(2, "--provider", "abacus")


def test_provider_that_this_build_lacks(refused: Callable[..., str]) -> None:
    assert "has no provider 'coreml'; working here: " in refused(1, "--provider", "coreml")


def test_data_of_the_wrong_shape(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(1, "--data", pictures(tmp_path, (40, 1, 9, 9)))
    assert "9" in message
    assert "8" in message


@pytest.mark.parametrize(("content", "message"), [(None, "no pictures"), (b"not a picture", "cannot read the picture")])
def test_bad_picture_folders(refused: Callable[..., str], tmp_path: Path, content: bytes | None, message: str) -> None:
    (tmp_path / "pictures").mkdir()
    if content is not None:
        for number in range(4):
            (tmp_path / "pictures" / f"{number}.png").write_bytes(content)
    assert message in refused(1, "--data", tmp_path / "pictures")


def test_missing_data(refused: Callable[..., str]) -> None:
    assert "there is no file or folder 'nowhere'" in refused(1, "--data", "nowhere")


def test_unknown_preset(refused: Callable[..., str]) -> None:
    assert "did you mean 'imagenet'?" in refused(1, "--preprocess", "imagenett")


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("error", "expected"),
    [(FULL, (1, "the disk is full; nothing was written")), (KeyboardInterrupt(), (130, "Interrupted"))],
)
def test_stopped_while_writing(
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: BaseException,
    expected: tuple[int, str],
) -> None:
    rename = os.replace

    def fail(source: Path, target: Path) -> None:
        # The run has temporary files of its own, elsewhere.
        if Path(target).parent == tmp_path:
            raise error
        rename(source, target)

    monkeypatch.setattr(os, "replace", fail)
    assert expected[1] in refused(expected[0])


def test_max_drop(run: Run, model: Path, tmp_path: Path) -> None:
    data = pictures(tmp_path)
    output = tmp_path / "small.onnx"
    options = ("--target-macs", "30%", "--round-to", "2", "--data", data, "-o", output, "--importance", "l1")
    result = run("prune", model, *options, "--max-drop", "0")
    assert result.exit_code == 4, result.output
    assert "top-1 agreement fell by" in result.stderr
    assert not output.exists()
    assert (tmp_path / "small.rejected.onnx").exists()
    assert read_report(tmp_path / "small.report.json").output.path.endswith("small.rejected.onnx")


def test_bench(run: Run, model: Path) -> None:
    result = run("bench", model, "--sessions", "1")
    assert result.exit_code == 0, result.output
    assert "cnn.onnx" in result.stdout
    assert "1.000" in result.stdout
