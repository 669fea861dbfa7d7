"""Half-precision networks: pruned, healed and trained in float32, and half precision again afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto

import onnxprune
from onnxprune.channels import analyse, prune, verify
from onnxprune.graph import in_float32, load, random_inputs, save
from onnxprune.importance import CalibrationBatch, score_units
from onnxprune.training import Batch
from tests.formats.conversion import cast_weights
from tests.residual import residual_cnn

TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


@pytest.fixture(params=[("fp16", True), ("fp16", False), ("bf16", True), ("bf16", False)], ids=str)
def half(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A network in half precision, with float32 or half-precision inputs and outputs."""
    kind, borders = request.param
    onnx.save(cast_weights(residual_cnn(), TYPES[kind], borders=borders), tmp_path / "half.onnx")
    onnx.save(residual_cnn(), tmp_path / "float.onnx")
    return tmp_path / "half.onnx"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((192, 1, 8, 8)), 3, axis=1) + 0.1 * rng.standard_normal((192, 3, 8, 8))
    np.savez(tmp_path / "data.npz", x=x.astype(np.float32), y=rng.integers(0, 10, 192))
    return tmp_path / "data.npz"


def weight_types(model: ir.Model) -> dict[str, ir.DataType]:
    return {name: value.const_value.dtype for name, value in model.graph.initializers.items()}


def test_the_float32_copy_computes_the_same(half: Path) -> None:
    model = load(half)
    before = weight_types(model)
    copy = in_float32(model)
    assert set(weight_types(copy).values()) <= {ir.DataType.FLOAT, ir.DataType.INT64}
    assert weight_types(model) == before
    feeds = random_inputs(copy, {"image": (2, 3, 8, 8)}, 0)
    want, got = outputs(in_float32(load(half.with_name("float.onnx"))), feeds), outputs(copy, feeds)
    np.testing.assert_allclose(got, want, rtol=0.1, atol=0.05 * np.abs(want).max())


def outputs(model: ir.Model, feeds: dict[str, np.ndarray]) -> np.ndarray:
    import onnxruntime

    data = ir.serde.serialize_model(model).SerializeToString()
    return onnxruntime.InferenceSession(data).run(None, feeds)[0]


def test_a_float_model_is_its_own_copy(half: Path) -> None:
    model = load(half.with_name("float.onnx"))
    assert in_float32(model) is model


@pytest.mark.parametrize("seed", range(2))
def test_removal_equals_silencing_in_float32(half: Path, seed: int, tmp_path: Path) -> None:
    model = load(half)
    channels = analyse(model)
    keep = np.random.default_rng(seed).random(channels.unit_count) < 0.6
    for group in channels.groups:
        keep[group.units[0]] = True
    save(prune(model, channels, keep), tmp_path / "pruned.onnx")
    pruned = load(tmp_path / "pruned.onnx")
    verification = verify(model, channels, keep, pruned, seed=seed)
    assert verification.compared == "in float32"
    assert verification.relative_error < 1e-5
    assert weight_types(pruned) == weight_types(model)


def calibration() -> list[CalibrationBatch]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 3, 8, 8)).astype(np.float32)
    return [Batch((x,), rng.integers(0, 10, 64), np.arange(64))]


@pytest.mark.parametrize("criterion", ["l1", "l2", "reader_l1", "fpgm", "variance", "taylor", "reconstruction"])
def test_scores_are_those_of_the_float_network(half: Path, criterion: str) -> None:
    whole, small = (load(half.with_name(name)) for name in ("float.onnx", "half.onnx"))
    expected = score_units(criterion, whole, analyse(whole), calibration=calibration())
    scores = score_units(criterion, small, analyse(small), calibration=calibration())
    np.testing.assert_allclose(scores, expected, rtol=0.2, atol=0.1)


def test_batch_norm_scales_are_read(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    net (float16[n, 3, 4, 4] x) => (float16[n, 2, 4, 4] y) {
        a = Conv(x, w)
        b = BatchNormalization(a, g, s, m, v)
        y = Conv(b, u)
    }"""
    model = onnx.parser.parse_model(text)
    scale = np.linspace(0.5, 2, 4).astype(np.float16)
    constants = {"w": np.ones((4, 3, 1, 1)), "g": scale, "s": np.ones(4), "m": np.ones(4), "v": np.ones(4)}
    for name, array in {**constants, "u": np.ones((2, 4, 1, 1))}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array, np.float16), name))
    onnx.save(model, tmp_path / "m.onnx")
    loaded = load(tmp_path / "m.onnx")
    scores = score_units("bn_scale", loaded, analyse(loaded))
    np.testing.assert_allclose(scores, scale / scale.mean(), rtol=1e-3)


@pytest.mark.parametrize("heal", [False, True])
def test_prune_gives_half_precision_back(half: Path, data: Path, heal: bool, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    result = onnxprune.prune(half, output=output, ratio=0.3, data=data, heal=heal, round_to=1)
    before, after = load(half), load(output)
    assert weight_types(after) == weight_types(before)
    assert [v.dtype for v in after.graph.outputs] == [v.dtype for v in before.graph.outputs]
    assert result.report.verification.compared == "in float32"


def test_compress_trains_in_float32_and_writes_half_precision(half: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    result = onnxprune.compress(
        half, output=output, target_macs="70%", data=data, round_to=1, epochs=1, allocation="uniform"
    )
    assert weight_types(load(output)) == weight_types(load(half))
    assert result.report.training is not None
    assert result.report.export_check is not None
    assert result.report.export_check.relative_error < 1e-3


@pytest.mark.parametrize(
    "where", [{}, {"provider": "CPUExecutionProvider"}, {"device": "local?provider=CPU"}], ids=["cpu", "full", "spec"]
)
def test_bfloat16_on_the_cpu_is_said_to_be_measured_on_copies(where: dict[str, str], tmp_path: Path) -> None:
    onnx.save(cast_weights(residual_cnn(), TensorProto.BFLOAT16), tmp_path / "m.onnx")
    result = onnxprune.prune(tmp_path / "m.onnx", output=tmp_path / "out.onnx", ratio=0.3, round_to=1, **where)
    assert any("bfloat16" in warning for warning in result.report.warnings)
