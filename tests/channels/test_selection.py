"""Channels picked by steps or indices, and tiled: removal equals the network whose weights were set to zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxprune.channels import analyse, prune, verify
from onnxprune.graph import load
from tests.channels.selection_table import TABLES
from tests.channels.zeroed import check_removal, network

CONSTANTS = {
    "w": (8, 3, 1, 1),
    "b": (8,),
    "half": (5, 4, 1, 1),
    "whole": (5, 8, 1, 1),
    "cosine": (4, 1, 1),
    "sine": (4, 1, 1),
    "gate": (1, 8, 1, 1),
    "times": np.array([1, 8, 1, 1]),
    "none": np.array([0]),
    "one": np.array([1]),
    "two": np.array([2]),
    "four": np.array([4]),
    "zeros": np.array([0, 0, 0, 0]),
    "narrow": np.array([1, 0, 0], np.int32),
    "six": np.array([6], np.int32),
    "behind": np.array([1, 2, 3], np.int32),
    "second": np.array([2, 1, 1], np.int32),
    "third": (5, 3, 1, 1),
    "minus": np.array([-1]),
    "end": np.array([2**63 - 1]),
    "front": np.array([-(2**63)]),
    "rows": np.arange(8).reshape(4, 2),
    "columns": np.array([[7, 1, 4, -6], [3, 0, 5, 6]]),
}
PIXELS = "s = Shape(h)\np = Slice(s, two, four)\n"
# From `h`, 8 channels behind a Relu, to `y`, and how many units that leaves.
BODIES = {
    "every other": ("a = Slice(h, one, end, one, two)\ny = Conv(a, half)", 8),
    "from the back": ("a = Slice(h, minus, front, one, minus)\ny = Conv(a, whole)", 8),
    "all, of pixels as many as there are": (
        f"{PIXELS}e = Concat<axis = 0>(end, end, p)\na = Slice(h, zeros, e)\ny = Conv(a, whole)",
        8,
    ),
    "some, of pixels as many as there are, in 32 bits": (
        f"{PIXELS}q = Cast<to = 6>(p)\ne = Concat<axis = 0>(six, q)\na = Slice(h, narrow, e, behind, second)\n"
        "y = Conv(a, third)",
        8,
    ),
    "rotated": (
        "p = Slice(h, none, end, one, two)\nq = Slice(h, one, end, one, two)\n"
        "pc = Mul(p, cosine)\nqs = Mul(q, sine)\nps = Mul(p, sine)\nqc = Mul(q, cosine)\n"
        "u = Sub(pc, qs)\nv = Add(ps, qc)\na = Concat<axis = 1>(u, v)\ny = Conv(a, whole)",
        4,
    ),
    "rows": ("g = Gather<axis = 1>(h, rows)\na = ReduceMax<keepdims = 0>(g, two)\ny = Conv(a, half)", 4),
    "columns": ("g = Gather<axis = 1>(h, columns)\na = ReduceSum<keepdims = 0>(g, one)\ny = Conv(a, half)", 4),
    "one channel tiled": (
        "o = Conv(h, gate)\ns = Sigmoid(o)\nt = Tile(s, times)\na = Mul(h, t)\ny = Conv(a, whole)",
        8,
    ),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("seed", range(5))
def test_removal_equals_weights_of_zero(name: str, seed: int, tmp_path: Path) -> None:
    body, units = BODIES[name]
    x = np.random.default_rng(1).standard_normal((2, 3, 5, 7)).astype(np.float32)
    check_removal(network(body, CONSTANTS), {"w": 0, "b": 0}, x, units=units, folder=tmp_path, seed=seed)


def test_bounds_that_count_other_channels_stay(tmp_path: Path) -> None:
    body = """
        o = Conv(x, other)
        s = Shape<start = 1>(h)
        g = Slice(o, origin, s, but_samples)
        a = Concat<axis = 1>(g, h)
        y = Conv(a, both)"""
    constants = {
        "origin": np.array([0, 0, 0]),
        "but_samples": np.array([1, 2, 3]),
        "other": (8, 3, 1, 1),
        "both": (5, 16, 1, 1),
    }
    onnx.save(network(body, CONSTANTS | constants), tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model)
    counted = next(group for group in channels.groups if group.producers[0] == model.graph[0].name)
    keep = np.ones(channels.unit_count, dtype=bool)
    keep[counted.units[:3]] = False
    verify(model, channels, keep, prune(model, channels, keep), input_shapes={"x": (2, 3, 5, 7)})


@pytest.mark.parametrize("name", TABLES)
def test_a_table_brings_its_channels_forth(name: str, tmp_path: Path) -> None:
    """Whatever format it is stored in, and though nothing beside it has these channels."""
    body, constants = TABLES[name]
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 18]>
        net (int64[2, 7] x) => (float[2, 7, 5] y) {{
            {body}
            e = Gather(d, x)
            y = MatMul(e, u)
        }}""")
    for key, value in (constants | {"half": np.float32(0.6), "u": (8, 5)}).items():
        array = np.random.default_rng(0).standard_normal(value).astype("f") if isinstance(value, tuple) else value
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), key))
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model)
    assert [(group.name, group.size) for group in channels.groups] == [(model.graph[1].name, 8)]
    keep = np.arange(8) % 3 > 0
    pruned = prune(model, channels, keep)
    assert verify(model, channels, keep, pruned).passed
    sizes = {str(v.name): tuple(v.shape or ()) for v in pruned.graph.initializers.values()}
    assert sizes["w"] == (50, 5)
    assert sizes.get("z", (5,)) == (5,)
