"""Set up what an allocation decides about: admissible counts and a cost, from measured layers or from paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import onnx_ir as ir

from onnxprune.channels import ChannelMap
from onnxprune.graph import CONTRACTIONS, origin_of, overhead_bytes, quantised_by
from onnxprune.latency import LayerSpec, NumberFormat
from onnxprune.search.admissible import Problem, multiples
from onnxprune.search.costs import LatencyCost, LayerTerm, macs_cost
from onnxprune.search.narrow import without_slower
from onnxprune.search.sizes import AxisSizes, full_counts, paper_cost

Shapes = Mapping[str, tuple[int, ...]]
# Layers that together make up less than this share of the network's time do not decide about anyone's step.
_MINOR_SHARE = 0.05
# onnxruntime's blocked layouts hold 8 or 16 channels together; larger steps come from elsewhere.
_LARGEST_BLOCK = 16


@dataclass(frozen=True)
class Subject:
    """The network that is to be pruned.

    Attributes:
        model: The normalised model.
        channels: Its analysis.
        shapes: Concrete shape of every value.
        scores: Importance of every unit, shape (units,).
        number_format: What its layers will compute in; None: what they compute in now.
    """

    model: ir.Model
    channels: ChannelMap
    shapes: Shapes
    scores: np.ndarray
    number_format: NumberFormat | None = None


class LayerCostTable(Protocol):
    """What layers cost, measured on the device."""

    def cost_ms(self, spec: LayerSpec) -> float:
        """Return the cost of a layer."""

    def granule(self, spec: LayerSpec, axis: Literal["in", "out"]) -> int:
        """Return the step of channel counts worth taking on an axis ("in" or "out")."""

    def surface(self, spec: LayerSpec, granule_in: int, granule_out: int) -> Callable[[int, int], float]:
        """Return the cost as a function of the channel counts."""

    def save(self) -> bool:
        """Keep what was measured for the next run."""


def paper_problem(subject: Subject, round_to: int, original_ms: float | None = None) -> Problem:
    """Allow multiples of a fixed block of channels, and price steps by MACs.

    Args:
        subject: The network.
        round_to: The block; 1 allows every count.
        original_ms: Measured latency of the network, for costs in ms in proportion to the MACs; None: in MACs.
    """
    channels = subject.channels
    paper = paper_cost(subject.model, channels, subject.shapes)
    admissible = multiples(channels, [round_to] * len(channels.groups), fine=False)
    each = 1.0 if original_ms is None else original_ms / max(paper.macs_of(full_counts(channels)), 1)
    cost = macs_cost(paper, len(channels.groups), each)
    return Problem(channels, subject.scores, admissible, paper, cost, overhead_bytes(subject.model))


def latency_problem(
    subject: Subject,
    table: LayerCostTable,
    original_ms: float | None,
    *,
    on_layer: Callable[[int, int], None] | None = None,
) -> Problem:
    """Allow the counts that the measured layers are efficient at, and price steps by measured latency.

    Args:
        subject: The network.
        table: Measured costs of layers.
        original_ms: Measured latency of the network; None: layers alone price steps, such that nothing depends on a
            measurement that the table does not keep.
        on_layer: Called after each layer with the layers done and their number.
    """
    channels, shapes = subject.channels, subject.shapes
    sizes = AxisSizes(channels, shapes)
    paper = paper_cost(subject.model, channels, shapes)
    specs = ((node, layer_spec(node, shapes, channels, subject.number_format)) for node in subject.model.graph)
    found = [(node, spec) for node, spec in specs if spec is not None]
    granules, own_ms = [], []
    for done, (_, spec) in enumerate(found, start=1):
        granules.append((table.granule(spec, "in"), table.granule(spec, "out")))
        own_ms.append(table.cost_ms(spec))
        if on_layer is not None:
            on_layer(done, len(found))
    terms = [
        _term(node, sizes, shapes, table.surface(spec, *granule))
        for (node, spec), granule in zip(found, granules, strict=True)
    ]
    steps = _group_steps(channels, terms, granules, own_ms)
    cost = LatencyCost(terms, paper, full_counts(channels), original_ms, _block(granules))
    allowed = multiples(channels, steps)
    small = [group.size * group.channels_per_unit <= step for group, step in zip(channels.groups, steps, strict=True)]
    admissible = without_slower(allowed, small, terms, [spec for _, spec in found], table)
    table.save()
    return Problem(channels, subject.scores, admissible, paper, cost, overhead_bytes(subject.model))


def layer_specs(
    model: ir.Model, shapes: Shapes, channels: ChannelMap, number_format: NumberFormat | None = None
) -> dict[str, LayerSpec]:
    """Describe every contraction with weights, by node name in the graph's order; arguments as of `layer_spec`."""
    found = ((str(node.name), layer_spec(node, shapes, channels, number_format)) for node in model.graph)
    return {name: spec for name, spec in found if spec is not None}


def layer_spec(
    node: ir.Node, shapes: Shapes, channels: ChannelMap, number_format: NumberFormat | None = None
) -> LayerSpec | None:
    """Describe a contraction with weights for the table of layer costs; None for any other node.

    Args:
        node: The node.
        shapes: Concrete shape of every value.
        channels: The network's analysis.
        number_format: What the layer will compute in; None: what it computes in now.
    """
    stored = origin_of(node.inputs[1]) if node.op_type in CONTRACTIONS else None
    if stored is None:
        return None
    x, weight, y = (str(v.name) for v in (node.inputs[0], node.inputs[1], node.outputs[0]) if v is not None)
    flat = node.inputs[1] is not None and node.inputs[1].shape is not None and len(node.inputs[1].shape) < 2
    if x not in shapes or y not in shapes or flat:
        return None
    dtype = number_format or _number_format(node, stored)
    if node.op_type in {"Gemm", "MatMul"}:
        rows = int(np.prod(shapes[y][:-1]))
        return LayerSpec("MatMul", _inner(node, shapes[x]), shapes[y][-1], batch=rows, dtype=dtype)
    groups = node.attributes.get_int("group", 1)
    c_in, c_out = shapes[x][1], shapes[y][1]
    # Where the weight's inner axis is fixed, whole groups go, and input and output channels together.
    whole = groups > 1 and channels.axis(weight, 1) is None
    return LayerSpec(
        "Conv" if node.op_type == "Conv" else "ConvTranspose",
        c_in,
        c_out,
        batch=shapes[x][0],
        size=shapes[x][2:],
        groups=1 if whole else groups,
        width=c_in // groups if whole else 0,
        width_out=c_out // groups if whole and c_in != c_out else 0,
        kernel=shapes[weight][2:],
        strides=tuple(node.attributes.get_ints("strides", ())),
        pads=tuple(node.attributes.get_ints("pads", ())),
        dilations=tuple(node.attributes.get_ints("dilations", ())),
        dtype=dtype,
    )


def _number_format(node: ir.Node, stored: ir.Value) -> NumberFormat:
    """Say what a layer computes in: int8 where its weight and what it reads are dequantised, else its output's type."""
    x = node.inputs[0]
    producer = x.producer() if x is not None else None
    if quantised_by(stored) is not None and producer is not None and producer.op_type == "DequantizeLinear":
        return "int8"
    return "float16" if node.outputs[0].dtype == ir.DataType.FLOAT16 else "float32"


def _inner(node: ir.Node, x: tuple[int, ...]) -> int:
    return x[_inner_axis(node, x)]


def _inner_axis(node: ir.Node, x: tuple[int, ...]) -> int:
    transposed = node.op_type == "Gemm" and node.attributes.get_int("transA", 0) != 0
    return 0 if transposed else len(x) - 1


def _term(node: ir.Node, sizes: AxisSizes, shapes: Shapes, cost_ms: Callable[[int, int], float]) -> LayerTerm:
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    before, after = str(x.name), str(y.name)
    matrix = node.op_type in {"Gemm", "MatMul"}
    axes = (_inner_axis(node, shapes[before]), len(shapes[after]) - 1) if matrix else (1, 1)
    return LayerTerm(str(node.name), sizes.axis(before, axes[0]), sizes.axis(after, axes[1]), cost_ms)


def _group_steps(
    channels: ChannelMap,
    terms: list[LayerTerm],
    granules: list[tuple[int, int]],
    own_ms: list[float],
) -> list[int]:
    """Choose each group's step: the largest granule among the layers it feeds or is made by, minor ones aside."""
    wishes: list[dict[int, float]] = [{} for _ in channels.groups]
    for term, (granule_in, granule_out), cost in zip(terms, granules, own_ms, strict=True):
        for size, granule in ((term.channels_in, granule_in), (term.channels_out, granule_out)):
            for group, per_unit in zip(size.groups, size.per_unit, strict=True):
                # The group's own channels on this axis may each stand for several, as after a Flatten.
                step = max(1, round(granule * channels.groups[group].channels_per_unit / per_unit))
                wishes[group][step] = wishes[group].get(step, 0.0) + cost
    return [_decide(wish) if wish else 1 for wish in wishes]


def _block(granules: Sequence[tuple[int, int]]) -> int:
    """Return the block that a device keeps channels in, as the steps of its layers show it."""
    return max((granule for both in granules for granule in both if granule <= _LARGEST_BLOCK), default=1)


def _decide(wishes: Mapping[int, float]) -> int:
    total = sum(wishes.values())
    return max(step for step, cost in wishes.items() if cost >= _MINOR_SHARE * total)
