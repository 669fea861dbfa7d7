"""Names of dynamic sizes that ONNX's own inference loses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxprune.graph import load, save, to_bytes

NUMBERS = {"no": 0, "step": 1, "two": 2, "none": [0], "one": [1], "each": [1], "pair": [2], "many": [7]}
NUMBERS |= {"rest": [-1], "four": [4], "two_": [2], "eight": [8], "sixteen": [16], "copied": [0, 0, -1, 4]}
LENGTH = "n = Shape<start = 0, end = 1>(x)\nl = Shape<start = 1, end = 2>(x)\nlength = Squeeze(l)\n"
# What `o` is computed by from x (N, L, 8) and a table (1, 64, 8), and its shape.
NAMED = {
    "positions": ("o = Range(no, length, step)", ("L",)),
    "twice as many positions": ("twice = Mul(length, two)\no = Range(no, twice, step)", ("2 · L",)),
    "positions from 2 on": ("o = Range(two, length, step)", None),
    "every other position": ("o = Range(no, length, two)", None),
    "the first of a table": ("o = Slice(table, none, l, one, each)", (1, "min(L, 64)", 8)),
    "the first of a table, added": ("t = Slice(table, none, l, one, each)\no = Add(x, t)", ("N", "L", 8)),
    "the second on, added": ("t = Slice(table, one, l, one, each)\no = Add(x, t)", (None, None, 8)),
    "every other, added": ("t = Slice(table, none, l, one, pair)\no = Add(x, t)", (None, None, 8)),
    "a constant number, added": ("t = Slice(x, none, many, one, each)\no = Add(x, t)", ("N", None, 8)),
    "repeated for each sample": (
        "t = Slice(table, none, l, one, each)\ns = Shape(x)\no = Expand(t, s)",
        ("N", "L", 8),
    ),
    "what is left of sizes that changed places": (
        "i = Concat<axis = 0>(l, n, rest, four)\no = Reshape(x, i)",
        ("L", "N", 2, 4),
    ),
    "what is left of copied sizes": ("o = Reshape(x, copied)", ("N", "L", 2, 4)),
    "a size that is left": ("i = Concat<axis = 0>(n, four, rest, two_)\no = Reshape(x, i)", ("N", 4, "L", 2)),
    "a multiple of a size": ("i = Concat<axis = 0>(n, two_, rest, two_)\no = Reshape(x, i)", ("N", 2, "2 · L", 2)),
    "half of a size": ("i = Concat<axis = 0>(n, sixteen, rest)\no = Reshape(x, i)", ("N", 16, None)),
    "all in a row and back": (
        "r = Reshape(x, rest)\ni = Concat<axis = 0>(n, four, rest, two_)\no = Reshape(r, i)",
        ("N", 4, "L", 2),
    ),
    "a product": ("o = Flatten<axis = 2>(x)", ("L · N", 8)),
    "a product and back": ("f = Flatten(x)\ni = Concat<axis = 0>(n, rest, two_)\no = Reshape(f, i)", ("N", "4 · L", 2)),
    "as many as there were where that is -1": (
        "t = Slice(table, none, l, one, each)\ni = Concat<axis = 0>(n, rest, eight)\nm = Equal(i, rest)\n"
        "s = Where(m, one, i)\no = Expand(t, s)",
        ("N", "min(L, 64)", 8),
    ),
    "as many as there are elsewhere": (
        "t = Slice(table, none, l, one, each)\ni = Concat<axis = 0>(n, l, eight)\nm = Equal(i, rest)\n"
        "s = Where(m, one, i)\no = Expand(t, s)",
        ("N", "L", 8),
    ),
    "left where a size is no factor": ("i = Concat<axis = 0>(n, n, rest)\no = Reshape(x, i)", ("N", "N", None)),
    "all of what is there": ("o = Slice(x, none, l, one, each)", ("N", "L", 8)),
    "repeated by numbers and sizes": ("i = Concat<axis = 0>(n, each, two_)\no = Tile(table, i)", ("N", 64, 16)),
    "repeated where it is dynamic": ("i = Concat<axis = 0>(two_, each, each)\no = Tile(x, i)", ("2 · N", "L", 8)),
    "another length": ("t = Slice(table, none, n, one, each)\no = Add(x, t)", ("N", None, 8)),
}


@pytest.mark.parametrize("name", NAMED)
def test_sizes_keep_the_names_that_they_are_known_to_have(name: str, tmp_path: Path) -> None:
    body, expected = NAMED[name]
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 18]>
        net (float[N, L, 8] x) => (float[A] y) {{ {LENGTH} {body} y = Neg(o) }}""")
    model.graph.output[0].CopyFrom(onnx.helper.make_empty_tensor_value_info("y"))
    numbers = {key: np.array(number, dtype=np.int64) for key, number in NUMBERS.items()}
    for key, array in (numbers | {"table": np.ones((1, 64, 8), np.float32)}).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, key))
    onnx.save(model, tmp_path / "net.onnx")
    (negative,) = [node for node in load(tmp_path / "net.onnx").graph if node.op_type == "Neg"]
    shape = negative.inputs[0].shape  # type: ignore[union-attr]
    assert shape is not None
    found = [dim if isinstance(dim, int) else dim.value for dim in shape]
    known = {"N", "L", "min(L, 64)", "2 · L", "4 · L", "2 · N", "L · N"}
    assert [dim if isinstance(dim, int) or dim in known else None for dim in found] == list(expected or [None])


def shape_of(text: str, constants: dict[str, np.ndarray], name: str, path: Path) -> list[int | str | None]:
    model = onnx.parser.parse_model(text)
    for key, array in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, key))
    onnx.save(model, path)
    (value,) = [value for node in load(path).graph for value in node.outputs if value.name == name]
    assert value.shape is not None
    return [dim if isinstance(dim, int) else dim.value for dim in value.shape]


def test_a_size_that_a_convolution_gives_keeps_one_name(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 18]> net (float[N, 3, H, W] x) => (float[N, 3, A, B] y) {
        h = Conv(x, w)
        m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(h)
        s = Shape(h)
        r = Resize(m, , , s)
        t = Add(r, h)
        y = Neg(t)
    }"""
    constants = {"w": np.ones((3, 3, 3, 3), np.float32)}
    found = [shape_of(text, constants, name, tmp_path / "net.onnx") for name in "hrt"]
    assert found[0] == found[1] == found[2]
    assert None not in found[0]


@pytest.mark.parametrize("named", [True, False])
def test_files_name_sizes_if_they_did_before(named: bool, tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 18]>
        net (float[N, 3, H, 8] x) => (float[N, A] y) {
        h = Conv(x, w)
        p = GlobalAveragePool(h)
        r = Relu(p)
        y = Flatten(r)
    }""")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((3, 3, 1, 3), np.float32), "w"))
    if named:
        model.graph.value_info.append(onnx.helper.make_tensor_value_info("h", 1, ["N", 3, "rows", 6]))
    onnx.save(model, tmp_path / "net.onnx")
    loaded = load(tmp_path / "net.onnx")
    save(loaded, tmp_path / "again.onnx")
    for written in (onnx.load(tmp_path / "again.onnx"), onnx.load_from_string(to_bytes(loaded))):
        sizes = {dim.dim_param for info in written.graph.value_info for dim in info.type.tensor_type.shape.dim}
        assert ("N" in sizes) == named
        assert written.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_half_of_a_size_twice_is_not_the_size(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 18]> net (float[N, 3, H, W] x) => (float[A, B, C, D] y) {
        h = Shape<start = 2, end = 3>(x)
        half = Div(h, two)
        even = Mul(half, two)
        same = Equal(even, h)
        n = Where(same, one, two)
        i = Concat<axis = 0>(one, one, n, one)
        r = Tile(x, i)
        y = Neg(r)
    }"""
    constants = {"two": np.array([2]), "one": np.array([1])}
    assert shape_of(text, constants, "r", tmp_path / "net.onnx")[2] not in {"H", "2 · H"}


@pytest.mark.parametrize("size", ["2 · N", "2"])
def test_names_that_models_give_are_no_products(size: str, tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 18]> net (float[N, A] x) => (float[B] y) {
        f = Flatten<axis = 2>(x)
        s = Squeeze(f, one)
        y = Neg(s)
    }"""
    model = onnx.parser.parse_model(text)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = size
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
    onnx.save(model, tmp_path / "net.onnx")
    assert load(tmp_path / "net.onnx").graph.inputs[0].shape == ["N", None]


@pytest.mark.parametrize("size", ["min(a)", "min(a, b)", "min(a, 3", "Min(4, a)"])
def test_names_that_models_give_may_look_alike(size: str, tmp_path: Path) -> None:
    info = onnx.helper.make_tensor_value_info
    nodes = onnx.parser.parse_graph(
        "net (float[N, L, 8] x) => (float[A] y) { l = Shape<start = 1, end = 2>(x)\nlength = Squeeze(l)\n"
        "p = Range(no, length, step)\nc = Cast<to = 1>(p)\nu = Unsqueeze(c, one)\nt = Add(u, x)\ny = Add(t, z) }"
    )
    inputs = [info("x", 1, ["N", "L", 8]), info("z", 1, ["N", size, 8])]
    graph = onnx.helper.make_graph(nodes.node, "net", inputs, [info("y", 1, ["N", "M", 8])])
    for key in ("no", "step", "one"):
        array = np.array(NUMBERS[key], dtype=np.int64)
        graph.initializer.append(onnx.numpy_helper.from_array(array, key))
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "net.onnx")
    (joined,) = [node for node in load(tmp_path / "net.onnx").graph if node.outputs[0].name == "t"]
    assert joined.outputs[0].shape == ["N", "L", 8]


def test_nothing_is_left_of_a_rank_that_is_not_known(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 18, "custom": 1]>
        net (float[2, 8] x) => (float[A, B] y) <float[1, K] f> {
            c = custom.Op(x)
            f = Reshape(c, sizes)
            y = Neg(f)
        }""")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, -1]), "sizes"))
    onnx.save(model, tmp_path / "net.onnx")
    (negative,) = [node for node in load(tmp_path / "net.onnx").graph if node.op_type == "Neg"]
    shape = negative.inputs[0].shape  # type: ignore[union-attr]
    assert shape is None or list(shape)[1] != 1


def test_blocks_of_folded_sizes_take_one_inference_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = 6
    lines = ["h0 = Relu(x)"]
    for i in range(blocks):
        lines += [
            f"s{i} = Shape(h{i})",
            f"g{i} = Gather(s{i}, zero)",
            f"a{i} = Div(g{i}, one)",
            f"b{i} = Gather(s{i}, one)",
            f"t{i} = Concat<axis = 0>(a{i}, rest)",
            f"flat{i} = Reshape(h{i}, t{i})",
            f"v{i} = Concat<axis = 0>(a{i}, rest, three)",
            f"few{i} = Reshape(flat{i}, v{i})",
            f"r{i} = Concat<axis = 0>(a{i}, rest, six)",
            f"many{i} = Reshape(few{i}, r{i})",
            f"m{i} = MatMul(many{i}, w)",
            f"u{i} = Concat<axis = 0>(a{i}, b{i}, rest)",
            f"h{i + 1} = Reshape(m{i}, u{i})",
        ]
    lines.append(f"y = Relu(h{blocks})")
    head = '<ir_version: 8, opset_import: ["": 17]> net (float[2, 4, 6] x) => (float[2, 4, 6] y)'
    proto = onnx.parser.parse_model("\n".join([head, "{", *lines, "}"]))
    constants = {name: np.array([n]) for name, n in {"zero": 0, "one": 1, "three": 3, "six": 6, "rest": -1}.items()}
    constants["w"] = np.eye(6, dtype=np.float32)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.save(proto, tmp_path / "m.onnx")
    calls = []
    infer = onnx.shape_inference.infer_shapes
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", lambda *a, **k: calls.append(1) or infer(*a, **k))
    load(tmp_path / "m.onnx")
    assert len(calls) <= blocks + 2
