"""What onnx_ir does not read: sparse constants, which become dense, and maps, which are refused with advice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxprune.channels import analyse, prune, verify, verify_reading
from onnxprune.errors import UnsupportedModelError
from onnxprune.graph import load, to_bytes
from onnxprune.latency import predictor

HIDDEN = "a = MatMul(x, w)\nr = Relu(a)\ny = MatMul(r, u)"
INSIDE = """n = ReduceMax<keepdims = 0>(x)
    q = Less(n, n)
    r = If (q) <then_branch = t () => (float[2, 16] o) { o = Neg(x) },
                else_branch = e () => (float[2, 16] p) { p = Add(x, w) }>
    y = MatMul(r, u)"""


def constant(array: np.ndarray, name: str) -> onnx.NodeProto:
    where = numpy_helper.from_array(np.flatnonzero(array), "where")
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(array[array != 0], "values"), where, array.shape)
    return helper.make_node("Constant", [], [name], sparse_value=sparse)


def network(body: str, width: int, kind: str = "float") -> onnx.ModelProto:
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net ({kind}[2, {width}] x) => ({kind}[2, 3] y) {{ {body} }}""")
    dtype = np.float16 if kind == "float16" else np.float32
    weight = np.random.default_rng(1).standard_normal((16, 3)).astype(dtype)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "u"))
    return proto


def weight(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.where(rng.random(shape) < 0.5, rng.standard_normal(shape), 0).astype(np.float32)


@pytest.mark.parametrize("kind", ["float", "float16"])
def test_channels_of_a_sparse_constant_go(kind: str, tmp_path: Path) -> None:
    proto = network(HIDDEN, 8, kind)
    proto.graph.node.insert(0, constant(weight(8, 16).astype(np.float16 if kind == "float16" else np.float32), "w"))
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    verify_reading(tmp_path / "net.onnx", model)
    np.testing.assert_allclose(model.graph.initializers["w"].const_value.numpy(), weight(8, 16), rtol=1e-3)
    channels = analyse(model)
    keep = np.arange(channels.unit_count) % 2 == 0
    assert len(keep) == 16
    assert verify(model, channels, keep, prune(model, channels, keep)).passed


def test_a_sparse_constant_inside_a_branch_is_read(tmp_path: Path) -> None:
    proto = network(INSIDE, 16)
    (branch,) = (a.g for node in proto.graph.node for a in node.attribute if a.name == "else_branch")
    branch.node.insert(0, constant(weight(2, 16), "w"))
    onnx.save(proto, tmp_path / "net.onnx")
    x = np.ones((2, 16), np.float32)
    (y,) = predictor(to_bytes(load(tmp_path / "net.onnx")))((x,))
    np.testing.assert_allclose(y, (x + weight(2, 16)) @ numpy_helper.to_array(proto.graph.initializer[0]), rtol=1e-4)


@pytest.mark.parametrize(("zips", "advice"), [(True, "zipmap=False"), (False, "with tensors in place of maps")])
def test_maps_are_refused(zips: bool, advice: str, tmp_path: Path) -> None:
    proto = network(HIDDEN, 8)
    named = onnx.ValueInfoProto(name="named")
    of_map = named.type.sequence_type.elem_type.map_type
    of_map.key_type, of_map.value_type.tensor_type.elem_type = TensorProto.INT64, TensorProto.FLOAT
    if zips:
        node = helper.make_node("ZipMap", ["y"], ["named"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
        proto.graph.node.append(node)
        proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    (proto.graph.output if zips else proto.graph.input).append(named)
    onnx.save(proto, tmp_path / "net.onnx")
    with pytest.raises(UnsupportedModelError, match=f"has a map, 'named'.*{advice}"):
        load(tmp_path / "net.onnx")
