"""Which inputs of an operator say *how* to compute rather than *what* on: sizes, axes, bounds, scales.

Such an input is no weight, and its value stays in the CPU's memory, where PyTorch wants sizes, whatever
device the network runs on.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch

_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
_SETTINGS: dict[str, frozenset[int]] = {
    "Clip": frozenset({1, 2}),
    "Col2Im": frozenset({1, 2}),
    "ConstantOfShape": frozenset({0}),
    "CumSum": frozenset({1}),
    "DFT": frozenset({1, 2}),
    "Dropout": frozenset({1, 2}),
    "Expand": frozenset({1}),
    "OneHot": frozenset({1}),
    "Pad": frozenset({1, 2, 3}),
    "Range": frozenset({0, 1, 2}),
    "Reshape": frozenset({1}),
    "Resize": frozenset({1, 2, 3}),
    "Slice": frozenset({1, 2, 3, 4}),
    "Split": frozenset({1}),
    "Squeeze": frozenset({1}),
    "Tile": frozenset({1}),
    "TopK": frozenset({1}),
    "Trilu": frozenset({1}),
    "Unsqueeze": frozenset({1}),
    "Upsample": frozenset({1}),
    **{f"Reduce{name}": frozenset({1}) for name in _REDUCTIONS},
}


def settings_of(op_type: str) -> frozenset[int]:
    """Return the positions of an operator's inputs that are settings."""
    return _SETTINGS.get(op_type, frozenset())


def is_setting(node: ir.Node, position: int) -> bool:
    """Say whether a node reads a setting at an input position."""
    if position in settings_of(node.op_type):
        return True
    value = node.inputs[position]
    # A single constant index selects; more of them are data that must be on the network's device.
    return (
        node.op_type == "Gather"
        and position == 1
        and value is not None
        and value.const_value is not None
        and value.const_value.shape.rank() == 0
    )


def as_ints(value: object) -> list[int]:
    """Return a setting, given as a number, a list or a tensor, as a list of integers."""
    return [int(number) for number in _numbers(value)]


def as_floats(value: object) -> list[float]:
    """Return a setting, given as a number, a list or a tensor, as a list of floats."""
    return [float(number) for number in _numbers(value)]


def as_number(value: object) -> Any:
    """Return a setting of one element as a number, None where it is absent."""
    if value is None:
        return None
    numbers = _numbers(value)
    return numbers[0] if numbers else None


def _numbers(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    return torch.as_tensor(value).reshape(-1).tolist()
