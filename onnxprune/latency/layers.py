"""One layer as a model of its own, between two cheap convolutions.

A layer alone is not truthful: onnxruntime keeps channels in blocks, and a count that does not fill them makes
it convert between layouts *around* the layer. So it is built as a sandwich, 1x1 convolution from 16 channels
-> layer -> 1x1 convolution to 16 channels, and everything that runs between the two slices of bread counts. A
matrix product has no blocked layout and stands alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx_ir as ir

BREAD_IN, BREAD_OUT = "bread_in", "bread_out"
_BREAD_CHANNELS = 16
_OPSET, _IR_VERSION = 17, 9

LayerOp = Literal["Conv", "ConvTranspose", "MatMul"]


@dataclass(frozen=True)
class LayerSpec:
    """A contraction at given channel counts.

    Attributes:
        op: "Conv", "ConvTranspose" or "MatMul" (Gemm too).
        channels_in: Input channels.
        channels_out: Output channels.
        batch: Samples; for "MatMul" the rows.
        size: Input size in space, e.g. (56, 56); empty for "MatMul".
        groups: Groups of a convolution, where they are fixed; 1 for a plain one.
        width: Channels per group, where groups are removed whole (1: depthwise); 0 where `groups` counts.
        kernel: Kernel size.
        strides: Strides.
        pads: Padding, begins then ends.
        dilations: Dilations.
    """

    op: LayerOp
    channels_in: int
    channels_out: int
    batch: int = 1
    size: tuple[int, ...] = ()
    groups: int = 1
    width: int = 0
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()

    @property
    def tied(self) -> bool:
        """Whether input and output channels change together, as in a depthwise convolution."""
        return self.width > 0

    def at(self, channels_in: int, channels_out: int) -> LayerSpec:
        """Return the layer with other channel counts."""
        return replace(self, channels_in=channels_in, channels_out=channels_out)


def sandwich(spec: LayerSpec) -> tuple[bytes, dict[str, np.ndarray]]:
    """Build the model to time a layer in, and inputs for it.

    Returns:
        The serialised model and its feeds.
    """
    if spec.op == "MatMul":
        x = _input(spec.batch, spec.channels_in)
        return _model(x, _node("Gemm", "layer", x, _shape(spec), {}))
    rank = len(spec.size)
    x = _input(spec.batch, _BREAD_CHANNELS, *spec.size)
    first = _node("Conv", BREAD_IN, x, (spec.channels_in, _BREAD_CHANNELS, *[1] * rank), {})
    layer = _node(spec.op, "layer", first[-1].outputs[0], _shape(spec), _attributes(spec))
    last = _node("Conv", BREAD_OUT, layer[-1].outputs[0], (_BREAD_CHANNELS, spec.channels_out, *[1] * rank), {})
    return _model(x, [*first, *layer, *last])


def weight_bytes(spec: LayerSpec) -> int:
    """Return the size of a layer's weight in 32-bit floats."""
    return 4 * math.prod(_shape(spec))


def _shape(spec: LayerSpec) -> tuple[int, ...]:
    """Return the shape of the layer's weight."""
    groups = spec.channels_in // spec.width if spec.tied else spec.groups
    if spec.op == "Conv":
        return (spec.channels_out, spec.channels_in // groups, *spec.kernel)
    return (spec.channels_in, spec.channels_out // groups, *spec.kernel)


def _attributes(spec: LayerSpec) -> dict[str, object]:
    ints = {
        "kernel_shape": spec.kernel,
        "strides": spec.strides,
        "pads": spec.pads,
        "dilations": spec.dilations,
    }
    groups = spec.channels_in // spec.width if spec.tied else spec.groups
    return {"group": groups, **{name: list(value) for name, value in ints.items() if value}}


def _input(*shape: int) -> ir.Value:
    return ir.Value(name="x", shape=ir.Shape(shape), type=_FLOAT)


def _node(op: str, name: str, x: ir.Value, shape: tuple[int, ...], attributes: dict[str, object]) -> list[ir.Node]:
    """Return a contraction, behind the node that makes its weight."""
    weight = _weight(f"{name}.weight", shape)
    output = ir.Value(name=f"{name}.y", type=_FLOAT)
    inputs = [x, weight.outputs[0]]
    return [weight, ir.node(op, inputs, attributes=attributes, name=name, outputs=[output])]  # type: ignore[arg-type]


def _weight(name: str, shape: tuple[int, ...]) -> ir.Node:
    """Have onnxruntime make the weight while it loads the model: nothing large is built or copied here."""
    sizes = ir.node("Constant", [], attributes={"value_ints": list(shape)}, name=f"{name}.sizes")
    sizes.outputs[0].name = f"{name}.shape"
    value = ir.tensor(np.array([1 / math.prod(shape[1:])], np.float32))
    output = ir.Value(name=name, type=_FLOAT)
    return ir.node("ConstantOfShape", sizes.outputs, attributes={"value": value}, name=name, outputs=[output])


_FLOAT = ir.TensorType(ir.DataType.FLOAT)


def _model(x: ir.Value, nodes: list[ir.Node]) -> tuple[bytes, dict[str, np.ndarray]]:
    assert x.shape is not None
    makers = [v.producer() for node in nodes for v in node.inputs if v is not None]
    constants = [maker for maker in makers if maker is not None and maker.op_type == "Constant"]
    graph = ir.Graph([x], nodes[-1].outputs, nodes=[*constants, *nodes], opset_imports={"": _OPSET}, name="layer")
    data: bytes = ir.serde.serialize_model(ir.Model(graph, ir_version=_IR_VERSION)).SerializeToString()
    return data, {"x": np.random.default_rng(0).standard_normal(x.shape.numpy(), np.float32)}
