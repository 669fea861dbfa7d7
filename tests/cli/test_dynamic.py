"""A network of free height and width through the command line: inspected and pruned alike, and free afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.cli.conftest import Run

SHAPE = ("--input-shape", "x:1x3x8x8")
# An even crop and pixels in a row, by sizes that the graph computes.
MACS = 8 * 8 * 8 * 3 * 9 + 6 * 8 * 8 * 8 + 6 * 5 * 8 * 8


@pytest.fixture
def network(tmp_path: Path) -> Path:
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[n, 3, h, w] x) => (float[n, pixels, 5] y) {
            a = Conv<pads = [1, 1, 1, 1]>(x, w1)
            s = Shape<start = 2, end = 4>(a)
            t = Div(s, two)
            e = Mul(t, two)
            c = Slice(a, zeros, e, axes)
            r = Relu(c)
            b = Conv(r, w2)
            u = Shape<start = 0, end = 1>(b)
            v = Concat<axis = 0>(u, six, minus)
            f = Reshape(b, v)
            p = Transpose<perm = [0, 2, 1]>(f)
            y = MatMul(p, w3)
        }""")
    rng = np.random.default_rng(0)
    weights = {"w1": (8, 3, 3, 3), "w2": (6, 8, 1, 1), "w3": (6, 5)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in weights.items()}
    sizes = {"two": [2], "zeros": [0, 0], "axes": [2, 3], "six": [6], "minus": [-1]}
    for name, array in (arrays | {name: np.array(entries) for name, entries in sizes.items()}).items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    path = tmp_path / "dynamic.onnx"
    onnx.save(proto, path)
    return path


def test_inspect_and_prune_see_the_same(run: Run, network: Path, tmp_path: Path) -> None:
    inspected = json.loads(run("inspect", network, "--json", *SHAPE).stdout)
    assert inspected["macs"] == MACS
    assert [group["channels"] for group in inspected["groups"]] == [8, 6]
    output, report = tmp_path / "out.onnx", tmp_path / "report.json"
    result = run("prune", network, "--ratio", "0.3", "--round-to", 1, "--output", output, "--report", report, *SHAPE)
    assert result.exit_code == 0, result.output
    record = json.loads(report.read_text())
    assert record["before"]["macs"] == MACS
    assert record["coverage"] == pytest.approx(inspected["coverage"], abs=1e-4)
    dims = onnx.load(output).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["n", 3, "h", "w"]


@pytest.mark.parametrize("command", ["inspect", "prune"])
def test_a_size_that_does_not_fit(run: Run, network: Path, command: str) -> None:
    target = ["--ratio", "0.3"] if command == "prune" else []
    result = run(command, network, *target, "--input-shape", "x:1x4x8x8")
    assert result.exit_code == 1
    assert "input 'x' is declared as (n, 3, h, w)" in result.stderr


@pytest.mark.parametrize("command", ["inspect", "prune"])
def test_an_input_that_does_not_say_how_many_axes_it_has(run: Run, network: Path, tmp_path: Path, command: str) -> None:
    proto = onnx.load(network)
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(proto, network)
    target = ["--ratio", "0.3", "--round-to", "1"] if command == "prune" else []
    refused = run(command, network, *target)
    assert refused.exit_code == 1
    assert "the rank of input 'x' is unknown; give it, e.g. --input-shape" in refused.stderr
    assert run(command, network, *target, *SHAPE).exit_code == 0
