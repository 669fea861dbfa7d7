"""The shipped sample network is what models/README.md says it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

MODELS = Path(__file__).resolve().parents[2] / "models"
NETWORK = MODELS / "fashion-resnet20.onnx"


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(NETWORK, options, providers=["CPUExecutionProvider"])


def prepared(pixels: np.ndarray) -> np.ndarray:
    """Apply fashion-preprocess.json: bytes (N, 1, 28, 28) to float32 of the same shape."""
    settings = json.loads((MODELS / "fashion-preprocess.json").read_text())
    mean, std = (np.reshape(settings[key], (1, -1, 1, 1)) for key in ("mean", "std"))
    return ((pixels * settings["scale"] - mean) / std).astype(np.float32)


def stated_top1(images: str) -> float:
    """Read an accuracy out of models/README.md."""
    match = re.search(rf"\| {re.escape(images)} \| ([\d.]+) % \|", (MODELS / "README.md").read_text())
    assert match, f"models/README.md states no accuracy on '{images}'"
    return float(match[1])


def test_interface(session: onnxruntime.InferenceSession) -> None:
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(float)", ["batch", 1, 28, 28])
    assert (logits.name, logits.type, logits.shape) == ("logits", "tensor(float)", ["batch", 10])


def test_one_file_at_opset_17_with_batchnorm_folded() -> None:
    model = onnx.load(NETWORK, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert not any(weight.external_data for weight in model.graph.initializer)


@pytest.mark.parametrize(("name", "count"), [("fashion-train", 11_000), ("fashion-test", 2_000)])
def test_data(name: str, count: int) -> None:
    data = np.load(MODELS / f"{name}.npz")
    assert sorted(data.files) == ["x", "y"]
    assert (data["x"].shape, data["x"].dtype) == ((count, 1, 28, 28), np.uint8)
    assert (data["y"].shape, data["y"].dtype) == ((count,), np.int64)
    assert np.bincount(data["y"], minlength=10).min() > 0.08 * count


def test_no_test_picture_is_in_the_training_data() -> None:
    train, test = (
        {picture.tobytes() for picture in np.load(MODELS / f"fashion-{part}.npz")["x"]} for part in ("train", "test")
    )
    assert not train & test


def test_files_stay_small() -> None:
    assert NETWORK.stat().st_size <= 2e6
    assert sum(path.stat().st_size for path in MODELS.glob("*.npz")) <= 6e6


def test_accuracy_is_the_stated_one(session: onnxruntime.InferenceSession) -> None:
    data = np.load(MODELS / "fashion-test.npz")
    batches = np.split(prepared(data["x"]), 10)
    predicted = np.concatenate([session.run(["logits"], {"image": batch})[0].argmax(1) for batch in batches])
    top1 = 100 * float(np.mean(predicted == data["y"]))
    assert top1 == pytest.approx(stated_top1("the 2,000 of `fashion-test.npz`"), abs=0.1)
