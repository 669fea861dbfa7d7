"""The library's functions with arguments that cannot be meant: every error is one that a caller can catch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

import onnxprune
from onnxprune.errors import ArgumentError, OnnxPruneError, TargetError
from tests.report.conftest import small_cnn

Function = Callable[..., Any]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "cnn.onnx"
    onnx.save(small_cnn(), path)
    return path


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (onnxprune.prune, {"ratio": [0.3]}, "ratio must be a number, or text"),
        (onnxprune.prune, {"ratio": 0.3, "output": 5}, "output must be a path, not 5"),
        (onnxprune.prune, {"ratio": 0.3, "seed": -1}, "seed must be a whole number from 0, not -1"),
        (onnxprune.prune, {"ratio": 0.3, "round_to": "8"}, "round_to must be a whole number, not '8'"),
        (onnxprune.prune, {"ratio": 0.3, "keep": [3]}, r"keep must be text, or several, not \[3\]"),
        (onnxprune.prune, {"ratio": 0.3, "input_shapes": "1x3x8x8"}, "input_shapes must be sizes by the names"),
        (onnxprune.prune, {"ratio": 0.3, "metric": 3}, "metric must be a function, or its name as 'package.module:f"),
        (onnxprune.prune, {"ratio": 0.3, "metric": "mine"}, "metric 'mine' cannot be read; write it like package.mod"),
        (onnxprune.prune, {"ratios": {"first": "half"}}, "ratios must be a file, or shares by patterns"),
        (
            onnxprune.compress,
            {"target_macs": "60%", "epochs": -1},
            "so: epochs must be above 0, not -1",
        ),
        (onnxprune.compress, {"target_macs": "60%", "stages": 1.5}, "stages must be a whole number or 'auto'"),
        (onnxprune.compress, {"target_macs": "60%", "features": math.inf}, "features must be a finite number, not inf"),
        (onnxprune.compress, {"target_macs": "60%", "max_drop": math.nan}, "max_drop must be a finite number, not nan"),
        (onnxprune.prune, {"ratio": 0.3, "max_drop": math.inf}, "max_drop must be a finite number, not inf"),
        (
            onnxprune.bench,
            {"compare": "b.json", "max_regression": "5%"},
            "max_regression must be a finite number, not '5%'",
        ),
        (onnxprune.bench, {"compare": "b.json", "max_regression": math.inf}, "max_regression must be a finite number"),
        (onnxprune.compress, {"target_macs": "60%", "time_budget": math.inf}, "time_budget must be a finite number"),
        (onnxprune.compress, {"target_macs": "60%", "batch_size": 0}, "batch_size must be above 0, not 0"),
        (onnxprune.prune, {"ratio": 0.3, "resume": True}, "resume needs run_dir"),
        (onnxprune.profile, {"budget": "5m"}, "budget must be a finite number, not '5m'"),
        (onnxprune.inspect_model, {"input_shapes": "1x3x8x8"}, "input sizes must be given by the inputs' names"),
    ],
)
def test_what_cannot_be_meant(model: Path, function: Function, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        function(model, **arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: onnxprune.prune(None, ratio=0.3), "model must be a path, not None"),
        (lambda: onnxprune.inspect_model(None), "the model must be the path of an .onnx file, not None"),
        (lambda: onnxprune.bench([]), "there is no model to measure"),
        (lambda: onnxprune.bench([None]), "models must be the path of a model, or several"),
        (lambda: onnxprune.compare("a.onnx", None), "second must be a path, not None"),
    ],
)
def test_no_model(call: Callable[[], object], message: str) -> None:
    with pytest.raises(OnnxPruneError, match=message):
        call()


def test_a_ratio_that_is_no_number(model: Path) -> None:
    with pytest.raises(TargetError, match=r"ratio 'a' cannot be read; write it like 0\.3"):
        onnxprune.prune(model, ratio="a")


def test_a_single_model_and_any_other_number_of_them_are_measured(model: Path) -> None:
    for models in (str(model), model, [model], (path for path in [model])):
        (found,) = onnxprune.bench(models, sessions=1, memory=False).models
        assert found.path == str(model)
