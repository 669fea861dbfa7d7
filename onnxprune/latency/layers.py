"""One layer as a model of its own, between two cheap convolutions.

A layer alone is not truthful: onnxruntime keeps channels in blocks, and a count that does not fill them makes it
convert between layouts *around* the layer. So it is built as a sandwich, 1x1 convolution from 16 channels -> layer ->
1x1 convolution to 16 channels, and everything that runs between the two slices of bread counts.
"""

from __future__ import annotations

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
        return _matrix_product(spec)
    rank = len(spec.size)
    x = ir.Value(name="x", shape=ir.Shape((spec.batch, _BREAD_CHANNELS, *spec.size)), type=_FLOAT)
    first, weights = _pointwise(BREAD_IN, x, _BREAD_CHANNELS, spec.channels_in, rank)
    layer, layer_weights = _layer(spec, first.outputs[0])
    last, last_weights = _pointwise(BREAD_OUT, layer.outputs[0], spec.channels_out, _BREAD_CHANNELS, rank)
    feeds = {"x": np.random.default_rng(0).standard_normal((spec.batch, _BREAD_CHANNELS, *spec.size), np.float32)}
    return _model([x], [first, layer, last], weights + layer_weights + last_weights), feeds


def _layer(spec: LayerSpec, x: ir.Value) -> tuple[ir.Node, list[ir.Value]]:
    groups = spec.channels_in // spec.width if spec.tied else spec.groups
    shape = (
        (spec.channels_out, spec.channels_in // groups)
        if spec.op == "Conv"
        else (spec.channels_in, spec.channels_out // groups)
    )
    attributes: dict[str, object] = {"group": groups}
    for name, value in (
        ("kernel_shape", spec.kernel),
        ("strides", spec.strides),
        ("pads", spec.pads),
        ("dilations", spec.dilations),
    ):
        if value:
            attributes[name] = list(value)
    return _node(spec.op, "layer", x, (*shape, *spec.kernel), spec.channels_out, attributes)


def _pointwise(name: str, x: ir.Value, before: int, after: int, rank: int) -> tuple[ir.Node, list[ir.Value]]:
    return _node("Conv", name, x, (after, before, *[1] * rank), after, {})


def _node(
    op: str, name: str, x: ir.Value, shape: tuple[int, ...], channels: int, attributes: dict[str, object]
) -> tuple[ir.Node, list[ir.Value]]:
    scale = np.float32(1 / np.sqrt(max(np.prod(shape[1:]), 1)))
    weights = [
        _weight(f"{name}.weight", np.random.default_rng(1).standard_normal(shape, np.float32) * scale),
        _weight(f"{name}.bias", np.zeros(channels, np.float32)),
    ]
    output = ir.Value(name=f"{name}.y", type=_FLOAT)
    node = ir.node(op, [x, *weights], attributes=attributes, name=name, outputs=[output])  # type: ignore[arg-type]
    return node, weights


def _matrix_product(spec: LayerSpec) -> tuple[bytes, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    x = ir.Value(name="x", shape=ir.Shape((spec.batch, spec.channels_in)), type=_FLOAT)
    weights = [
        _weight("weight", rng.standard_normal((spec.channels_in, spec.channels_out), np.float32)),
        _weight("bias", np.zeros(spec.channels_out, np.float32)),
    ]
    node = ir.node("Gemm", [x, *weights], name="layer", outputs=[ir.Value(name="y", type=_FLOAT)])
    return _model([x], [node], weights), {"x": rng.standard_normal((spec.batch, spec.channels_in), np.float32)}


_FLOAT = ir.TensorType(ir.DataType.FLOAT)


def _weight(name: str, array: np.ndarray) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(array.shape), type=_FLOAT, const_value=ir.tensor(array, name=name))


def _model(inputs: list[ir.Value], nodes: list[ir.Node], weights: list[ir.Value]) -> bytes:
    graph = ir.Graph(
        inputs, nodes[-1].outputs, nodes=nodes, initializers=weights, opset_imports={"": _OPSET}, name="layer"
    )
    data: bytes = ir.serde.serialize_model(ir.Model(graph, ir_version=_IR_VERSION)).SerializeToString()
    return data
