"""What pruning begins with, and int8 at a run's end: the fastest form, structures timed in it, the result quantised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import onnx_ir as ir

from onnxprune.errors import UnsupportedModelError
from onnxprune.graph import HALVES, element_types, load, random_inputs, save
from onnxprune.latency import LatencyStats
from onnxprune.pipeline.fitting import MOST
from onnxprune.pipeline.measuring import Bench, measure_original, measure_steadily
from onnxprune.pipeline.planning import Choice
from onnxprune.pipeline.prepare import Network
from onnxprune.pipeline.settings import Settings
from onnxprune.quantisation import Calibration, Scheme, quantise, schemes
from onnxprune.search import full_counts
from onnxprune.training import Batch

# Below this the preferred form stays: two measurements differ by as much.
_CLEARLY_FASTER = 0.97
_HELD_BYTES, _FLOAT = 2 << 30, 4


@dataclass(frozen=True)
class Quantiser:
    """Makes int8 networks of float ones.

    Attributes:
        network: The original.
        scheme: The form of int8.
        calibration: How ranges of activations follow from samples.
        batches: Calibration samples.
    """

    network: Network
    scheme: Scheme
    calibration: Calibration
    batches: Sequence[Batch]

    @property
    def samples(self) -> int:
        """Number of calibration samples."""
        return sum(len(batch.positions) for batch in self.batches)

    def outline(self, model: ir.Model) -> ir.Model:
        """Quantise a structure to time it: ranges decide no latency, so one random sample gives them."""
        return quantise(model, [random_inputs(model, self.network.input_shapes, 0)], self.scheme)

    def finish(self, model: ir.Model, kept: Path | None = None) -> ir.Model:
        """Quantise a network on the calibration samples.

        Args:
            model: The float network.
            kept: Where the result lies, if it was made before, and is kept else; None: nowhere.
        """
        if kept is not None and kept.exists():
            return load(kept)
        names = [spec.name for spec in self.network.inputs]
        samples = [dict(zip(names, batch.inputs, strict=True)) for batch in self.batches]
        result = quantise(model, samples, self.scheme, self.calibration)
        if kept is not None:
            save(result, kept)
        return result


@dataclass(frozen=True)
class Start:
    """What pruning begins with: the original as it is, or in int8 where the result will be.

    Attributes:
        original_ms: The original's p50.
        start_ms: The same, in int8 where the result will be.
        bench: Where structures are measured, as they will be delivered.
        quantiser: Makes the int8 networks; None: there are none.
        choice: How the structure is chosen; where int8 alone meets the target, it is the original's.
        settings: What the run is told; where int8 alone meets the target, nothing is trained or healed.
    """

    original_ms: float
    start_ms: float
    bench: Bench
    quantiser: Quantiser | None
    choice: Choice
    settings: Settings


def measured_start(
    network: Network, settings: Settings, choice: Choice, bench: Bench, batches: Sequence[Batch] = ()
) -> Start:
    """Measure the original, and what pruning begins with.

    Args:
        network: The original.
        settings: What the run is told.
        choice: How the structure is chosen.
        bench: Where to measure.
        batches: Calibration samples, where int8 networks are to be finished.
    """
    bench.observer.stage("measuring the original")
    latency = choice.target.kind == "latency"
    if settings.quantize is None:
        original_ms = measure_original(network, bench, needed=latency)
        return Start(original_ms, original_ms, bench, None, choice, settings)
    batches = _that_fit(network, batches, settings.calibration)
    untried = Quantiser(network, Scheme(), settings.calibration, batches)
    quantiser, before, after = fastest(untried, bench, needed=latency)
    bench = replace(bench, delivered=quantiser.outline, number_format="int8")
    if latency and after.p50_ms <= MOST * choice.target.resolve(before.p50_ms):
        bench.observer.warn(
            f"int8 alone meets the target: the original takes {before.p50_ms:.3g} ms in float and "
            f"{after.p50_ms:.3g} ms in int8, so nothing is removed or trained"
        )
        choice = replace(choice, counts=full_counts(network.channels), known_by="int8 alone")
        settings = replace(settings, training=None, heal=False)
    return Start(before.p50_ms, after.p50_ms, bench, quantiser, choice, settings)


def _that_fit(network: Network, batches: Sequence[Batch], calibration: Calibration) -> Sequence[Batch]:
    """Return as many calibration batches as fit: all but "minmax" hold every activation of every sample in memory."""
    if calibration == "minmax" or not batches:
        return batches
    each = sum(prod(network.shapes.get(str(v.name), (0,))) for node in network.model.graph for v in node.outputs)
    room = int(_HELD_BYTES // max(_FLOAT * each // network.batch, 1))
    fit = max(room // max(len(batches[0].positions), 1), 1)
    return batches[:fit]


def check_quantisable(network: Network) -> None:
    """Refuse half precision.

    Raises:
        UnsupportedModelError: A weight is float16 or bfloat16.
    """
    if element_types(network.model) & HALVES:
        raise UnsupportedModelError(
            f"'{network.path}' is half precision, which --quantize int8 cannot start from; give the float32 model"
        )


def fastest(quantiser: Quantiser, bench: Bench, *, needed: bool = True) -> tuple[Quantiser, LatencyStats, LatencyStats]:
    """Choose the form of int8 by what the original takes in it, and say so where int8 does not pay.

    Args:
        quantiser: Its scheme does not count yet.
        bench: Where latency is measured.
        needed: Whether a target depends on it.

    Raises:
        DeviceError: It does, and the device is too noisy to tell.

    Returns:
        The quantiser with the scheme, and the latency of the original in float and in int8.
    """
    network, options = quantiser.network, bench.options
    cpu, system = (str(bench.device.fingerprint(options).get(fact, "")) for fact in ("cpu", "system"))
    tried = {str(s): replace(quantiser, scheme=s) for s in schemes(options.full_provider, cpu, system)}
    models = {"original": network.model, **{name: q.outline(network.model) for name, q in tried.items()}}
    stats = measure_steadily(network, models, bench, needed=needed)
    best, *others = tried
    for name in others:
        if stats[name].p50_ms < stats[best].p50_ms * _CLEARLY_FASTER:
            best = name
    before, after = stats["original"], stats[best]
    if after.p50_ms >= before.p50_ms:
        bench.observer.warn(
            f"int8 does not pay on this device: with {options.provider} the original takes {before.p50_ms:.3g} ms in "
            f"float and {after.p50_ms:.3g} ms in int8 ({best})"
        )
    return tried[best], before, after
