"""The latency of several models, measured side by side, and what became of them since a baseline."""

from __future__ import annotations

from typing import Literal

from onnxprune.report.environment import Environment
from onnxprune.report.figures import DeviceFigures, LatencyFigures
from onnxprune.report.record import Record


class MemoryFigures(Record):
    """The memory of a fresh process on the device that loads and runs one model; without a GPU's memory.

    Attributes:
        peak_bytes: The largest resident set.
        base_bytes: What Python, numpy and onnxruntime had of it before the model was loaded.
    """

    peak_bytes: int
    base_bytes: int


class CopyFigures(Record):
    """Copies that are not part of the latency, by I/O binding.

    Attributes:
        inputs_ms: All inputs to the provider's memory.
        outputs_ms: All outputs back.
    """

    inputs_ms: float
    outputs_ms: float


class LayerTimeRecord(Record):
    """What a layer takes, with all that onnxruntime fused into it.

    Attributes:
        name: Name of its node; empty for what onnxruntime inserted (conversions of layout, copies).
        op: Its operator.
        fused: Operators of the nodes fused into it.
        kernels: How many kernels ran it.
        provider: onnxruntime's name of the provider that ran it.
        ms: What it took in one run.
        share: Its share of the time of all kernels, 0 to 1.
    """

    name: str
    op: str
    fused: tuple[str, ...]
    kernels: int
    provider: str
    ms: float
    share: float


class LayersRecord(Record):
    """Where the time goes, by onnxruntime's profiler, which makes runs slower itself.

    Attributes:
        runs: Runs that were looked at.
        run_ms: What one took, with the profiler on.
        kernels_ms: What all kernels took of it.
        layers: Every layer, in the order of execution.
    """

    runs: int
    run_ms: float
    kernels_ms: float
    layers: tuple[LayerTimeRecord, ...]


class BenchedModel(Record):
    """One of the compared models.

    Attributes:
        path: Its file.
        file_bytes: Size of the file with its external data.
        macs: Multiply-accumulates of one run.
        parameters: Number of weights.
        latency: How fast it ran.
        ratio: p50 over that of the first model; null for the first.
        ratio_ci95: 95 % confidence interval of it: low, high.
        samples: Samples of one run: the first axis of the first input that has more than one axis.
        throughput: Samples per second, one run after the other.
        load_ms: What making a session took: median over the sessions, the file in the system's cache.
        copies: Copies that are not part of the latency; null without I/O binding.
        memory: What it takes; null where it was not measured, or the system does not tell.
        layers: Where the time goes; null where it was not asked for.
    """

    path: str
    file_bytes: int
    macs: int
    parameters: int
    latency: LatencyFigures
    ratio: float | None = None
    ratio_ci95: tuple[float, float] | None = None
    samples: int = 1
    throughput: float | None = None
    load_ms: float | None = None
    copies: CopyFigures | None = None
    memory: MemoryFigures | None = None
    layers: LayersRecord | None = None


class RegressionRecord(Record):
    """A model beside what was measured of it at another time.

    Attributes:
        path: The model's file.
        baseline: The report that it was compared with.
        baseline_path: The model's file in that report.
        baseline_p50_ms: p50 then.
        p50_ms: p50 now.
        ratio: p50 now over p50 then, by the sessions of both.
        ratio_ci95: 95 % confidence interval of it: low, high.
        p_value: Probability of sessions at least as slow if the model had become slower just as much as is allowed.
        max_regression: Share by which it may have become slower.
        verdict: "regression": the interval lies above what is allowed; "no regression": below; else "undecided".
        noisy: Whether the sessions of either side differ so much that the device is, or was, busy.
        spread: Slowest minus fastest session now, as a share of p50.
        baseline_spread: The same of the baseline.
    """

    path: str
    baseline: str
    baseline_path: str
    baseline_p50_ms: float
    p50_ms: float
    ratio: float
    ratio_ci95: tuple[float, float]
    p_value: float
    max_regression: float
    verdict: Literal["regression", "no regression", "undecided"]
    noisy: bool
    spread: float = 0.0
    baseline_spread: float = 0.0


class BenchResult(Record):
    """Models measured interleaved, so that what disturbed the machine disturbed all of them.

    Attributes:
        schema_version: Version of this format, as of `Report`.
        operation: "bench".
        onnxprune_version: Version of onnxprune.
        environment: Software and hardware.
        device: What they were measured on.
        models: The models, in the order in which they were given.
        regressions: Each model beside the baseline; empty without one.
        warnings: What to keep in mind: nodes that fell back to the CPU, a device that was busy or throttled.
    """

    schema_version: Literal[1] = 1
    operation: Literal["bench"] = "bench"
    onnxprune_version: str
    environment: Environment
    device: DeviceFigures
    models: tuple[BenchedModel, ...]
    regressions: tuple[RegressionRecord, ...] = ()
    warnings: tuple[str, ...] = ()
