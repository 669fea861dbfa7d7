"""Networks with a recurrence and an Einsum through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.cli.conftest import Run

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@pytest.fixture(params=GATES)
def network(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    op, rows = request.param, 10 * GATES[request.param]
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[2, 3, 12] x) => (float[2, 4] y) {{
            c = Conv(x, first)
            t = Transpose<perm = [2, 0, 1]>(c)
            p, q = {op}<hidden_size = 10>(t, w, r)
            s = Squeeze(q, zero)
            e = Einsum<equation = "nh,hk->nk">(s, product)
            a = Relu(e)
            y = Gemm(a, last)
        }}""")
    shapes = {"first": (10, 3, 1), "w": (1, rows, 10), "r": (1, rows, 10), "product": (10, 10), "last": (10, 4)}
    rng = np.random.default_rng(0)
    arrays = {name: (rng.standard_normal(shape) / 2).astype(np.float32) for name, shape in shapes.items()}
    for name, array in (arrays | {"zero": np.zeros(1, np.int64)}).items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    path = tmp_path / "recurrent.onnx"
    onnx.save(proto, path)
    return path


def test_inspect(run: Run, network: Path) -> None:
    groups = json.loads(run("inspect", network, "--json").stdout)["groups"]
    assert [(group["channels"], group["channels_per_unit"]) for group in groups] == [(10, 1)] * 3


def test_prune(run: Run, network: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    result = run("prune", network, "--ratio", "0.3", "--output", output)
    assert result.exit_code == 0, result.output
    pruned = onnx.load(output)
    (recurrence,) = (node for node in pruned.graph.node if node.op_type in GATES)
    (hidden,) = (a.i for a in recurrence.attribute if a.name == "hidden_size")
    assert hidden < 10
    sizes = {tensor.name: list(tensor.dims) for tensor in pruned.graph.initializer}
    assert sizes["r"] == [1, hidden * GATES[recurrence.op_type], hidden]
    assert sizes["product"][0] == hidden
