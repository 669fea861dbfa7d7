"""Branches that can go whole: what happens to a graph when nothing of a group stays.

Every value has a fate. It is *empty* when an axis of it has no unit left. It is *constant* when it comes from a
contraction over an empty axis: then it is the bias, the same at every position, whatever the input. Everything else is
*whole*. Rules, node by node:

    all outputs empty                              the node goes
    contraction (Conv, Gemm, ...) of an empty one  the node goes, its output is constant
    Concat of empty ones and others                the empty ones are left out
    Add, Sub of a constant and a whole one         whole, if the whole one has the output's shape already
    BatchNormalization of a constant               constant
    activation of a constant, rounding of it       constant, computed where it stands
    anything else that reads an empty or constant  refused: the group cannot go whole

What no output needs any more goes too, and with it the groups that live in it. So the block of a residual network
disappears as a whole, and so does a branch of an inception module or a layer of a dense block.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxprune.channels.map import ChannelMap
from onnxprune.channels.ops.rules import is_weight

_CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "Gemm"})
_SUMS = frozenset({"Add", "Sub"})
_ARITHMETIC = frozenset(
    {"Add", "Sub", "Mul", "Div", "Max", "Min", "Neg", "Abs", "Exp", "Sqrt", "Erf", "Identity", "Clip"}
)
_ACTIVATIONS = frozenset(
    {
        "Relu",
        "LeakyRelu",
        "Elu",
        "Celu",
        "Selu",
        "Gelu",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Mish",
        "Tanh",
        "Softplus",
        "QuantizeLinear",
        "DequantizeLinear",
    }
)


@dataclass(frozen=True)
class Branch:
    """What goes with a group of which nothing stays.

    Attributes:
        groups: Indices of the groups that go, the one that was asked about first.
        joins: (constant, sum) pairs of value names: what of the branch stays as a constant, and where it is added.
    """

    groups: tuple[int, ...]
    joins: tuple[tuple[str, str], ...]


class BranchNeededError(Exception):
    """Something reads what is no longer there; the message says which node."""


@dataclass
class Fates:
    """What becomes of a graph.

    Attributes:
        empty: Values of which nothing stays.
        constant: For each constant value, the node that it comes from; it stays if it is not among `gone`.
        gone: Nodes that go, since what they give is empty or constant.
        joins: (constant, sum) pairs of value names.
    """

    empty: set[str] = field(default_factory=set)
    constant: dict[str, ir.Node] = field(default_factory=dict)
    gone: set[ir.Node] = field(default_factory=set)
    joins: list[tuple[str, str]] = field(default_factory=list)


class Emptiness:
    """Says which values are empty once some groups are."""

    def __init__(self, channels: ChannelMap) -> None:
        """Find the axes that consist of units only."""
        of_unit = channels.group_of_unit()
        self._axes: dict[int, list[tuple[str, frozenset[int]]]] = {}
        found: dict[int, frozenset[int] | None] = {}
        for name, axes in channels.axes.items():
            for units in axes:
                if units is None or len(units) == 0:
                    continue
                if id(units) not in found:
                    found[id(units)] = None if (units < 0).any() else frozenset(np.unique(of_unit[units]).tolist())
                for group in found[id(units)] or ():
                    self._axes.setdefault(group, []).append((name, found[id(units)] or frozenset()))

    def of(self, groups: Collection[int]) -> set[str]:
        """Return the names of the values of which nothing stays without these groups."""
        gone = frozenset(groups)
        return {name for group in gone for name, axis in self._axes.get(group, ()) if axis <= gone}

    def shared_axes(self) -> set[frozenset[int]]:
        """Return the groups of each axis that consists of several."""
        return {axis for axes in self._axes.values() for _, axis in axes if len(axis) > 1}


def find_branches(model: ir.Model, channels: ChannelMap) -> dict[int, Branch]:
    """Find the groups that can go whole, such that any set of them can go together.

    Args:
        model: A normalised model; it is not changed.
        channels: Its analysis.

    Returns:
        For the index of each such group, what goes with it.
    """
    graph, emptiness = _Graph(model), Emptiness(channels)
    produced_by: dict[str, list[int]] = {}
    for group in channels.groups:
        for producer in group.producers:
            produced_by.setdefault(producer, []).append(group.index)
    found: dict[int, Branch] = {}
    sums: dict[str, str] = {}
    for group in channels.groups:
        branch = _branch(graph, channels, emptiness, group.index, produced_by)
        # Of a sum only one operand may become constant.
        if branch is not None and all(sums.get(whole, part) == part for part, whole in branch.joins):
            found[group.index] = branch
            sums |= {whole: part for part, whole in branch.joins}
    return _together(graph, emptiness, found)


def _together(graph: _Graph, emptiness: Emptiness, found: dict[int, Branch]) -> dict[int, Branch]:
    """Leave out what cannot go with the others: with all of them, or with those that share an axis with it."""
    accepted = dict(found)
    if not _can_go(graph, emptiness, accepted.values()):
        accepted = {}
        for index, branch in found.items():
            if _can_go(graph, emptiness, [*accepted.values(), branch]):
                accepted[index] = branch
    for axis in sorted(emptiness.shared_axes(), key=sorted):
        # Each of these groups leaves something of the axis; without all of them nothing is left.
        sharing = {index: branch for index, branch in accepted.items() if not axis.isdisjoint(branch.groups)}
        while axis <= {g for branch in sharing.values() for g in branch.groups}:
            stuck = (cover for cover in _covers(axis, sharing) if not _can_go(graph, emptiness, cover.values()))
            last = max(next(stuck, ()), default=None)
            if last is None:
                break
            del sharing[last], accepted[last]
    return accepted


def _covers(axis: Collection[int], sharing: Mapping[int, Branch]) -> Iterator[Mapping[int, Branch]]:
    """Yield ways to leave nothing of an axis: with all that share it, and with as little as possible besides.

    A branch that takes more with it may take what needs the axis, too.
    """
    yield sharing
    smallest = (
        min((i for i in sharing if group in sharing[i].groups), key=lambda i: len(sharing[i].groups)) for group in axis
    )
    yield {index: sharing[index] for index in smallest}


def _can_go(graph: _Graph, emptiness: Emptiness, branches: Collection[Branch]) -> bool:
    groups = {group for branch in branches for group in branch.groups}
    return _fates(graph, emptiness.of(groups)) is not None


def _branch(
    graph: _Graph, channels: ChannelMap, emptiness: Emptiness, group: int, produced_by: dict[str, list[int]]
) -> Branch | None:
    """Let one group go, and what nobody needs then; None where it cannot."""
    alone = _fates(graph, emptiness.of([group]))
    if alone is None:
        return None
    gone = {str(node.name) for node in alone.gone | unneeded(alone)}
    touched = sorted({other for name in gone for other in produced_by.get(name, ())} - {group})
    if not gone.isdisjoint(channels.untouched):
        return None
    others = [other for other in touched if gone.issuperset(channels.groups[other].producers)]
    return Branch((group, *others), tuple(alone.joins))


class _Graph:
    """A model's nodes by position and its values by name."""

    def __init__(self, model: ir.Model) -> None:
        self.nodes = list(model.graph)
        self.place = {node: place for place, node in enumerate(self.nodes)}
        self.values = {str(v.name): v for node in self.nodes for v in (*node.outputs, *node.inputs) if v is not None}


def _fates(graph: _Graph, empty: set[str]) -> Fates | None:
    try:
        return _follow(graph, empty)
    except BranchNeededError:
        return None


def follow(model: ir.Model, empty: set[str]) -> Fates:
    """Follow what empty values do to a graph.

    Args:
        model: The model; it is not changed.
        empty: Names of the values of which nothing stays.

    Raises:
        BranchNeededError: A node cannot do without what it reads.
    """
    return _follow(_Graph(model), empty)


def _follow(graph: _Graph, empty: set[str]) -> Fates:
    fates = Fates(empty=empty)
    waiting: list[int] = []
    for name in empty:
        value = graph.values.get(name)
        if value is not None:
            producer = value.producer()
            waiting += [graph.place[producer]] if producer is not None else []
            waiting += _readers(graph, value)
    heapq.heapify(waiting)
    last = -1
    while waiting:
        place = heapq.heappop(waiting)
        if place == last:
            continue
        last = place
        node = graph.nodes[place]
        outputs = [value for value in node.outputs if value.name]
        lost = [str(value.name) in empty for value in outputs]
        if all(lost):
            fates.gone.add(node)
        elif any(lost):
            raise BranchNeededError(f"{node.op_type} '{node.name}' would lose one of its outputs only")
        else:
            _follow_node(node, fates)
        for value in outputs:
            if value.name in fates.constant:
                for reader in _readers(graph, value):
                    heapq.heappush(waiting, reader)
    return fates


def _readers(graph: _Graph, value: ir.Value) -> list[int]:
    """Return the places of the nodes that read what is no longer there."""
    if value.is_graph_output():
        raise BranchNeededError(f"nothing is left of the output '{value.name}'")
    nodes = [use.node for use in value.uses()]
    if any(node not in graph.place for node in nodes):
        raise BranchNeededError(f"a subgraph reads '{value.name}'")
    return [graph.place[node] for node in nodes]


def _follow_node(node: ir.Node, fates: Fates) -> None:
    names = [str(value.name) if value is not None else "" for value in node.inputs]
    is_empty = [name in fates.empty for name in names]
    is_constant = [name in fates.constant for name in names]
    output = str(node.outputs[0].name) if node.outputs else ""
    if not any(is_empty) and not any(is_constant):
        return
    contracts = _contracts(node) and is_empty[0] and not any(is_constant)
    if contracts or (is_constant[0] and _normalises(node, fates)):
        fates.constant[output] = node
        fates.gone.add(node)
    elif node.op_type in _SUMS and sum(is_constant) == 1 and not any(is_empty) and _others_full(node, is_constant):
        fates.joins.append((names[is_constant.index(True)], output))
    elif node.op_type in _ARITHMETIC | _ACTIVATIONS and not any(is_empty) and _of_constants(node, is_constant):
        fates.constant[output] = node
    elif node.op_type == "Concat" and not any(is_constant):
        return
    else:
        raise BranchNeededError(f"{node.op_type} '{node.name}' needs what would be gone")


def _contracts(node: ir.Node) -> bool:
    """Say whether a node gives its bias where there is nothing to sum over."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    usable = bias is None or _is_one_everywhere(stored_bias(bias))
    if node.op_type == "Gemm" and is_weight(node.inputs[0]):
        # Its channels are the rows of what it gives, where a bias that is spread has its axis of one entry.
        return False
    return node.op_type in _CONTRACTIONS and usable and node.attributes.get_float("beta", 1.0) == 1.0


def _is_one_everywhere(bias: ir.Value | None) -> bool:
    """Say whether a stored bias is the same at every position: a Gemm's may have a row for each sample."""
    return bias is not None and bias.shape is not None and all(size == 1 for size in bias.shape[:-1])


def stored_bias(bias: ir.Value) -> ir.Value | None:
    """Return the initializer that a bias is, or that a DequantizeLinear makes it of; None where it is computed."""
    if bias.is_initializer():
        return bias
    producer = bias.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return None
    constant = all(value is None or value.is_initializer() for value in producer.inputs)
    return producer.inputs[0] if constant else None


def _of_constants(node: ir.Node, is_constant: list[bool]) -> bool:
    """Say whether a node reads nothing but constants, and single numbers."""
    others = [value for value, constant in zip(node.inputs, is_constant, strict=True) if not constant]
    return all(
        value is None or (value.is_initializer() and value.shape is not None and np.prod(value.shape.numpy()) == 1)
        for value in others
    )


def _normalises(node: ir.Node, fates: Fates) -> bool:
    """Say whether a node scales and shifts a bias by what it holds; in training it takes statistics instead."""
    trains = node.attributes.get_int("training_mode", 0)
    return node.op_type == "BatchNormalization" and not trains and _is_bias(node.inputs[0], fates)


def _is_bias(value: ir.Value | None, fates: Fates) -> bool:
    """Say whether a constant is what a contraction is left with, and is read once."""
    return value is not None and len(value.uses()) == 1 and _contracts(fates.constant[str(value.name)])


def _others_full(node: ir.Node, is_constant: list[bool]) -> bool:
    """Say whether a sum's whole operand has the sum's shape already, so that the constant need not be spread out."""
    shape = node.outputs[0].shape
    whole = [value for value, constant in zip(node.inputs, is_constant, strict=True) if not constant]
    return shape is not None and all(value is not None and value.shape == shape for value in whole)


def unneeded(fates: Fates) -> set[ir.Node]:
    """Find the nodes that are left and that nothing needs any more."""
    found: set[ir.Node] = set()
    waiting = [value for node in fates.gone for value in node.inputs]
    while waiting:
        value = waiting.pop()
        producer = value.producer() if value is not None else None
        if producer is None or producer in fates.gone or producer in found:
            continue
        outputs = producer.outputs
        if any(v.is_graph_output() for v in outputs):
            continue
        if all(use.node in fates.gone or use.node in found for v in outputs for use in v.uses()):
            found.add(producer)
            waiting += producer.inputs
    return found
