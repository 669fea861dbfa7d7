"""What a run refuses, or doubts, of its data before it computes anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.errors import DataError
from tests.pipeline.test_run import Listening, pictures
from tests.report.conftest import small_cnn


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "cnn.onnx"
    onnx.save(small_cnn(), path)
    return path


def mislabelled(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of ten classes, the fourth with the number of an eleventh."""
    x, y = pictures(count)
    y[3] = 10
    return x, y


@pytest.mark.parametrize("operation", [onnxprune.prune, onnxprune.compress])
@pytest.mark.parametrize("part", ["val", "test"])
def test_labels_of_every_part_are_held_against_the_class_scores(model: Path, part: str, operation) -> None:
    observer = Listening()
    message = rf"data \({part} part\) has the label 10, but the model has 10 class scores .* first at index 3"
    with pytest.raises(DataError, match=message):
        operation(model, target_macs="60%", data=pictures(), **{part: mislabelled(9)}, observer=observer)
    assert observer.stages == ["reading the model", "reading data"]


def test_labels_of_one_file_too(model: Path, tmp_path: Path) -> None:
    x, y = mislabelled(64)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    with pytest.raises(DataError, match=r"d\.npz' \((train|val|test) part\) has the label 10, .* first at index 3"):
        onnxprune.prune(model, ratio=0.3, data=tmp_path / "d.npz")


def test_a_model_without_class_scores_takes_any_class_number(tmp_path: Path) -> None:
    net = small_cnn()
    wider = onnx.helper.make_node("Unsqueeze", [net.graph.output[0].name, "axes"], ["map"])
    net.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2], np.int64), "axes"))
    net.graph.node.append(wider)
    net.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("map", 1, ["n", 10, 1]))
    onnx.save(net, tmp_path / "map.onnx")
    report = onnxprune.prune(tmp_path / "map.onnx", ratio=0.3, data=mislabelled(64), importance="l1").report
    assert report.after.metric is not None
    assert report.after.metric.name == "normalised agreement"


@pytest.mark.parametrize(("count", "told"), [(1, "1 sample only, so one of them is 100 points"), (64, "1.56 points")])
def test_few_test_samples_are_warned_of(model: Path, count: int, told: str) -> None:
    report = onnxprune.prune(model, ratio=0.3, data=pictures(), test=pictures(count), importance="l1").report
    (warning,) = [warning for warning in report.warnings if "the test part" in warning]
    assert told in warning


def test_enough_test_samples_are_not(model: Path) -> None:
    report = onnxprune.prune(model, ratio=0.3, data=pictures(), test=pictures(100), importance="l1").report
    assert not [warning for warning in report.warnings if "the test part" in warning]
