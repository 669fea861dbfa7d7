"""What is typed, and what the library is given: targets, durations, input sizes."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from onnxprune.cli.parameters import DurationType, InputShapeType
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("5min", 300), ("1h", 3600), ("1.5m", 90), ("10 s", 10)]
)
def test_duration(text: str, seconds: float) -> None:
    assert DurationType().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["90", "0s", "-5s", "soon", "5x", ""])
def test_duration_nonsense(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write it like '90s', '5m' or '1h'"):
        DurationType().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "name", "sizes"),
    [
        ("image:1x3x224x224", "image", (1, 3, 224, 224)),
        ("1x3x224x224", "", (1, 3, 224, 224)),
        ("serving:0:1X3X8X8", "serving:0", (1, 3, 8, 8)),
        ("image:?x3x32x32", "image", (0, 3, 32, 32)),
        ("tokens:1,128", "tokens", (1, 128)),
        ("x:7", "x", (7,)),
    ],
)
def test_input_shape(text: str, name: str, sizes: tuple[int, ...]) -> None:
    assert InputShapeType().convert(text, None, None) == (name, sizes)


@pytest.mark.parametrize("text", ["image:", "image", "image:1x0x3", "image:1x-3", "1xax3", "image:1.5x3", ""])
def test_input_shape_nonsense(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write it like 'image:1x3x224x224'"):
        InputShapeType().convert(text, None, None)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--target-latency", "0ms", "'0ms' must be a finite number above 0"),
        ("--target-latency", "-5ms", "'-5ms' must be a finite number above 0"),
        ("--target-latency", "10x", "does not make the model smaller"),
        ("--target-latency", "100%", "does not make the model smaller"),
        ("--target-latency", "10", "has no unit; write it like '10ms'"),
        ("--target-latency", "fast", "cannot be read; write it like '10ms'"),
        ("--target-macs", "10ms", "unknown unit 'ms'"),
        ("--target-params", "2x", "does not make the model smaller"),
        ("--target-size", "3", "has no unit; write it like '500kB'"),
        ("--time-budget", "5", "write it like '90s'"),
        ("--search-budget", "9" * 400, "write a number of structures, such as '200', or a time, such as '90s'"),
        ("--search-budget", "9" * 307 + "h", "write a number of structures, such as '200', or a time, such as '90s'"),
        ("--input-shape", "1x?x", "write it like 'image:1x3x224x224'"),
        ("--epochs", "0", "not in the range"),
        ("--threads", "0", "not in the range"),
        ("--provider", "abacus", "unknown provider 'abacus'; known are cpu, cuda"),
        ("--provider", "cud", "did you mean 'cuda'?"),
        ("--device", "local?provider=abacus", "unknown provider 'abacus'; known are cpu, cuda"),
        ("--learning-rate", "0", "not in the range"),
        ("--max-drop", "-1", "not in the range"),
        ("--max-drop", "inf", "'inf' is no finite number"),
        ("--max-drop", "nan", "'nan' is no finite number"),
        ("--features", "inf", "'inf' is no finite number"),
        ("--learning-rate", "inf", "'inf' is no finite number"),
        ("--stages", "²", "'²' is neither a number from 1 nor 'auto'"),
        ("--input-shape", "x:²x3x8x8", "write it like 'image:1x3x224x224'"),
        ("--importance", "l3", "is not one of"),
        ("--allocation", "best", "is not one of"),
        ("--round-to", "0", "not in the range"),
    ],
)
def test_bad_values_are_usage_errors(run: Run, option: str, value: str, message: str) -> None:
    result = run("compress", "model.onnx", option, value)
    assert result.exit_code == 2
    assert f"'{option}'" in result.stderr
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize("ratio", ["0", "1", "-0.3", "30"])
def test_bad_ratio(run: Run, ratio: str) -> None:
    result = run("prune", "model.onnx", "--ratio", ratio)
    assert result.exit_code == 2
    assert "0<x<1" in result.stderr


@pytest.mark.parametrize("command", ["compress", "prune"])
def test_a_target_is_needed(run: Run, command: str) -> None:
    result = run(command, "model.onnx")
    assert result.exit_code == 2
    assert "give a target, one of " in result.stderr
    assert "--target-latency" in result.stderr
    assert "--ratio, " in result.stderr


def test_one_target_only(run: Run) -> None:
    result = run("prune", "model.onnx", "--target-latency", "10ms", "--ratio", "0.3")
    assert result.exit_code == 2
    assert "give one target only, not --target-latency and --ratio" in result.stderr


@pytest.mark.parametrize("second", ["image:2x3x8x8", "2x3x8x8"])
def test_sizes_that_are_given_twice_are_refused(run: Run, model: Path, second: str) -> None:
    result = run("inspect", model, "--input-shape", "image:1x3x8x8", "--input-shape", second)
    assert result.exit_code == 2
    assert "input 'image' gets sizes twice" in result.stderr
