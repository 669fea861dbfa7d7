"""Forms a graph can have: subgraphs, several inputs and outputs, shared weights, initializers that are inputs too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from onnxprune.channels import ChannelMap, analyse, hints, prune, verify, verify_reading
from onnxprune.errors import VerificationError
from onnxprune.graph import input_specs, load, output_names

SHAPES = {"w": (8, 3, 1, 1), "v": (8, 8, 1, 1), "u": (8, 8, 1, 1), "z": (5, 8, 1, 1)}
CONSTANTS = {
    "flip": np.array([1, 1, 1, -1, 1, 1, 1, 1], np.float32)[:, None, None],
    "steps": np.int64(3),
    "yes": np.bool_(True),
    "t": np.linspace(0.2, 0.9, 8, dtype=np.float32)[:, None, None],
}
# From `a`, which `body` makes of the channels `h`, to `y`; `h` is made of the channels `b`.
FORMS = {
    "If": (
        "d = ReduceMax<keepdims = 0>(x)\nq = Less(d, d)\na = If (q) <\n"
        "then_branch = g () => (float[2, 8, 4, 4] o) { o = Neg(h) },\n"
        "else_branch = e () => (float[2, 8, 4, 4] p) { p = Relu(h) }>",
        8,
    ),
    "If around weights": (
        "d = ReduceMax<keepdims = 0>(x)\nq = Less(d, d)\na = If (q) <\n"
        "then_branch = g () => (float[2, 8, 4, 4] o) { o = Conv(h, u) },\n"
        "else_branch = e () => (float[2, 8, 4, 4] p) { p = Relu(h) }>",
        8,
    ),
    "Loop": (
        "a = Loop (steps, yes, h) <body = l (int64 i, bool c, float[2, 8, 4, 4] s) => (bool k, float[2, 8, 4, 4] o) "
        "{ k = Identity(c)\nm = Mul(b, t)\no = Add(s, m) }>",
        0,
    ),
    "Scan": (
        "a, f = Scan <num_scan_inputs = 1, body = l (float[2, 8, 4, 4] s, float[8, 4, 4] e) => "
        "(float[2, 8, 4, 4] o, float[8, 4, 4] p) { p = Relu(e)\no = Add(s, p) }> (h, b)",
        0,
    ),
    "the same weight twice": ("k = Conv(h, u)\nr = Relu(k)\na = Conv(r, u)", 8 + 8),
}


def network_proto(body: str, inputs: str = "") -> onnx.ModelProto:
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[2, 3, 4, 4] x{inputs}) => (float[2, 5, 4, 4] y) {{
            b = Conv(x, w)
            r_ = Relu(b)
            h = Conv(r_, v)
            {body}
            y = Conv(a, z)
        }}""")
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()} | CONSTANTS
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items())
    return proto


def network(body: str, folder: Path, inputs: str = "") -> tuple[ir.Model, ChannelMap]:
    onnx.save(network_proto(body, inputs), folder / "net.onnx")
    model = load(folder / "net.onnx")
    return model, analyse(model)


def remove_some(model: ir.Model, channels: ChannelMap) -> ir.Model:
    keep = np.random.default_rng(1).random(channels.unit_count) < 0.6
    for group in channels.groups:
        keep[group.units[0]] = True
    pruned = prune(model, channels, keep)
    verify(model, channels, keep, pruned)
    return pruned


@pytest.mark.parametrize("name", FORMS)
def test_what_is_outside_can_go(name: str, tmp_path: Path) -> None:
    body, units = FORMS[name]
    model, channels = network(body, tmp_path)
    assert channels.unit_count == units
    remove_some(model, channels)


# Operators whose form depends on the opset, from `h` to `a` or `y`.
BY_OPSET = {
    "Split": "p, q = Split<axis = 1>(h, few)\na = Concat<axis = 1>(q, p)",
    "Pad": "n = Softmax<axis = 2>(h)\na = Pad(n, pads)",
    "Squeeze": "g = GlobalAveragePool(h)\ns = Squeeze(g)\nf = Unsqueeze(s, both)\na = Mul(h, f)",
}


@pytest.mark.parametrize("name", BY_OPSET)
def test_the_default_domain_has_two_names(name: str, tmp_path: Path) -> None:
    proto = network_proto(BY_OPSET[name])
    proto.opset_import[0].domain = "ai.onnx"
    for node in proto.graph.node:
        node.domain = "ai.onnx"
    constants = {"few": [3, 5], "pads": [0, 0, 1, 0, 0, 0, 1, 0], "both": [2, 3]}
    proto.graph.initializer.extend(numpy_helper.from_array(np.array(v), n) for n, v in constants.items())
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    assert verify_reading(tmp_path / "net.onnx", model)
    channels = analyse(model)
    assert channels.unit_count == 8 + 8
    remove_some(model, channels)


def test_what_a_subgraph_reads_says_so(tmp_path: Path) -> None:
    _, channels = network(FORMS["If"][0], tmp_path)
    (fixed,) = (f for f in channels.fixed if f.channels == 8)
    assert fixed.reason.startswith("If '")
    assert fixed.reason.endswith("has subgraphs, and what they read stays as it is")


def test_initializers_that_are_inputs_too_are_weights(tmp_path: Path) -> None:
    model, channels = network("a = Relu(h)", tmp_path, ", float[8, 3, 1, 1] w, float[8, 8, 1, 1] v")
    assert [spec.name for spec in input_specs(model)] == ["x"]
    assert channels.unit_count == 16
    remove_some(model, channels)


@pytest.mark.parametrize("declared", [[], [5], [2, 5, 4, 4, 1]])
def test_an_output_of_another_rank_than_is_declared(declared: list[int], tmp_path: Path) -> None:
    proto = network_proto("a = Relu(h)")
    proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, declared))
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    assert model.graph.outputs[0].shape == (2, 5, 4, 4)
    channels = analyse(model)
    assert channels.unit_count == 8 + 8
    remove_some(model, channels)


@pytest.mark.parametrize("flat", [True, False])
def test_a_sparse_weight_is_a_weight(flat: bool, tmp_path: Path) -> None:
    moved = "p = Transpose<perm = [0, 2, 3, 1]>(h)\nm = MatMul(p, k)\na = Transpose<perm = [0, 3, 1, 2]>(m)"
    proto = network_proto(moved)
    weight = np.where(np.random.default_rng(0).random((8, 8)) < 0.4, 1.5, 0).astype(np.float32)
    where = np.flatnonzero(weight) if flat else np.argwhere(weight)
    values = numpy_helper.from_array(weight[weight != 0], "k")
    proto.graph.sparse_initializer.append(
        onnx.helper.make_sparse_tensor(values, numpy_helper.from_array(where, "k.indices"), [8, 8])
    )
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    np.testing.assert_array_equal(model.graph.initializers["k"].const_value.numpy(), weight)
    channels = analyse(model)
    assert channels.unit_count == 8 + 8 + 8
    remove_some(model, channels)


def test_constants_computed_in_half_precision_are_read_rightly(tmp_path: Path) -> None:
    proto = network_proto("i = Cast<to = 10>(t)\nj = Add(i, i)\nk = Mul(j, i)\nl = Cast<to = 1>(k)\na = Mul(h, l)")
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    assert verify_reading(tmp_path / "net.onnx", model)
    remove_some(model, analyse(model))


def test_what_no_output_needs_is_left_out(tmp_path: Path) -> None:
    proto = network_proto("d = Conv(h, unread)\ne = Relu(d)\na = Relu(h)")
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((64, 8, 1, 1), np.float32), "unread"))
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    assert [node.op_type for node in model.graph] == ["Conv", "Relu", "Conv", "Relu", "Conv"]
    assert "unread" not in model.graph.initializers
    assert analyse(model).unit_count == 8 + 8


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[2, 3, 4, 4] x, float[2, 3, 4, 4] x2) => (float[2, 5, 4, 4] y, float[2, 8, 4, 4] y2) {
            a = Conv(x, w)
            b = Conv(x2, w2)
            s = Add(a, b)
            r = Relu(s)
            y = Conv(r, z)
            k = Conv(r, v)
            l = Relu(k)
            y2 = Conv(l, u)
        }""")
    rng = np.random.default_rng(0)
    for name, shape in (SHAPES | {"w2": (8, 3, 1, 1)}).items():
        proto.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model)
    assert channels.unit_count == 8 + 8
    pruned = remove_some(model, channels)
    assert output_names(pruned) == ("y", "y2")
    assert [spec.shape for spec in input_specs(pruned)] == [(2, 3, 4, 4)] * 2


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_pixels_are_shuffled_at_any_height_and_width(mode: str, tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[n, 3, height, width] x) => (float[n, 5, height, width] y) {{
            a = Conv(x, w)
            b = DepthToSpace<blocksize = 2, mode = "{mode}">(a)
            c = Conv(b, v)
            d = SpaceToDepth<blocksize = 2>(c)
            y = Conv(d, u)
        }}""")
    rng = np.random.default_rng(0)
    for name, shape in {"w": (32, 3, 1, 1), "v": (6, 8, 1, 1), "u": (5, 24, 1, 1)}.items():
        proto.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model)
    assert [group.size for group in channels.groups] == [8, 6]
    keep = np.ones(channels.unit_count, dtype=bool)
    keep[[1, 4, 9]] = False
    pruned = prune(model, channels, keep)
    for size in (4, 6):
        verify(model, channels, keep, pruned, input_shapes={"x": (2, 3, size, 8)})


def test_scales_that_a_converter_to_half_precision_casts_are_read(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float16[2, 3, 4, 4] x) => (float16[2, 5, 8, 8] y) {
            a = Conv(x, w)
            scales = Cast<to = 1>(halves)
            b = Resize(a, , scales)
            y = Conv(b, z)
        }""")
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(SHAPES[name]) for name in ("w", "z")} | {"halves": np.array([1, 1, 2, 2])}
    for name, array in arrays.items():
        proto.graph.initializer.append(numpy_helper.from_array(array.astype(np.float16), name))
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model)
    assert [group.size for group in channels.groups] == [8]
    remove_some(model, channels)


def test_a_weight_of_unknown_rank_fixes_what_it_meets(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[2, 3, 4, 4] x, int64[k] sizes, float[n] kernel) => (float[2, c, p, q] y) {
            h = Conv(x, w)
            v = Reshape(kernel, sizes)
            y = Conv(h, v)
        }""")
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(SHAPES["w"], np.float32), "w"))
    onnx.save(proto, tmp_path / "net.onnx")
    channels = analyse(load(tmp_path / "net.onnx"))
    assert [(entry.channels, entry.hint) for entry in channels.fixed] == [(8, hints.RANK)]


def test_a_kernel_of_unknown_width_fixes_what_it_meets(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[2, 3, 4, 4] x, float[8, c, 1, 1] kernel) => (float[2, 8, 4, 4] y) {
            h = Conv(x, w)
            y = Conv<group = 4>(h, kernel)
        }""")
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(SHAPES["w"], np.float32), "w"))
    onnx.save(proto, tmp_path / "net.onnx")
    channels = analyse(load(tmp_path / "net.onnx"))
    assert [(entry.channels, entry.hint) for entry in channels.fixed] == [(8, hints.SIZES)]


@pytest.mark.parametrize("taken", ["then", "else"])
def test_an_if_whose_condition_is_known_is_the_branch_it_takes(taken: str, tmp_path: Path) -> None:
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[n, 3, 4, 4] x) => (float[n, 5, 4, 4] y, float[n, 8, 4, 4] a) {
            b = Conv(x, w)
            h = Relu(b)
            s = Shape<start = 1, end = 2>(h)
            q = Equal(s, eight)
            i = If (q) <
                then_branch = g () => (float[n, 8, 4, 4] o) { c = Constant<value = float {2.0}>() t = Mul(h, c)
                    o = Conv(t, v) },
                else_branch = e () => (float[n, 8, 4, 4] p) { p = Conv(h, v) }>
            a = If (q) <
                then_branch = k () => (float[n, 8, 4, 4] l) { l = Sigmoid(i) },
                else_branch = m () => (float[n, 8, 4, 4] r) { r = Tanh(i) }>
            y = Conv(a, z)
        }""")
    rng = np.random.default_rng(0)
    constants = {name: rng.standard_normal(SHAPES[name]).astype(np.float32) for name in "wvz"}
    constants["eight"] = np.array([8 if taken == "then" else 7])
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    assert output_names(model) == ("y", "a")
    verify_reading(tmp_path / "net.onnx", model)
    channels = analyse(model)
    assert [group.size for group in channels.groups] == [8]
    remove_some(model, channels)


@pytest.mark.parametrize(("parts", "sizes"), [("three", 3), ("five", np.array([3, 5]))])
def test_parts_of_a_sequence_are_parts_of_the_channels(parts: str, sizes: object, tmp_path: Path) -> None:
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 18]>
        net (float[2, 3, 4, 4] x) => (float[2, 5, 4, 4] y) {
            b = Conv(x, w)
            h = Relu(b)
            s = SplitToSequence<axis = 1>(h, sizes)
            f = SequenceAt(s, first)
            l = SequenceAt(s, last)
            r = Sigmoid(l)
            a = Concat<axis = 1>(r, f, h)
            y = Conv(a, z)
        }""")
    rng = np.random.default_rng(0)
    last = 2 if parts == "three" else 5
    arrays = {"w": rng.standard_normal(SHAPES["w"]), "z": rng.standard_normal((5, last + 3 + 8, 1, 1))}
    constants = {name: array.astype(np.float32) for name, array in arrays.items()}
    constants |= {"sizes": np.asarray(sizes, np.int64), "first": np.int64(0), "last": np.int64(-1)}
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items())
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    verify_reading(tmp_path / "net.onnx", model)
    channels = analyse(model)
    assert channels.unit_count == 8
    remove_some(model, channels)


SINGLE = {
    "Squeeze of a weight": "s = Squeeze(large)\nm = ReduceMax(s, two)\nf = Unsqueeze(m, two)\na = Mul(h, f)",
    "Squeeze without axes": "g = GlobalAveragePool(h)\ns = Squeeze(g)\nf = Unsqueeze(s, last_two)\na = Mul(h, f)",
    "Resize of some axes": (
        'a = Resize<axes = [1, 2, 3], mode = "nearest", coordinate_transformation_mode = "asymmetric">(h, , , larger)'
    ),
}


@pytest.mark.parametrize("name", SINGLE)
def test_one_channel_can_be_left(name: str, tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 18]>
        net (float[2, 3, 4, 4] x) => (float[2, 5, p, q] y) {{
            b = Conv(x, w)
            h = Relu(b)
            {SINGLE[name]}
            y = Conv(a, z)
        }}""")
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(SHAPES[name]).astype(np.float32) for name in "wz"}
    arrays |= {"last_two": np.array([2, 3]), "larger": np.array([8, 8, 8])}
    arrays |= {"two": np.array([2]), "large": rng.standard_normal((2, 8, 40, 1)).astype(np.float32)}
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model)
    assert channels.unit_count == 8
    keep = np.arange(8) == 2
    assert verify(model, channels, keep, prune(model, channels, keep)).passed


def test_a_channel_that_is_not_a_number_is_silenced_too(tmp_path: Path) -> None:
    model, channels = network("p = Abs(h)\no = Mul(p, flip)\na = Sqrt(o)", tmp_path)
    keep = np.ones(channels.unit_count, dtype=bool)
    units = channels.axis("a", 1)
    assert units is not None
    keep[units[3]] = False
    assert verify(model, channels, keep, prune(model, channels, keep)).passed


def test_a_pruned_model_that_does_not_run_is_a_defect(tmp_path: Path) -> None:
    model, channels = network("a = Relu(h)", tmp_path)
    keep = np.ones(channels.unit_count, dtype=bool)
    broken = prune(model, channels, keep)
    value = broken.graph.initializers["z"]
    value.const_value = ir.tensor(np.zeros((5, 7, 1, 1), np.float32), name="z")
    value.shape = ir.Shape((5, 7, 1, 1))
    with pytest.raises(VerificationError, match="runs the original but not the pruned model"):
        verify(model, channels, keep, broken)
