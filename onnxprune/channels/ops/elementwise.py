"""Ops that work entry by entry: one operand carries its labels, several are tied where they meet."""

from __future__ import annotations

import onnx_ir as ir

from onnxprune.channels.labels import Labels
from onnxprune.channels.ops.rules import broadcast, carry, named
from onnxprune.channels.registry import flow

UNARY = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "Ceil", "Celu", "Clip", "Cos",
    "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN",
    "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin",
    "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
)  # fmt: skip

BROADCAST = (
    "Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "CastLike", "Div", "Equal", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip


@flow(*UNARY)
def unary(node: ir.Node, labels: Labels) -> None:
    """Carry the labels of the operand; bounds and slopes beside it are scalars."""
    carry(node, labels)


@flow(*BROADCAST)
def broadcasting(node: ir.Node, labels: Labels) -> None:
    """Tie the labels of all operands where their axes meet."""
    values = node.inputs[:1] if node.op_type == "CastLike" else node.inputs
    labels.set(node.outputs[0], broadcast(node, labels, values))


@flow("Dropout")
def dropout(node: ir.Node, labels: Labels) -> None:
    """Carry the labels; in training, what is dropped is drawn anew for another shape, so all are fixed."""
    training = node.inputs[2] if len(node.inputs) > 2 else None
    if training is not None and labels.known_ints(training) != [0]:
        labels.pin_all(node.inputs[:1], f"{named(node)} drops at random")
        for output in node.outputs:
            labels.set(output, (None,) * len(labels.of(node.inputs[0])))
        return
    carry(node, labels)
