"""The latency of several models, measured side by side."""

from __future__ import annotations

from onnxprune.report.environment import Environment
from onnxprune.report.figures import DeviceFigures, LatencyFigures
from onnxprune.report.record import Record


class BenchedModel(Record):
    """One of the compared models.

    Attributes:
        path: Its file.
        file_bytes: Size of the file with its external data.
        macs: Multiply-accumulates of one run.
        parameters: Number of weights.
        latency: How fast it ran.
    """

    path: str
    file_bytes: int
    macs: int
    parameters: int
    latency: LatencyFigures


class BenchResult(Record):
    """Models measured interleaved, so that what disturbed the machine disturbed all of them.

    Attributes:
        onnxprune_version: Version of onnxprune.
        environment: Software and hardware.
        device: What they were measured on.
        models: The models, in the order in which they were given.
    """

    onnxprune_version: str
    environment: Environment
    device: DeviceFigures
    models: tuple[BenchedModel, ...]
