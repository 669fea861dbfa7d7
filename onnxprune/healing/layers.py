"""The layers that can be solved again: plain convolutions and matrix products with constant weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxprune.channels import ChannelMap
from onnxprune.graph import quantised_by

_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


@dataclass(frozen=True)
class Norm:
    """A BatchNormalization behind a layer: names of its scale, shift and running variance, and its epsilon."""

    scale: str
    shift: str
    variance: str
    epsilon: float


@dataclass(frozen=True)
class Layer:
    """One layer of a model.

    Attributes:
        node: Name of its node.
        source: Name of the value it reads.
        target: Name of the value it writes.
        weight: Name of the initializer of its weight; a quantised one stands behind a DequantizeLinear.
        out_axis: Axis of the weight that the output channels are on; the inputs are on the other of the first two.
        offset: Name of the initializer that takes up a shift of the output's mean: the bias, what is added to a matrix
            product, or the running mean of the BatchNormalization behind a layer without one; None: nothing does.
        sign: What the offset is multiplied by in the output: 1 for a bias, -1 for a running mean.
        norm: The BatchNormalization that the running mean is of.
        added: Whether the offset is a node's of its own, behind the layer.
        kernel: Sizes of the window; empty for a matrix product.
        strides: Steps of the window.
        pads: Padding in front of each axis of the window.
        dilations: Steps inside the window.
    """

    node: str
    source: str
    target: str
    weight: str
    out_axis: int
    offset: str | None
    sign: float
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    norm: Norm | None = None
    added: bool = False

    def matrix(self, weight: np.ndarray) -> np.ndarray:
        """Return a weight as a matrix of shape (channels out, inputs)."""
        turned = weight if self.out_axis == 0 else weight.swapaxes(0, 1)
        return np.ascontiguousarray(turned).reshape(len(turned), -1)

    def tensor(self, matrix: np.ndarray, like: np.ndarray) -> np.ndarray:
        """Return such a matrix in the shape of the weight that it is for."""
        turned = like if self.out_axis == 0 else like.swapaxes(0, 1)
        shaped = matrix.reshape(turned.shape).astype(like.dtype)
        return np.ascontiguousarray(shaped if self.out_axis == 0 else shaped.swapaxes(0, 1))


@dataclass(frozen=True)
class Kept:
    """What a layer keeps of itself in a pruned model.

    Attributes:
        rows: Output channels that stay, shape (kept,).
        columns: Whether each input of its matrix stays, shape (inputs,).
    """

    rows: np.ndarray
    columns: np.ndarray


def solvable_layers(model: ir.Model) -> list[Layer]:
    """Find the layers whose weights can be solved again, in graph order; weights that two nodes read are left alone."""
    return [layer for node in model.graph if (layer := _layer(node)) is not None]


def _layer(node: ir.Node) -> Layer | None:
    if node.op_type not in {"Conv", "Gemm", "MatMul"} or len(node.inputs) < 2:
        return None
    source, weight = node.inputs[0], node.inputs[1]
    stored = _stored(weight)
    if source is None or weight is None or source.is_initializer() or stored is None or not _is_weight(stored):
        return None
    if source.shape is not None and len(source.shape) == 1:
        # A vector has no positions to draw.
        return None
    names = (str(node.name), str(source.name), str(node.outputs[0].name), str(stored.name))
    return _convolution(node, names, _offset(node, 0)) if node.op_type == "Conv" else _product(node, names, weight)


def _stored(value: ir.Value | None) -> ir.Value | None:
    """Find the initializer of a constant that only one node reads, directly or behind a DequantizeLinear."""
    if value is None or len(value.uses()) != 1:
        return None
    if value.is_initializer():
        return value if value.const_value is not None and value.const_value.dtype in _FLOATS else None
    producer = value.producer()
    source = producer.inputs[0] if producer is not None and producer.inputs else None
    if source is None or not source.is_initializer() or quantised_by(source) is not producer:
        return None
    return source if len(source.uses()) == 1 else None


def _is_weight(stored: ir.Value) -> bool:
    return stored.const_value is not None and len(stored.const_value.shape) >= 2


def _product(node: ir.Node, names: tuple[str, str, str, str], weight: ir.Value) -> Layer | None:
    if node.op_type == "MatMul":
        flat = weight.shape is not None and len(weight.shape) == 2
        offset = _added(node)
        return Layer(*names, out_axis=1, offset=offset, sign=1.0, added=offset is not None) if flat else None
    attributes = node.attributes
    plain = attributes.get_float("alpha", 1.0) == 1.0 and attributes.get_float("beta", 1.0) == 1.0
    if not plain or attributes.get_int("transA", 0) != 0:
        return None
    out_axis = 0 if attributes.get_int("transB", 0) else 1
    offset, sign = _offset(node, out_axis)
    return Layer(*names, out_axis=out_axis, offset=offset, sign=sign)


def _added(node: ir.Node) -> str | None:
    """Find the constant that is added to a matrix product, its bias, if nothing else reads either."""
    uses = tuple(node.outputs[0].uses())
    reader = uses[0].node if len(uses) == 1 and not node.outputs[0].is_graph_output() else None
    if reader is None or reader.op_type != "Add":
        return None
    stored = _stored(reader.inputs[1 - uses[0].idx])
    return str(stored.name) if stored is not None and _has_channels(stored, node, 1) else None


def _convolution(node: ir.Node, names: tuple[str, str, str, str], offset: tuple[str | None, float]) -> Layer | None:
    weight = node.inputs[1]
    assert weight is not None
    assert weight.shape is not None
    attributes = node.attributes
    auto = attributes.get_string("auto_pad", "NOTSET")
    rank = len(weight.shape) - 2
    if attributes.get_int("group", 1) != 1 or auto not in {"NOTSET", "VALID"} or rank < 1:
        return None
    pads = tuple(attributes.get_ints("pads", ()))[:rank] or (0,) * rank
    return Layer(
        *names,
        out_axis=0,
        offset=offset[0],
        sign=offset[1],
        kernel=tuple(int(d) for d in weight.shape[2:]),  # type: ignore[arg-type]
        strides=tuple(attributes.get_ints("strides", ())) or (1,) * rank,
        pads=pads,
        dilations=tuple(attributes.get_ints("dilations", ())) or (1,) * rank,
        norm=_norm(node) if offset[1] < 0 else None,
    )


def _norm(node: ir.Node) -> Norm:
    """Describe the BatchNormalization behind a convolution."""
    reader = next(iter(node.outputs[0].uses())).node
    scale, shift, _, variance = (str(value.name) if value is not None else "" for value in reader.inputs[1:5])
    return Norm(scale, shift, variance, reader.attributes.get_float("epsilon", 1e-5))


def _offset(node: ir.Node, out_axis: int) -> tuple[str | None, float]:
    """Find what can take up a shift of the mean, if nothing else reads it."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None:
        stored = _stored(bias)
        fits = stored is not None and _has_channels(stored, node, out_axis)
        return (str(stored.name) if stored is not None and fits else None), 1.0
    uses = tuple(node.outputs[0].uses())
    reader = uses[0].node if len(uses) == 1 and not node.outputs[0].is_graph_output() else None
    if reader is None or reader.op_type != "BatchNormalization" or uses[0].idx != 0:
        return None, 1.0
    if not all(value is not None and value.is_initializer() for value in reader.inputs[1:5]):
        return None, 1.0
    mean = _stored(reader.inputs[3])
    return (str(mean.name), -1.0) if mean is not None and _has_channels(mean, node, out_axis) else (None, 1.0)


def _has_channels(stored: ir.Value, node: ir.Node, out_axis: int) -> bool:
    """Say whether a constant has one entry for each output channel."""
    weight = node.inputs[1]
    if weight is None or weight.shape is None or stored.const_value is None:
        return False
    return tuple(stored.const_value.shape.numpy()) == (weight.shape[out_axis],)


def kept_part(layer: Layer, channels: ChannelMap, keep: np.ndarray, shape: tuple[int, ...]) -> Kept:
    """Say what stays of a layer.

    Args:
        layer: The layer.
        channels: The original's analysis.
        keep: Whether each unit stays, shape (units,).
        shape: Of the original's weight.
    """

    def mask(axis: int) -> np.ndarray:
        units = channels.axis(layer.weight, axis)
        if units is None:
            return np.ones(shape[axis], dtype=bool)
        stays: np.ndarray = (units < 0) | keep[units]
        return stays

    window = int(np.prod(shape[2:])) if len(shape) > 2 else 1
    return Kept(np.flatnonzero(mask(layer.out_axis)), np.repeat(mask(1 - layer.out_axis), window))


def positions_of(layer: Layer, output: tuple[int, ...], count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Draw positions of a layer's output: (samples, rows, columns, ...) for a convolution, the leading axes else.

    Args:
        layer: The layer.
        output: Shape of its output.
        count: How many.
        rng: Where they are drawn from.
    """
    axes = (output[0], *output[2:]) if layer.kernel else output[:-1]
    drawn = rng.choice(int(np.prod(axes)), size=min(count, int(np.prod(axes))), replace=False)
    return np.unravel_index(np.sort(drawn), axes)


def patches(layer: Layer, x: np.ndarray, positions: tuple[np.ndarray, ...]) -> np.ndarray:
    """Gather what a layer reads for some positions of its output, shape (positions, inputs)."""
    if not layer.kernel:
        read: np.ndarray = x[positions]
        return read
    shape = x.shape[2:]
    gathered = np.zeros((len(positions[0]), x.shape[1], int(np.prod(layer.kernel))), dtype=x.dtype)
    for column, offsets in enumerate(np.ndindex(*layer.kernel)):
        where = [
            place * stride + offset * dilation - pad
            for place, stride, offset, dilation, pad in zip(
                positions[1:], layer.strides, offsets, layer.dilations, layer.pads, strict=True
            )
        ]
        inside = np.logical_and.reduce([(w >= 0) & (w < size) for w, size in zip(where, shape, strict=True)])
        index = (positions[0][inside], slice(None), *(w[inside] for w in where))
        gathered[inside, :, column] = x[index]
    return gathered.reshape(len(gathered), -1)


def runs_of(layers: list[Layer], sizes: dict[str, int], budget: int) -> Iterator[list[Layer]]:
    """Cut the layers into runs whose activations fit into a memory budget.

    Args:
        layers: The layers.
        sizes: Bytes of each layer's activations, by node name.
        budget: Bytes of a run.
    """
    run: list[Layer] = []
    used = 0
    for layer in layers:
        if run and used + sizes[layer.node] > budget:
            yield run
            run, used = [], 0
        run.append(layer)
        used += sizes[layer.node]
    if run:
        yield run
