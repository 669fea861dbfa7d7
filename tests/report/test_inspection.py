"""`inspect_model`: the groups, what they cost, and what is fixed and why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from onnxprune.channels import Restriction
from onnxprune.errors import InputShapeError
from onnxprune.report import fixed_table, groups_table, inspect_model, inspection_lines
from tests.report.conftest import small_cnn
from tests.report.test_tables import rendered, row


def test_groups_and_what_they_take_part_in(cnn_path: Path) -> None:
    inspection = inspect_model(cnn_path)
    first, second = inspection.groups
    assert (first.name, first.producers, first.channels, first.channels_per_unit) == (
        "first",
        ("first",),
        16,
        1,
    )
    assert second.producers == ("second", "depthwise")
    assert second.channels == 24
    # MACs at 8 x 8: all of the first two convolutions need the first group; the last three nodes the second.
    conv1, conv2, depthwise, gemm = 64 * 16 * 27, 64 * 24 * 144, 64 * 24 * 9, 240
    assert first.macs == conv1 + conv2
    assert second.macs == conv2 + depthwise + gemm
    assert first.parameters == 16 * 27 + 24 * 144
    assert second.parameters == 24 * 144 + 24 * 9 + 240
    assert inspection.cost.macs == inspection.prunable_macs == conv1 + conv2 + depthwise + gemm
    assert inspection.coverage == 1.0


def test_fixed_channels_have_a_reason(cnn_path: Path) -> None:
    (fixed,) = inspect_model(cnn_path).fixed
    assert (fixed.producer, fixed.channels) == ("classifier", 10)
    assert "output 'scores'" in fixed.reason
    assert fixed.hint == "nothing: the caller reads them"


def test_what_is_kept_is_covered_no_more(cnn_path: Path) -> None:
    """The first group's MACs go on: what the second convolution reads of it is all that the second group shares."""
    conv1, conv2, depthwise, gemm = 64 * 16 * 27, 64 * 24 * 144, 64 * 24 * 9, 240
    content = inspect_model(cnn_path, restriction=Restriction(keep=("depthwise",))).to_dict()
    assert [group["name"] for group in content["groups"]] == ["first"]
    assert content["coverage"] == pytest.approx((conv1 + conv2) / (conv1 + conv2 + depthwise + gemm), abs=1e-6)
    assert content["fixed"][0] == {
        "producer": "second",
        "channels": 24,
        "reason": "they share channels with 'depthwise', which --keep 'depthwise' names",
        "hint": "leave out --keep 'depthwise'",
    }


def test_part_of_an_axis_counts_in_its_share(tmp_path: Path) -> None:
    """Of a concatenation, each group holds only its part of the MACs that sum over it."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[1, 2, 4, 4] x) => (float[1, 5, 4, 4] y)
        <float[6, 2, 1, 1] wa, float[2, 2, 1, 1] wb, float[5, 8, 1, 1] wc> {
            [a] ya = Conv (x, wa)
            [b] yb = Conv (x, wb)
            [cat] joined = Concat <axis = 1> (ya, yb)
            [last] y = Conv (joined, wc)
        }
    """)
    for value, size in zip(list(model.graph.value_info), (12, 4, 40), strict=False):
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        model.graph.initializer.append(onnx.helper.make_tensor(value.name, 1, dims, [0.1] * size))
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "concat.onnx")
    a, b = inspect_model(tmp_path / "concat.onnx").groups
    assert a.macs == 16 * 6 * 2 + 16 * 5 * 6
    assert b.macs == 16 * 2 * 2 + 16 * 5 * 2


def test_to_dict_is_json(cnn_path: Path) -> None:
    content = json.loads(json.dumps(inspect_model(cnn_path).to_dict()))
    assert content["groups"][1]["producers"] == ["second", "depthwise"]
    assert content["inputs"] == [{"name": "image", "dtype": "float32", "shape": ["N", 3, 8, 8]}]
    assert content["file_bytes"] == cnn_path.stat().st_size


def test_unknown_size_is_asked_for_and_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "dynamic.onnx"
    onnx.save(small_cnn(size="S"), path)
    with pytest.raises(InputShapeError, match="--input-shape image:1x3x"):
        inspect_model(path)
    assert inspect_model(path, {"image": (1, 3, 8, 8)}).groups[0].macs == 64 * 16 * 27 + 64 * 24 * 144


def test_tables(cnn_path: Path) -> None:
    inspection = inspect_model(cnn_path)
    lines = inspection_lines(inspection)
    assert "opset 17, IR 8" in lines[0]
    assert lines[1] == "inputs: image float32 [N x 3 x 8 x 8]"
    assert "prunable: 64 of 74 output channels, in 2 groups; they take part in 100.0 % of the MACs" in lines[3]
    assert row(groups_table(inspection), "first") == ["first", "16", "1", "249 k", "94.7 %", "3.89 k"]
    assert row(groups_table(inspection), "second")[0] == "second + 1 more"
    assert rendered(fixed_table(inspection))[1][0] == "classifier"
    assert row(fixed_table(inspection, hints=True), "classifier")[-1] == "nothing: the caller reads them"


def test_loads_neither_torch_nor_onnxruntime(cnn_path: Path) -> None:
    code = (
        "import sys; from onnxprune.report import inspect_model; inspect_model(sys.argv[1]); "
        "print(sorted({'torch', 'onnxruntime', 'onnx2torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(cnn_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
