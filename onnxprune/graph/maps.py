"""Refuse what is a map and no tensor: class scores by the names of classes, as scikit-learn's exporter gives them."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from onnxprune.errors import UnsupportedModelError
from onnxprune.graph.messages import all_graphs, all_nodes


def refuse_maps(model: onnx.ModelProto, file: str) -> None:
    """Refuse a model that declares a map.

    Args:
        model: The model.
        file: What messages call it.

    Raises:
        UnsupportedModelError: It does.
    """
    name = next((str(value.name) for value in _declared(model) if _holds_map(value.type)), None)
    if name is None:
        return
    advice = "Export the model with tensors in place of maps"
    if any(node.op_type == "ZipMap" for node in all_nodes(model)):
        advice = (
            "Export the classifier with zipmap=False (skl2onnx: options={'zipmap': False}): scores are a tensor then"
        )
    raise UnsupportedModelError(
        f"'{file}' has a map, '{name}', where onnxprune reads tensors and sequences of tensors only. {advice}"
    )


def _declared(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    for holder in (*all_graphs(model), *model.functions):
        if isinstance(holder, onnx.GraphProto):
            yield from (*holder.input, *holder.output)
        yield from holder.value_info


def _holds_map(kind: onnx.TypeProto) -> bool:
    if kind.HasField("sequence_type"):
        return _holds_map(kind.sequence_type.elem_type)
    if kind.HasField("optional_type"):
        return _holds_map(kind.optional_type.elem_type)
    return bool(kind.HasField("map_type"))
