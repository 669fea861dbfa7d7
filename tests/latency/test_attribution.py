"""Times of kernels come back to the layers of the file: what onnxruntime fuses, renames and inserts."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxprune.graph import load, random_inputs, read_unchanged, resolve_input_shapes
from onnxprune.latency import LocalDevice, MeasureOptions, NodeProfile, layer_times
from onnxprune.latency.attribution import LayerTime
from onnxprune.latency.inside import NodeTime
from tests.report.conftest import small_cnn

MODELS = Path(__file__).parents[2] / "models"


def graph(text: str) -> ir.Graph:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> agraph {text}')
    return ir.serde.deserialize_model(model).graph


def attributed(text: str, *kernels: tuple[str, str, float]) -> dict[str, tuple[str, tuple[str, ...], float]]:
    nodes = tuple(NodeTime(name, op, "CPU", ms) for name, op, ms in kernels)
    layers = layer_times(graph(text), NodeProfile(1, 1.0, nodes))
    assert sum(layer.share for layer in layers) == pytest.approx(1)
    return {layer.name or layer.op: (layer.op, layer.fused, layer.ms) for layer in layers}


RESIDUAL = """(float[1, 8, 4, 4] x, float[8, 8, 1, 1] w) => (float[1, 8, 4, 4] y) {
    [conv1] a = Conv(x, w)
    [relu1] b = Relu(a)
    [shortcut] s = Conv(x, w)
    [conv2] c = Conv(b, w)
    [add] d = Add(c, s)
    [relu2] y = Relu(d)
}"""


def test_a_conv_that_is_named_by_its_activation() -> None:
    found = attributed(
        RESIDUAL,
        *(("b_nchwc", "Conv", 3.0), ("s_nchwc", "Conv", 1.0), ("c_nchwc", "Conv", 2.0)),
        *(("ReorderOutput_token_3", "ReorderOutput", 0.5), ("ReorderOutput", "ReorderOutput", 0.25)),
    )
    assert found == {
        "conv1": ("Conv", ("Relu",), 3.0),
        "shortcut": ("Conv", (), 1.0),
        "conv2": ("Conv", ("Add", "Relu"), 2.0),
        "ReorderOutput": ("ReorderOutput", (), 0.75),
    }


def test_what_is_not_fused_stands_by_itself() -> None:
    found = attributed(
        RESIDUAL,
        *(("conv1", "Conv", 1.0), ("relu1", "Relu", 0.5), ("shortcut", "Conv", 1.0), ("conv2", "Conv", 1.0)),
        *(("add", "Add", 0.5), ("relu2", "Relu", 0.5)),
    )
    assert found["relu1"] == ("Relu", (), 0.5)
    assert found["add"] == ("Add", (), 0.5)
    assert found["conv2"] == ("Conv", (), 1.0)


def test_fusions_that_are_named_after_a_node_and_int8() -> None:
    text = """(float[4, 8] x, float[8, 8] w, float[8] b) => (float[4, 8] z) {
        [fc] a = MatMul(x, w)
        [bias] y = Add(a, b)
        [out] z = MatMul(y, w)
    }"""
    found = attributed(text, ("fc/MatMulAddFusion", "Gemm", 1.0), ("out_token_7", "QLinearMatMul", 2.0))
    assert found == {"fc": ("MatMul", ("Add",), 1.0), "out": ("MatMul", (), 2.0)}
    # A name that onnxruntime made and that only looks like one of the file's.
    other = attributed(text, ("fc", "Gemm", 1.0), ("out_token_7", "Transpose", 2.0))
    assert other["Transpose"] == ("Transpose", (), 2.0)


def test_a_node_without_a_name_is_known_by_its_number() -> None:
    text = """(float[4, 8] x, float[8, 8] w) => (float[4, 8] y) {
        c = Constant <value_float = 1.0>()
        a = MatMul(x, w)
        b = Mul(a, c)
        y = MatMul(b, w)
    }"""
    found = attributed(text, ("MatMul_0", "MatMul", 1.0), ("Mul_1", "Mul", 0.5), ("MatMul_2", "MatMul", 2.0))
    assert found == {"a": ("MatMul", (), 1.0), "b": ("Mul", (), 0.5), "y": ("MatMul", (), 2.0)}


def measured(path: Path) -> tuple[LayerTime, ...]:
    model = load(path)
    feeds = random_inputs(model, resolve_input_shapes(model), 0)
    profile = LocalDevice().profile("m", path, feeds, MeasureOptions())
    assert profile.runs >= 10
    assert 0 < sum(node.ms for node in profile.nodes) < profile.run_ms
    return layer_times(read_unchanged(path).graph, profile)


@pytest.mark.parametrize("name", ["fashion-resnet20.onnx", "benchmarks/mobilenet.onnx"])
def test_every_layer_of_a_real_network_is_found(name: str) -> None:
    layers = {layer.name: layer for layer in measured(MODELS / name)}
    wanted = [node for node in read_unchanged(MODELS / name).graph if node.op_type in ("Conv", "Gemm")]
    assert {str(node.name) for node in wanted} <= set(layers)
    assert all(layers[str(node.name)].op == node.op_type for node in wanted)
    assert sum(layers[str(node.name)].share for node in wanted) > 0.8
    assert layers.get("") is None or layers[""].op.startswith("Reorder")


def test_nodes_in_a_loop_count_once(tmp_path: Path) -> None:
    body = onnx.parser.parse_graph("""body (int64 i, bool go, float[64, 64] v) => (bool on, float[64, 64] w) {
        [keep] on = Identity(go)
        [inner] w = MatMul(v, v)
    }""")
    loop = onnx.helper.make_node("Loop", ["times", "", "x"], ["y"], name="loop", body=body)
    tensor = onnx.helper.make_tensor_value_info
    whole = onnx.helper.make_graph(
        [loop],
        "looped",
        [tensor("x", 1, [64, 64])],
        [tensor("y", 1, [64, 64])],
        [onnx.numpy_helper.from_array(np.array(5), "times")],
    )
    path = tmp_path / "loop.onnx"
    onnx.save(onnx.helper.make_model(whole, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)
    feeds = {"x": np.zeros((64, 64), np.float32)}
    profile = LocalDevice().profile("m", path, feeds, MeasureOptions())
    assert "loop" not in [node.name for node in profile.nodes]
    assert sum(node.ms for node in profile.nodes) < profile.run_ms


def test_a_file_without_names(tmp_path: Path) -> None:
    model = small_cnn()
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, tmp_path / "m.onnx")
    layers = measured(tmp_path / "m.onnx")
    names = [layer.name for layer in layers if layer.op in ("Conv", "Gemm")]
    assert names == ["a", "c", "d", "scores"]
    assert all(first.name != second.name for first, second in itertools.pairwise(layers))
