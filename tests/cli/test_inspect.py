"""`onnxprune inspect` on real files: tables, JSON, and every way a file can be bad."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.cli.conftest import Run
from tests.report.conftest import small_cnn


def test_tables(run: Run, model: Path) -> None:
    result = run("inspect", model)
    assert result.exit_code == 0, result.output
    assert f"{model}: opset 17, IR 8" in result.stdout
    assert "second + 1 more" in result.stdout
    assert "classifier        10  they are the model's output 'scores'" in result.stdout
    assert "100.0 % of the MACs" in result.stdout


def test_json(run: Run, model: Path) -> None:
    content = json.loads(run("inspect", model, "--json").stdout)
    assert [group["channels"] for group in content["groups"]] == [16, 24]
    assert content["fixed"][0]["producer"] == "classifier"


def test_quiet_prints_nothing(run: Run, model: Path) -> None:
    assert run("inspect", model, "-q").output == ""


def test_verbose_says_what_would_free_the_fixed(run: Run, model: Path) -> None:
    plain, verbose = run("inspect", model).stdout, run("inspect", model, "-v").stdout
    assert "what would free them" not in plain
    assert "nothing: the caller reads them" in verbose
    assert "second + 1 more" in plain
    assert "more" not in verbose
    assert {"first", "second", "depthwise"} <= {line.split()[0] for line in verbose.splitlines() if line}


def test_a_single_group_is_one(run: Run, model: Path) -> None:
    assert "in 1 group; they take part in" in run("inspect", model, "--only", "first").stdout
    assert (
        "channels, in 1 group, take part in"
        in run(*("prune", model, "--only", "first", "--target-macs", "80%", "--round-to", "1", "--dry-run")).stdout
    )


def test_keep_and_only(run: Run, model: Path) -> None:
    kept = json.loads(run("inspect", model, "--json", "--keep", "fir*").stdout)
    assert [group["name"] for group in kept["groups"]] == ["second"]
    assert kept["fixed"][0]["hint"] == "leave out --keep 'fir*'"
    assert kept["coverage"] < 1
    only = json.loads(run("inspect", model, "--json", "--only", "depthwise").stdout)
    assert [group["name"] for group in only["groups"]] == ["second"]
    both = run("inspect", model, "--keep", "fir*", "--only", "first")
    assert both.exit_code == 2
    assert "--keep 'fir*' and --only 'first' contradict each other" in both.stderr
    unknown = run("inspect", model, "--keep", "frist")
    assert unknown.exit_code == 2
    assert "the nearest are 'first'" in unknown.stderr


def test_pictures(run: Run, model: Path, tmp_path: Path) -> None:
    result = run("inspect", model, "-q", "--svg", tmp_path / "a.svg", "--html", tmp_path / "a.html")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.svg").read_text().startswith("<svg ")
    assert "<svg " in (tmp_path / "a.html").read_text()
    refused = run("inspect", model, "--svg", tmp_path / "none" / "a.svg")
    assert refused.exit_code == 1
    assert "cannot write" in refused.stderr


def test_all_that_is_kept_leaves_nothing_and_says_why(run: Run, model: Path) -> None:
    result = run("inspect", model, "--keep", "first", "--keep", "second")
    assert result.exit_code == 3
    assert "prunable: 0 of " in result.stdout
    message = " ".join(result.stderr.split())
    # The commonest reasons first.
    assert "can be removed: --keep 'second' names it (24 channels); they share channels with 'second'" in message
    assert "--keep 'first' names it (16 channels). 'onnxprune inspect -v" in message
    assert "the model's output" not in message
    assert json.loads(run("inspect", model, "--json", "--keep", "*").stdout)["groups"] == []


def test_a_model_with_nothing_to_prune(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "relu.onnx"
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17]> net (float[1, 2] a) => (float[1, 2] b) { b = Relu (a) }'
        ),
        path,
    )
    result = run("inspect", path)
    assert result.exit_code == 3
    assert "there is no channel to remove" in result.stderr
    assert "prunable: 0 of 0 output channels, in 0 groups" in result.stdout


def test_unknown_size_says_what_to_type_and_typing_it_works(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "dynamic.onnx"
    onnx.save(small_cnn(size="S"), path)
    refused = run("inspect", path)
    assert refused.exit_code == 1
    assert "--input-shape image:1x3x224x224" in refused.stderr
    for shape in ("image:1x3x8x8", "1x3x8x8"):
        assert run("inspect", path, "--input-shape", shape).exit_code == 0


def _missing(folder: Path) -> Path:
    return folder / "missing.onnx"


def _directory(folder: Path) -> Path:
    return folder


def _text(folder: Path) -> Path:
    path = folder / "text.onnx"
    path.write_text("this is no model\n" * 100)
    return path


def _empty(folder: Path) -> Path:
    path = folder / "empty.onnx"
    path.touch()
    return path


def _truncated(folder: Path) -> Path:
    path = folder / "half.onnx"
    whole = small_cnn().SerializeToString()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def _save(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "bad.onnx"
    onnx.save(model, path)
    return path


def _opset(folder: Path) -> Path:
    model = small_cnn()
    model.opset_import[0].version = 99
    return _save(folder, model)


def _ir(folder: Path) -> Path:
    model = small_cnn()
    model.ir_version = 99
    return _save(folder, model)


def _nan(folder: Path) -> Path:
    model = small_cnn()
    weight = numpy_helper.to_array(model.graph.initializer[1]).copy()
    weight[0, 0, 0, 0] = np.nan
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(weight, "w2"))
    return _save(folder, model)


def _external(folder: Path) -> Path:
    path = folder / "external.onnx"
    onnx.save(small_cnn(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def _external_missing(folder: Path) -> Path:
    path = _external(folder)
    (folder / "weights.bin").unlink()
    return path


def _external_outside(folder: Path) -> Path:
    path = _external(folder)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = "../../etc/passwd"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_missing, "missing.onnx' does not exist"),
        (_directory, "is a directory; give the .onnx file itself"),
        (_text, "is not an ONNX model"),
        (_empty, "is not an ONNX model"),
        (_truncated, "is not an ONNX model, or it is truncated"),
        (_opset, "uses opset 99; supported are"),
        (_ir, "has IR version 99; supported are"),
        (_nan, "weight 'w2' of "),
        (_external_missing, "is missing: no file"),
        (_external_outside, "points outside the model's folder"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("command", ["inspect", "compress"])
def test_bad_models(run: Run, tmp_path: Path, command: str, make: object, message: str) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    before = sorted(tmp_path.iterdir())
    result = run(command, path, *(["--target-latency", "50%"] if command == "compress" else []))
    assert result.exit_code == 1
    assert "Error: " in result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert sorted(tmp_path.iterdir()) == before


def test_input_shape_that_does_not_fit(run: Run, model: Path) -> None:
    result = run("inspect", model, "--input-shape", "image:1x4x8x8")
    assert result.exit_code == 1
    assert "input 'image' is declared as" in result.stderr
    unknown = run("inspect", model, "--input-shape", "picture:1x3x8x8")
    assert unknown.exit_code == 1
    assert "no input 'picture'; its inputs are ['image']" in unknown.stderr
