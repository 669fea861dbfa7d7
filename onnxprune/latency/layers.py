"""One layer as a model of its own, between two cheap convolutions.

A layer alone is not truthful: onnxruntime keeps channels in blocks, and a count that does not fill them makes
it convert between layouts *around* the layer. So it is built as a sandwich, 1x1 convolution from 16 channels
-> layer -> 1x1 convolution to 16 channels, and everything that runs between the two slices of bread counts. A
matrix product has no blocked layout and stands alone.

An int8 layer has QuantizeLinear and DequantizeLinear around everything, as quantised networks do, such that onnxruntime
runs the bread and the layer on integers.
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
NumberFormat = Literal["float32", "float16", "int8"]


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
        width: Input channels per group, where groups are removed whole (1: depthwise); 0 where `groups` counts.
        width_out: Output channels per group, where these are not as many; 0 where they are.
        kernel: Kernel size.
        strides: Strides.
        pads: Padding, begins then ends.
        dilations: Dilations.
        dtype: What it computes in; "int8" stands for weights and activations of eight bits.
    """

    op: LayerOp
    channels_in: int
    channels_out: int
    batch: int = 1
    size: tuple[int, ...] = ()
    groups: int = 1
    width: int = 0
    width_out: int = 0
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    dtype: NumberFormat = "float32"

    @property
    def tied(self) -> bool:
        """Whether input and output channels change together, as in a depthwise convolution."""
        return self.width > 0

    @property
    def widths(self) -> tuple[int, int]:
        """Input and output channels per group of a tied layer."""
        return self.width, self.width_out or self.width

    def at(self, channels_in: int, channels_out: int) -> LayerSpec:
        """Return the layer with other channel counts."""
        return replace(self, channels_in=channels_in, channels_out=channels_out)

    def along(self, channels_in: int) -> LayerSpec:
        """Return a tied layer with so many input channels, and the output channels that go with them."""
        width_in, width_out = self.widths
        return self.at(channels_in, channels_in // width_in * width_out)


CHAIN_NODES = 64
"""Length of a `chain`."""


def chain() -> tuple[bytes, dict[str, np.ndarray]]:
    """Build a model of nodes that do next to nothing, and inputs for it."""
    type_ = ir.TensorType(ir.DataType.FLOAT)
    x = value = ir.Value(name="x", shape=ir.Shape((1,)), type=type_)
    for index in range(CHAIN_NODES):
        output = ir.Value(name=f"y{index}", type=type_)
        ir.node("Tanh", [value], name=f"node{index}", outputs=[output])
        value = output
    return _model(x, value)


def sandwich(spec: LayerSpec) -> tuple[bytes, dict[str, np.ndarray]]:
    """Build the model to time a layer in, and inputs for it.

    Returns:
        The serialised model and its feeds.
    """
    if spec.op == "MatMul":
        x = _input(spec, spec.batch, spec.channels_in)
        return _model(x, _node(_Part("Gemm", "layer", _shape(spec), {}), _fed(spec, x), spec))
    rank = len(spec.size)
    x = value = _input(spec, spec.batch, _BREAD_CHANNELS, *spec.size)
    value = _fed(spec, value)
    for part in (
        _Part("Conv", BREAD_IN, (spec.channels_in, _BREAD_CHANNELS, *[1] * rank), {}),
        _Part(spec.op, "layer", _shape(spec), _attributes(spec)),
        _Part("Conv", BREAD_OUT, (_BREAD_CHANNELS, spec.channels_out, *[1] * rank), {}),
    ):
        value = _node(part, value, spec)
    return _model(x, value)


@dataclass(frozen=True)
class _Part:
    """One contraction of a sandwich: its operator and name, the shape of its weight, and its attributes."""

    op: str
    name: str
    shape: tuple[int, ...]
    attributes: dict[str, object]


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


def _input(spec: LayerSpec, *shape: int) -> ir.Value:
    return ir.Value(name="x", shape=ir.Shape(shape), type=_type(spec))


def _type(spec: LayerSpec) -> ir.TensorType:
    return ir.TensorType(ir.DataType.FLOAT16 if spec.dtype == "float16" else ir.DataType.FLOAT)


def _fed(spec: LayerSpec, x: ir.Value) -> ir.Value:
    return _rounded(x, "x") if spec.dtype == "int8" else x


def _node(part: _Part, x: ir.Value, spec: LayerSpec) -> ir.Value:
    """Return what a contraction gives, with the nodes that make its weight behind it."""
    output = ir.Value(name=f"{part.name}.y", type=_type(spec))
    inputs = [x, _weight(f"weight_of_{part.name}", part.shape, spec)]
    ir.node(part.op, inputs, attributes=part.attributes, name=part.name, outputs=[output])  # type: ignore[arg-type]
    return _rounded(output, f"after_{part.name}") if spec.dtype == "int8" else output


def _weight(name: str, shape: tuple[int, ...], spec: LayerSpec) -> ir.Value:
    """Have onnxruntime make the weight while it loads the model: nothing large is built or copied here."""
    sizes = ir.node("Constant", [], attributes={"value_ints": list(shape)}, name=f"{name}.sizes")
    sizes.outputs[0].name = f"{name}.shape"
    if spec.dtype == "int8":
        value = ir.tensor(np.array([1], np.int8))
    else:
        value = ir.tensor(np.array([1 / math.prod(shape[1:])], _type(spec).dtype.numpy()))
    output = ir.Value(name=name, type=ir.TensorType(value.dtype))
    ir.node("ConstantOfShape", sizes.outputs, attributes={"value": value}, name=name, outputs=[output])
    return _dequantised(output, name, 1 / math.prod(shape[1:]), np.int8(0)) if spec.dtype == "int8" else output


def _rounded(x: ir.Value, name: str) -> ir.Value:
    """Quantise and dequantise a value."""
    quantised = ir.Value(name=f"{name}.q", type=ir.TensorType(ir.DataType.UINT8))
    parameters = [_constant(f"{name}.q.scale", _STEP), _constant(f"{name}.q.zero", np.uint8(128))]
    ir.node("QuantizeLinear", [x, *parameters], name=f"{name}.quantise", outputs=[quantised])
    return _dequantised(quantised, f"{name}.q", float(_STEP), np.uint8(128))


def _dequantised(x: ir.Value, name: str, scale: float, zero_point: np.integer) -> ir.Value:
    output = ir.Value(name=f"{name}.real", type=ir.TensorType(ir.DataType.FLOAT))
    parameters = [_constant(f"{name}.scale_", np.float32(scale)), _constant(f"{name}.zero_", zero_point)]
    ir.node("DequantizeLinear", [x, *parameters], name=f"{name}.dequantise", outputs=[output])
    return output


def _constant(name: str, value: np.generic) -> ir.Value:
    node = ir.node("Constant", [], attributes={"value": ir.tensor(np.asarray(value))}, name=name)
    node.outputs[0].name = name
    return node.outputs[0]


_STEP = np.float32(0.05)


def _model(x: ir.Value, y: ir.Value) -> tuple[bytes, dict[str, np.ndarray]]:
    assert x.shape is not None
    assert x.dtype is not None
    graph = ir.Graph([x], [y], nodes=_nodes_behind(y), opset_imports={"": _OPSET}, name="layer")
    data: bytes = ir.serde.serialize_model(ir.Model(graph, ir_version=_IR_VERSION)).SerializeToString()
    feed = np.random.default_rng(0).standard_normal(x.shape.numpy(), np.float32)
    return data, {"x": feed.astype(x.dtype.numpy(), copy=False)}


def _nodes_behind(value: ir.Value) -> list[ir.Node]:
    """Return the nodes that a value is made by, in an order they can run in."""
    node = value.producer()
    if node is None:
        return []
    return [*(before for x in node.inputs if x is not None for before in _nodes_behind(x)), node]
