"""Leave out initial states of recurrences that are zero, as they are by default.

Exporters cut the states of all layers from one tensor of zeros. Kept, it would tie the layers' hidden units.
"""

from __future__ import annotations

import onnx_ir as ir

_STATES = {"RNN": (5,), "GRU": (5,), "LSTM": (5, 6)}
_MOVES = frozenset(
    {"Expand", "Slice", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Gather", "Split", "Cast"}
)


def drop_zero_states(model: ir.Model) -> bool:
    """Remove initial states that are zero whatever the input, in place.

    Returns:
        Whether any was removed.
    """
    changed = False
    for node in model.graph:
        for index in _STATES.get(node.op_type, ()) if node.domain == "" else ():
            value = node.inputs[index] if index < len(node.inputs) else None
            if value is not None and _is_zero(value):
                node.replace_input_with(index, None)
                changed = True
    return changed


def _is_zero(value: ir.Value) -> bool:
    while True:
        if value.const_value is not None:
            return not value.const_value.numpy().any()
        node = value.producer()
        if node is None or node.domain != "":
            return False
        if node.op_type == "ConstantOfShape":
            fill = node.attributes.get_tensor("value", None)
            return fill is None or not fill.numpy().any()
        if node.op_type not in _MOVES or node.inputs[0] is None:
            return False
        value = node.inputs[0]
