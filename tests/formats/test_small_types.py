"""Networks quantised to other types than int8: 4-bit integers, 8-bit floats, and types that only an attribute names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxprune
from onnxprune.graph import load, real_values, store_real_values, to_bytes, twin_of, without_rounding

X = np.random.default_rng(1).standard_normal((64, 3, 6, 6)).astype(np.float32)
WEIGHTS = {"INT4": (-7, 8), "INT8": (-90, 91), "FLOAT8E4M3FN": (-90, 91)}


def network(body: str, quantised: dict[str, tuple[int, ...]], kind: str, **others: object) -> onnx.ModelProto:
    """Make a network from `x` to `y`, with random weights of some shapes and a type, and other constants."""
    model = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["": 21]>
        net (float[n, 3, 6, 6] x) => (float[n, 5, 6, 6] y) {{ {body} }}""")
    rng = np.random.default_rng(0)
    for name, shape in quantised.items():
        entries = rng.integers(*WEIGHTS[kind], shape).astype(float).flatten().tolist()
        entries = [int(entry) for entry in entries] if kind.startswith("INT") else entries
        model.graph.initializer.append(helper.make_tensor(name, getattr(TensorProto, kind), shape, entries))
    for name, value in others.items():
        array = rng.standard_normal(value).astype(np.float32) if isinstance(value, tuple) else np.asarray(value)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def weight_only(kind: str, folder: Path) -> Path:
    body = """a = Conv(x, first)
        r = Relu(a)
        wd = DequantizeLinear<axis = 0>(w, s)
        b = Conv(r, wd)
        t = Relu(b)
        y = Conv(t, last)"""
    scales = np.linspace(0.01, 0.02, 16, dtype=np.float32)
    model = network(body, {"w": (16, 12, 3, 3)}, kind, first=(12, 3, 1, 1), s=scales, last=(5, 16, 3, 3))
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def outputs(model: ir.Model | Path) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = str(model) if isinstance(model, Path) else to_bytes(model)
    return np.asarray(ort.InferenceSession(source, options, providers=["CPUExecutionProvider"]).run(None, {"x": X})[0])


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_are_stored_in_their_type(kind: str, tmp_path: Path) -> None:
    value = load(weight_only(kind, tmp_path)).graph.initializers["w"]
    before, real = value.const_value.numpy().copy(), real_values(value)
    store_real_values(value, real)
    np.testing.assert_array_equal(value.const_value.numpy(), before)
    store_real_values(value, real * 100)
    limits = {"INT4": (-8, 7), "INT8": (-128, 127), "FLOAT8E4M3FN": (-448, 448)}[kind]
    stored = value.const_value.numpy().astype(float)
    assert (stored.min(), stored.max()) == limits
    assert value.const_value.dtype == ir.DataType[kind]


@pytest.mark.parametrize("kind", WEIGHTS)
def test_healed_weights_use_the_range_of_their_type(kind: str, tmp_path: Path) -> None:
    model = weight_only(kind, tmp_path)
    want, errors = outputs(model), {}
    for heal in (False, True):
        result = onnxprune.prune(model, output=tmp_path / f"{heal}.onnx", ratio=0.3, data=X, heal=heal, round_to=1)
        errors[heal] = float(np.square(outputs(result.output) - want).mean())
    weight = load(tmp_path / "True.onnx").graph.initializers["w"].const_value
    assert weight.dtype == ir.DataType[kind]
    highest = np.abs(weight.numpy().astype(float)).max()
    assert highest == {"INT4": 7, "INT8": 127, "FLOAT8E4M3FN": 448}[kind]
    assert errors[True] < errors[False]


@pytest.mark.parametrize("attribute", ["", "<output_dtype = 3>", "<output_dtype = 22>", "<output_dtype = 5>"])
def test_the_type_that_an_attribute_names_says_where_values_are_clipped(attribute: str, tmp_path: Path) -> None:
    body = f"""a = Conv(x, first)
        q = QuantizeLinear{attribute}(a, s)
        d = DequantizeLinear(q, s)
        wd = DequantizeLinear(w, s)
        y = Conv(d, wd)"""
    model = network(body, {"w": (5, 8, 1, 1)}, "INT8", first=(8, 3, 1, 1), s=np.float32(0.05))
    onnx.save(model, tmp_path / "model.onnx")
    smooth = without_rounding(load(tmp_path / "model.onnx"))
    assert smooth is not None
    want = outputs(tmp_path / "model.onnx")
    assert np.abs(outputs(smooth) - want).max() < 0.05 * np.abs(want).max()


@pytest.mark.parametrize("kind", ["INT4", "FLOAT8E4M3FN"])
def test_activations_of_small_types_have_a_float_twin(kind: str, tmp_path: Path) -> None:
    body = """a = Conv(x, first)
        q = QuantizeLinear(a, s, z)
        d = DequantizeLinear(q, s, z)
        y = Conv(d, last)"""
    scale = np.float32(0.5 if kind == "INT4" else 0.02)
    model = network(body, {}, kind, first=(8, 3, 1, 1), last=(5, 8, 1, 1), s=scale)
    model.graph.initializer.append(helper.make_tensor("z", getattr(TensorProto, kind), (), [0]))
    onnx.save(model, tmp_path / "model.onnx")
    network_, want = load(tmp_path / "model.onnx"), outputs(tmp_path / "model.onnx")
    twin = twin_of(network_)
    assert twin is not None
    for smooth in (twin.model, without_rounding(network_)):
        assert smooth is not None
        assert np.square(outputs(smooth) - want).mean() < 0.05 * np.square(want).mean()
