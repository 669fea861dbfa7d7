"""Options reach the pipeline, results and errors reach the terminal. The pipeline itself is replaced here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from onnxprune import errors, pipeline
from onnxprune.cli.main import main
from onnxprune.report import BenchedModel, BenchResult
from tests.cli.conftest import Run
from tests.report.records import latency, make_report

Calls = list[dict[str, Any]]

TERMINAL = {"quiet", "as_json", "summary", "junit", "outputs", "dry_run"}
"""Options that say how a result is shown, of which the pipeline knows nothing."""


def fake_result(output: str, **changes: Any) -> pipeline.CompressResult:
    return pipeline.CompressResult(Path(output), make_report(**changes))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Replaces compress and prune by functions that record their arguments."""
    recorded: Calls = []

    def record(operation: str) -> Callable[..., pipeline.CompressResult]:
        def function(model: str, **options: Any) -> pipeline.CompressResult:
            recorded.append({"operation": operation, "model": model, **options})
            return fake_result(options["output"])

        return function

    monkeypatch.setattr(pipeline, "compress", record("compress"))
    monkeypatch.setattr(pipeline, "prune", record("prune"))
    return recorded


def fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(pipeline, "compress", fail)


@pytest.mark.parametrize("command", ["compress", "prune"])
def test_options_are_the_pipelines_arguments_with_the_same_defaults(command: str) -> None:
    typed = main.commands[command].make_context(command, ["model.onnx"]).params
    arguments = inspect.signature(getattr(pipeline, command)).parameters
    assert {*typed} - TERMINAL == {*arguments} - {"command", "observer", "resume"}
    defaults = {name: value for name, value in typed.items() if name not in TERMINAL | {"model", "input_shapes"}}
    assert defaults == {name: arguments[name].default for name in defaults}


def test_every_option_arrives(run: Run, calls: Calls) -> None:
    result = run(
        *("compress", "dir/net.onnx", "--target-latency", "10ms", "-o", "small.onnx", "--report", "r.json"),
        *("--data", "pictures", "--val", "v.npz", "--test", "t.npz", "--preprocess", "imagenet"),
        *(
            "--input-shape",
            "image:1x3x8x8",
            "--importance",
            "fpgm",
            "--allocation",
            "uniform",
            "--search-budget",
            "40",
            "--round-to",
            "8",
        ),
        *(
            "--device",
            "ssh://pi@host",
            "--provider",
            "cuda",
            "--threads",
            "2",
            "--batch",
            "4",
            "--epochs",
            "3",
            "--batch-size",
            "16",
        ),
        *("--learning-rate", "0.1", "--optimizer", "sgd", "--time-budget", "5m", "--max-drop", "1.5"),
        *("--seed", "9", "--run-dir", "run", "--stages", "2", "--teacher", "better"),
        *(
            "--no-heal",
            "--no-branches",
            "--rl-pruner",
            "share=0.1",
            "--rl-pruner",
            "rounds=2",
            "--metric",
            "my.eval:map50",
            "--features",
            "0.5",
            "--quantize",
            "int8",
            "--calibration",
            "entropy",
            "--augment",
            "flip",
            "--augment",
            "shift",
        ),
        *(
            "--keep",
            "stem*",
            "--keep",
            "fc",
            "--only",
            "layer?.*",
            "--unit",
            "mlp",
            "--unit",
            "heads",
            "--max-ratio",
            "0.5",
            "--min-channels",
            "16",
        ),
    )
    assert result.exit_code == 0, result.output
    (call,) = calls
    assert call.pop("observer") is not None
    assert call.pop("command").startswith("onnxprune")
    assert call == {
        **{"operation": "compress", "model": "dir/net.onnx", "target_latency": "10ms", "target_macs": None},
        **{"target_params": None, "target_size": None, "ratio": None, "output": "small.onnx", "report": "r.json"},
        **{"data": "pictures", "val": "v.npz", "test": "t.npz", "preprocess": "imagenet"},
        **{"input_shapes": {"image": (1, 3, 8, 8)}, "importance": "fpgm", "allocation": "uniform"},
        **{
            "search_budget": "40",
            "round_to": 8,
            "device": "ssh://pi@host",
            "provider": "cuda",
            "threads": 2,
            "batch": 4,
            "epochs": 3,
            "batch_size": 16,
        },
        **{"learning_rate": 0.1, "optimizer": "sgd", "time_budget": 300.0, "max_drop": 1.5, "seed": 9},
        **{"run_dir": "run", "resume": False, "stages": 2, "teacher": "better"},
        **{
            "heal": False,
            "branches": False,
            "features": 0.5,
            "quantize": "int8",
            "calibration": "entropy",
            "augment": ("flip", "shift"),
            "metric": "my.eval:map50",
            "rl_pruner": ("share=0.1", "rounds=2"),
        },
        **{
            "keep": ("stem*", "fc"),
            "only": ("layer?.*",),
            "max_ratio": 0.5,
            "min_channels": 16,
            "ratios": None,
            "units": ("mlp", "heads"),
        },
    }


def test_output_and_report_stand_beside_the_model(run: Run, calls: Calls) -> None:
    run("prune", "dir/net.onnx", "--ratio", "0.3")
    run("prune", "dir/net.onnx", "--target-size", "3MB", "-o", "out/small.onnx")
    assert (calls[0]["output"], calls[0]["report"]) == ("dir/net.pruned.onnx", "dir/net.pruned.report.json")
    assert calls[0]["ratio"] == 0.3
    assert (calls[1]["output"], calls[1]["report"]) == ("out/small.onnx", "out/small.report.json")


def test_final_table_and_files_are_printed(run: Run, calls: Calls) -> None:
    result = run("compress", "net.onnx", "--target-latency", "50%")
    for text in (
        "latency p50",
        "latency p90",
        "MACs",
        "parameters",
        "file size",
        "-0.42 points",
        "-52 % (2.1x)",
    ):
        assert text in result.stdout
    assert "target latency: asked for 50% = 0.620 ms, reached 0.600 ms" in result.stdout
    assert "wrote net.pruned.onnx and net.pruned.report.json" in result.stdout
    assert "Warning: trained on few pictures" in result.stderr


def test_verbose_shows_the_groups_and_quiet_nothing(run: Run, calls: Calls) -> None:
    assert "conv1 + 1 more" in run("compress", "net.onnx", "--target-latency", "50%", "-v").stdout
    assert "conv1" not in run("compress", "net.onnx", "--target-latency", "50%").stdout
    quiet = run("compress", "net.onnx", "--target-latency", "50%", "-q")
    assert quiet.stdout == ""
    assert quiet.stderr == "Warning: trained on few pictures\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ModelFileError("'x.onnx' does not exist"), 1),
        (errors.DataError("the folder is empty"), 1),
        (errors.DeviceError("no provider 'cuda'"), 1),
        (errors.OutputError("the disk is full"), 1),
        (errors.TargetError("nonsense"), 2),
        (errors.TargetOutOfReachError("the lowest is 3 ms"), 3),
        (errors.NothingToPruneError("no channel"), 3),
        (errors.MaxDropExceededError("lost 3 points"), 4),
    ],
)
def test_errors_become_a_message_and_an_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: errors.OnnxPruneError, code: int
) -> None:
    fails_with(monkeypatch, error)
    result = run("compress", "x.onnx", "--target-latency", "50%", "-v")
    assert result.exit_code == code
    assert result.stderr.endswith(f"Error: {error}\n")
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_interrupted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, KeyboardInterrupt())
    result = run("compress", "x.onnx", "--target-latency", "50%")
    assert result.exit_code == 130
    assert result.stderr.endswith("Interrupted\n")


def test_ctrl_c_in_the_files_for_ci(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fails_with(monkeypatch, KeyboardInterrupt())
    files = tmp_path / "summary.md", tmp_path / "junit.xml"
    run("compress", "m.onnx", "--target-latency", "10ms", "--summary", files[0], "--junit", files[1])
    for file in files:
        assert "Interrupted" in file.read_text()
        assert "KeyboardInterrupt" not in file.read_text()


def test_unexpected_error_says_how_to_get_the_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, RuntimeError("broken inside"))
    plain = run("compress", "x.onnx", "--target-latency", "50%")
    assert plain.exit_code == 1
    assert "this is a bug in onnxprune: RuntimeError: broken inside" in plain.stderr
    assert "with -v for the traceback" in plain.stderr
    assert "Traceback" not in plain.stderr
    verbose = run("compress", "x.onnx", "--target-latency", "50%", "-v")
    assert verbose.exit_code == 1
    assert "Traceback (most recent call last)" in verbose.stderr


def test_bench(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: Calls = []

    def bench(models: tuple[str, ...], **options: Any) -> BenchResult:
        recorded.append({"models": models, **options})
        report = make_report()
        assert report.device is not None
        rows = tuple(
            BenchedModel(path=m, file_bytes=1, macs=2, parameters=3, latency=latency(1.0 + i), ratio=1.0 + i)
            for i, m in enumerate(models)
        )
        return BenchResult(onnxprune_version="0", environment=report.environment, device=report.device, models=rows)

    monkeypatch.setattr(pipeline, "bench", bench)
    result = run("bench", "a.onnx", "b.onnx", "--threads", "2", "--sessions", "3")
    assert result.exit_code == 0, result.output
    assert "a.onnx" in result.stdout
    assert "2.00 ms" in result.stdout
    as_json = BenchResult.model_validate_json(run("bench", "a.onnx", "--json").stdout)
    assert as_json.models[0].path == "a.onnx"
    assert recorded[0].pop("observer") is not None
    assert recorded[0] == {
        **{"models": ("a.onnx", "b.onnx"), "input_shapes": None, "device": "local", "provider": None},
        **{"threads": 2, "batch": 1, "io_binding": None, "sessions": 3, "per_layer": False, "memory": True},
        **{"compare": None, "max_regression": 0.05, "force": False, "report": None},
    }


def test_bench_needs_a_model(run: Run) -> None:
    result = run("bench")
    assert result.exit_code == 2
    assert "Missing argument 'MODEL...'" in result.stderr


def test_shape_without_a_name_goes_to_the_only_input(run: Run, calls: Calls, model: Path) -> None:
    run("prune", model, "--ratio", "0.3", "--input-shape", "1x3x8x8")
    assert calls[0]["input_shapes"] == {"image": (1, 3, 8, 8)}


def test_shape_without_a_name_is_refused_where_there_are_several_inputs(run: Run, calls: Calls, tmp_path: Path) -> None:
    path = tmp_path / "two.onnx"
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17]> net (float[1, 2] a, float[1, 2] b) => (float[1, 2] c) '
            "{ c = Add (a, b) }"
        ),
        path,
    )
    result = run("prune", path, "--ratio", "0.3", "--input-shape", "1x2")
    assert result.exit_code == 2
    assert "has 2 inputs (a, b); say which one" in result.stderr
    assert calls == []


def test_demo_compresses_the_sample_network(
    run: Run, calls: Calls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from onnxprune.cli import demo

    files = {what: tmp_path / name for what, name in demo.FILES.items()}
    monkeypatch.setattr(demo, "sample_files", lambda _: files)
    result = run("demo", "-o", tmp_path / "out", "--seed", "3")
    assert result.exit_code == 0, result.output
    (call,) = calls
    assert call["operation"] == "compress"
    assert call["model"].endswith("fashion-resnet20.onnx")
    assert (call["target_latency"], call["seed"]) == ("50%", 3)
    assert call["data"].endswith("fashion-train.npz")
    assert call["test"].endswith("fashion-test.npz")
    assert call["preprocess"].endswith("fashion-preprocess.json")
    assert call["output"] == str(tmp_path / "out" / "fashion-resnet20.pruned.onnx")
    assert (tmp_path / "out").is_dir()
    assert result.stdout.index("compresses a trained network to half its latency") < result.stdout.index("latency p50")
    assert "onnxprune compress model.onnx" in result.stdout.splitlines()[-1]


def test_demo_outside_of_a_checkout(run: Run, calls: Calls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from onnxprune.cli import demo

    monkeypatch.setattr(demo, "MODELS", (tmp_path / "site-packages" / "models", Path("models")))
    monkeypatch.chdir(tmp_path)
    result = run("demo", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "(fashion-resnet20.onnx, " in result.stderr
    assert "nor in 'models'" in " ".join(result.stderr.split())
    assert "git checkout" in " ".join(result.stderr.split())
    assert calls == []


def test_demo_of_an_installed_package_in_a_checkout(
    run: Run, calls: Calls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from onnxprune.cli import demo

    monkeypatch.setattr(demo, "MODELS", (tmp_path / "site-packages" / "models", *demo.MODELS[1:]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    for name in demo.FILES.values():
        (tmp_path / "models" / name).touch()
    assert run("demo", "-o", tmp_path / "out").exit_code == 0
    (call,) = calls
    assert call["model"] == str(Path("models", "fashion-resnet20.onnx"))
