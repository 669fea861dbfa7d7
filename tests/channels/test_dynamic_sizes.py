"""Sizes that are not known beforehand: what goes is right at any size, whatever the sizes in the graph are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from onnxprune.channels import Restriction, analyse, permitted, prune, verify
from onnxprune.graph import load, save

CONSTANTS = {
    "w": (32, 3, 3, 3),
    "v": (32, 32, 3, 3),
    "z": (5, 32, 1, 1),
    "up": (32, 8, 2, 2),
    "few": (32, 2, 1, 1),
    "down": (32, 128, 1, 1),
    "wide": (32, 64, 1, 1),
    "g": (4,),
    "k": (32, 1, 1),
    "groups": np.array([0, 4, -1]),
    "one": np.array([1]),
    "ones": np.ones(2, np.float32),
    "last_two": np.array([2, 3]),
    "two": np.array([2]),
    "four": np.array([4]),
    "eight": np.array([8]),
    "channels": np.array([32]),
    "rest": np.array([-1]),
}
SIZES = "n = Shape<start = 0, end = 1>(x)\np = Shape<start = 2, end = 3>(x)\nq = Shape<start = 3>(x)\n"
LEFT_OVER = (
    f"{SIZES}r = Mul(p, q)\ni = Concat<axis = 0>(n, rest, r)\nj = Concat<axis = 0>(n, rest, p, q)\n"
    'o = Conv<auto_pad = "SAME_UPPER">(h, v)\nb = Reshape(o, i)\nf = Reshape(h, i)\n'
)
# From `h`, 32 channels, to `a`, likewise, and how many units that leaves.
BODIES = {
    "GroupNorm": (
        "b = Reshape(h, groups)\nd = InstanceNormalization(b, g, g)\ne = Shape(h)\nf = Reshape(d, e)\na = Mul(f, k)",
        4,
    ),
    "GroupNorm, its size multiplied": (
        f"{SIZES}e = Shape(h)\nr = Shape<start = 1>(h)\ns = ReduceProd(r)\nt = Div(s, four)\n"
        "i = Concat<axis = 0>(n, four, t)\nb = Reshape(h, i)\nd = InstanceNormalization(b, g, g)\na = Reshape(d, e)",
        4,
    ),
    "resized by scales of whole shapes": (
        "m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(h)\ns = Shape(h)\nt = Shape(m)\nd = Div(s, t)\n"
        "f = Cast<to = 1>(d)\na = Resize(m, , f)",
        32,
    ),
    "resized by scales of two axes": (
        "m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(h)\ns = Shape<start = 2>(h)\nt = Shape<start = 2>(m)\n"
        "u = Cast<to = 1>(s)\nv_ = Cast<to = 1>(t)\nd = Div(u, v_)\nf = Concat<axis = 0>(ones, d)\na = Resize(m, , f)",
        32,
    ),
    "channel shuffle": (
        f"{SIZES}i = Concat<axis = 0>(n, four, eight, p, q)\nj = Concat<axis = 0>(n, channels, p, q)\n"
        "b = Reshape(h, i)\nd = Transpose<perm = [0, 2, 1, 3, 4]>(b)\na = Reshape(d, j)",
        8,
    ),
    "DepthToSpace": ("b = DepthToSpace<blocksize = 2>(h)\na = Conv<strides = [2, 2]>(b, up)", 8 + 32),
    "DepthToSpace of few channels": ('b = DepthToSpace<blocksize = 4, mode = "CRD">(h)\na = Conv(b, few)', 2 + 32),
    "SpaceToDepth": ("b = SpaceToDepth<blocksize = 2>(h)\na = Conv(b, down)", 32 + 32),
    "pixels to channels": (
        f"{SIZES}k_ = Div(p, two)\nl_ = Div(q, two)\ni = Concat<axis = 0>(n, channels, k_, two, l_, two)\n"
        "b = Reshape(h, i)\nd = Transpose<perm = [0, 1, 3, 5, 2, 4]>(b)\nj = Concat<axis = 0>(n, rest, k_, l_)\n"
        "e = Reshape(d, j)\na = Conv(e, down)",
        32 + 32,
    ),
    "channels left over": (
        f"{LEFT_OVER}d = Add(b, f)\na = Reshape(d, j)",
        32,
    ),
    "channels left over, joined": (
        f"{LEFT_OVER}d = Concat<axis = 1>(b, f)\nt = Reshape(d, j)\na = Conv(t, wide)",
        32 + 32 + 32,
    ),
    "a mean over pixels that is spelled out": (
        "s = Shape<start = 2>(h)\nc = Cast<to = 1>(s)\np = ReduceProd<keepdims = 0>(c)\n"
        "u = ReduceSum<keepdims = 1>(h, last_two)\nd = Div(u, p)\na = Sub(h, d)",
        32,
    ),
    "a mean over channels that is spelled out": (
        "s = Shape<start = 1>(h)\nc = Cast<to = 1>(s)\np = ReduceProd<keepdims = 0>(c)\n"
        "u = ReduceSum<keepdims = 1>(h, last_two)\nd = Div(u, p)\nf = Sub(h, d)\na = Conv(f, v)",
        32,
    ),
    "a pixel, repeated": (
        f"{SIZES}m = GlobalAveragePool(h)\ni = Concat<axis = 0>(one, one, p, q)\nt = Tile(m, i)\na = Sub(h, t)",
        32,
    ),
    "resized, channels left over": (
        f"{SIZES}i = Concat<axis = 0>(n, rest, p, q)\nf = Reshape(h, i)\nt = Shape<start = 0, end = 2>(f)\n"
        "r = Mul(p, two)\nu = Mul(q, two)\nj = Concat<axis = 0>(t, r, u)\n"
        'a = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric">(f, , , j)',
        32,
    ),
    "products of pixels": (
        f"{SIZES}i = Concat<axis = 0>(n, channels, rest)\nj = Concat<axis = 0>(n, channels, p, q)\n"
        "b = Reshape(h, i)\nt = Transpose<perm = [0, 2, 1]>(b)\nu = MatMul(t, b)\nf = Softmax(u)\n"
        "d = MatMul(b, f)\na = Reshape(d, j)",
        32,
    ),
}


def network(body: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 20]>
        net (float[N, 3, H, W] x) => (float[N, 5, U, V] y) {{
            h_ = Conv<pads = [1, 1, 1, 1]>(x, w)
            h = Relu(h_)
            {body}
            y = Conv(a, z)
        }}""")
    rng = np.random.default_rng(0)
    for name, value in CONSTANTS.items():
        array = rng.standard_normal(value).astype(np.float32) if isinstance(value, tuple) else value
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


@pytest.mark.parametrize("name", BODIES)
def test_removal_equals_silencing_at_any_size(name: str, tmp_path: Path) -> None:
    body, units = BODIES[name]
    onnx.save(network(body), tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model)
    assert channels.unit_count == units
    keep = np.arange(units) % 4 != 1
    pruned = prune(model, channels, keep)
    for sizes in [(2, 3, 8, 12), (3, 3, 6, 4), (1, 3, 10, 10)]:
        verify(model, channels, keep, pruned, input_shapes={"x": sizes})
    # What was pruned is a network like any other.
    save(pruned, tmp_path / "pruned.onnx")
    smaller = load(tmp_path / "pruned.onnx")
    again = analyse(smaller)
    keep = np.arange(again.unit_count) % 4 != 1
    verify(smaller, again, keep, prune(smaller, again, keep), input_shapes={"x": (2, 3, 8, 12)})


class Attention(nn.Module):
    """As transformers has it: the number of heads follows from what is left over."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(12, 12) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape[:-1]
        q, k, v = (layer(x).view(*shape, -1, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        attention = (q @ k.transpose(-1, -2)).softmax(-1)
        output: Tensor = self.o((attention @ v).transpose(1, 2).reshape(*shape, -1))
        return output


class Masked(Attention):
    """As transformers has it since its version 5: the mask is picked from, by sample and position, and expanded."""

    def forward(self, x: Tensor) -> Tensor:
        batch, length = x.shape[:2]
        q, k, v = (layer(x).view(batch, length, -1, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        samples, positions = torch.arange(batch)[:, None, None, None], torch.arange(length)
        seen = (x[:, :, 0] > 0)[samples, positions[None, None, None, :]]
        mask = (seen & (positions[None, None, :, None] >= 0)).expand(batch, -1, length, length)
        attended = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        output: Tensor = self.o(attended.transpose(1, 2).reshape(batch, length, -1))
        return output


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::UserWarning")
@pytest.mark.parametrize("attention", [Attention, Masked])
@pytest.mark.parametrize("dynamic", [(0,), (0, 1)])
def test_heads_are_found_at_any_batch_and_length(
    attention: type[Attention], dynamic: tuple[int, ...], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    axes = {"x": {axis: f"d{axis}" for axis in dynamic}}
    path = tmp_path / "net.onnx"
    torch.onnx.export(attention(), (torch.randn(2, 5, 12),), path, input_names=["x"], dynamic_axes=axes, dynamo=False)
    model = load(path)
    channels = permitted(model, Restriction(units=("heads",)))
    assert [(group.kind, group.size) for group in channels.groups] == [("heads", 3)]
    keep = np.ones(channels.unit_count, dtype=bool)
    keep[channels.groups[0].units[1]] = False
    pruned = prune(model, channels, keep)
    for sizes in [(2, 5, 12), (3, 5 if len(dynamic) == 1 else 7, 12)]:
        verify(model, channels, keep, pruned, input_shapes={"x": sizes})


HEADS_OF_LANGUAGE_MODELS = """<ir_version: 8, opset_import: ["": 18]>
    net (float[N, L, 12] x) => (float[N, L, 5] y) {
        n = Shape<start = 0, end = 1>(x)
        l = Shape<start = 1, end = 2>(x)
        length = Squeeze(l)
        cut = Slice(table, first, l, last)
        h = Add(x, cut)
        positions = Range(no, length, step)
        column = Unsqueeze(positions, last)
        angles_ = Cast<to = 1>(column)
        angles = Mul(angles_, frequencies)
        cos = Cos(angles)
        i = Concat<axis = 0>(n, l, rest, four)
        q = MatMul(h, wq)
        k = MatMul(h, wk)
        v = MatMul(h, wv)
        q1 = Reshape<allowzero = 1>(q, i)
        k1 = Reshape<allowzero = 1>(k, i)
        v1 = Reshape<allowzero = 1>(v, i)
        q2 = Transpose<perm = [0, 2, 1, 3]>(q1)
        k2 = Transpose<perm = [0, 2, 1, 3]>(k1)
        v2 = Transpose<perm = [0, 2, 1, 3]>(v1)
        q3 = Mul(q2, cos)
        k3 = Mul(k2, cos)
        k4 = Unsqueeze(k3, two)
        v4 = Unsqueeze(v2, two)
        repeated = Concat<axis = 0>(n, two, two, l, four)
        k5 = Expand(k4, repeated)
        v5 = Expand(v4, repeated)
        j = Concat<axis = 0>(n, four, l, four)
        k6 = Reshape<allowzero = 1>(k5, j)
        v6 = Reshape<allowzero = 1>(v5, j)
        k7 = Transpose<perm = [0, 1, 3, 2]>(k6)
        s = MatMul(q3, k7)
        row = Unsqueeze(positions, first)
        earlier = GreaterOrEqual(column, row)
        masked = Where(earlier, s, low)
        p = Softmax<axis = -1>(masked)
        a = MatMul(p, v6)
        a1 = Transpose<perm = [0, 2, 1, 3]>(a)
        o = Concat<axis = 0>(n, l, rest)
        a2 = Reshape<allowzero = 1>(a1, o)
        y = MatMul(a2, wo)
    }"""


@pytest.mark.parametrize(("unit", "sizes"), [("heads", [2]), ("head-dim", [4, 4])])
def test_heads_of_language_models_at_any_batch_and_length(unit: Any, sizes: list[int], tmp_path: Path) -> None:
    model = onnx.parser.parse_model(HEADS_OF_LANGUAGE_MODELS)
    rng = np.random.default_rng(0)
    shapes = {
        "wq": (12, 16),
        "wk": (12, 8),
        "wv": (12, 8),
        "wo": (16, 5),
        "frequencies": (4,),
        "low": (),
        "table": (1, 32, 12),
    }
    numbers = {"no": 0, "step": 1, "first": [0], "last": [1], "two": [2], "four": [4], "rest": [-1]}
    constants = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    constants |= {name: np.array(number) for name, number in numbers.items()} | {"low": np.float32(-1e9)}
    for name, array in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    onnx.save(model, tmp_path / "net.onnx")
    network = load(tmp_path / "net.onnx")
    channels = permitted(network, Restriction(units=(unit,)))
    assert [(group.kind, group.size) for group in channels.groups] == [(unit, size) for size in sizes]
    keep = np.arange(channels.unit_count) % 2 == 0
    pruned = prune(network, channels, keep)
    for batch, length in [(2, 5), (3, 7), (1, 1)]:
        verify(network, channels, keep, pruned, input_shapes={"x": (batch, length, 12)})
