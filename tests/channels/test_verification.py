"""Verification notices wrong removals where the outputs hide them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxprune.channels import analyse, prune, verify
from onnxprune.channels.ops.rules import set_constant
from onnxprune.errors import VerificationError
from onnxprune.graph import load
from tests.channels.operator_table import Row, build


@pytest.mark.parametrize("saturating", ["Sigmoid", "Softmax"])
def test_a_saturated_output_hides_nothing(saturating: str, tmp_path: Path) -> None:
    scale = {"k": np.float32(1e6), "w": (1, 8, 1, 1), "b": np.full(1, -1e9, np.float32)}
    onnx.save(
        build(Row(f"a = Mul(h, k)\nz = Conv(a, w, b)\ny = {saturating}(z)", constants=scale)), tmp_path / "m.onnx"
    )
    model = load(tmp_path / "m.onnx")
    channels = analyse(model)
    keep, other = np.ones((2, channels.unit_count), dtype=bool)
    keep[0] = other[1] = False
    assert verify(model, channels, keep, prune(model, channels, keep)).passed
    with pytest.raises(VerificationError, match="differs from the silenced original"):
        verify(model, channels, keep, prune(model, channels, other))


# Noise that is the same for all channels, and the opset in which the operator is.
NOISE = {
    "RandomNormal": ("n = RandomNormal<shape = [2, 1, 6, 6]>()", 13),
    "RandomUniform": ("n = RandomUniform<shape = [2, 1, 6, 6]>()", 13),
    "RandomNormalLike": ("m = ReduceMax<axes = [1]>(x)\nn = RandomNormalLike(m)", 13),
    "RandomUniformLike": ("m = ReduceMax<axes = [1]>(x)\nn = RandomUniformLike(m)", 13),
    "Bernoulli": ("m = ReduceMax<axes = [1]>(x)\np = Sigmoid(m)\nn = Bernoulli(p)", 15),
    "Multinomial": (
        "f = Flatten(x)\ni = Multinomial<sample_size = 36>(f)\nj = Cast<to = 1>(i)\nn = Reshape(j, box)",
        13,
    ),
    "Dropout": ("m = ReduceMax<axes = [1]>(x)\nn = Dropout(m, half, yes)", 13),
}


@pytest.mark.parametrize("name", NOISE)
def test_random_numbers_are_the_same_ones_in_both(name: str, tmp_path: Path) -> None:
    body, opset = NOISE[name]
    constants = {"box": np.array([2, 1, 6, 6]), "yes": np.bool_(True), "w": (8, 8, 1, 1)}
    # onnxruntime's own seeds depend on how many nodes stand before, which a contraction's mask is one of.
    row = Row(f"b = Conv(h, w)\n{body}\na = Add(b, n)", constants=constants, opset=opset)
    onnx.save(build(row), tmp_path / "m.onnx")
    model = load(tmp_path / "m.onnx")
    channels = analyse(model)
    assert channels.unit_count == 8 + 8
    keep = np.arange(16) % 3 > 0
    pruned = prune(model, channels, keep)
    assert verify(model, channels, keep, pruned).passed
    assert not any("seed" in node.attributes for graph in (model, pruned) for node in graph.graph)
    with pytest.raises(VerificationError, match="differs from the silenced original"):
        verify(model, channels, keep, prune(model, channels, np.roll(keep, 1)))


# From `h`, positive channels, to `y`, which is the same everywhere or nowhere finite; what is compared instead.
BLIND = {
    "zeros": ("n = Neg(h)\nz = Conv(n, k)\na = Relu(z)\ny = Conv(a, u)", "z"),
    "not finite": ("n = Neg(h)\na = Log(n)\ny = Conv(a, u)", "n"),
    "not finite behind a Sigmoid": ("n = Neg(h)\na = Log(n)\nb = Conv(a, u)\ny = Sigmoid(b)", "n"),
    "none are found": (
        "z = Conv(h, k)\nf = Flatten(z)\ng = Mul(f, zero)\ni = NonZero(g)\nj = Transpose(i)\n"
        "r = GatherND(f, j)\ny = Mul(r, half)",
        "f",
    ),
}


@pytest.mark.parametrize("name", BLIND)
def test_what_outputs_do_not_show_is_looked_for_before_them(name: str, tmp_path: Path) -> None:
    body, instead = BLIND[name]
    weights = {"k": np.linspace(0.1, 1, 64, dtype=np.float32).reshape(8, 8, 1, 1), "u": (5, 8, 1, 1)}
    onnx.save(build(Row(body, constants=weights | {"zero": np.float32(0)})), tmp_path / "m.onnx")
    model = load(tmp_path / "m.onnx")
    channels = analyse(model)
    keep, other = np.arange(channels.unit_count) % 8 < 5, np.arange(channels.unit_count) % 8 > 2
    (note,) = verify(model, channels, keep, prune(model, channels, keep)).notes
    assert f"value '{instead}' before it was compared" in note
    with pytest.raises(VerificationError, match=f"the inner value '({instead}|z)'"):
        verify(model, channels, keep, prune(model, channels, other))


def test_sizes_and_constants_among_the_outputs_are_no_matter(tmp_path: Path) -> None:
    proto = build(Row("sizes = Shape(h)\nk = ConstantOfShape(box)\na = Relu(h)", constants={"box": np.array([2])}))
    for name, kind in {"sizes": onnx.TensorProto.INT64, "k": onnx.TensorProto.FLOAT}.items():
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    onnx.save(proto, tmp_path / "m.onnx")
    model = load(tmp_path / "m.onnx")
    channels = analyse(model)
    keep = np.ones(channels.unit_count, dtype=bool)
    assert verify(model, channels, keep, prune(model, channels, keep)).notes == ()


def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    constants = {"v": (8, 3, 1, 1), "zero": np.float32(0)}
    onnx.save(build(Row("n = Mul(x, zero)\nd = Conv(n, v)\na = Relu(d)", constants=constants)), tmp_path / "m.onnx")
    model = load(tmp_path / "m.onnx")
    channels = analyse(model)
    keep = np.arange(channels.unit_count) % 8 < 5
    (note,) = verify(model, channels, keep, prune(model, channels, keep)).notes
    assert note.endswith("and no value before it was found that does: nothing says that it is right")


# What is large beside what was cut: masked scores, scores with a constant added, boxes beside scores.
BESIDE_LARGE = {
    "Where": "z = Conv(h, w)\ny = Where(mask, z, low)",
    "Add": "z = Conv(h, w)\ny = Add(z, masks)",
    "Concat": "e = Conv(x, v)\nd = Mul(e, large)\nz = Conv(h, w)\np = Sigmoid(z)\ny = Concat<axis = 1>(d, p)",
}


@pytest.mark.parametrize("name", BESIDE_LARGE)
def test_large_entries_hide_no_small_ones(name: str, tmp_path: Path) -> None:
    mask = np.array([True, False, True, True, True]).reshape(5, 1, 1)
    constants = {"w": (5, 8, 1, 1), "v": (4, 3, 1, 1), "mask": mask, "low": np.float32(-3e38), "large": np.float32(1e5)}
    constants["masks"] = np.where(mask, 0, -1e9).astype(np.float32)
    onnx.save(build(Row(BESIDE_LARGE[name], constants=constants)), tmp_path / "m.onnx")
    model = load(tmp_path / "m.onnx")
    channels = analyse(model)
    keep, other = np.arange(channels.unit_count) % 8 < 5, np.arange(channels.unit_count) % 8 > 2
    assert verify(model, channels, keep, prune(model, channels, keep)).relative_error < 1e-5
    with pytest.raises(VerificationError, match="the inner value 'z'"):
        verify(model, channels, keep, prune(model, channels, other))


# What follows 8 channels of a picture, and the sizes that it is run at.
ENDS = {
    "any size": ("y = Conv(h, v)", ["x:2x3x6x6", "x:2x3x3x3"]),
    "one size": ("p = Add(h, table)\ny = Conv(p, v)", ["x:2x3x6x6"]),
}


def _of_any_size(body: str, tmp_path: Path, sizes: str = "N, 3, H, W") -> ir.Model:
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[{sizes}] x) => (float[] y) {{
            c = Conv(x, w)
            h = Relu(c)
            {body}
        }}""")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    rng = np.random.default_rng(0)
    for name, shape in {"w": (8, 3, 1, 1), "v": (5, 8, 1, 1), "table": (8, 6, 6)}.items():
        array = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, tmp_path / "m.onnx")
    return load(tmp_path / "m.onnx")


@pytest.mark.parametrize("declared", ["N, 3, H, W", "N, C, H, W"])
@pytest.mark.parametrize("name", ENDS)
def test_another_size_is_compared_where_the_original_takes_it(name: str, declared: str, tmp_path: Path) -> None:
    body, sizes = ENDS[name]
    model = _of_any_size(body, tmp_path, declared)
    channels = analyse(model)
    assert channels.unit_count == 8
    keep = np.arange(8) % 3 > 0
    proof = verify(model, channels, keep, prune(model, channels, keep), input_shapes={"x": (0, 3, 6, 6)})
    assert list(proof.sizes) == sizes
    notes = [] if len(sizes) > 1 else ["none of the other sizes that were tried, so it is proved at x:2x3x6x6 only"]
    assert [note.partition("ran at ")[2] for note in proof.notes] == notes


def test_a_size_that_was_written_into_the_graph_is_found(tmp_path: Path) -> None:
    model = _of_any_size("z = Conv(h, v)\ns = Shape<start = 0, end = 2>(z)\nm = Constant<value_ints = [-1]>()\n"
                         "t = Concat<axis = 0>(s, m)\ny = Reshape(z, t)", tmp_path)  # fmt: skip
    channels = analyse(model)
    keep = np.arange(channels.unit_count) % 3 > 0
    pruned = prune(model, channels, keep)
    assert verify(model, channels, keep, pruned, input_shapes={"x": (0, 3, 6, 6)}).passed
    set_constant(next(node for node in pruned.graph if node.op_type == "Reshape"), 1, np.array([0, 5, 36]))
    with pytest.raises(VerificationError, match="runs the original but not the pruned"):
        verify(model, channels, keep, pruned, input_shapes={"x": (0, 3, 6, 6)})


def test_a_wrong_entry_of_queries_that_hardly_matter_is_found(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[2, 5, 12] x) => (float[2, 5, 12] y) {
            q = MatMul(x, wq)
            k = MatMul(x, wk)
            v = MatMul(x, wv)
            t = Transpose<perm = [0, 2, 1]>(k)
            s = MatMul(q, t)
            p = Softmax<axis = -1>(s)
            y = MatMul(p, v)
        }""")
    rng = np.random.default_rng(0)
    for name, scale in {"wq": 1e-3, "wk": 1e-3, "wv": 1}.items():
        array = (scale * rng.standard_normal((12, 12))).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, tmp_path / "m.onnx")
    network = load(tmp_path / "m.onnx")
    channels = analyse(network)
    keep, other = np.ones((2, channels.unit_count), dtype=bool)
    keep[0] = other[1] = False
    assert verify(network, channels, keep, prune(network, channels, keep)).passed
    with pytest.raises(VerificationError, match="the inner value 's' by"):
        verify(network, channels, keep, prune(network, channels, other))


@pytest.mark.parametrize("end", ["y = Softmax<axis = -1>(s)", "p = Softmax<axis = -1>(s)\ny = Transpose(p)"])
def test_rounding_of_large_scores_is_none_of_their_probabilities(end: str, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[N, 600] x) => (float[A, B] y) {{
            h = MatMul(x, w)
            z = MatMul(h, v)
            s = Mul(z, k)
            {end}
        }}""")
    rng = np.random.default_rng(0)
    # Two classes have nearly the same score, so that its rounding decides how probable they are.
    pairs = np.repeat(rng.standard_normal((512, 25)), 2, axis=1) + 1e-6 * rng.standard_normal((512, 50))
    for name, array in {"w": rng.standard_normal((600, 512)), "v": pairs, "k": 30.0}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array, dtype=np.float32), name))
    onnx.save(model, tmp_path / "m.onnx")
    network = load(tmp_path / "m.onnx")
    channels = analyse(network)
    keep = rng.random(channels.unit_count) < 0.5
    assert verify(network, channels, keep, prune(network, channels, keep)).relative_error < 1e-5
    with pytest.raises(VerificationError):
        verify(network, channels, keep, prune(network, channels, np.roll(keep, 1)))


@pytest.mark.parametrize("low", [-1e4, -3.4e38])
def test_masked_scores_hide_no_wrong_probabilities(low: float, tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[N, 6] x, int64[N, 7] mask) => (float[N, 7] y) {
            h = MatMul(x, w)
            z = MatMul(h, v)
            b = Add(z, bias)
            f = Cast<to = 1>(mask)
            o = Sub(one, f)
            m = Mul(o, low)
            s = Add(b, m)
            y = Softmax<axis = -1>(s)
        }""")
    rng = np.random.default_rng(0)
    arrays = {"w": rng.standard_normal((6, 8)), "v": rng.standard_normal((8, 7)), "bias": np.arange(7), "one": 1}
    for name, array in (arrays | {"low": low}).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array, dtype=np.float32), name))
    onnx.save(model, tmp_path / "m.onnx")
    network = load(tmp_path / "m.onnx")
    channels = analyse(network)
    keep = np.arange(channels.unit_count) % 2 == 0
    pruned = prune(network, channels, keep)
    assert verify(network, channels, keep, pruned).passed
    bias = pruned.graph.initializers["bias"]
    bias.const_value = ir.tensor(np.zeros(7, np.float32), name="bias")
    with pytest.raises(VerificationError):
        verify(network, channels, keep, pruned)


@pytest.mark.parametrize("read", ["steps", "last"])
def test_a_wrong_input_of_a_recurrence_that_hardly_shows_is_found(read: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    outputs = "steps" if read == "steps" else ", last"
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[6, 2, 5] x) => (float[2, 3] y) {{
            h = MatMul(x, w)
            {outputs} = LSTM<hidden_size = 4>(h, i, r, b)
            s = ReduceSum<keepdims = 0>({read}, axes)
            y = Gemm(s, v, large)
        }}""")
    arrays = {
        **{
            "w": rng.standard_normal((5, 3)),
            "i": rng.standard_normal((1, 16, 3)),
            "r": rng.standard_normal((1, 16, 4)),
        },
        **{"b": rng.standard_normal((1, 32)), "v": rng.standard_normal((4, 3)), "large": np.full(3, 1e6)},
    }
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items())
    axes = np.array([0, 1] if read == "steps" else [0])
    model.graph.initializer.append(onnx.numpy_helper.from_array(axes, "axes"))
    onnx.save(model, tmp_path / "m.onnx")
    loaded = load(tmp_path / "m.onnx")
    channels = analyse(loaded)
    units = channels.axis("w", 1)
    assert units is not None
    keep, other = np.ones((2, channels.unit_count), dtype=bool)
    keep[units[0]] = other[units[1]] = False
    assert verify(loaded, channels, keep, prune(loaded, channels, keep)).passed
    with pytest.raises(VerificationError, match=f"inner value '{read}'"):
        verify(loaded, channels, keep, prune(loaded, channels, other))
