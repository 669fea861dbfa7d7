"""Read an ONNX file, refuse what cannot be used, and normalise the rest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from google.protobuf.message import DecodeError

from onnxprune.errors import ArgumentError, InputShapeError, ModelFileError, UnsupportedModelError, WeightError
from onnxprune.graph.contrib import import_domain
from onnxprune.graph.maps import refuse_maps
from onnxprune.graph.normalise import normalise
from onnxprune.graph.quantised import CONTRACTIONS
from onnxprune.graph.save import note_names, path_kind
from onnxprune.graph.sparse import make_dense
from onnxprune.graph.wellformed import refuse_malformed
from onnxprune.graph.wire import read_light

# What onnxruntime 1.31 executes; older opsets than 7 have other broadcasting rules.
OPSETS = range(7, 27)
MAX_IR_VERSION = 13
# What multiplies with its parameters, and what hands weights on.
_NORMALISING = frozenset({"BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization"})
_MULTIPLYING = CONTRACTIONS | _NORMALISING | {"Einsum", "GRU", "LSTM", "PRelu", "RNN"}
_MOVING = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def load(path: str | Path, *, input_shapes: Mapping[str, Sequence[int]] | None = None) -> ir.Model:
    """Load, check and normalise an ONNX model.

    Args:
        path: The `.onnx` file. Large weights are mapped from it, or from the files beside it, not read into memory;
            it must stay as it is while the model is in use.
        input_shapes: Sizes that the model is to be used with, by input name, e.g. `{"image": (1, 3, 224, 224)}`. They
            must fit what the model declares, and say how many axes an input has where it does not; dynamic dimensions
            stay dynamic, since what is found must hold for other sizes too. A size of 0 or -1 says nothing.

    Returns:
        The normalised model.

    Raises:
        ArgumentError: `path` is no path, or `input_shapes` is no mapping.
        ModelFileError: The file is missing, a directory, unreadable, no ONNX model, or its external data is
            missing, too short or outside the model's folder.
        UnsupportedModelError: The opset or IR version is not supported, or something is a map and no tensor.
        InputShapeError: `input_shapes` names no input, or does not fit its declared shape.
        WeightError: A weight is NaN or infinite.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(f"the model must be the path of an .onnx file, not {path!r}")
    path = Path(path)
    model = _read(path)
    import_domain(model)
    refuse_malformed(model, path)
    _check_versions(model, path)
    _check_external_data(model, path)
    _read_branches(model)
    _check_weights(model, path)
    if input_shapes:
        _heed_input_shapes(model, input_shapes)
    try:
        return normalise(model)
    except ValueError as error:
        if "Opset mismatch when inlining" in str(error):
            raise UnsupportedModelError(
                f"'{path}' has a function of another opset than the model ({error}); convert the model to one opset "
                "(onnx.version_converter), or inline its functions (onnx.inliner)"
            ) from error
        if "cycle" not in str(error):
            raise
        raise ModelFileError(f"'{path}' is not a valid ONNX model: its nodes wait for each other ({error})") from error


def read_unchanged(path: str | Path) -> ir.Model:
    """Read a model as it is, neither checked nor normalised: with the nodes and names that onnxruntime sees.

    Raises:
        ModelFileError: It cannot be read.
        UnsupportedModelError: Something in it is a map.
    """
    return _read(Path(path))


def external_files(path: str | Path) -> tuple[Path, ...]:
    """Return the files beside a model that hold weights of it.

    Raises:
        ModelFileError: The model cannot be read.
        UnsupportedModelError: Something in it is a map.
    """
    path = Path(path)
    tensors = (value.const_value for graph in _read(path).graphs() for value in graph.initializers.values())
    # Large weights of the file itself are mapped from it, as if it were beside itself.
    files = {Path(tensor.path) for tensor in tensors if isinstance(tensor, ir.ExternalTensor)} - {path.resolve()}
    return tuple(sorted(files))


def _read(path: Path) -> ir.Model:
    if path_kind(path) == "folder":
        raise ModelFileError(f"'{path}' is a directory; give the .onnx file itself")
    try:
        proto = read_light(path.resolve())
    except FileNotFoundError as error:
        raise ModelFileError(f"'{path}' does not exist") from error
    except DecodeError as error:
        raise ModelFileError(f"'{path}' is not an ONNX model, or it is truncated ({error})") from error
    except OSError as error:
        raise ModelFileError(f"'{path}' cannot be read: {error.strerror or error}") from error
    if not proto.graph.node and not proto.graph.output:
        raise ModelFileError(f"'{path}' is not an ONNX model: it holds no graph")
    refuse_maps(proto, str(path))
    try:
        make_dense(proto)
        model = ir.serde.deserialize_model(proto)
    except Exception as error:
        raise ModelFileError(f"'{path}' is not a valid ONNX model: {_first_cause(error)}") from error
    ir.external_data.set_base_dir(model.graph, str(path.resolve().parent))
    _name_default_domain(model)
    note_names(model)
    return model


def _name_default_domain(model: ir.Model) -> None:
    """Import the default operators under one of their two names, as onnx_ir has it for nodes already."""
    for imports in (model.opset_imports, *(function.opset_imports for function in model.functions.values())):
        version = imports.pop("ai.onnx", None)
        if version is not None:
            imports.setdefault("", version)


def _first_cause(error: BaseException) -> BaseException:
    """Return what was wrong itself: onnx_ir wraps it in where it happened."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _check_versions(model: ir.Model, path: Path) -> None:
    opset = model.opset_imports.get("")
    if opset is not None and opset not in OPSETS:
        raise UnsupportedModelError(
            f"'{path}' uses opset {opset}; supported are {OPSETS.start} to {OPSETS.stop - 1}. "
            "Export it again with another opset, or convert it with onnx.version_converter"
        )
    if not 3 <= model.ir_version <= MAX_IR_VERSION:
        raise UnsupportedModelError(f"'{path}' has IR version {model.ir_version}; supported are 3 to {MAX_IR_VERSION}")


def _check_external_data(model: ir.Model, path: Path) -> None:
    folder = path.resolve().parent
    sizes: dict[str, int] = {}
    for value in (value for graph in model.graphs() for value in graph.initializers.values()):
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        where = f"external data of tensor '{value.name}' of '{path}'"
        location = str(tensor.location)
        if location not in sizes:
            sizes[location] = _external_size(folder, location, where)
        end = (tensor.offset or 0) + (tensor.length or tensor.nbytes)
        if sizes[location] < end or (tensor.length is not None and tensor.length < tensor.nbytes):
            raise ModelFileError(
                f"{where} is truncated: '{folder / location}' is shorter than the {end} bytes it needs"
            )


def _external_size(folder: Path, location: str, where: str) -> int:
    """Return the bytes of a file of weights, after checking that it lies in the model's folder."""
    data = (folder / location).resolve()
    if not data.is_relative_to(folder):
        raise ModelFileError(f"{where} points outside the model's folder ('{location}'); refused")
    if not data.is_file():
        raise ModelFileError(f"{where} is missing: no file '{data}'. Keep it beside the model")
    return data.stat().st_size


def _read_branches(model: ir.Model) -> None:
    """Take what lies inside If, Loop and Scan into memory; only weights of the graph itself are ever mapped."""
    for value in (
        value for graph in model.graphs() if graph is not model.graph for value in graph.initializers.values()
    ):
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            value.const_value = ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=value.name)
            _release(tensor)


def _check_weights(model: ir.Model, path: Path) -> None:
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype.is_floating_point() and tensor.dtype.bitwidth >= 16:
            _check_weight(value, tensor, path)
            _release(tensor)


def _check_weight(value: ir.Value, tensor: ir.TensorProtocol, path: Path) -> None:
    try:
        array = tensor.numpy()
    except Exception as error:
        raise ModelFileError(f"weight '{value.name}' of '{path}' cannot be read: {error}") from error
    # A sum is NaN or infinite if any entry is, and several times cheaper than isfinite on every entry.
    with np.errstate(all="ignore"):
        if np.isfinite(array.sum(dtype=np.float32)):
            return
    # Masks and what they fill in legitimately hold -inf and NaN; what a network multiplies with may not.
    if not np.isfinite(array).all() and _is_weight(value):
        raise WeightError(_weight_message(value.name, path, array))


def release_weights(model: ir.Model) -> None:
    """Unmap weights that are read from files; they are mapped again when they are next looked at.

    What is mapped counts as the process's memory, and a model is looked at several times in a run.
    """
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            _release(value.const_value)


def _release(tensor: ir.TensorProtocol) -> None:
    if isinstance(tensor, ir.ExternalTensor):
        # Where somebody still holds the array, its mapping ends with it.
        with contextlib.suppress(BufferError):
            tensor.release()


def _is_weight(value: ir.Value) -> bool:
    """Say whether a network multiplies with a value, as it is or rearranged."""
    nodes = {use.node for use in value.uses()}
    return any(
        node.op_type in _MULTIPLYING or (node.op_type in _MOVING and _is_weight(node.outputs[0])) for node in nodes
    )


def _weight_message(name: str | None, path: Path, array: np.ndarray) -> str:
    count = int(array.size - np.isfinite(array).sum())
    return f"weight '{name}' of '{path}' has {count} NaN or infinite entries; a network like that cannot be pruned"


def _heed_input_shapes(model: ir.Model, input_shapes: Mapping[str, Sequence[int]]) -> None:
    if not isinstance(input_shapes, Mapping):
        raise ArgumentError(f"input sizes must be given by the inputs' names, not as {input_shapes!r}")
    inputs = {value.name: value for value in model.graph.inputs if not value.is_initializer()}
    for name, sizes in input_shapes.items():
        if name not in inputs:
            raise InputShapeError(f"the model has no input '{name}'; its inputs are {sorted(map(str, inputs))}")
        value = inputs[name]
        declared = list(value.shape) if value.shape is not None else [None] * len(sizes)
        # PaddlePaddle declares -1 what is dynamic.
        if len(declared) != len(sizes) or any(
            isinstance(d, int) and d >= 0 and s > 0 and d != s for d, s in zip(declared, sizes, strict=False)
        ):
            raise InputShapeError(
                f"input '{name}' is declared as {_display(declared)}, which {tuple(sizes)} does not fit"
            )
        value.shape = ir.Shape(declared)


def _display(dims: Sequence[object]) -> str:
    return "(" + ", ".join(str(d) for d in dims) + ")"
