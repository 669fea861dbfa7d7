"""Names for dynamic sizes that ONNX's inference does not follow, so that axes of one size are known to be.

Exporters count positions with a Range as long as the sequence, and cut tables of positions to its length. Inference
calls what comes of them by new names; added to the sequence, it takes the sequence's own name away. So it does with
what a Reshape leaves over where sizes changed their places, and, before opset 13, what a Resize gives.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import onnx_ir as ir

from onnxprune.graph.shape_values import axes_of, shape_values
from onnxprune.graph.sizes import TIMES, Size, dims, name_of, named, quotient

Dims = tuple[int | str | None, ...]
Sizes = Mapping[str, np.ndarray]
# As `_at_most` writes it; a model's own names may begin alike.
_BOUNDED = re.compile(r"min\(.+, (\d+)\)")
_BROADCASTING = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mul", "Or", "Pow", "Sub"}
    | {"Where", "Xor"}
)
JOINING = _BROADCASTING | {"Concat", "Einsum", "Expand", "Gemm", "MatMul", "Max", "Mean", "Min", "Mod", "PRelu", "Sum"}
"""Operators whose results have sizes of several operands, which one name stands for if they are known to be equal."""


def named_sizes(model: ir.Model) -> dict[str, Dims]:
    """State shapes with names that say more than the ones that values have.

    Args:
        model: A model with inferred shapes; it is not changed.

    Returns:
        Shapes by the values' names; none where nothing is gained.
    """
    nodes = [node for node in model.graph if not node.domain and (node.op_type in _RULES)]
    if not any(_follows(node) for node in nodes):
        return {}
    sizes = shape_values(model, products=True)
    found: dict[str, Dims] = {}
    for node in nodes:
        stated = _RULES[node.op_type](node, sizes)
        if stated is not None and _says_more(stated, node.outputs[0]):
            found[str(node.outputs[0].name)] = stated
    return found


def _follows(node: ir.Node) -> bool:
    """Say whether a node's output has a size that is computed when the network runs."""
    if node.op_type in {"Flatten", "Reshape", "Tile"}:
        before = _dims(node.inputs[0])
        return any(not isinstance(dim, int) and dim not in before for dim in _dims(node.outputs[0]))
    computed = node.inputs if node.op_type == "Range" else node.inputs[1:]
    return node.op_type not in _BROADCASTING and any(v is not None and v.producer() is not None for v in computed)


def _says_more(stated: Dims, value: ir.Value) -> bool:
    """Say whether some axis is a number, or has a name that was there before, where it has none of these."""
    now = _dims(value)
    if value.is_graph_output() or len(stated) != len(now):
        return False
    return any(
        new is not None and new != old and not isinstance(old, int) for new, old in zip(stated, now, strict=True)
    )


def _counted(node: ir.Node, sizes: Sizes) -> Dims | None:
    """A Range from 0 is as long as its limit says."""
    start, limit, step = (sizes.get(str(value.name)) for value in node.inputs if value is not None)
    if start is None or limit is None or step is None or (start.item(), step.item()) != (0, 1):
        return None
    name = _name(limit.item())
    return None if name is None else (name,)


def _cut(node: ir.Node, sizes: Sizes) -> Dims | None:
    """The first n of c entries are at most n and c."""
    start, end = (_only(sizes, node.inputs[i]) if len(node.inputs) > i else None for i in (1, 2))
    step = _only(sizes, node.inputs[4]) if len(node.inputs) > 4 and node.inputs[4] is not None else 1
    inputs = [None if value is None else sizes.get(str(value.name)) for value in node.inputs]
    axes, left = axes_of(node, inputs, 3), list(_dims(node.inputs[0]))
    name = _name(end)
    if name is None or (start, step) != (0, 1) or axes is None or len(axes) != 1:
        return None
    if not -len(left) <= axes[0] < len(left):
        # Nothing is known of what is cut.
        return None
    entries = left[axes[0]]
    if entries != name:
        left[axes[0]] = _at_most(name, entries) if isinstance(entries, int) and entries > 1 else None
    return tuple(left)


def _expanded(node: ir.Node, sizes: Sizes) -> Dims | None:
    target = sizes.get(str(node.inputs[1].name)) if node.inputs[1] is not None else None
    if target is None or not _has_rank(node.inputs[0]):
        return None
    return _broadcast([_dims(node.inputs[0]), tuple(e if isinstance(e, int) else _name(e) for e in target.flat)])


def _regrouped(node: ir.Node, sizes: Sizes) -> Dims | None:
    """A Reshape gives the sizes that its target says; -1 is what the others leave of the entries."""
    target = sizes.get(str(node.inputs[1].name)) if node.inputs[1] is not None else None
    entries = [] if target is None else list(target.flat)
    if not entries or entries.count(-1) > 1 or node.inputs[0] is None or node.inputs[0].shape is None:
        return None
    before = [_size(dim) for dim in _dims(node.inputs[0])]
    kept = 0 if node.attributes.get_int("allowzero", 0) else len(before)
    after = [before[i] if entry == 0 and i < kept else _fitting(entry) for i, entry in enumerate(entries)]
    if -1 in entries:
        position = entries.index(-1)
        whole, rest = _product(before), _product(after[:position] + after[position + 1 :])
        after[position] = None if whole is None or rest is None else quotient(whole, rest)
    return tuple(None if size is None else name_of(size) for size in after)


def _flattened(node: ir.Node, sizes: Sizes) -> Dims | None:  # noqa: ARG001
    """The axes before a Flatten's are multiplied to one, and so are those from it on."""
    if not _has_rank(node.inputs[0]):
        return None
    before = [_size(dim) for dim in _dims(node.inputs[0])]
    axis = node.attributes.get_int("axis", 1)
    parts = (_product(before[:axis]), _product(before[axis:]))
    return tuple(None if size is None else name_of(size) for size in parts)


def _tiled(node: ir.Node, sizes: Sizes) -> Dims | None:
    """Each axis is repeated as often as it is said."""
    before = [_size(dim) for dim in _dims(node.inputs[0])]
    repeats = sizes.get(str(node.inputs[1].name)) if len(node.inputs) == 2 and node.inputs[1] is not None else None
    if repeats is None or len(repeats) != len(before):
        return None
    after = [_product([size, _size(entry)]) for size, entry in zip(before, repeats.flat, strict=True)]
    return tuple(None if size is None else name_of(size) for size in after)


def _resized(node: ir.Node, sizes: Sizes) -> Dims | None:
    """An axis that is resized by 1 keeps its size; others have the sizes that are asked for."""
    before = _dims(node.inputs[0])
    if "axes" in node.attributes or node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    given = [None if value is None else sizes.get(str(value.name)) for value in node.inputs[1:]]
    if not given or not _has_rank(node.inputs[0]):
        return None
    # Before opset 11 scales come first; from then on behind a region of interest.
    scales, wanted = (given[0], None) if len(given) == 1 else (given[1], given[2] if len(given) > 2 else None)
    if wanted is not None and len(wanted) == len(before):
        return tuple(entry if isinstance(entry, int) else _name(entry) for entry in wanted)
    if scales is None or len(scales) != len(before):
        return None
    return tuple(_scaled(size, scale) for size, scale in zip(before, scales, strict=True))


def _scaled(size: int | str | None, scale: object) -> int | str | None:
    if scale == 1:
        return size
    if not isinstance(size, int) or not isinstance(scale, float):
        return None
    # As onnxruntime rounds: 10 times 0.7 is 7 in float32.
    return math.floor(np.float32(size) * np.float32(scale))


def _size(entry: object) -> Size | None:
    if isinstance(entry, str):
        return named(entry)
    if isinstance(entry, Size):
        return entry
    return Size(Fraction(entry)) if isinstance(entry, int) else None


def _fitting(entry: object) -> Size | None:
    """Return a size of a Reshape's target: where it fits, divisions leave no remainder."""
    size = _size(entry)
    return None if size is None else replace(size, exact=True)


def _product(sizes: Sequence[Size | None]) -> Size | None:
    result: Size | None = Size(Fraction(1))
    for size in sizes:
        result = None if result is None or size is None else result * size
    return result


def _joined(node: ir.Node, sizes: Sizes) -> Dims | None:  # noqa: ARG001
    if not all(map(_has_rank, node.inputs)):
        return None
    return _broadcast([_dims(value) for value in node.inputs])


def _broadcast(shapes: Sequence[Dims]) -> Dims:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(_meeting(sizes) for sizes in zip(*padded, strict=True))


def _meeting(sizes: Sequence[int | str | None]) -> int | str | None:
    """Return the size of an axis that several broadcast to; what is at most another is that other, or one entry."""
    met = set(sizes) - {1}
    if None in met:
        return None
    if len(met) < 2:
        return next(iter(met), 1)
    largest = [size for size in met if met <= {size} | {_at_most(size, n) for n in _bounds(met)}]
    return largest[0] if largest else None


def _bounds(sizes: set[int | str | None]) -> set[int]:
    found = (_BOUNDED.fullmatch(size) for size in sizes if isinstance(size, str))
    return {int(match[1]) for match in found if match is not None}


def _at_most(name: int | str | None, entries: int) -> str | None:
    return None if isinstance(name, str) and TIMES in name else f"min({name}, {entries})"


def _only(sizes: Sizes, value: ir.Value | None) -> object:
    entries = None if value is None else sizes.get(str(value.name))
    return entries.item() if entries is not None and entries.size == 1 else None


def _name(entry: object) -> int | str | None:
    return name_of(entry) if isinstance(entry, Size) else None


def _has_rank(value: ir.Value | None) -> bool:
    return value is not None and value.shape is not None


def _dims(value: ir.Value | None) -> Dims:
    return () if value is None else dims(value)


_RULES: dict[str, Callable[[ir.Node, Sizes], Dims | None]] = {
    "Range": _counted,
    "Slice": _cut,
    "Expand": _expanded,
    "Flatten": _flattened,
    "Reshape": _regrouped,
    "Resize": _resized,
    "Tile": _tiled,
    "Upsample": _resized,
    **dict.fromkeys(_BROADCASTING, _joined),
}
