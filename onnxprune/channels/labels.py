"""Labels while they flow: births, ties and pins, collected as arrays and joined once at the end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction

import numpy as np
import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.map import Axis, Contraction
from onnxprune.graph.sizes import Size, dims, expanded, named

Axes = tuple[Axis, ...]
FIXED = -1


class MisfitError(Exception):
    """Axes that meet in a node have different sizes, which no valid model has; its message says which."""


class Labels:
    """State of one run of the analysis.

    A label is a non-negative integer; `FIXED` entries cannot be removed, and an axis that is None is fixed
    throughout. Transfer functions read the axes of a node's inputs, tie or pin labels, and set the outputs' axes.
    """

    def __init__(
        self,
        known_values: dict[str, np.ndarray],
        size_values: Mapping[str, np.ndarray],
        head_splits: Mapping[str, int] | None = None,
        *,
        whole_heads: Collection[str] = (),
        turned: Collection[str] = (),
        embedding: bool = False,
    ) -> None:
        """Start with nothing labelled.

        Args:
            known_values: Small tensors the graph determines, from `graph.shape_values`.
            size_values: Likewise, with each dynamic entry as a `Size` where it is one.
            head_splits: Reshape nodes that split channels into heads, and their number of heads.
            whole_heads: Of these nodes, those whose heads go whole.
            turned: Grouped convolutions that lose channels inside their groups where others of their widths lose
                whole groups, and the other way round.
            embedding: Whether channels may go that a LayerNormalization or a mean takes statistics over.
        """
        self.axes: dict[str, Axes] = {}
        self.contractions: list[Contraction] = []
        self.reasons: list[tuple[str, str]] = []
        self.producers: list[tuple[str, str, int, np.ndarray]] = []
        self.count = 0
        self.head_splits = head_splits or {}
        self.whole_heads = whole_heads
        self.turned = turned
        self.grouped: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.attention: dict[str, list[np.ndarray]] = {}
        # Of attention by Einsum, whose heads may have an axis from the weights on.
        self.head_axes: list[np.ndarray] = []
        self.entry_axes: list[np.ndarray] = []
        self.value_products: set[str] = set()
        self._heads: set[int] = set()
        self.embedding = embedding
        self.embedded: list[np.ndarray] = []
        self.products: dict[str, Size] = {}
        self.known_values = known_values
        self.size_values = size_values
        self._ties: list[tuple[np.ndarray, np.ndarray]] = []
        self._pins: list[tuple[np.ndarray, int]] = []

    def fresh(self, size: int) -> np.ndarray:
        """Give birth to `size` new labels."""
        labels = np.arange(self.count, self.count + size)
        self.count += size
        return labels

    def of(self, value: ir.Value | None) -> Axes:
        """Return the labels on each axis of a value; an initializer's are born at the first look."""
        if value is None:
            return ()
        name = str(value.name)
        axes = self.axes.get(name)
        if axes is None:
            sizes = dims(value)
            if value.is_initializer():
                # An axis of one entry cannot lose it, and broadcasts instead of being tied.
                axes = tuple(self.fresh(s) if isinstance(s, int) and s > 1 else None for s in sizes)
            else:
                axes = (None,) * len(sizes)
            self.axes[name] = axes
        return axes

    def set(self, value: ir.Value, axes: Sequence[Axis]) -> None:
        """Record the labels of a node's output."""
        self.axes[str(value.name)] = tuple(axes)

    def known(self, value: ir.Value | None) -> np.ndarray | None:
        """Return the entries of a small tensor that the graph determines, None entries where dynamic."""
        return None if value is None else self.known_values.get(str(value.name))

    def known_ints(self, value: ir.Value | None) -> list[int] | None:
        """Return a small tensor as integers, or None unless every entry is known."""
        entries = self.known(value)
        if entries is None or any(e is None for e in entries.flat):
            return None
        return [int(e) for e in entries.flat]

    def sizes(self, value: ir.Value | None) -> list[Size | None]:
        """Return the entries of a 1-D tensor of sizes that are dynamic and known as products; None for others."""
        entries = None if value is None else self.size_values.get(str(value.name))
        return [] if entries is None else [e if isinstance(e, Size) else None for e in entries.flat]

    def size(self, axis: Axis, dim: int | str | None) -> Size | None:
        """Return the size of an axis of these labels and this declared size, None where that has no name."""
        size = dim if axis is None else len(axis)
        if isinstance(size, int):
            return Size(Fraction(size))
        return None if size is None else self.products.get(size, named(size))

    def learn(self, dim: int | str | None, size: Size | None) -> None:
        """Take note of what a dynamic size is made of, if that is news."""
        if size is None or not isinstance(dim, str) or dim in self.products:
            return
        size = expanded(size, self.products)
        if dim not in size.names:
            self.products[dim] = size

    def tie(self, a: Axis, b: Axis, reason: str) -> Axis:
        """Demand that labels at the same index go together.

        Args:
            a: Labels, shape (n,), or None for a fixed axis.
            b: Likewise.
            reason: Why labels that meet fixed ones are fixed too.

        Returns:
            The labels of the joint axis.

        Raises:
            MisfitError: The two have different sizes.
        """
        if a is None or b is None:
            self.pin(a, reason, hints.TIED)
            self.pin(b, reason, hints.TIED)
            return None
        if a is b:
            return a
        if len(a) != len(b):
            raise MisfitError(f"{len(a)} channels meet {len(b)}")
        if self.are_heads(a) or self.are_heads(b):
            self.mark_heads(a)
            self.mark_heads(b)
        free = (a >= 0) & (b >= 0)
        if not free.all():
            self.pin(a[b < 0], reason, hints.TIED)
            self.pin(b[a < 0], reason, hints.TIED)
            self._ties.append((a[free], b[free]))
            return np.where(free, a, FIXED)
        self._ties.append((a, b))
        return a

    def pin(self, axis: Axis, reason: str, hint: str = hints.TOGETHER) -> None:
        """Fix labels, and remember why.

        Args:
            axis: Labels, shape (n,), or None for a fixed axis.
            reason: Why, with the op and the node.
            hint: What would free them.
        """
        if axis is None or len(axis) == 0:
            return
        self.reasons.append((reason, hint))
        self._pins.append((axis[axis >= 0], len(self.reasons) - 1))

    def pin_all(self, values: Iterable[ir.Value | None], reason: str, hint: str = hints.TOGETHER) -> None:
        """Fix every label on every axis of `values`."""
        for value in values:
            for axis in self.of(value):
                self.pin(axis, reason, hint)

    def contract(self, node: ir.Node, input_index: int, axis: int) -> None:
        """Record that `node` sums over an axis of an activation."""
        self.contractions.append(Contraction(str(node.name), input_index, axis))

    def produce(self, node: ir.Node, weight: ir.Value | None, axis: int, channels: Axis = None) -> None:
        """Record that the labels on an axis of `weight` are the output channels of `node`.

        Args:
            node: What brings the channels forth.
            weight: Its weight.
            axis: The axis of the weight.
            channels: One label an output channel, where the axis holds several entries for each.
        """
        labels = self.of(weight)[axis] if channels is None else channels
        if labels is not None and weight is not None:
            self.producers.append((str(node.name), str(weight.name), axis, labels))

    def mark_heads(self, axis: np.ndarray) -> None:
        """Take note that labels are of whole heads."""
        self._heads.update(axis[axis >= 0].tolist())

    def are_heads(self, axis: Axis) -> bool:
        """Say whether some of an axis' labels are of whole heads."""
        return bool(self._heads) and axis is not None and not self._heads.isdisjoint(axis.tolist())

    def classes(self) -> tuple[np.ndarray, np.ndarray]:
        """Join all ties.

        Returns:
            The class of every label, shape (labels,), and the first reason of each label's class for being
            fixed, shape (labels,), -1 where it is free. What an option would free, or what follows from another
            axis, counts as the reason only where there is no other.
        """
        root = connected_components(self.count, self._ties)
        count = len(self.reasons)
        first = np.full(self.count, 2 * count)
        for labels, reason in self._pins:
            yields = self.reasons[reason][1] in {hints.EMBEDDING, hints.TIED}
            np.minimum.at(first, root[labels], reason + count * yields)
        first = first[root]
        return root, np.where(first == 2 * count, -1, first % max(count, 1))


def connected_components(count: int, edges: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Find the smallest label connected to each label.

    Args:
        count: Number of labels.
        edges: Pairs of equally long arrays of labels; entries at the same index are connected.

    Returns:
        The representative of every label, shape (count,).
    """
    root = np.arange(count)
    if not edges:
        return root
    a = np.concatenate([pair[0] for pair in edges])
    b = np.concatenate([pair[1] for pair in edges])
    while True:
        root_a, root_b = root[a], root[b]
        apart = root_a != root_b
        if not apart.any():
            return root
        a, b, root_a, root_b = a[apart], b[apart], root_a[apart], root_b[apart]
        low, high = np.minimum(root_a, root_b), np.maximum(root_a, root_b)
        np.minimum.at(root, high, low)
        # Pointer jumping: after it every label points at a representative that points at itself.
        while True:
            jumped = root[root]
            if np.array_equal(jumped, root):
                break
            root = jumped
