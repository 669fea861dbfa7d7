"""Which channels of a model can be removed, what they cost, and what fixes the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxprune.channels import ChannelMap, FixedChannels, analyse
from onnxprune.graph import GraphCost, InputSpec, graph_cost, input_specs, load
from onnxprune.report.assembly import file_bytes


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

    @property
    def prunable_share(self) -> float:
        """Share of the model's MACs that removable channels take part in, 0 to 1."""
        return self.prunable_macs / self.cost.macs if self.cost.macs else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the costs of single nodes, as JSON takes it."""
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
            "groups": [asdict(group) for group in self.groups],
            "fixed": [asdict(fixed) for fixed in self.fixed],
        }


def inspect_model(path: str | Path, input_shapes: Mapping[str, Sequence[int]] | None = None) -> Inspection:
    """Load and analyse a model.

    Args:
        path: The .onnx file.
        input_shapes: Sizes of dynamic inputs; a dynamic batch counts as 1.

    Raises:
        ModelError: The file cannot be used, or the size of an input is unknown.
    """
    model = load(path, input_shapes=input_shapes)
    channels = analyse(model)
    cost = graph_cost(model, input_shapes)
    macs = _Touched(channels)
    for node, node_cost in zip(model.graph, cost.nodes, strict=True):
        if node_cost.macs:
            macs.add(node_cost.macs, _summed_axes(node))
    parameters = _Touched(channels)
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


def _summed_axes(node: ir.Node) -> list[tuple[str, int]]:
    """Axes whose sizes multiply to the node's MACs: those of what it writes and of what each entry sums over.

    ConvTranspose: those of what it reads and of what each entry is spread to.
    """
    x, weight, y = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None
    assert weight is not None
    outer = x if node.op_type == "ConvTranspose" else y
    axes = [(str(outer.name), axis) for axis in range(_rank(outer))]
    if node.op_type in ("Conv", "ConvTranspose"):
        return axes + [(str(weight.name), axis) for axis in range(1, _rank(weight))]
    transposed = node.op_type == "Gemm" and bool(node.attributes.get_int("transA", 0))
    return [*axes, (str(x.name), 0 if transposed else _rank(x) - 1)]


def _rank(value: ir.Value) -> int:
    return len(value.shape) if value.shape is not None else 0


class _Touched:
    """Adds up what would go if all units of each group, or all units, went."""

    def __init__(self, channels: ChannelMap) -> None:
        """Start from nothing.

        Args:
            channels: The analysis.
        """
        self._channels = channels
        self._group_of_unit = channels.group_of_unit()
        self._shares: dict[int, np.ndarray] = {}
        self.by_group = np.zeros(len(channels.groups))
        self.by_any = 0.0

    def add(self, amount: int, axes: Sequence[tuple[str, int]]) -> None:
        """Add a product of axis sizes.

        Args:
            amount: The product.
            axes: The axes, as (value name, axis); those without units do not matter.
        """
        stays, stays_without_any = np.ones(len(self.by_group)), 1.0
        for name, axis in axes:
            units = self._channels.axis(name, axis)
            if units is not None:
                shares = self._share(units)
                stays *= 1 - shares
                stays_without_any *= 1 - shares.sum()
        self.by_group += amount * (1 - stays)
        self.by_any += amount * (1 - stays_without_any)

    def _share(self, units: np.ndarray) -> np.ndarray:
        """Return the share of an axis that each group holds, shape (groups,)."""
        key = id(units)
        if key not in self._shares:
            groups = self._group_of_unit[units[units >= 0]]
            self._shares[key] = np.bincount(groups, minlength=len(self.by_group)) / len(units)
        return self._shares[key]
