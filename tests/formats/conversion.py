"""Networks in other number formats: half precision, bfloat16, and static int8 in QDQ form."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_TYPES = {TensorProto.FLOAT16: np.dtype(np.float16), TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16)}


def cast_weights(model: onnx.ModelProto, to: int, *, borders: bool = True) -> onnx.ModelProto:
    """Give a float network weights and arithmetic of another type, in place.

    Args:
        model: Its weights are float32.
        to: The element type.
        borders: Whether inputs and outputs stay float32, behind Casts.
    """
    graph = model.graph
    tensors = [*graph.initializer, *(a.t for n in graph.node for a in n.attribute if a.HasField("t"))]
    for tensor in tensors:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(_TYPES[to]), tensor.name))
    del graph.value_info[:]
    if not borders:
        for value in [*graph.input, *graph.output]:
            value.type.tensor_type.elem_type = to
        return model
    for value in graph.input:
        inner = f"{value.name}.cast"
        _rename(graph.node, value.name, inner)
        graph.node.insert(0, helper.make_node("Cast", [value.name], [inner], f"{value.name}.to_half", to=to))
    for value in graph.output:
        inner = f"{value.name}.cast"
        _rename(graph.node, value.name, inner)
        graph.node.append(helper.make_node("Cast", [inner], [value.name], f"{value.name}.to_float", to=1))
    return model


def _rename(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


def quantise(source: Path, target: Path, samples: np.ndarray, *, per_channel: bool, symmetric: bool = True) -> None:
    """Quantise a network to int8 in QDQ form, as onnxruntime does.

    Args:
        source: The float network's file, of one input.
        target: Where the int8 network goes.
        samples: Calibration inputs, shape (n, ...).
        per_channel: Whether weights have a scale for each channel.
        symmetric: Whether weights have no zero point.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    name = onnx.load(source, load_external_data=False).graph.input[0].name

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = iter(np.array_split(samples, max(len(samples) // 32, 1)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {name: batch}

    quantize_static(
        source,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
        extra_options={"WeightSymmetric": symmetric},
    )


def wrap(model: onnx.ModelProto, *, per_channel: bool, zero_points: bool) -> onnx.ModelProto:
    """Put QuantizeLinear and DequantizeLinear around every operator, as PyTorch's and TensorRT's exports have them.

    Args:
        model: A float network.
        per_channel: Whether weights and biases have a scale for each channel.
        zero_points: Whether tensors have zero points; without them biases stay floats, too.
    """
    return _Wrapping(model, per_channel, zero_points).run()


class _Wrapping:
    def __init__(self, model: onnx.ModelProto, per_channel: bool, zero_points: bool) -> None:
        self.model, self.per_channel, self.zero_points = model, per_channel, zero_points
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self.real: dict[str, str] = {}

    def run(self) -> onnx.ModelProto:
        graph = self.model.graph
        for node in list(graph.node):
            for index, name in enumerate(node.input):
                if self._is_float(name):
                    node.input[index] = self._dequantised(node, index, name)
            self.nodes.append(node)
        del graph.node[:], graph.initializer[:]
        graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in self.constants.items() if n in used)
        return self.model

    def _is_float(self, name: str) -> bool:
        return bool(name) and (name not in self.constants or self.constants[name].dtype == np.float32)

    def _dequantised(self, node: onnx.NodeProto, index: int, name: str) -> str:
        if name not in self.real:
            axis = _channel_axis(node, index)
            if name not in self.constants:
                self.real[name] = self._activation(name)
            elif axis is not None:
                self.real[name] = self._weight(name, axis)
            else:
                self.real[name] = name
        return self.real[name]

    def _activation(self, name: str) -> str:
        scale = self._constant(f"{name}.scale", np.float32(0.1))
        zero = [self._constant(f"{name}.zero", np.uint8(100) if self.zero_points else np.int8(0))]
        self.nodes.append(helper.make_node("QuantizeLinear", [name, scale, *zero], [f"{name}.q"], f"{name}.Q"))
        self.nodes.append(
            helper.make_node("DequantizeLinear", [f"{name}.q", scale, *zero], [f"{name}.dq"], f"{name}.DQ")
        )
        return f"{name}.dq"

    def _weight(self, name: str, axis: int) -> str:
        array = self.constants[name]
        bias = array.ndim == 1
        if bias and not self.zero_points:
            return name
        rest = tuple(i for i in range(array.ndim) if i != axis)
        largest = np.abs(array).max(axis=rest) if self.per_channel else np.abs(array).max()
        scale = np.asarray(np.maximum(largest, 1e-3) / (1 << 20 if bias else 100), np.float32)
        shape = [-1 if i == axis else 1 for i in range(array.ndim)] if scale.ndim else []
        zero = np.full(scale.shape, 0 if bias or not self.zero_points else 5, np.int32 if bias else np.int8)
        stored = np.rint(array / scale.reshape(shape)).astype(np.int32) + zero.reshape(shape)
        inputs = [self._constant(f"{name}.stored", stored.astype(zero.dtype)), self._constant(f"{name}.scale", scale)]
        if self.zero_points:
            inputs.append(self._constant(f"{name}.zero", zero))
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}.dq"], f"{name}.DQ", axis=axis))
        return f"{name}.dq"

    def _constant(self, name: str, array: np.ndarray) -> str:
        self.constants[name] = np.asarray(array)
        return name


def _channel_axis(node: onnx.NodeProto, index: int) -> int | None:
    """Return the axis of a layer's weight or bias that its output channels are on; None for any other input."""
    if index not in (1, 2) or node.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
        return None
    attributes = {a.name: a.i for a in node.attribute}
    by_op = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1, "Gemm": 0 if attributes.get("transB") else 1}
    return 0 if index == 2 else by_op[node.op_type]
