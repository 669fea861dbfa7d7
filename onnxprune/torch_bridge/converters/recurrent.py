"""RNN, GRU and LSTM, by PyTorch's own kernels.

With g gates (1, 3, 4), hidden size H and one or two directions D:

    X  (steps, batch, I)    W  (D, g H, I)    R  (D, g H, H)    B  (D, 2 g H)
    Y  (steps, D, batch, H)   Y_h, Y_c, initial_h, initial_c  (D, batch, H)

ONNX and PyTorch order the gates differently: i o f c beside i f c o, and z r h beside r z h.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import Tensor

from onnxprune.errors import ConversionError
from onnxprune.torch_bridge.registry import apply, converter

_ORDERS = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_ACTIVATIONS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
_LENGTHS, _PEEPHOLES = 4, 7


@converter(*_ORDERS)
def _recurrent(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    kind, direction = node.operation_type, node.attributes.get("direction", "forward")
    reason = _obstacle(node)
    if reason is not None:
        raise ConversionError(f"PyTorch's {kind} has no {reason}")
    outputs = len(node.output_values)
    return apply(
        node, graph, partial(recurrent, kind=kind, direction=direction, relu=_rectifies(node), outputs=outputs)
    )


def recurrent(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    *optional: Tensor | None,
    kind: str,
    direction: str,
    relu: bool,
    outputs: int,
) -> Any:
    """Run a recurrence; shapes as in the module's docstring.

    Args:
        x: Inputs.
        w: Weights of the inputs.
        r: Weights of the hidden units.
        optional: The operator's other inputs as far as it has them: B, nothing, initial_h and initial_c.
        kind: "LSTM", "GRU" or "RNN".
        direction: "forward", "reverse" or "bidirectional".
        relu: Whether an RNN's activation is Relu.
        outputs: How many outputs are wanted.

    Returns:
        Y; or Y and Y_h, and Y_c of an LSTM.
    """
    b, _, initial_h, initial_c = [*optional, *[None] * 4][:4]
    backwards, both = direction == "reverse", direction == "bidirectional"
    state = x.new_zeros(w.shape[0], x.shape[1], r.shape[2])
    h = state if initial_h is None else initial_h
    # cuDNN can go backwards only where it trains; without dropout that changes nothing else.
    settings = (b is not None, 1, 0.0, torch.is_grad_enabled(), both, False)
    flat, sequence = _weights(w, r, b, _ORDERS[kind]), x.flip(0) if backwards else x
    if kind == "LSTM":
        c = state if initial_c is None else initial_c
        steps, *last = torch.lstm(sequence, (h, c), flat, *settings)
    else:
        run = torch.gru if kind == "GRU" else torch.rnn_relu if relu else torch.rnn_tanh
        steps, *last = run(sequence, h, flat, *settings)
    steps = steps.flip(0) if backwards else steps
    y = steps.reshape(*steps.shape[:2], w.shape[0], -1).permute(0, 2, 1, 3)
    return (y, *last)[:outputs] if outputs > 1 else y


def _weights(w: Tensor, r: Tensor, b: Tensor | None, order: tuple[int, ...]) -> list[Tensor]:
    """Return the weights of each direction as PyTorch wants them."""

    def reordered(rows: Tensor) -> Tensor:
        gates = rows.chunk(len(order))
        return torch.cat([gates[gate] for gate in order])

    flat = []
    for direction in range(w.shape[0]):
        biases = [] if b is None else list(b[direction].chunk(2))
        flat += [reordered(rows) for rows in (w[direction], r[direction], *biases)]
    return flat


def _rectifies(node: OnnxNode) -> bool:
    activations = node.attributes.get("activations") or ["Tanh"]
    return node.operation_type == "RNN" and activations[0].lower() == "relu"


def _obstacle(node: OnnxNode) -> str | None:
    """Say what of a node PyTorch has no counterpart of; None where there is nothing."""
    kind, attributes, inputs = node.operation_type, node.attributes, node.input_values
    usual = _ACTIVATIONS[kind] if not _rectifies(node) else ("relu",)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    activations = tuple(name.lower() for name in attributes.get("activations") or usual * directions)
    obstacles = {
        f"activations {', '.join(activations)}": activations != usual * directions,
        "clipping": bool(attributes.get("clip")),
        "coupled input and forget gates": bool(attributes.get("input_forget")),
        "batch before the steps (layout 1)": bool(attributes.get("layout")),
        "reset before the product (linear_before_reset 0)": kind == "GRU" and not attributes.get("linear_before_reset"),
        "lengths of sequences": len(inputs) > _LENGTHS and bool(inputs[_LENGTHS]),
        "peepholes": len(inputs) > _PEEPHOLES and bool(inputs[_PEEPHOLES]),
    }
    return next((what for what, there in obstacles.items() if there), None)
