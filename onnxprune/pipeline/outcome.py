"""The last step: the delivered file, measured and judged beside the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from types import MappingProxyType

import onnx_ir as ir

from onnxprune.graph import is_large, load, random_inputs, release_weights, save_beside
from onnxprune.latency import LatencyStats, predictor
from onnxprune.pipeline.measuring import Bench, measured
from onnxprune.pipeline.planning import Choice
from onnxprune.pipeline.prepare import Network, runnable
from onnxprune.pipeline.stages import StageResult
from onnxprune.pipeline.structure import Structure
from onnxprune.pipeline.training import Trained
from onnxprune.progress import Observer
from onnxprune.report import LayerRecord, QuantisationRecord
from onnxprune.search import Target
from onnxprune.training import DataSplits, Metrics, Predict, collect, evaluate, sized

# A busy machine can spoil one measurement; what three say stands.
_MEASUREMENTS = 3
# So is a latency below this share of the target, where the structure's was above it.
_LEAST = 0.95
# Less than this may be noise.
_SLOWER = 1.05
# The original's outputs are kept for the comparison, unless they are large maps: then it runs once more.
_KEPT_BYTES = 512 << 20


@dataclass(frozen=True)
class Outcome:
    """Everything a run found out.

    Attributes:
        network: The original.
        target: What was to be reached.
        result: The smaller model as written.
        output: Its file.
        structure: What was removed, and how it was found.
        trained: The training; None without one.
        latency: Of the original's file and the result's.
        metrics: Of the original and the result on the test part; None without data.
        stages: What every stage made; `structure` and `trained` are the last one's.
        layers: What each layer costs by itself; empty where layers were not measured.
        quantised: How the result became int8, and what each step before was worth; None where it is float.
    """

    network: Network
    target: Target
    result: ir.Model
    output: Path
    structure: Structure
    trained: Trained | None
    latency: tuple[LatencyStats, LatencyStats]
    metrics: tuple[Metrics, Metrics] | None
    stages: tuple[StageResult, ...] = ()
    layers: tuple[LayerRecord, ...] = ()
    quantised: QuantisationRecord | None = None


def final_latency(
    network: Network,
    file: Path,
    choice: Choice,
    bench: Bench,
    *,
    expected_ms: float,
    others: Mapping[str, Path] = MappingProxyType({}),
    unchanged: bool = False,
) -> Mapping[str, LatencyStats]:
    """Measure the original's file and the result's, interleaved.

    A latency target that the measurement misses is measured again, longer; if it stays missed, a warning says so. So is
    a result that measures much faster than its structure did.

    Args:
        network: The original.
        file: The result's file.
        choice: Holds the target.
        bench: Where and how to measure.
        expected_ms: What the structure measured, for a latency target.
        others: Files to measure beside them, by names of their own.
        unchanged: Whether nothing was removed, so that the result has the original's channel counts.

    Returns:
        Latency of the "original", of the result ("pruned"), and of the others.
    """
    bench.observer.stage("measuring the result")
    original, whole = network.path, runnable(network.model, bench.options.provider)
    feeds = random_inputs(whole, network.input_shapes, choice.seed)
    if is_large(network.model) or whole is not network.model:
        # The same networks with their weights mapped: read whole, they would be in memory twice.
        original, delivered = file.with_name("original.onnx"), load(file)
        save_beside(whole, original)
        release_weights(network.model)
        file = file.with_name("mapped.onnx")
        save_beside(runnable(delivered, bench.options.provider), file)
        release_weights(delivered)
    for attempt in range(1, _MEASUREMENTS + 1):
        longer = replace(bench.options, sessions=bench.options.sessions * attempt)
        models = {"original": original, "pruned": file, **others}
        stats = measured(replace(bench, options=longer), models, dict.fromkeys(models, feeds))
        before, after = stats["original"], stats["pruned"]
        if choice.target.kind != "latency":
            # What rounding to int8 costs is told beside it.
            found = stats.get("float", after)
            if found.p50_ms > _SLOWER * before.p50_ms and not unchanged:
                bench.observer.warn(
                    f"the result is slower than the original, {found.p50_ms:.3g} ms against {before.p50_ms:.3g} ms: "
                    "its channel counts do not suit the device's kernels; --target-latency takes counts that do"
                )
            return stats
        allowed_ms = choice.target.resolve(before.p50_ms)
        doubted = after.p50_ms < _LEAST * allowed_ms <= expected_ms and attempt < _MEASUREMENTS
        if after.p50_ms <= allowed_ms and not doubted:
            return stats
    bench.observer.warn(
        f"the structure met the target, but the delivered file measured {after.p50_ms:.3g} ms against "
        f"{choice.target.resolve(before.p50_ms):.3g} ms allowed (spread between sessions {after.spread:.0%})"
    )
    return stats


def evaluate_all(network: Network, files: Mapping[str, Path], data: DataSplits, observer: Observer) -> list[Metrics]:
    """Judge the original and other files, in onnxruntime, on the test part, which nothing else has touched.

    Returns:
        Metrics of the original, then of each file.
    """
    observer.stage("evaluating on the test part")
    original = predict_with(network, network.path, network.model)
    others = [predict_with(network, file, load(file)) for file in files.values()]
    reference = original if _output_bytes(network) * len(data.test) > _KEPT_BYTES else collect(original, data.test)
    metrics = [evaluate(original, data.test, reference)]
    metrics += [evaluate(predict, data.test, reference, forgiving=True) for predict in others]
    for name, found in zip(files, metrics[1:], strict=True):
        if found.failure is not None:
            observer.warn(f"it is not known how good the network '{name}' is: on the test part {found.failure}")
    return metrics


def _output_bytes(network: Network) -> float:
    """Bytes of the outputs of one sample."""
    shapes = [network.shapes.get(str(value.name), ()) for value in network.model.graph.outputs]
    return sum(prod(shape) for shape in shapes) * 4 / network.batch


def predict_with(network: Network, file: Path, model: ir.Model) -> Predict:
    """Open a file of this network, or of one made of it, to be run on samples for the outputs that are judged.

    Args:
        network: The original, whose batch size it has.
        file: The file.
        model: What it holds.
    """
    able = runnable(model)
    run = predictor(file if able is model else able)
    return sized(lambda inputs: network.picked(run(inputs)), network.fixed_batch)
