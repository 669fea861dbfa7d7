"""Two models side by side: what they give for the same inputs, and what they cost."""

from __future__ import annotations

from onnxprune.report.bench import BenchedModel
from onnxprune.report.environment import Environment
from onnxprune.report.figures import DeviceFigures
from onnxprune.report.record import MaybeFinite, Record


class OutputDifference(Record):
    """How far one output of the second model is from the first's.

    Attributes:
        name: The output.
        relative_error: Norm of the difference over the norm of the first model's, over all samples.
        max_abs: Largest absolute difference.
    """

    name: str
    relative_error: MaybeFinite
    max_abs: MaybeFinite


class WorstSample(Record):
    """A sample on which the two models differ a lot.

    Attributes:
        index: Its number in the data, from 0.
        name: Its file; null where the data is no folder of pictures.
        divergence: How far the outputs are apart; see `divergence` of the comparison.
        label: Its label, or null.
        first: Top class by the first model; null without class scores.
        second: Top class by the second.
    """

    index: int
    name: str | None
    divergence: MaybeFinite
    label: int | None
    first: int | None
    second: int | None


class Comparison(Record):
    """Two models on the same samples and the same machine.

    Attributes:
        onnxprune_version: Version of onnxprune.
        environment: Software and hardware.
        device: What latencies were measured on.
        models: The two models, with sizes and latency, measured interleaved.
        latency_ratio: p50 of the second over p50 of the first.
        latency_ratio_ci95: 95 % confidence interval of it: low, high.
        data: Where the samples come from.
        synthetic: Whether they are random inputs, which say little about accuracy.
        samples: How many.
        top1: Top-1 of each model in percent; null without labels or class scores.
        agreement: Share of samples, in percent, whose top class is the same; null without class scores.
        kl: Mean KL divergence of the second from the first in nats; null without class scores.
        divergence: What `worst` is sorted by: "KL (nats)" or "relative error".
        outputs: Every output that has one row a sample.
        worst: The samples that differ the most, the worst first.
        warnings: What to keep in mind.
    """

    onnxprune_version: str
    environment: Environment
    device: DeviceFigures
    models: tuple[BenchedModel, BenchedModel]
    latency_ratio: float
    latency_ratio_ci95: tuple[float, float]
    data: str
    synthetic: bool
    samples: int
    top1: tuple[float, float] | None
    agreement: float | None
    kl: MaybeFinite
    divergence: str
    outputs: tuple[OutputDifference, ...]
    worst: tuple[WorstSample, ...]
    warnings: tuple[str, ...] = ()
