"""Sizes read off a value whose channels go, as the target of a node whose channels stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxprune.channels import analyse, prune, verify
from onnxprune.graph import graph_cost, load, save

# From `h`, 8 channels that go, and `o`, 8 of a group of their own that stay, to `a`; `sizes` is what `h` has.
LIKE_ANOTHER = {
    "Expand": "m = ReduceMax<axes = [1]>(h)\ne = Expand(m, sizes)\na = Add(o, e)",
    "ConstantOfShape": "e = ConstantOfShape(sizes)\na = Sub(o, e)",
    "Reshape": "f = Flatten<axis = 2>(o)\ne = Relu(f)\na = Reshape(e, sizes)",
    "Resize": "p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(o)\na = Resize(p, , , sizes)",
    "Slice": "e = Concat<axis = 0>(o, o)\na = Slice(e, zeros, sizes)",
    "Tile": "m = ReduceMax<axes = [0, 1, 2, 3]>(o)\ne = Tile(m, sizes)\na = Add(o, e)",
    "Range": (
        "n = Gather(sizes, first)\nr = Range(nought, n, first)\ni = Cast<to = 1>(r)\nj = Unsqueeze(i, behind)\n"
        "a = Add(o, j)"
    ),
}
CONSTANTS = {
    "w": (8, 3, 3, 3),
    "v": (8, 8, 1, 1),
    "z": (5, 8, 1, 1),
    "first": np.array(1),
    "nought": np.array(0),
    "zeros": np.zeros(4, np.int64),
    "behind": np.array([1, 2]),
    "threshold": np.float32(0),
}


def network(body: str, tmp_path: Path) -> ir.Model:
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[n, 3, height, width] x) => (float[] y) {{
            c = Conv<pads = [1, 1, 1, 1]>(x, w)
            h = Relu(c)
            {body}
            y = Conv(a, z)
        }}""")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    rng = np.random.default_rng(0)
    for name, value in CONSTANTS.items():
        array = rng.standard_normal(value).astype(np.float32) if isinstance(value, tuple) else value
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, tmp_path / "m.onnx")
    return load(tmp_path / "m.onnx")


@pytest.mark.parametrize("name", LIKE_ANOTHER)
@pytest.mark.parametrize("stay", [0, 1])
def test_the_size_that_was_meant_stays(name: str, stay: int, tmp_path: Path) -> None:
    model = network(f"o = Conv(h, v)\nsizes = Shape(h)\n{LIKE_ANOTHER[name]}", tmp_path)
    channels = analyse(model)
    keep = np.ones(channels.unit_count, dtype=bool)
    for group in [group for number, group in enumerate(channels.groups) if number != stay or len(channels.groups) == 1]:
        keep[group.units[1:4]] = False
    assert not keep.all()
    save(prune(model, channels, keep), tmp_path / "pruned.onnx")
    verify(model, channels, keep, load(tmp_path / "pruned.onnx"), input_shapes={"x": (2, 3, 6, 4)})


def test_a_size_that_is_computed_in_a_branch_stays(tmp_path: Path) -> None:
    body = """
        o = Conv(h, v)
        sizes = Shape(h)
        s = ReduceSum<keepdims = 0>(x)
        b = Greater(s, threshold)
        e = If (b) <
            then_branch = yes () => (float[p, q, r, t] g) { m = ReduceMax<axes = [1]>(o)  g = Expand(m, sizes) },
            else_branch = no () => (float[p, q, r, t] k) { k = ConstantOfShape(sizes) }>
        a = Add(o, e)"""
    model = network(body, tmp_path)
    channels = analyse(model)
    reasons = {fixed.reason for fixed in channels.fixed}
    assert any("counts them" in reason for reason in reasons)
    keep = np.ones(channels.unit_count, dtype=bool)
    for group in channels.groups:
        keep[group.units[1:3]] = False
    verify(model, channels, keep, prune(model, channels, keep), input_shapes={"x": (2, 3, 6, 4)})


def test_shapes_behind_operators_that_nothing_is_inferred_of_follow(tmp_path: Path) -> None:
    text = """
        <ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
        net (float[2, 3, 6, 6] x) => (float[2, 5, 6, 6] y) {
            h = Conv<pads = [1, 1, 1, 1]>(x, w)
            b = com.microsoft.QuickGelu(h)
            o = Conv(b, v)
            a = Relu(o)
            y = Conv(a, z)
        }"""
    proto = onnx.parser.parse_model(text)
    for name in "hboa":
        proto.graph.value_info.append(onnx.helper.make_tensor_value_info(name, 1, [2, 8, 6, 6]))
    rng = np.random.default_rng(0)
    for name in "wvz":
        array = rng.standard_normal(CONSTANTS[name]).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(proto, tmp_path / "m.onnx")
    model = load(tmp_path / "m.onnx")
    channels = analyse(model)
    keep = np.ones(channels.unit_count, dtype=bool)
    keep[channels.groups[-1].units[:4]] = False
    pixels = 2 * 6 * 6
    assert graph_cost(model).macs == pixels * (3 * 9 * 8 + 8 * 8 + 8 * 5)
    save(prune(model, channels, keep), tmp_path / "pruned.onnx")
    assert graph_cost(load(tmp_path / "pruned.onnx")).macs == pixels * (3 * 9 * 8 + 8 * 4 + 4 * 5)
