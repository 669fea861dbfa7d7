"""Which channels of a model can be removed, what they cost, and what fixes the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.channels import (
    ChannelMap,
    FixedChannels,
    Restriction,
    permitted,
    unreached_weights,
    with_embedding_hints,
)
from onnxprune.errors import ArgumentError
from onnxprune.graph import GraphCost, InputSpec, graph_cost, input_specs, load
from onnxprune.report.assembly import file_bytes
from onnxprune.report.coverage import Touched, touched_macs
from onnxprune.report.drawing import DrawnNode, draw


@dataclass(frozen=True)
class GroupInspection:
    """Channels that are removed together.

    Attributes:
        name: Name of the first producer.
        producers: Names of the nodes whose weights bring the channels forth.
        channels: Channels of each producer.
        channels_per_unit: How many of them go at a time.
        macs: Multiply-accumulates that the channels take part in: what would go if all of them went.
        parameters: Weights likewise.
    """

    name: str
    producers: tuple[str, ...]
    channels: int
    channels_per_unit: int
    macs: int
    parameters: int


@dataclass(frozen=True)
class Inspection:
    """What can be pruned in a model.

    Attributes:
        path: Its file.
        file_bytes: Size of the file with its external data.
        opset: Version of ONNX's own operators.
        ir_version: Version of the file format.
        inputs: What it takes.
        cost: What it costs on paper, at batch 1.
        groups: The groups of removable channels, in graph order.
        fixed: Output channels that cannot be removed, and why.
        prunable_macs: Multiply-accumulates that removable channels take part in.
        unreached: Which weights are none of these, and why; see `channels.unreached_weights`.
        drawn: What a picture shows of each node, in graph order.
    """

    path: str
    file_bytes: int
    opset: int
    ir_version: int
    inputs: tuple[InputSpec, ...]
    cost: GraphCost
    groups: tuple[GroupInspection, ...]
    fixed: tuple[FixedChannels, ...]
    prunable_macs: int
    unreached: tuple[str, ...] = ()
    drawn: tuple[DrawnNode, ...] = ()

    @property
    def coverage(self) -> float:
        """Share of the model's MACs that removable channels take part in, 0 to 1."""
        return self.prunable_macs / self.cost.macs if self.cost.macs else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return everything but what concerns single nodes, as JSON takes it."""
        return {
            "path": self.path,
            "file_bytes": self.file_bytes,
            "opset": self.opset,
            "ir_version": self.ir_version,
            "inputs": [
                {"name": spec.name, "dtype": str(spec.dtype), "shape": list(spec.shape)} for spec in self.inputs
            ],
            "macs": self.cost.macs,
            "parameters": self.cost.parameters,
            "weight_bytes": self.cost.weight_bytes,
            "peak_activation_bytes": self.cost.peak_activation_bytes,
            "prunable_macs": self.prunable_macs,
            "coverage": round(self.coverage, 6),
            "groups": [asdict(group) for group in self.groups],
            "fixed": [asdict(fixed) for fixed in self.fixed],
            "unreached": list(self.unreached),
        }


def inspect_model(
    path: str | Path,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    restriction: Restriction = Restriction(),
) -> Inspection:
    """Load and analyse a model.

    Args:
        path: The .onnx file.
        input_shapes: Sizes of dynamic inputs; a dynamic batch counts as 1.
        restriction: What the user wants touched.

    Raises:
        ArgumentError: An argument has a type that cannot be meant.
        PatternError: A pattern names nothing, or contradicts another.
        ModelError: The file cannot be used, or the size of an input is unknown.
    """
    if not isinstance(restriction, Restriction):
        raise ArgumentError(f"the restriction must be a channels.Restriction, not {restriction!r}")
    model = load(path, input_shapes=input_shapes)
    channels = with_embedding_hints(model, permitted(model, restriction))
    cost = graph_cost(model, input_shapes)
    macs = touched_macs(channels, cost)
    parameters = Touched(channels)
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            rank = len(value.const_value.shape)
            parameters.add(value.const_value.size, [(str(value.name), axis) for axis in range(rank)])
    return Inspection(
        path=str(path),
        file_bytes=file_bytes(path, model),
        opset=model.opset_imports.get("", 0),
        ir_version=model.ir_version,
        inputs=input_specs(model),
        cost=cost,
        groups=_groups(channels, macs.by_group, parameters.by_group),
        fixed=channels.fixed,
        prunable_macs=round(macs.by_any),
        unreached=unreached_weights(model),
        drawn=draw(model, channels),
    )


def _groups(channels: ChannelMap, macs: np.ndarray, parameters: np.ndarray) -> tuple[GroupInspection, ...]:
    return tuple(
        GroupInspection(
            name=group.name,
            producers=group.producers,
            channels=group.size * group.channels_per_unit,
            channels_per_unit=group.channels_per_unit,
            macs=round(float(macs[group.index])),
            parameters=round(float(parameters[group.index])),
        )
        for group in channels.groups
    )
