"""Options that have no effect: said on stderr and in the record, or refused where they cannot be meant."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxprune.report import Comparison, Preview, Report
from tests.cli.conftest import Run
from tests.cli.test_end_to_end import pictures
from tests.report.conftest import small_cnn

PRUNE = ("--target-macs", "60%", "--round-to", "2")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--search-budget", "20"), "--search-budget has no effect: it is for the allocations rl and random, and the "),
        (("--rl-pruner", "share=0.02", "--allocation", "uniform"), "--rl-pruner has no effect: it is for the allocat"),
        (("--preprocess", "imagenet"), "--preprocess has no effect: it is for --data, and there is none here"),
    ],
)
def test_an_option_without_effect_is_said(
    run: Run, model: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    result = run("prune", model, *PRUNE, *options, "-o", tmp_path / "small.onnx", "--json")
    assert result.exit_code == 0, result.output
    (warning,) = [warning for warning in Report.from_json(result.stdout).warnings if warning.startswith(said)]
    assert f"Warning: {warning}\n" in result.stderr


def test_a_batch_that_the_model_fixes_is_said_and_not_recorded(run: Run, tmp_path: Path) -> None:
    onnx.save(small_cnn("2"), tmp_path / "fixed.onnx")
    result = run("prune", tmp_path / "fixed.onnx", *PRUNE, "--batch", "8", "-o", tmp_path / "small.onnx", "--json")
    report = Report.from_json(result.stdout)
    assert report.device is not None
    assert report.device.batch == 2
    assert report.after.latency is not None
    assert report.after.latency.input_shapes == {"image": (2, 3, 8, 8)}
    assert any(warning.startswith("--batch 8 has no effect on ") for warning in report.warnings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--search-budget", "20"), "--search-budget has no effect"),
        (("--calibration", "entropy"), "--calibration has no effect: it is for --quantize"),
        (("--teacher", "better", "--stages", "1"), "--teacher better has no effect: it is for the stages after the"),
        (("--epochs", "1", "--stages", "3"), "--epochs 1 is less than one for each of the 3 stages: each trains one"),
    ],
)
def test_compress_without_data_says_it_in_the_dry_run_too(
    run: Run, model: Path, options: tuple[str, ...], said: str
) -> None:
    result = run("compress", model, *PRUNE, *options, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert any(warning.startswith(said) for warning in Preview.model_validate_json(result.stdout).warnings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--stages", "2"), "--stages has no effect: the allocation rl-pruner takes as many as the target asks for"),
        (("--round-to", "8"), "--round-to 8 has no effect: the allocation rl-pruner removes single filters"),
        (("--optimizer", "adamw"), "--optimizer adamw has no effect: the allocation rl-pruner trains by sgd"),
        (("--optimizer", "sgd"), None),
        ((), None),
    ],
)
def test_what_the_published_algorithm_has_its_own_of(
    run: Run, model: Path, tmp_path: Path, options: tuple[str, ...], said: str | None
) -> None:
    published = ("--allocation", "rl-pruner", "--data", pictures(tmp_path))
    target = ("--target-macs", "60%", *(() if "--round-to" in options else ("--round-to", "1")))
    result = run("compress", model, *target, *published, *options, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    found = [text for text in Preview.model_validate_json(result.stdout).warnings if "no effect" in text]
    assert [text[: len(said or "")] for text in found] == [said] * (said is not None)


@pytest.mark.parametrize(
    ("labelled", "columns", "said"),
    [
        (False, 10, "without labels, or --metric,"),
        (True, 1, "without class scores that the labels are for"),
        (True, 10, ""),
    ],
)
def test_a_better_teacher_must_be_told_from_the_other(
    run: Run, tmp_path: Path, labelled: bool, columns: int, said: str
) -> None:
    data = numbers(tmp_path, labelled=labelled)
    model = classifier(tmp_path / "net.onnx", columns)
    options = ("--data", data, "--teacher", "better", "--stages", "2", "--epochs", "2", "--json")
    result = run("compress", model, *PRUNE, *options, "--allocation", "global", "-o", tmp_path / "small.onnx")
    assert result.exit_code == 0, result.output
    report = Report.from_json(result.stdout)
    assert len(report.stages) == 2
    found = [text for text in report.warnings if text.startswith("--teacher better has no effect")]
    assert [said in text for text in found] == [True] * bool(said)
    dry = run("compress", model, *PRUNE, *options, "--dry-run")
    assert [w for w in Preview.model_validate_json(dry.stdout).warnings if "--teacher better" in w] == found


def test_a_metric_tells_which_teacher_is_better(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # What is asked for later is worth more: the stage before is asked for after the original.
    (tmp_path / "taught_metric.py").write_text(
        "asked = []\ndef score(outputs, labels):\n    asked.append(labels.shape)\n    return float(len(asked))\n"
    )
    data = numbers(tmp_path, labelled=True, whole=False)
    model = classifier(tmp_path / "net.onnx", 1)
    taught: list[bytes] = []
    for teacher in ("original", "previous", "better"):
        out = tmp_path / f"{teacher}.onnx"
        options = ("--data", data, "--teacher", teacher, "--stages", "2", "--epochs", "2", "--allocation", "global")
        result = run("compress", model, *PRUNE, *options, "--metric", "taught_metric:score", "-o", out)
        assert result.exit_code == 0, result.output
        assert "--teacher better has no effect" not in result.stderr
        taught.append(out.read_bytes())
    assert taught[2] == taught[1] != taught[0]


def numbers(folder: Path, *, labelled: bool, whole: bool = True) -> Path:
    """Samples of 16 numbers, labelled by whole numbers below 2, or by others."""
    rng = np.random.default_rng(0)
    labels = {"y": rng.integers(0, 2, 80) + (0 if whole else 0.5)} if labelled else {}
    np.savez(folder / "numbers.npz", x=rng.standard_normal((80, 16)).astype(np.float32), **labels)
    return folder / "numbers.npz"


def classifier(path: Path, columns: int) -> Path:
    """A network of two products and a sigmoid."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[n, 16] x) => (float[n, {columns}] y) {{ a = Gemm (x, up)
            r = Relu (a)
            b = Gemm (r, down)
            y = Sigmoid (b) }}"""
    )
    rng = np.random.default_rng(0)
    for name, shape in {"up": (16, 32), "down": (32, columns)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.standard_normal(shape, np.float32), name))
    onnx.save(model, path)
    return path


def test_options_with_an_effect_come_without_a_warning(run: Run, model: Path, tmp_path: Path) -> None:
    options = ("--search-budget", "20", "--preprocess", "none", "--data", pictures(tmp_path))
    result = run("compress", model, *PRUNE, *options, "--epochs", "1", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "no effect" not in result.stderr


def test_given_ratios_leave_nothing_to_search(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "shares.json").write_text(json.dumps({"first": 0.5}))
    result = run("prune", model, "--ratios", tmp_path / "shares.json", "--search-budget", "9", "--dry-run")
    assert "and here the ratios say what goes" in result.stderr


@pytest.mark.parametrize("part", ["--val", "--test"])
def test_parts_of_no_data_are_refused(run: Run, model: Path, tmp_path: Path, part: str) -> None:
    result = run("prune", model, *PRUNE, part, pictures(tmp_path))
    assert result.exit_code == 1
    assert f"{part} without --data" in result.stderr
    assert not model.with_name("cnn.pruned.onnx").exists()


@pytest.mark.parametrize("command", ["prune", "compress"])
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_limit_on_what_no_data_judges_is_refused(run: Run, model: Path, command: str, more: tuple[str, ...]) -> None:
    result = run(command, model, *PRUNE, "--max-drop", "0.1", *more)
    assert result.exit_code == 1, result.output
    assert "--max-drop needs --data" in result.stderr
    assert sorted(path.name for path in model.parent.iterdir()) == [model.name]


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("prune", ("--allocation", "rl"), "allocation 'rl' judges candidates on samples: give data (--data), or take"),
        ("compress", ("--allocation", "rl-pruner"), "allocation 'rl-pruner' judges candidates on samples: give data"),
        ("compress", ("--quantize", "int8"), "int8 takes the ranges of activations on samples: give data (--data)"),
    ],
)
def test_what_needs_data_is_refused_before_anything_is_said_of_it(
    run: Run, model: Path, command: str, options: tuple[str, ...], said: str
) -> None:
    result = run(command, model, *PRUNE[:2], *options)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith(f"Error: {said}")
    assert "no data given" not in result.stderr


def test_a_model_that_is_given_twice_is_measured_once(run: Run, model: Path) -> None:
    result = run("bench", model, model, "--sessions", "1", "--no-memory", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert len(found["models"]) == 1
    assert f"model '{model}' is given more than once, and measured once" in found["warnings"]
    compared = run("compare", model, model, "--sessions", "1", "--samples", "2", "--preprocess", "none", "--json")
    warnings = Comparison.model_validate_json(compared.stdout).warnings
    assert not any("more than once" in warning for warning in warnings)
    assert any("--preprocess has no effect" in warning for warning in warnings)


def test_a_metric_that_ends_the_process_is_an_error_of_the_metric(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaving_metric.py").write_text("import sys\n\n\ndef score(outputs, labels):\n    sys.exit(3)\n")
    told = ("prune", model, *PRUNE, "--data", pictures(tmp_path))
    result = run(*told, "--metric", "leaving_metric:score")
    assert result.exit_code == 1, result.output
    assert "Error: metric 'leaving_metric:score' failed: it called sys.exit(3)" in result.stderr
    assert run(*told, "--metric", "leaving_metric").exit_code == 2


def test_a_hyper_parameter_without_a_value(run: Run, model: Path) -> None:
    result = run("prune", model, *PRUNE, "--rl-pruner", "junk")
    assert result.exit_code == 2
    assert "'junk' gives no value: write NAME=VALUE, such as share=0.02" in result.stderr


def test_what_sequences_and_no_time_leave_without_effect(run: Run, tmp_path: Path) -> None:
    net = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[n, 4, 6] x) => (float[n, 4, 3] y) {
            a = MatMul(x, w)
            r = Relu(a)
            y = MatMul(r, v)
        }""")
    for name, shape in {"w": (6, 8), "v": (8, 3)}.items():
        net.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    onnx.save(net, tmp_path / "net.onnx")
    options = ("--augment", "flip", "--time-budget", "0.000001s", "-o", tmp_path / "small.onnx", "--json")
    result = run("compress", tmp_path / "net.onnx", "--target-macs", "60%", "--round-to", "1", *options)
    assert result.exit_code == 0, result.output
    warnings = Report.from_json(result.stdout).warnings
    assert any(warning.startswith("--augment flip has no effect: it is for pictures") for warning in warnings)
    assert "nothing was trained: the time budget was used up before the first step" in warnings


def test_the_dry_run_of_rl_pruner_does_not_count_its_stages(run: Run, model: Path, tmp_path: Path) -> None:
    options = ("--allocation", "rl-pruner", "--teacher", "previous", "--target-macs", "60%")
    result = run("compress", model, *options, "--data", pictures(tmp_path), "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert not any("--teacher" in warning for warning in Preview.model_validate_json(result.stdout).warnings)


def test_class_scores_of_a_computed_size_are_seen(run: Run, tmp_path: Path) -> None:
    net = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[n, 6] x) => (float[n, k] y) {
            a = Gemm(x, w)
            r = Relu(a)
            b = Gemm(r, v)
            above = Exp(b)
            each = ReduceMax<axes = [0], keepdims = 0>(above)
            some = NonZero(each)
            size = Shape<start = 1>(some)
            t = Concat<axis = 0>(rest, size)
            y = Reshape(b, t)
        }""")
    rng = np.random.default_rng(0)
    arrays = {"w": rng.standard_normal((6, 8)), "v": rng.standard_normal((8, 3))}
    for name, array in arrays.items():
        net.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    net.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), "rest"))
    onnx.save(net, tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=rng.standard_normal((40, 6)).astype(np.float32), y=rng.integers(0, 3, 40))
    options = ("--teacher", "better", "--stages", "2", "--data", tmp_path / "data.npz", "--target-macs", "60%")
    result = run("compress", tmp_path / "net.onnx", *options, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert not any("--teacher" in warning for warning in Preview.model_validate_json(result.stdout).warnings)
