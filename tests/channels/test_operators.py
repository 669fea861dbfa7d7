"""Every operator the analysis knows: what it leaves removable, and that removing it equals silencing it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxprune.channels import analyse, hints, prune, verify
from onnxprune.channels.registry import known_operators
from onnxprune.graph import load
from tests.channels.operator_table import ROWS as OPERATORS
from tests.channels.operator_table import build
from tests.channels.product_table import PRODUCTS
from tests.channels.recurrence_table import RECURRENCES
from tests.channels.reduction_table import REDUCTIONS
from tests.channels.selection_table import SELECTIONS

ROWS = OPERATORS | PRODUCTS | RECURRENCES | REDUCTIONS | SELECTIONS

# What this onnxruntime has no kernel for: analysed, but not verified.
NOT_RUN = {"Swish", "RMSNormalization", "RNN by batches"}


def loaded(name: str, folder: Path) -> ir.Model:
    path = folder / "model.onnx"
    onnx.save(build(ROWS[name]), path)
    return load(path)


def test_every_known_operator_has_a_row() -> None:
    covered = {(node.domain, node.op_type) for row in ROWS.values() for node in build(row).graph.node}
    assert set(known_operators()) - covered == set()


@pytest.mark.parametrize("name", ROWS)
def test_units(name: str, tmp_path: Path) -> None:
    assert analyse(loaded(name, tmp_path)).unit_count == ROWS[name].units


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.units and name not in NOT_RUN])
@pytest.mark.parametrize("seed", range(3))
def test_removal_equals_silencing(name: str, seed: int, tmp_path: Path) -> None:
    model = loaded(name, tmp_path)
    channels = analyse(model)
    rng = np.random.default_rng(seed)
    keep = rng.random(channels.unit_count) < 0.6
    for group in channels.groups:
        keep[rng.choice(group.units)] = True
    pruned = prune(model, channels, keep)
    assert verify(model, channels, keep, pruned, seed=seed).relative_error <= 1e-4


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.units == 0])
def test_fixed_channels_say_why(name: str, tmp_path: Path) -> None:
    reasons = [fixed.reason for fixed in analyse(loaded(name, tmp_path)).fixed if fixed.channels == 8]
    assert reasons
    operators = {node.op_type for node in build(ROWS[name]).graph.node}
    assert all(reason.split()[0] in operators for reason in reasons)


@pytest.mark.parametrize(
    ("middle", "hint"),
    [
        ("b = Softmax<axis = 1>(a)", hints.TOGETHER),
        ("b = my.Thing(a)", hints.RULE),
        ("b = Slice(a, start, end, one, start)", hints.SIZES),
        ("y = Relu(a)\nb = Neg(y)", hints.CALLER),
    ],
)
def test_fixed_channels_say_what_would_free_them(middle: str, hint: str, tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17, "my": 1]>
        net (float[2, 3, 4, 4] x, int64[1] start, int64[1] end) => (float[2, 4, 4, 4] y, float[2, 4, 4, 4] z)
        <int64[1] one = {{1}}> {{
            [Conv_0] a = Conv(x, w)
            {middle}
            z = Conv(b, v)
            {"" if "y =" in middle else "y = Identity(z)"}
        }}"""
    )
    for name, shape in {"w": (4, 3, 1, 1), "v": (4, 4, 1, 1)}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    onnx.save(proto, tmp_path / "net.onnx")
    first = analyse(load(tmp_path / "net.onnx")).fixed[0]
    assert (first.producer, first.channels, first.hint) == ("Conv_0", 4, hint)
