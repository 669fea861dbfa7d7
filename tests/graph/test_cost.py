"""Multiply-accumulates against counts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxprune.channels import analyse, prune
from onnxprune.graph import concrete_shapes, graph_cost, load, resolve_input_shapes
from onnxprune.search.sizes import full_counts, paper_cost

STEPS, BATCH, WIDTH, HIDDEN = 7, 2, 12, 10


def model(folder: Path, text: str, shapes: dict[str, tuple[int, ...]], opset: int = 20) -> Path:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> {text}')
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        array = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    path = folder / "model.onnx"
    onnx.save(proto, path)
    return path


def recurrent(folder: Path, op: str, gates: int, directions: int) -> Path:
    direction = "bidirectional" if directions == 2 else "forward"
    return model(
        folder,
        f"""net (float[{STEPS}, {BATCH}, {WIDTH}] x) => (float[{STEPS}, {BATCH}, 5] y) {{
            p = {op}<hidden_size = {HIDDEN}, direction = "{direction}">(x, w, r)
            s = Einsum<equation = "tdnh->tnh">(p)
            y = MatMul(s, last)
        }}""",
        {
            "w": (directions, gates * HIDDEN, WIDTH),
            "r": (directions, gates * HIDDEN, HIDDEN),
            "last": (HIDDEN, 5),
        },
    )


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize(("op", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_recurrences(op: str, gates: int, directions: int, tmp_path: Path) -> None:
    cost = graph_cost(load(recurrent(tmp_path, op, gates, directions)))
    by_hand = STEPS * BATCH * directions * gates * HIDDEN * (WIDTH + HIDDEN)
    assert {node.op_type: node.macs for node in cost.nodes} == {
        op: by_hand,
        "Einsum": 0,
        "MatMul": STEPS * BATCH * HIDDEN * 5,
    }


def test_what_a_smaller_recurrence_costs_on_paper_is_what_it_costs(tmp_path: Path) -> None:
    network = load(recurrent(tmp_path, "LSTM", 4, 2))
    channels = analyse(network)
    (group,) = channels.groups
    keep = np.ones(channels.unit_count, dtype=bool)
    keep[group.units[:3]] = False
    paper = paper_cost(network, channels, concrete_shapes(network, resolve_input_shapes(network)))
    assert paper.macs_of(full_counts(channels)) == graph_cost(network).macs
    assert paper.macs_of([HIDDEN - 3]) == graph_cost(prune(network, channels, keep)).macs


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [
        ("ab,bc->ac", [(2, 3), (3, 5)], 2 * 3 * 5),
        ("ab,bc", [(2, 3), (3, 5)], 2 * 3 * 5),
        ("ab,bc,cd->ad", [(2, 3), (3, 5), (5, 7)], 2 * 3 * 5 + 2 * 5 * 7),
        ("nhld,nhsd->nhls", [(2, 4, 6, 8), (2, 4, 5, 8)], 2 * 4 * 6 * 5 * 8),
        ("...ab,...bc->...ac", [(2, 4, 3, 5), (4, 5, 6)], 2 * 4 * 3 * 5 * 6),
        ("nab,nbc->nac", [(1, 2, 3), (6, 3, 5)], 6 * 2 * 3 * 5),
        ("ab,b->ab", [(2, 3), (3,)], 0),
        ("a,b->ab", [(2,), (3,)], 0),
        ("ab->a", [(2, 3)], 0),
        ("ab,ab->", [(2, 3), (2, 3)], 2 * 3),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]], macs: int, tmp_path: Path) -> None:
    inputs = ", ".join(f"float{list(shape)} x{i}" for i, shape in enumerate(shapes))
    names = ", ".join(f"x{i}" for i in range(len(shapes)))
    text = f'net ({inputs}) => (float y) {{ y = Einsum<equation = "{equation}">({names}) }}'
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(proto, tmp_path / "model.onnx")
    assert graph_cost(load(tmp_path / "model.onnx")).macs == macs


def test_attention(tmp_path: Path) -> None:
    text = """net (float[2, 6, 24] q, float[2, 5, 24] k, float[2, 5, 40] v) => (float[2, 6, 40] y) {
        y = Attention<q_num_heads = 4, kv_num_heads = 4>(q, k, v) }"""
    assert graph_cost(load(model(tmp_path, text, {}, opset=23))).macs == 2 * 6 * 5 * (24 + 40)


def test_attention_with_keys_from_before(tmp_path: Path) -> None:
    text = """net (float[1, 4, 1, 8] q, float[1, 4, 1, 8] k, float[1, 4, 1, 8] v,
                   float[1, 4, 31, 8] past_key, float[1, 4, 31, 8] past_value) => (float[1, 4, 1, 8] y) {
        y = Attention(q, k, v, , past_key, past_value) }"""
    assert graph_cost(load(model(tmp_path, text, {}, opset=23))).macs == 2 * 4 * 32 * 8


def test_masks_are_no_weights(tmp_path: Path) -> None:
    path = model(
        tmp_path, "net (float[4, 6] x) => (float[4, 5] y) { p = MatMul(x, w) y = Where(mask, p, p) }", {"w": (6, 5)}
    )
    proto = onnx.load(path)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(4, 5, dtype=bool), "mask"))
    onnx.save(proto, path)
    loaded = load(path)
    assert graph_cost(loaded, resolve_input_shapes(loaded)).parameters == 30
