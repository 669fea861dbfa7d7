"""The rules, one per operator: how labels flow through it, and how the sizes it encodes follow a removal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from onnxprune.channels.labels import Labels
from onnxprune.channels.map import Axis, ChannelMap
from onnxprune.graph.sizes import dims


@dataclass(frozen=True)
class Removal:
    """What a resize rule may know: the labels, which units stay, and the sizes the graph determined.

    Attributes:
        channels: The analysis of the original model; value names are the same in the model under surgery.
        keep: Whether each unit stays, shape (units,).
        known: Small tensors the original graph determines.
    """

    channels: ChannelMap
    keep: np.ndarray
    known: dict[str, np.ndarray]

    def kept(self, value: ir.Value | None, axis: int) -> np.ndarray | None:
        """Return which indices of an axis stay, shape (size,), or None when all of them do."""
        return self.staying(self.channels.axis(str(value.name), axis) if value is not None else None)

    def staying(self, units: Axis) -> np.ndarray | None:
        """Return which of an axis' units stay, shape (size,), or None when all of them do."""
        if units is None:
            return None
        mask = np.ones(len(units), dtype=bool)
        labelled = units >= 0
        mask[labelled] = self.keep[units[labelled]]
        return None if mask.all() else mask

    def known_ints(self, value: ir.Value | None) -> list[int] | None:
        """Return a small tensor of the original as integers, or None unless every entry is known."""
        entries = None if value is None else self.known.get(str(value.name))
        return None if entries is None or None in entries.flat else [int(e) for e in entries.flat]

    def sizes(self, value: ir.Value | None) -> tuple[int | str | None, ...]:
        """Return the sizes that a value had before the removal; initializers are cut when rules run, others are not."""
        if value is None:
            return ()
        kept = (self.kept(value, axis) for axis in range(len(dims(value))))
        return tuple(dim if mask is None else len(mask) for dim, mask in zip(dims(value), kept, strict=True))


Rule = TypeVar("Rule")
Flow = Callable[[ir.Node, Labels], None]
Resize = Callable[[ir.Node, Removal], None]

_FLOWS: dict[tuple[str, str], Flow] = {}
_RESIZES: dict[tuple[str, str], Resize] = {}


def flow(*op_types: str, domain: str = "") -> Callable[[Flow], Flow]:
    """Register the transfer function of operators; it sets the labels of every output."""
    return _registrar(_FLOWS, op_types, domain)


def resize(*op_types: str, domain: str = "") -> Callable[[Resize], Resize]:
    """Register what rewrites the sizes that operators encode; it changes the node of the pruned copy in place."""
    return _registrar(_RESIZES, op_types, domain)


def flow_of(node: ir.Node) -> Flow | None:
    """Return the transfer function of a node's operator, None if there is none."""
    return _FLOWS.get((node.domain, node.op_type))


def resize_of(node: ir.Node) -> Resize | None:
    """Return the resize rule of a node's operator, None if it encodes no size."""
    return _RESIZES.get((node.domain, node.op_type))


def known_operators() -> tuple[tuple[str, str], ...]:
    """Return the (domain, operator) pairs that have a transfer function, sorted."""
    return tuple(sorted(_FLOWS))


def _registrar(rules: dict[tuple[str, str], Rule], op_types: tuple[str, ...], domain: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            if (domain, op_type) in rules:
                raise ValueError(f"operator {domain}:{op_type} has a rule already")
            rules[domain, op_type] = rule
        return rule

    return register
