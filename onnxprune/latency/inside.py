"""What a device tells of one model beside its latency: the time of each node, and the memory it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NodeTime:
    """One node as onnxruntime ran it.

    Attributes:
        name: Its name; fused nodes have names made by onnxruntime.
        op: Its operator.
        provider: onnxruntime's name of the provider that ran it.
        ms: What it took in one run.
    """

    name: str
    op: str
    provider: str
    ms: float


@dataclass(frozen=True)
class NodeProfile:
    """What each node of a model takes.

    Attributes:
        runs: Runs that were looked at.
        run_ms: What one took, with the profiler on.
        nodes: The nodes, in the order of execution.
    """

    runs: int
    run_ms: float
    nodes: tuple[NodeTime, ...]

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> NodeProfile:
        """Take what `on_device.breakdown.node_times` returned."""
        return cls(told["runs"], told["run_ms"], tuple(NodeTime(**node) for node in told["nodes"]))


@dataclass(frozen=True)
class PeakMemory:
    """The resident set of a fresh process that loads and runs a model; without a GPU's memory.

    Attributes:
        peak_bytes: The largest it was; None where the system does not tell.
        base_bytes: What Python, numpy and onnxruntime had of it before the model was loaded.
    """

    peak_bytes: int | None
    base_bytes: int | None
