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
