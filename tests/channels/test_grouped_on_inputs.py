"""Grouped convolutions of what is fixed: of every group as many filters go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxprune.channels import analyse
from onnxprune.graph import load
from tests.channels.zeroed import check_removal


def stem(groups: int, channels: int, filters: int) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[N, {channels}, 20] x) => (float[N, 4, 16] y) {{
            a = Conv<group = {groups}>(x, w, b)
            r = Relu(a)
            y = Conv(r, last)
        }}""")
    rng = np.random.default_rng(0)
    for name, shape in (("w", (filters, channels // groups, 5)), ("b", (filters,)), ("last", (4, filters, 1))):
        proto.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    return proto


@pytest.mark.parametrize(("groups", "channels", "filters"), [(3, 3, 48), (2, 6, 16), (4, 4, 8)])
def test_filters_of_every_group_go_together(tmp_path: Path, groups: int, channels: int, filters: int) -> None:
    x = np.random.default_rng(1).standard_normal((2, channels, 20)).astype(np.float32)
    proto = stem(groups, channels, filters)
    check_removal(proto, {"w": 0, "b": 0}, x, units=filters // groups, folder=tmp_path, seed=0)


def test_groups_of_one_filter_stay(tmp_path: Path) -> None:
    onnx.save(stem(6, 6, 6), tmp_path / "net.onnx")
    assert analyse(load(tmp_path / "net.onnx")).unit_count == 0
