"""Every converter we add, in every opset that changed the operator, against onnxruntime."""

from __future__ import annotations

import computing_cases  # noqa: F401  (fills the table)
import moving_cases  # noqa: F401  (fills the table)
import pytest
from bridge_models import opsets_of, relative_difference, single
from case_table import BUILDERS


def all_cases() -> list:
    return [
        pytest.param(op_type, opset, case, id=f"{op_type}-{opset}-{index}")
        for op_type, builder in sorted(BUILDERS.items())
        for opset in opsets_of(op_type)
        for index, case in enumerate(builder(opset))
    ]


@pytest.mark.parametrize(("op_type", "opset", "case"), all_cases())
def test_operator_equals_onnxruntime(op_type, opset, case):
    model, feeds = single(op_type, opset, case)
    assert relative_difference(model, feeds) <= case.tolerance
