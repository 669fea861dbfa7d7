"""Run the labels through the graph, join what was tied, and sort the units into groups."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import numpy as np
import onnx_ir as ir

import onnxprune.channels.ops  # noqa: F401  (registers the operators' rules)
from onnxprune.channels import hints
from onnxprune.channels.attention import AttentionUnit, attentions
from onnxprune.channels.flowing import flow_through
from onnxprune.channels.labels import Labels
from onnxprune.channels.map import Axis, ChannelMap, FixedChannels, Group, GroupKind
from onnxprune.graph.shape_values import shape_values, without_products

_HASH_SEED = 0x0DDB1A5E5BAD5EED


def analyse(model: ir.Model, attention: AttentionUnit = "head-dim", *, embedding: bool = False) -> ChannelMap:
    """Find which channels of a model can be removed and what must go with them.

    Args:
        model: A normalised model with inferred shapes; it is not changed.
        attention: What goes of attention: the same entries of every head, whole heads, or heads where entries cannot
            go (they are normalised, say).
        embedding: Whether channels may go that a LayerNormalization takes statistics over. What is left is normalised
            among itself, so the network changes more than by silencing them.

    Returns:
        The units, their groups and slices, and what is fixed and why.
    """
    together = attentions(model)
    splits = {name: heads for each in together for name, heads in each.items()}
    sizes = shape_values(model, products=True)
    known = without_products(sizes), sizes

    def labelled(whole_heads: Collection[str], turned: Collection[str] = ()) -> Labels:
        return _labels(model, Labels(*known, splits, whole_heads=whole_heads, turned=turned, embedding=embedding))

    if attention == "either":
        labels = _entries_or_heads(labelled, [frozenset(each) for each in together])
    else:
        labels = labelled(splits if attention == "heads" else ())
    channels, whole_heads = _channel_map(model, labels), labels.whole_heads
    if turned := _inseparable(labels):
        other = _channel_map(model, labelled(whole_heads, turned))
        return other if other.unit_count > channels.unit_count else channels
    return channels


def _inseparable(labels: Labels) -> frozenset[str]:
    """Name the grouped convolutions whose channels could only go all together.

    Where their numbers of groups differ, channels may still go inside the groups of both, or whole groups.
    """
    if not labels.grouped:
        return frozenset()
    root, reason = labels.classes()

    def is_one(axis: np.ndarray) -> bool:
        free = axis[axis >= 0]
        free = free[reason[free] < 0]
        return len(free) > 0 and len(np.unique(root[free])) == 1

    return frozenset(name for name, axes in labels.grouped.items() if any(map(is_one, axes)))


def _labels(model: ir.Model, labels: Labels) -> Labels:
    """Run labels through a model."""
    for node in model.graph:
        flow_through(node, labels)
    for value in model.graph.outputs:
        labels.pin_all([value], f"they are the model's output '{value.name}'", hints.CALLER)
    return labels


def _entries_or_heads(labelled: Callable[[Collection[str]], Labels], together: Iterable[frozenset[str]]) -> Labels:
    """Let whole heads go where the entries of queries, keys or values cannot.

    The heads of queries, keys and values are one axis: where the entries of one are stuck, all of that attention go
    by heads. Where heads cannot go either, the entries of values may.

    Args:
        labelled: Runs labels through the model, given the splits whose heads go whole.
        together: For each attention the splits of its queries, keys and values.
    """
    labels = labelled(())
    stuck = _stuck(labels)
    families = [family for family in _families(together) if family & stuck]
    if not families:
        return labels
    whole = frozenset[str]().union(*families)
    labels = labelled(whole)
    lost = _stuck(labels)
    possible = frozenset[str]().union(*(family for family in families if not family & lost))
    return labels if possible == whole else labelled(possible)


def _families(together: Iterable[frozenset[str]]) -> list[frozenset[str]]:
    """Join the attentions that share splits."""
    families: list[frozenset[str]] = []
    for splits in together:
        related = [family for family in families if family & splits]
        families = [family for family in families if not family & splits]
        families.append(splits.union(*related))
    return families


def _stuck(labels: Labels) -> frozenset[str]:
    """Name the nodes that split channels into heads of which nothing can go: all is fixed, or goes only together."""
    root, reason = labels.classes()

    def is_free(axis: np.ndarray) -> bool:
        labelled = axis[axis >= 0]
        return len(np.unique(root[labelled[reason[labelled] < 0]])) > 1

    # A single head that heads of queries share stays anyway.
    splits = [name for name, heads in labels.head_splits.items() if heads > 1 or name not in labels.whole_heads]
    return frozenset(name for name in splits if not any(map(is_free, labels.attention.get(name, ()))))


def _channel_map(model: ir.Model, labels: Labels) -> ChannelMap:
    op_types = {str(node.name): node.op_type for node in model.graph}
    root, reason = labels.classes()
    produced = np.zeros(labels.count, dtype=bool)
    for _, _, _, out in labels.producers:
        produced[root[out[out >= 0]]] = True
    free = (reason < 0) & produced[root]
    # Units are numbered in the order in which their first label was born.
    roots = np.unique(root[free])
    unit_of_label = np.full(labels.count + 1, -1)
    unit_of_label[:-1][free] = np.searchsorted(roots, root[free])
    axes, signature = _place(labels, unit_of_label, len(roots))
    groups = _groups(labels, unit_of_label, signature, op_types)
    return ChannelMap(
        unit_count=len(roots),
        axes=axes,
        groups=groups,
        contractions=tuple(c for c in labels.contractions),
        fixed=_fixed(labels, unit_of_label, reason),
        outputs_of={node: (weight, axis) for node, weight, axis, _ in labels.producers},
    )


def _place(
    labels: Labels, unit_of_label: np.ndarray, unit_count: int
) -> tuple[dict[str, tuple[Axis, ...]], np.ndarray]:
    """Translate every axis to units, and sign each unit with the axes it lives on.

    Units with equal signatures are on the same axes equally often, so that any axis is a union of whole groups.
    """
    rng = np.random.default_rng(_HASH_SEED)
    signature = np.zeros(unit_count, dtype=np.uint64)
    translated: dict[int, Axis] = {}
    axes: dict[str, tuple[Axis, ...]] = {}
    for name, label_axes in labels.axes.items():
        unit_axes: list[Axis] = []
        for axis in label_axes:
            if axis is not None and id(axis) not in translated:
                translated[id(axis)] = _translate(axis, unit_of_label, signature, rng)
            unit_axes.append(None if axis is None else translated[id(axis)])
        if any(axis is not None for axis in unit_axes):
            axes[name] = tuple(unit_axes)
    return axes, signature


def _translate(axis: np.ndarray, unit_of_label: np.ndarray, signature: np.ndarray, rng: np.random.Generator) -> Axis:
    units: np.ndarray = unit_of_label[axis]
    present = units[units >= 0]
    if len(present) == 0:
        return None
    # Only the units present are touched, so that the analysis stays linear in the size of the graph.
    np.add.at(signature, present, rng.integers(0, 2**64, dtype=np.uint64))
    return units


def _groups(
    labels: Labels, unit_of_label: np.ndarray, signature: np.ndarray, op_types: dict[str, str]
) -> tuple[Group, ...]:
    if len(signature) == 0:
        return ()
    _, group_of_unit = np.unique(signature, return_inverse=True)
    producers: dict[int, list[tuple[str, int]]] = {}
    for node, _, _, out in labels.producers:
        units = unit_of_label[out]
        present = group_of_unit[units[units >= 0]]
        for group, channels in zip(*np.unique(present, return_counts=True), strict=True):
            producers.setdefault(int(group), []).append((node, int(channels)))
    position = {name: i for i, name in enumerate(op_types)}
    members = np.split(np.argsort(group_of_unit, kind="stable"), np.cumsum(np.bincount(group_of_unit))[:-1])
    found = []
    for group, units in enumerate(members):
        named = sorted(producers[group], key=lambda p: position[p[0]])
        names = tuple(dict.fromkeys(name for name, _ in named))
        found.append((position[names[0]], int(units.min()), names, np.sort(units), named[0][1]))
    found.sort(key=lambda g: g[:2])
    kind_of = _kinds(labels, unit_of_label, len(signature), op_types)
    return tuple(
        Group(index, names[0], units, names, max(channels // len(units), 1), kind_of(names[0], units))
        for index, (_, _, names, units, channels) in enumerate(found)
    )


def _kinds(
    labels: Labels, unit_of_label: np.ndarray, unit_count: int, op_types: dict[str, str]
) -> Callable[[str, np.ndarray], GroupKind]:
    """Return what says what the units of a group are, given its first producer."""
    axes_of = {True: [*labels.head_axes], False: [*labels.entry_axes]}
    for name, axes in labels.attention.items():
        for axis in axes:
            # Where whole heads were to go and cannot, entries may; they are what they are. An axis may repeat its
            # heads for every sample.
            heads = labels.head_splits.get(name)
            axes_of[name in labels.whole_heads and heads in (len(axis), len(np.unique(axis)))].append(axis)
    whole_heads, entries = (_marked(axes_of[whole], unit_of_label, unit_count) for whole in (True, False))
    embedded = _marked(labels.embedded, unit_of_label, unit_count)

    def kind(producer: str, units: np.ndarray) -> GroupKind:
        if embedded[units].any():
            return "embedding"
        if whole_heads[units].any():
            return "heads"
        if entries[units].any():
            return "head-dim"
        return "mlp" if op_types[producer] in {"Gemm", "MatMul"} else "channels"

    return kind


def _marked(axes: Iterable[np.ndarray], unit_of_label: np.ndarray, unit_count: int) -> np.ndarray:
    """Say which units are on some axes, shape (units,)."""
    marked = np.zeros(unit_count, dtype=bool)
    for axis in axes:
        units = unit_of_label[axis]
        marked[units[units >= 0]] = True
    return marked


def _fixed(labels: Labels, unit_of_label: np.ndarray, reason: np.ndarray) -> tuple[FixedChannels, ...]:
    result = []
    for node, _, _, out in labels.producers:
        stuck = out[(unit_of_label[out] < 0)]
        if len(stuck) == 0:
            continue
        first = np.where(stuck >= 0, reason[np.maximum(stuck, 0)], -1)
        for number, channels in zip(*np.unique(first, return_counts=True), strict=True):
            why, hint = labels.reasons[number] if number >= 0 else ("their labels meet fixed entries", hints.TIED)
            result.append(FixedChannels(node, int(channels), why, hint))
    return tuple(result)
