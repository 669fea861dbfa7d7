"""What a structure costs on paper, in closed form, without building it.

A structure is the number of units that stay in each group. Every axis is a union of whole groups, each with the same
number of indices per unit, so any axis size is linear in these counts, and MACs, parameters and activation entries
are sums of products of axis sizes. A search can ask for thousands of structures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnxprune.channels import ChannelMap
from onnxprune.graph import CONTRACTIONS, mac_terms, origin_of

Counts = np.ndarray | Sequence[int]
"""Units that stay in each group, shape (groups,)."""


@dataclass(frozen=True)
class AxisSize:
    """Size of one axis as a linear function of the groups' counts.

    Attributes:
        fixed: Indices that always stay.
        groups: Groups on the axis, shape (k,).
        per_unit: Indices of the axis that one unit of each group stands for, shape (k,).
    """

    fixed: int
    groups: np.ndarray
    per_unit: np.ndarray

    @cached_property
    def _pairs(self) -> tuple[tuple[int, int], ...]:
        return tuple(zip(self.groups.tolist(), self.per_unit.tolist(), strict=True))

    def of(self, counts: Counts) -> int:
        """Return the size at the given counts, shape (groups,)."""
        # Plain integers: arrays this short cost more to make than to add up.
        size = self.fixed
        for group, per_unit in self._pairs:
            size += int(counts[group]) * per_unit
        return size


@dataclass(frozen=True)
class Product:
    """A constant times axis sizes: a tensor's entries, or a node's MACs.

    Attributes:
        factor: What does not depend on the counts.
        sizes: The axis sizes that do.
    """

    factor: int
    sizes: tuple[AxisSize, ...]

    def of(self, counts: Counts) -> int:
        """Return the product at the given counts."""
        value = self.factor
        for size in self.sizes:
            value *= size.of(counts)
        return value


@dataclass(frozen=True)
class Join:
    """A concatenation of channels.

    Attributes:
        entries: What it writes.
        parts: Channels of each of its inputs.
    """

    entries: Product
    parts: tuple[AxisSize, ...]

    def misaligned(self, counts: Counts, block: int) -> int:
        """Return the entries it writes where an input does not fill blocks of channels; 0 where all do."""
        whole = all(part.of(counts) % block == 0 for part in self.parts)
        return 0 if whole else self.entries.of(counts)


@dataclass(frozen=True)
class PaperCost:
    """Sums over the network as functions of the groups' counts.

    Attributes:
        macs: The products that add up to the multiply-accumulates.
        parameters: One product an initializer, with its bytes per entry.
        activations: Entries written by the nodes that are not measured as layers, one product each; what is made of
            weights alone is none.
        joins: Concatenations of channels.
    """

    macs: tuple[Product, ...]
    parameters: tuple[tuple[Product, float], ...]
    activations: tuple[Product, ...]
    joins: tuple[Join, ...] = ()

    def macs_of(self, counts: Counts) -> int:
        """Return the network's multiply-accumulates."""
        return sum(product.of(counts) for product in self.macs)

    def parameters_of(self, counts: Counts) -> int:
        """Return the number of weights."""
        return sum(product.of(counts) for product, _ in self.parameters)

    def activations_of(self, counts: Counts) -> int:
        """Return the entries that nodes other than layers write."""
        return sum(product.of(counts) for product in self.activations)


class AxisSizes:
    """Axis sizes of a model's values, found once for each distinct axis."""

    def __init__(self, channels: ChannelMap, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Prepare for a model.

        Args:
            channels: Its analysis.
            shapes: Concrete shape of every value.
        """
        self._channels = channels
        self._shapes = shapes
        self._group_of_unit = channels.group_of_unit()
        self._found: dict[int, AxisSize] = {}

    def axis(self, value: str, axis: int) -> AxisSize:
        """Return the size of one axis of a value as a function of the counts."""
        units = self._channels.axis(value, axis)
        if units is None:
            none = np.empty(0, dtype=np.int64)
            return AxisSize(self._shapes[value][axis], none, none)
        if id(units) not in self._found:
            present = units[units >= 0]
            groups, indices = np.unique(self._group_of_unit[present], return_counts=True)
            per_unit = indices // np.array([self._channels.groups[g].size for g in groups])
            self._found[id(units)] = AxisSize(len(units) - len(present), groups, per_unit)
        return self._found[id(units)]

    def tensor(self, value: str) -> Product:
        """Return the number of entries of a value as a function of the counts."""
        return self.product([(value, axis) for axis in range(len(self._shapes[value]))])

    def product(self, axes: Sequence[tuple[str, int]]) -> Product:
        """Return a product of the sizes of axes, (value name, axis) each, as a function of the counts."""
        factor, sizes = 1, []
        for value, axis in axes:
            found = self.axis(value, axis)
            if len(found.groups):
                sizes.append(found)
            else:
                factor *= self._shapes[value][axis]
        return Product(factor, tuple(sizes))


def full_counts(channels: ChannelMap) -> np.ndarray:
    """Return the counts of the unpruned network, shape (groups,)."""
    return np.array([group.size for group in channels.groups], dtype=np.int64)


def paper_cost(model: ir.Model, channels: ChannelMap, shapes: Mapping[str, tuple[int, ...]]) -> PaperCost:
    """Derive the closed forms for a model.

    Args:
        model: A normalised model.
        channels: Its analysis.
        shapes: Concrete shape of every value, from `graph.concrete_shapes`.
    """
    sizes = AxisSizes(channels, shapes)
    macs, activations = [], []
    for node in model.graph:
        macs += [sizes.product(axes) for axes in mac_terms(node, shapes)]
        if node.op_type not in CONTRACTIONS:
            computed = (v for v in node.outputs if str(v.name) in shapes and origin_of(v) is None)
            activations += [sizes.tensor(str(v.name)) for v in computed]
    parameters = [
        (sizes.tensor(str(v.name)), v.const_value.dtype.bitwidth / 8)
        for v in model.graph.initializers.values()
        if v.const_value is not None and v.const_value.dtype != ir.DataType.STRING
    ]
    joins = tuple(_joins(model, sizes, shapes))
    return PaperCost(tuple(macs), tuple(parameters), tuple(activations), joins)


def _joins(model: ir.Model, sizes: AxisSizes, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Join]:
    for node in model.graph:
        written = str(node.outputs[0].name)
        read = [str(v.name) for v in node.inputs if v is not None]
        if node.op_type != "Concat" or origin_of(node.outputs[0]) is not None:
            continue
        if all(len(shapes.get(name, ())) > 2 for name in (written, *read)) and node.attributes.get_int("axis", 0) == 1:
            yield Join(sizes.tensor(written), tuple(sizes.axis(name, 1) for name in read))


def keep_mask(channels: ChannelMap, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Choose the highest-scoring units of each group.

    Args:
        channels: The analysis.
        scores: Importance of every unit, shape (units,).
        counts: How many units of each group stay, shape (groups,).

    Returns:
        Whether each unit stays, shape (units,).
    """
    keep = np.zeros(channels.unit_count, dtype=bool)
    for group, count in zip(channels.groups, counts, strict=True):
        # Stable, so that equal scores are decided by position and a run can be repeated.
        order = np.argsort(-scores[group.units], kind="stable")
        keep[group.units[order[:count]]] = True
    return keep
