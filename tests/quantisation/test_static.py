"""Float networks made int8: what is quantised, how closely, and what stays as it was."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from onnxprune.cores import session_threads
from onnxprune.errors import QuantisationError
from onnxprune.graph import is_quantised, load, save, twin_of
from onnxprune.healing import requantised
from onnxprune.latency import predictor
from onnxprune.quantisation import CALIBRATIONS, Calibration, Scheme, quantise, schemes
from onnxprune.training import Batch
from tests.residual import residual_cnn

SCHEMES = [Scheme(), Scheme(signed=True), Scheme(signed=True, symmetric=True), Scheme(narrow=True)]


@pytest.fixture
def model(tmp_path: Path) -> ir.Model:
    proto = residual_cnn()
    proto.metadata_props.add(key="labels", value="cats, dogs")
    onnx.save(proto, tmp_path / "float.onnx")
    return load(tmp_path / "float.onnx")


def samples(count: int = 4) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"image": rng.standard_normal((8, 3, 8, 8)).astype(np.float32)} for _ in range(count)]


def outputs(model: ir.Model, path: Path) -> np.ndarray:
    save(model, path)
    return predictor(path)((samples()[0]["image"],))[0]


@pytest.mark.parametrize("calibration", CALIBRATIONS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_outputs_stay_close(model: ir.Model, scheme: Scheme, calibration: Calibration, tmp_path: Path) -> None:
    result = quantise(model, samples(), scheme, calibration)
    assert is_quantised(result)
    want, got = outputs(model, tmp_path / "a.onnx"), outputs(result, tmp_path / "b.onnx")
    assert np.abs(want - got).mean() < 0.1 * np.abs(want).mean()


def test_weights_have_a_scale_for_each_channel_and_little_else_changes(
    model: ir.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    before = model.graph.initializers["w1"].const_value
    result = quantise(model, samples(), calibration="entropy")
    weight = result.graph.initializers["w1_quantized"].const_value
    assert weight is not None
    assert before is not None
    assert weight.dtype == ir.DataType.INT8
    assert result.graph.initializers["w1_scale"].shape == (before.shape[0],)
    assert dict(result.metadata_props) == {"labels": "cats, dogs"}
    assert dict(result.opset_imports) == dict(model.opset_imports)
    assert [v.name for v in result.graph.inputs] == [v.name for v in model.graph.inputs]
    assert not is_quantised(model)
    assert capsys.readouterr().out == ""


def test_the_same_network_gives_the_same_integers(model: ir.Model, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(quantise(model, samples()), tmp_path / f"{name}.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_what_the_tools_refuse_is_said(model: ir.Model) -> None:
    with pytest.raises(QuantisationError, match="cannot quantise"):
        quantise(model, [{"another": np.zeros(1, np.float32)}])


@pytest.mark.parametrize(
    ("provider", "cpu", "system", "expected"),
    [
        ("CPUExecutionProvider", "EPYC avx avx2 avx512_vnni", "Linux x86_64", ["U8S8"]),
        ("CPUExecutionProvider", "old avx avx2", "Linux x86_64", ["U8S8 with 7-bit weights"]),
        ("CPUExecutionProvider", "Intel Core i7 Intel64 Family 6", "Windows AMD64", ["U8S8 with 7-bit weights"]),
        ("CPUExecutionProvider", "Cortex asimd asimddp", "Linux aarch64", ["U8S8", "S8S8"]),
        ("CPUExecutionProvider", "Apple M1", "Darwin arm64", ["U8S8", "S8S8"]),
        ("TensorrtExecutionProvider", "EPYC avx", "Linux x86_64", ["S8S8"]),
    ],
)
def test_the_device_decides_which_integers_are_tried(provider: str, cpu: str, system: str, expected: list[str]) -> None:
    assert [str(scheme) for scheme in schemes(provider, cpu, system)] == expected


@pytest.mark.parametrize("scheme", SCHEMES)
def test_new_scales_keep_the_weights_range(model: ir.Model, scheme: Scheme) -> None:
    made = quantise(model, samples(), scheme)
    twin = twin_of(made)
    assert twin is not None
    images = samples()[0]["image"]
    healed = requantised(made, twin, [Batch((images,), None, np.arange(len(images)))])
    before, after = (
        [
            int(np.abs(v.const_value.numpy().astype(int)).max())
            for n, v in m.graph.initializers.items()
            if n[0] == "w" and n.endswith("_quantized")
        ]
        for m in (made, healed)
    )
    assert after == before
    assert (max(after) <= 64) == scheme.narrow


def test_the_tools_keep_to_the_cores_of_this_process(model: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, source: object, sess_options: onnxruntime.SessionOptions, **others: object) -> None:
            opened.append(sess_options.intra_op_num_threads)
            super().__init__(source, sess_options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    usual = onnxruntime.SessionOptions
    quantise(model, samples())
    assert set(opened) == {session_threads()}
    assert onnxruntime.SessionOptions is usual
