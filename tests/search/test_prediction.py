"""What a latency is put together from, and what is learned from structures that were measured whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxprune.channels import ChannelMap, analyse
from onnxprune.graph import concrete_shapes, load, resolve_input_shapes
from onnxprune.search import drawn_structures, full_counts, network_key
from onnxprune.search.admissible import multiples
from onnxprune.search.costs import LatencyCost, LayerTerm
from onnxprune.search.sizes import AxisSizes, PaperCost, paper_cost

BRANCH = 48


def joined(tmp_path: Path, size: int = 8, scale: float = 1.0) -> Path:
    """Two branches of 48 channels, joined and read by a third layer."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (BRANCH, 3, 3, 3), "w2": (BRANCH, 3, 1, 1), "w3": (10, 2 * BRANCH, 1, 1)}
    weights = [
        onnx.numpy_helper.from_array((rng.standard_normal(shape) * scale).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="one", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["x", "w2"], ["b"], name="two"),
        helper.make_node("Concat", ["a", "b"], ["c"], name="join", axis=1),
        helper.make_node("Conv", ["c", "w3"], ["y"], name="three"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10, size, size])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    path = tmp_path / f"joined-{size}-{scale}.onnx"
    onnx.save(model, path)
    return path


def analysed(path: Path) -> tuple[ChannelMap, PaperCost, list[LayerTerm], str]:
    model = load(path)
    channels = analyse(model)
    shapes = concrete_shapes(model, resolve_input_shapes(model, None, 1))
    sizes = AxisSizes(channels, shapes)
    terms = [
        LayerTerm(str(n.name), sizes.axis(str(n.inputs[0].name), 1), sizes.axis(str(n.outputs[0].name), 1), own_ms)  # type: ignore[union-attr]
        for n in model.graph
        if n.op_type == "Conv"
    ]
    return channels, paper_cost(model, channels, shapes), terms, network_key(model, channels, shapes)


def own_ms(channels_in: int, channels_out: int) -> float:
    return channels_in * channels_out * 1e-4


def test_a_join_counts_where_a_part_does_not_fill_blocks(tmp_path: Path) -> None:
    _, paper, _, _ = analysed(joined(tmp_path))
    (join,) = paper.joins
    assert join.misaligned([32, 16], 16) == 0
    assert join.misaligned([32, 24], 16) == (32 + 24) * 64
    assert join.misaligned([32, 24], 8) == 0


def test_structures_measured_whole_tell_what_joins_and_calls_cost(tmp_path: Path) -> None:
    channels, paper, terms, _ = analysed(joined(tmp_path))
    full = full_counts(channels)
    cost = LatencyCost(terms, paper, full, 2.0, block=16)
    structures = [full, *drawn_structures(channels, multiples(channels, [4, 4]), 24, 0)]

    def true_ms(counts: np.ndarray) -> float:
        layers = sum(term.of(counts) for term in terms)
        join = 1e-4 * paper.joins[0].misaligned(counts, 16)
        return 0.8 * layers + 5e-5 * paper.activations_of(counts) + join + 3 * 0.02

    corrected = cost.refitted(structures, [true_ms(s) for s in structures])
    for counts in drawn_structures(channels, multiples(channels, [4, 4]), 10, 1):
        assert corrected.total(counts) == pytest.approx(true_ms(counts), rel=0.02)
    off = max(abs(cost.total(s) / true_ms(s) - 1) for s in structures)
    assert off > 0.1


def test_layers_may_take_less_in_the_network_than_alone(tmp_path: Path) -> None:
    channels, paper, terms, _ = analysed(joined(tmp_path))
    full = full_counts(channels)
    cost = LatencyCost(terms, paper, full, sum(term.of(full) for term in terms), block=16)
    structures = [full, *drawn_structures(channels, multiples(channels, [4, 4]), 24, 0)]
    measured = [sum(term.of(s) for term in terms) - 3 * 0.003 for s in structures]
    corrected = cost.refitted(structures, measured)
    for counts, ms in zip(structures, measured, strict=True):
        assert corrected.total(counts) == pytest.approx(ms, rel=0.03)


@pytest.mark.parametrize("power", [1.5, 2.0, 3.0])
def test_no_latency_is_predicted_below_nothing(tmp_path: Path, power: float) -> None:
    channels, paper, terms, _ = analysed(joined(tmp_path))
    full = full_counts(channels)
    cost = LatencyCost(terms, paper, full, 2.0, block=16)
    structures = [full, *drawn_structures(channels, multiples(channels, [4, 4]), 16, 0)]
    # Smaller networks gain more than their layers say.
    measured = [sum(term.of(s) for term in terms) ** power for s in structures]
    corrected = cost.refitted(structures, measured)
    assert all(corrected.total(np.array([a, b])) > 0 for a in range(8, 49, 4) for b in range(8, 49, 4))


def test_networks_of_the_same_nodes_that_read_others_are_told_apart(tmp_path: Path) -> None:
    keys = []
    for skip in ("a", "b"):
        text = f"""net (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y) {{
            a = Relu(x)
            b = Sigmoid(a)
            c = Sigmoid(b)
            y = Add({skip}, c) }}"""
        onnx.save(onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 17]> {text}'), tmp_path / "net.onnx")
        keys.append(analysed(tmp_path / "net.onnx")[3])
    assert keys[0] != keys[1]


def test_a_network_is_known_by_its_sizes_and_not_by_its_weights(tmp_path: Path) -> None:
    key = analysed(joined(tmp_path))[3]
    assert analysed(joined(tmp_path, scale=2.0))[3] == key
    assert analysed(joined(tmp_path, size=16))[3] != key


def test_drawn_structures_are_the_same_every_time_and_admissible(tmp_path: Path) -> None:
    channels, _, _, _ = analysed(joined(tmp_path))
    admissible = multiples(channels, [16, 4])
    first, second = (drawn_structures(channels, admissible, 20, 3) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert all(int(c) in admissible.counts[g] for counts in first for g, c in enumerate(counts))
