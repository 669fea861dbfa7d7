"""Constants that are computed beforehand are what onnxruntime computes."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxprune.channels import verify_reading
from onnxprune.errors import VerificationError
from onnxprune.graph import load, save

INT, FLOAT, HALF = np.int64, np.float32, np.float16
# Expressions of the constants a, b and c, and their values.
FOLDED = {
    "a number cast to half precision": ("o = Cast<to = 10>(a)", {"a": FLOAT(0.7)}),
    "and back": ("h = Cast<to = 10>(a)\no = Cast<to = 1>(h)", {"a": FLOAT(0.7)}),
    "a number cut to an integer": ("o = Cast<to = 7>(a)", {"a": FLOAT(-2.7)}),
    "a number that does not fit": ("o = Cast<to = 6>(a)", {"a": INT(2**33 + 5)}),
    "floor over ceil": ("p = Floor(a)\nq = Ceil(b)\no = Div(p, q)", {"a": FLOAT(5.3), "b": FLOAT(1.2)}),
    "integers over integers": ("o = Div(a, b)", {"a": INT(-7), "b": INT(2)}),
    "the rest by C": ("o = Mod<fmod = 1>(a, b)", {"a": INT(-7), "b": INT(3)}),
    "the rest by Python": ("o = Mod(a, b)", {"a": INT(-7), "b": INT(3)}),
    "sums that lose digits": ("p = Add(a, b)\no = Sub(p, a)", {"a": FLOAT(1e8), "b": FLOAT(3)}),
    "a product of nothing": (
        "o = ReduceProd<noop_with_empty_axes = 1>(a, b)",
        {"a": np.arange(2, 6, dtype=FLOAT), "b": np.zeros(0, INT)},
    ),
    "a product": ("o = ReduceProd<keepdims = 0>(a)", {"a": np.arange(2, 6, dtype=FLOAT)}),
    "a slice with an empty step": (
        "s = Shape(x)\np = Slice(s, a, b, c, )\no = ReduceProd(p)",
        {"a": np.array([1]), "b": np.array([2]), "c": np.array([0])},
    ),
    "a slice without axes": (
        "s = Shape(x)\np = Slice(s, a, b, , )\no = ReduceProd(p)",
        {"a": np.array([1]), "b": np.array([3])},
    ),
    "a range of fractions": ("p = Range(a, b, c)\no = ReduceMax(p)", {"a": FLOAT(0), "b": FLOAT(1.6), "c": FLOAT(0.1)}),
    "a weight by the sum of its sizes": (
        "p = LpNormalization<axis = 0, p = 1>(a)\no = MatMul(x, p)",
        {"a": np.linspace(-2, 1, 16, dtype=FLOAT).reshape(4, 4)},
    ),
    "a truth, repeated": (
        "p = Greater(a, b)\nq = Expand(p, c)\no = Where(q, a, b)",
        {"a": FLOAT(1), "b": FLOAT(0), "c": np.array([4])},
    ),
    "one of several": (
        "o = OneHot<axis = 0>(a, b, c)",
        {"a": np.array([-1, 0, 5, 3]), "b": np.array([4]), "c": np.array([0.5, 2], FLOAT)},
    ),
}


def write(body: str, constants: dict[str, np.ndarray], path: Path) -> Path:
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 18]>
        net (float[n, 4, 4, 4] x) => (float[] y) {{
            {body}
            r = Cast<to = 1>(o)
            y = Add(x, r)
        }}""")
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items())
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize("name", FOLDED)
def test_what_is_folded_is_what_the_file_computes(name: str, tmp_path: Path) -> None:
    path = write(*FOLDED[name], tmp_path / "model.onnx")
    assert verify_reading(path, load(path))


def test_a_wrong_reading_is_refused(tmp_path: Path) -> None:
    path = write(*FOLDED["floor over ceil"], tmp_path / "model.onnx")
    other = write("o = Identity(a)", {"a": FLOAT(2)}, tmp_path / "other.onnx")
    with pytest.raises(VerificationError, match=r"model.onnx' was read wrongly: output 'y' differs"):
        verify_reading(path, load(other))


def test_what_onnxruntime_does_not_run_is_not_compared(tmp_path: Path) -> None:
    path = write(*FOLDED["floor over ceil"], tmp_path / "model.onnx")
    model, proto = load(path), onnx.load(path)
    proto.graph.node[0].op_type = "Nonexistent"
    onnx.save(proto, path)
    assert not verify_reading(path, model)


# Made of a few numbers, 600 x 600 at least.
LARGE = {
    "Trilu": "m = ConstantOfShape(size)\nn = Trilu(m, zero)",
    "Trilu of what is spread": "m = Expand(one, size)\nn = Trilu<upper = 0>(m, zero)",
    "EyeLike": "m = ConstantOfShape(size)\nn = EyeLike(m)",
    "CumSum": "m = Expand(one, size)\nn = CumSum(m, zero)",
    "OneHot": "m = ConstantOfShape<value = int64[1] {3}>(width)\nn = OneHot(m, width, ends)",
    "NonZero": "m = Expand(one, size)\nk = NonZero(m)\nn = Cast<to = 1>(k)",
    "ScatterND": "m = ConstantOfShape(size)\nn = ScatterND(m, at, row)",
    "one mask, cut twice": "n1 = Trilu(mask, zero)\nn2 = Trilu<upper = 0>(mask, zero)\nn = Sub(n1, n2)",
}


@pytest.mark.parametrize("name", LARGE)
def test_the_file_does_not_grow_by_what_a_few_numbers_make(name: str, tmp_path: Path) -> None:
    constants = {"size": np.array([600, 600]), "width": np.array([600]), "zero": INT(0), "one": np.ones((1, 1), FLOAT)}
    constants |= {"ends": np.array([0, 1], FLOAT), "at": np.array([[3]]), "row": np.ones((1, 600), FLOAT)}
    constants |= {"mask": np.ones((600, 600), FLOAT)} if "mask" in LARGE[name] else {}
    path = write(f"{LARGE[name]}\no = ReduceMax(n)", constants, tmp_path / "model.onnx")
    model = load(path)
    assert verify_reading(path, model)
    save(model, tmp_path / "saved.onnx")
    assert (tmp_path / "saved.onnx").stat().st_size < path.stat().st_size + 1000


def test_what_indices_are_made_of_goes_with_them(tmp_path: Path) -> None:
    """Alone, the indices would make the file larger; the bias that is set to zero there does not."""
    indices = "m = Expand(yes, size)\nk = NonZero(m)\nt = Transpose(k)"
    body = f"{indices}\nz = Expand(zero, size)\nb = ScatterND(a, t, z)\no = ReduceMax(b)"
    constants = {
        "yes": np.ones(1, bool),
        "size": np.array([9000]),
        "zero": np.zeros(1, FLOAT),
        "a": np.ones(9100, FLOAT),
    }
    path = write(body, constants, tmp_path / "model.onnx")
    model = load(path)
    assert verify_reading(path, model)
    assert [node.op_type for node in model.graph] == ["ReduceMax", "Cast", "Add"]


@pytest.mark.parametrize(
    "body",
    ["m = Expand(one, size)", "m = ConstantOfShape(size)", "k = Range(zero, far, step)\nm = Cast<to = 1>(k)"],
)
def test_what_is_too_large_for_sizes_is_not_computed(body: str, tmp_path: Path) -> None:
    constants = {"one": FLOAT(1), "size": np.array([1, 1000, 1000]), "zero": INT(0), "far": INT(10**6), "step": INT(1)}
    path = write(f"{body}\no = ReduceMax(m)", constants, tmp_path / "model.onnx")
    load(path)
    tracemalloc.start()
    model = load(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 4e6
    assert {node.op_type for node in model.graph} >= {"ReduceMax"}
