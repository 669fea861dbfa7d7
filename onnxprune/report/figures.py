"""The figures of one model: what it costs on paper, how fast it ran, how good it was."""

from __future__ import annotations

from pydantic import Field

from onnxprune.report.record import MaybeFinite, Record


class FileRecord(Record):
    """A file with external data.

    Attributes:
        name: Its name, beside the model.
        bytes: Its size.
        sha256: Its SHA-256.
    """

    name: str
    bytes: int
    sha256: str


class ModelInput(Record):
    """One input of a model.

    Attributes:
        name: Its name.
        dtype: Its element type, as numpy calls it.
        shape: Declared size of each axis: a number, the name of a dynamic dimension, or null.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


class ModelFile(Record):
    """A model's file.

    Attributes:
        path: Where it is.
        sha256: SHA-256 of the .onnx file itself.
        bytes: Size with its external data.
        data_files: Files with external data.
        inputs: What it takes.
        opset: Version of ONNX's own operators.
        ir_version: Version of the file format.
    """

    path: str
    sha256: str
    bytes: int
    data_files: tuple[FileRecord, ...] = ()
    inputs: tuple[ModelInput, ...]
    opset: int
    ir_version: int


class LatencyFigures(Record):
    """Latency over several sessions, in milliseconds.

    Attributes:
        p50_ms: Median of the sessions' medians.
        p90_ms: 90th percentile of all runs.
        p99_ms: 99th percentile of all runs.
        mean_ms: Mean of all runs.
        spread: Slowest minus fastest session median, as a share of p50.
        ci95_ms: 95 % confidence interval of p50: low, high.
        samples_ms: Every timed run, one list a session.
        input_shapes: Sizes of the inputs that it holds for, by name; null in records of before they were kept.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    spread: float
    ci95_ms: tuple[float, float]
    samples_ms: tuple[tuple[float, ...], ...]
    input_shapes: dict[str, tuple[int, ...]] | None = None


class MetricFigures(Record):
    """How good a model is.

    Attributes:
        name: The metric: "top-1", "top-1 agreement", "normalised agreement", or the user's own.
        value: Its value, in percent; the user's own metric in its points.
        part: Which part of the data it was measured on: "train", "validation", "test".
        samples: How many samples that part has.
        synthetic: Whether they were random numbers, in which case the value says little.
        top1: Top-1 in percent, where there are labels and class scores.
        agreement: Share of samples, in percent, whose top class is the original's.
        kl: Mean Kullback-Leibler divergence from the original, in nats.
        errors: Relative error of each output against the original's.
    """

    name: str
    value: float
    part: str
    samples: int
    synthetic: bool = False
    top1: MaybeFinite = None
    agreement: MaybeFinite = None
    kl: MaybeFinite = None
    errors: tuple[MaybeFinite, ...] = ()


class ModelFigures(Record):
    """Everything measured about one model.

    Attributes:
        macs: Multiply-accumulates of one run at the batch size of the run.
        parameters: Number of weights, shared ones once.
        file_bytes: Size of the file with its external data.
        weight_bytes: Size of the weights in memory.
        peak_activation_bytes: Most bytes of activations alive at once when nodes run in graph order.
        latency: How fast it ran; null where it was not measured.
        metric: How good it is; null where there was nothing to measure it on.
    """

    macs: int
    parameters: int
    file_bytes: int
    weight_bytes: int
    peak_activation_bytes: int
    latency: LatencyFigures | None = None
    metric: MetricFigures | None = None


class DeviceFigures(Record):
    """What the latency was measured on.

    Attributes:
        name: "local", or ssh:// and the address.
        provider: Execution provider, as the user named it.
        threads: Threads inside an operator.
        batch: Samples per run, of the first model: the first axis of its first input that has more than one axis.
        io_binding: Whether inputs and outputs stayed in the provider's memory, so that copies were not timed.
        fingerprint: What a latency depends on: CPU, GPU, system, onnxruntime; equal ones can be compared.
        conditions: What was read of it while it measured, where its system tells: the highest temperature ("celsius"),
            the range of its clock ("lowest_mhz", "highest_mhz"), cores that others used ("others_cores"), and whether
            it "throttled"; a throttling device is warned of as well.
        busy_s: Seconds that another machine was asked for; null: it is this one.
    """

    name: str = "local"
    provider: str
    threads: int
    batch: int
    io_binding: bool = False
    fingerprint: dict[str, object] = Field(default_factory=dict)
    conditions: dict[str, float | bool] = Field(default_factory=dict)
    busy_s: float | None = None
