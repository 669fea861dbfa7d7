"""Evaluate the arithmetic on sizes that exporters write into a graph, as far as it is static.

Exporters turn `x.view(x.size(0), 2, x.size(1) // 2, ...)` into chains of Shape, Gather, Div and Concat. Each small
tensor on such a chain is evaluated to an array whose entries are numbers, or None where they depend on a dynamic
dimension. What is wholly known becomes an initializer; a Reshape whose target has a single unknown entry gets -1
there, so that the batch stays dynamic while the chain disappears.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxprune.graph.sizes import Size, named

# Larger tensors are weights, not sizes.
_MAX_ENTRIES = 256

Values = np.ndarray  # dtype object; entries are int, float, bool or None


def fold_shape_values(model: ir.Model) -> bool:
    """Replace static sizes by initializers, in place.

    Args:
        model: A model with inferred shapes.

    Returns:
        Whether anything was replaced.
    """
    known = shape_values(model, products=True)
    changed = False
    for node in model.graph:
        for index, value in enumerate(node.inputs):
            if value is None or value.producer() is None or value.name not in known:
                continue
            array = _as_array(known[value.name], value, node, index)
            if array is not None:
                if not _is_static(known[value.name]):
                    # Of the numbers that were there none is 0: one in the target says now what stays as it was.
                    node.attributes.pop("allowzero", None)
                node.replace_input_with(index, add_initializer(model.graph, f"{value.name}.static", array))
                changed = True
    return changed


def shape_values(model: ir.Model, *, products: bool = False) -> dict[str, Values]:
    """Evaluate every small tensor that the sizes of the graph determine.

    Args:
        model: A model with inferred shapes.
        products: Whether dynamic dimensions are followed as far as they are only multiplied and divided.

    Returns:
        Object arrays by value name; entries that depend on a dynamic dimension are None, or a `Size`.
    """
    known: dict[str, Values] = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and tensor.size <= _MAX_ENTRIES and tensor.dtype in _SIZE_TYPES:
            array = tensor.numpy()
            known[name] = (array.astype(np.float32) if tensor.dtype in _HALVES else array).astype(object)
    for node in model.graph:
        rule = _RULES.get(node.op_type) if node.domain == "" else None
        if rule is None or len(node.outputs) != 1:
            continue
        inputs = [known.get(v.name) if v is not None else None for v in node.inputs]  # type: ignore[arg-type]
        if node.op_type not in {"Shape", "Size"} and any(
            a is None for a, v in zip(inputs, node.inputs, strict=True) if v is not None
        ):
            continue
        try:
            result = rule(node, inputs) if not products or node.op_type != "Shape" else _named_shape(node)
        except (ValueError, IndexError, TypeError, ZeroDivisionError, OverflowError):
            # A chain that cannot be evaluated stays in the graph as it is.
            continue
        entries = None if result is None else np.asarray(result, dtype=object)
        if entries is None or entries.size > _MAX_ENTRIES:
            continue
        typed = _typed(entries, node.outputs[0].dtype)
        if typed is not None:
            known[str(node.outputs[0].name)] = typed
    return known


def without_products(values: Mapping[str, Values]) -> dict[str, Values]:
    """Return values as `shape_values` gives them without products, from those with them."""
    return {name: _numbers(entries) for name, entries in values.items()}


def _numbers(entries: Values) -> Values:
    if not any(isinstance(entry, Size) for entry in entries.flat):
        return entries
    known = [None if isinstance(entry, Size) else entry for entry in entries.flat]
    return np.array(known, dtype=object).reshape(entries.shape)


def add_initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """Register `array` as an initializer under `name` (made unique), reusing an equal one of that name."""
    existing = graph.initializers.get(name)
    if existing is not None and existing.const_value is not None:
        held = existing.const_value.numpy()
        if held.dtype == array.dtype and np.array_equal(held, array):
            return existing
    unique, count = name, 0
    while unique in graph.initializers:
        count += 1
        unique = f"{name}.{count}"
    tensor = ir.tensor(np.array(array, order="C"), name=unique)
    value = ir.Value(name=unique, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


# Converters to half precision leave a Cast behind scales that must be float32.
_HALVES = {ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
_SIZE_TYPES = {ir.DataType.INT64, ir.DataType.INT32, ir.DataType.FLOAT, ir.DataType.BOOL} | _HALVES


def _as_array(entries: Values, value: ir.Value, node: ir.Node, index: int) -> np.ndarray | None:
    if value.dtype is None:
        return None
    if _is_static(entries):
        return entries.astype(value.dtype.numpy())
    is_target = node.op_type == "Reshape" and index == 1
    return _static_target(node, list(entries.flat)) if is_target else None


def _is_static(entries: Values) -> bool:
    return all(entry is not None and not isinstance(entry, Size) for entry in entries.flat)


def _static_target(node: ir.Node, entries: list[Any]) -> np.ndarray | None:
    """State a target of dynamic entries in numbers: -1 for what is left over, 0 for what stays as it was."""
    dynamic = [i for i, entry in enumerate(entries) if entry is None or isinstance(entry, Size)]
    numbers = [0 if i in dynamic else int(entry) for i, entry in enumerate(entries)]
    if any(number < -1 or (number == 0 and i not in dynamic) for i, number in enumerate(numbers)):
        return None
    if len(dynamic) > 1 or -1 in numbers:
        # Inference sees through 0, but not through what is computed, and so finds what -1 stands for.
        before = _named_dims(node.inputs[0])
        dynamic = [i for i in dynamic if i >= len(before) or not _is_kept(before[i], entries[i])]
    if len(dynamic) + numbers.count(-1) > 1:
        return None
    for i in dynamic:
        numbers[i] = -1
    return np.array(numbers, dtype=np.int64)


def _is_kept(before: int | Size | None, entry: object) -> bool:
    return isinstance(entry, Size) and entry.exact and before == entry


def _typed(entries: Values, dtype: ir.DataType | None) -> Values | None:
    """Round entries as the graph's type does; None where the type is unknown or cannot hold one."""
    if dtype is None:
        return None
    exact: Callable[[Any], object]
    if dtype == ir.DataType.BOOL:
        exact = bool
    elif dtype.is_floating_point():
        kind = dtype.numpy().type

        def exact(entry: Any) -> object:
            return float(kind(entry))
    else:
        limits = np.iinfo(dtype.numpy())

        def exact(entry: Any) -> object:
            return int(entry) if limits.min <= entry <= limits.max else None

    typed = [e if e is None or isinstance(e, Size) else exact(e) for e in entries.flat]
    return np.fromiter(typed, dtype=object, count=len(typed)).reshape(entries.shape)


def _elementwise(function: Callable[..., object]) -> Callable[[ir.Node, list[Values]], Values | None]:
    def apply(*entries: object) -> object:
        if any(e is None for e in entries):
            return None
        if any(isinstance(e, Size) for e in entries):
            return _of_sizes(function, *entries)
        return function(*entries)

    def rule(node: ir.Node, inputs: list[Values]) -> Values | None:
        if math.prod(np.broadcast_shapes(*(values.shape for values in inputs))) > _MAX_ENTRIES:
            return None
        ufunc = np.frompyfunc(apply, len(inputs), 1)
        return np.asarray(ufunc(*inputs), dtype=object)

    return rule


def _of_sizes(function: Callable[..., object], *entries: object) -> object:
    if function is int:
        return entries[0]
    if function is operator.eq:
        return _are_equal(*entries)
    if function is _choose:
        return _choose(*entries) if isinstance(entries[0], bool) else None
    divides = function is _divide and isinstance(entries[1], int)
    return function(*entries) if divides or function is operator.mul else None


def _are_equal(a: object, b: object) -> bool | None:
    """Say whether two sizes are equal, as far as that holds whatever they are; none is negative."""
    if a == b:
        return True if isinstance(a, Size) and isinstance(b, Size) and a.exact and b.exact else None
    size, other = (a, b) if isinstance(a, Size) else (b, a)
    never = isinstance(size, Size) and size.factor > 0 and isinstance(other, int) and other < 0
    return False if never else None


def _choose(condition: object, a: object, b: object) -> object:
    return a if condition else b


def _divide(a: float, b: float) -> float:
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) // abs(b) * (1 if (a >= 0) == (b >= 0) else -1)
    return a / b


def _shape(node: ir.Node, inputs: list[Values]) -> Values | None:
    source = node.inputs[0]
    if source is None or source.shape is None:
        return None
    dims = np.array([d if isinstance(d, int) else None for d in source.shape], dtype=object)
    return dims[node.attributes.get_int("start", 0) : node.attributes.get_int("end", None)]


def _named_shape(node: ir.Node) -> Values | None:
    """Return the shape of what a node reads, with a `Size` for each dynamic dimension that has a name."""
    source = node.inputs[0]
    if source is None or source.shape is None:
        return None
    dims = np.empty(len(source.shape), dtype=object)
    dims[:] = _named_dims(source)
    return dims[node.attributes.get_int("start", 0) : node.attributes.get_int("end", None)]


def _named_dims(value: ir.Value | None) -> list[int | Size | None]:
    shape = value.shape if value is not None and value.shape is not None else ()
    return [d if isinstance(d, int) else named(d.value) if d.value else None for d in shape]


def _size(node: ir.Node, inputs: list[Values]) -> Values | None:
    dims = _shape(node, inputs)
    if dims is None or any(d is None for d in dims):
        return None
    return np.asarray(math.prod(dims), dtype=object)


def _gather(node: ir.Node, inputs: list[Values]) -> Values:
    # np.take gives a bare element for a scalar index.
    picked = np.take(inputs[0], inputs[1].astype(np.int64), axis=node.attributes.get_int("axis", 0))
    return np.asarray(picked, dtype=object)


def axes_of(node: ir.Node, inputs: Sequence[Values | None], position: int = 1) -> list[int] | None:
    """Return the axes of a node, from an input where it has them there, else from its attribute; None without any."""
    given = inputs[position] if len(inputs) > position else None
    if given is not None:
        return [int(a) for a in given.flat]
    axes = node.attributes.get_ints("axes", None)
    return None if axes is None else list(axes)


def _slice(node: ir.Node, inputs: list[Values]) -> Values:
    if len(inputs) == 1:
        starts, ends = node.attributes.get_ints("starts"), node.attributes.get_ints("ends")
        axes, steps = axes_of(node, inputs), None
    else:
        starts, ends = [int(v) for v in inputs[1].flat], [int(v) for v in inputs[2].flat]
        axes = axes_of(node, inputs, 3)
        steps = [int(v) for v in inputs[4].flat] if len(inputs) > 4 and inputs[4] is not None else None
    result = inputs[0]
    for i, axis in enumerate(axes if axes is not None else range(len(starts))):
        result = _slice_axis(result, axis, starts[i], ends[i], steps[i] if steps else 1)
    return result


def _slice_axis(array: Values, axis: int, start: int, end: int, step: int) -> Values:
    size = array.shape[axis]
    if step < 0 and end < -size:
        stop: int | None = None
    else:
        stop = max(min(end, size), -size)
    index: list[slice] = [slice(None)] * array.ndim
    index[axis] = slice(max(min(start, size), -size), stop, step)
    return array[tuple(index)]


def _squeeze(node: ir.Node, inputs: list[Values]) -> Values:
    axes = axes_of(node, inputs)
    return np.squeeze(inputs[0], axis=None if axes is None else tuple(axes))


def _unsqueeze(node: ir.Node, inputs: list[Values]) -> Values:
    return np.expand_dims(inputs[0], tuple(axes_of(node, inputs) or ()))


def _cast(node: ir.Node, inputs: list[Values]) -> Values | None:
    target = ir.DataType(node.attributes.get_int("to"))
    if target not in _SIZE_TYPES:
        return None
    real = target.is_floating_point()
    convert: Callable[..., object] = bool if target == ir.DataType.BOOL else float if real else int
    return _elementwise(convert)(node, inputs[:1])


def _constant_of_shape(node: ir.Node, inputs: list[Values]) -> Values | None:
    sizes = [int(v) for v in inputs[0].flat]
    if math.prod(sizes) > _MAX_ENTRIES:
        return None
    tensor = node.attributes.get_tensor("value", None)
    fill = tensor.numpy().flat[0].item() if tensor is not None else 0.0
    return np.full(sizes, fill, dtype=object)


def _reduce_prod(node: ir.Node, inputs: list[Values]) -> Values | None:
    if any(e is None for e in inputs[0].flat) or inputs[0].ndim > 1:
        return None
    if not axes_of(node, inputs) and node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        return inputs[0]
    product = math.prod(inputs[0].flat)
    return np.asarray([product] if node.attributes.get_int("keepdims", 1) else product, dtype=object)


def _reshape(node: ir.Node, inputs: list[Values]) -> Values:
    return inputs[0].reshape([int(v) for v in inputs[1].flat])


def _range(node: ir.Node, inputs: list[Values]) -> Values | None:
    start, limit, delta = (a.item() for a in inputs)
    if not all(isinstance(entry, int) for entry in (start, limit, delta)):
        return None
    numbers = range(start, limit, delta)
    return np.array(numbers, dtype=object) if len(numbers) <= _MAX_ENTRIES else None


def _modulo(node: ir.Node, inputs: list[Values]) -> Values | None:
    return _elementwise(math.fmod if node.attributes.get_int("fmod", 0) else operator.mod)(node, inputs)


def _expand(node: ir.Node, inputs: list[Values]) -> Values:
    return np.broadcast_to(inputs[0], np.broadcast_shapes(inputs[0].shape, tuple(int(v) for v in inputs[1].flat)))


_RULES: dict[str, Callable[[ir.Node, list[Any]], Values | None]] = {
    "Shape": _shape,
    "Size": _size,
    "Gather": _gather,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Cast": _cast,
    "ConstantOfShape": _constant_of_shape,
    "ReduceProd": _reduce_prod,
    "Range": _range,
    "Identity": lambda node, inputs: inputs[0],
    "Concat": lambda node, inputs: np.concatenate(inputs, axis=node.attributes.get_int("axis", 0)),
    "Transpose": lambda node, inputs: np.transpose(inputs[0], node.attributes.get_ints("perm", None)),
    "Expand": _expand,
    "Add": _elementwise(operator.add),
    "Sub": _elementwise(operator.sub),
    "Mul": _elementwise(operator.mul),
    "Div": _elementwise(_divide),
    "Mod": _modulo,
    "Neg": _elementwise(operator.neg),
    "Floor": _elementwise(math.floor),
    "Ceil": _elementwise(math.ceil),
    "Min": _elementwise(min),
    "Max": _elementwise(max),
    "Equal": _elementwise(operator.eq),
    "Greater": _elementwise(operator.gt),
    "Less": _elementwise(operator.lt),
    "Not": _elementwise(operator.not_),
    "Where": _elementwise(_choose),
}
