"""Means over channels, as in normalisations that are spelled out: fixed, unless the embedding may become narrower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from onnxprune.channels import analyse, hints, prune, verify, with_embedding_hints
from onnxprune.graph import load

# From the channels `h` to `a`, which have as many; before opset 18 the axes are an attribute.
SPELLED = {
    "LayerNormalization": """m = ReduceMean<axes = [-1]>(h)
        d = Sub(h, m)
        s = Pow(d, two)
        v = ReduceMean<axes = [-1]>(s)
        e = Add(v, small)
        r = Sqrt(e)
        n = Div(d, r)
        g = Mul(n, scale)
        a = Add(g, shift)""",
    "LayerNormalization of products": """m = ReduceMean<axes = [2]>(h)
        d = Sub(h, m)
        s = Mul(d, d)
        v = ReduceMean<axes = [2]>(s)
        e = Add(v, small)
        r = Sqrt(e)
        a = Div(d, r)""",
    "RMSNormalization": """s = Pow(h, two)
        v = ReduceMean<axes = [-1]>(s)
        e = Add(v, small)
        r = Sqrt(e)
        n = Div(h, r)
        a = Mul(n, scale)""",
    "mean of all but the batch": """m = ReduceMean<axes = [1, 2], keepdims = 0>(h)
        u = Reshape(m, box)
        a = Sub(h, u)""",
    "mean over one axis of a Gram matrix": """t = Transpose<perm = [0, 2, 1]>(h)
        g = MatMul(t, h)
        m = ReduceMean<axes = [-1], keepdims = 0>(g)
        u = Unsqueeze(m, middle)
        a = Mul(h, u)""",
    "mean over both axes of a Gram matrix": """t = Transpose<perm = [0, 2, 1]>(h)
        g = MatMul(t, h)
        m = ReduceMean<axes = [1, 2]>(g)
        a = Mul(h, m)""",
    "scaled by row and channel": "a = LayerNormalization(h, rows)",
    "scaled by row": "a = LayerNormalization(h, column)",
    "after a normalisation": """l = LayerNormalization(h, scale, shift)
        m = ReduceMean<axes = [-1]>(l)
        a = Sub(l, m)""",
}


def network(body: str, folder: Path, outputs: str = "") -> ir.Model:
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[2, 5, 6] x) => (float[2, 5, 3] y{outputs}) {{
            h = MatMul(x, first)
            {body}
            y = MatMul(a, last)
        }}""")
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.standard_normal(shape) for name, shape in {"first": (6, 8), "inner": (8, 8), "last": (8, 3)}.items()
    }
    arrays |= {
        "scale": rng.uniform(1, 2, 8),
        "shift": rng.uniform(1, 2, 8),
        "rows": rng.uniform(1, 2, (5, 8)),
        "column": rng.uniform(1, 2, (5, 1)),
        "two": np.array(2),
        "small": np.array(1e-5),
    }
    for name, array in arrays.items():
        proto.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    for name, sizes in {"box": [2, 1, 1], "middle": [1]}.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.array(sizes), name))
    onnx.save(proto, folder / "model.onnx")
    return load(folder / "model.onnx")


@pytest.mark.parametrize("name", SPELLED)
def test_channels_are_fixed_and_a_hint_says_what_frees_them(name: str, tmp_path: Path) -> None:
    channels = analyse(network(SPELLED[name], tmp_path))
    assert channels.unit_count == 0
    assert channels.fixed[0].hint == hints.EMBEDDING


def test_what_joins_a_normalised_stream_says_what_frees_it(tmp_path: Path) -> None:
    body = """n = LayerNormalization(h, scale, shift)
        p = MatMul(n, inner)
        s = Add(n, p)
        a = LayerNormalization(s, scale, shift)"""
    model = network(body, tmp_path)
    channels = with_embedding_hints(model, analyse(model))
    assert [(entry.channels, entry.hint) for entry in channels.fixed] == [
        *((8, hints.EMBEDDING),) * 2,
        (3, hints.CALLER),
    ]


def test_a_mean_may_be_an_output(tmp_path: Path) -> None:
    model = network(SPELLED["LayerNormalization"], tmp_path, ", float[2, 5, 1] m")
    channels = analyse(model, embedding=True)
    assert channels.unit_count == 8
    keep = np.arange(8) % 3 != 1
    assert verify(model, channels, keep, prune(model, channels, keep)).passed


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SPELLED)
def test_what_is_left_is_normalised_among_itself(name: str, seed: int, tmp_path: Path) -> None:
    model = network(SPELLED[name], tmp_path)
    channels = analyse(model, embedding=True)
    assert [(group.size, group.kind) for group in channels.groups] == [(8, "embedding")]
    keep = np.random.default_rng(seed).permutation(8) < 5
    pruned = prune(model, channels, keep)
    assert verify(model, channels, keep, pruned, seed=seed).relative_error <= 1e-4
