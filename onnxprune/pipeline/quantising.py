"""int8 at the end of a run: the form that runs fastest on the device, structures timed in it, the result quantised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import onnx_ir as ir

from onnxprune.errors import DataError, UnsupportedModelError
from onnxprune.graph import HALVES, element_types, load, random_inputs, save
from onnxprune.latency import LatencyStats
from onnxprune.pipeline.measuring import Bench, measure_models
from onnxprune.pipeline.prepare import Network
from onnxprune.quantisation import Calibration, Scheme, quantise, schemes
from onnxprune.training import Batch, DataSplits

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


def fitting(network: Network, batches: Sequence[Batch], calibration: Calibration) -> Sequence[Batch]:
    """Return as many calibration batches as fit: all but "minmax" hold every activation of every sample in memory."""
    if calibration == "minmax":
        return batches
    rows = max(next(iter(network.input_shapes.values()))[0], 1)
    each = sum(prod(network.shapes.get(str(v.name), (0,))) for node in network.model.graph for v in node.outputs)
    room = int(_HELD_BYTES // max(_FLOAT * each // rows, 1))
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


def check_calibration(data: DataSplits | None, number_format: str | None) -> None:
    """Refuse to take ranges on random inputs.

    Args:
        data: The run's data.
        number_format: What the result is to be quantised to; None: not at all.

    Raises:
        DataError: There are no samples to calibrate on.
    """
    if number_format is not None and (data is None or data.synthetic):
        raise DataError("int8 takes the ranges of activations on samples: give data (--data); labels are not needed")


def fastest(quantiser: Quantiser, bench: Bench) -> tuple[Quantiser, LatencyStats, LatencyStats]:
    """Choose the form of int8 by what the original takes in it, and say so where int8 does not pay.

    Args:
        quantiser: Its scheme does not count yet.
        bench: Where latency is measured.

    Returns:
        The quantiser with the scheme, and the latency of the original in float and in int8.
    """
    network, options = quantiser.network, bench.options
    cpu = str(bench.device.fingerprint(options).get("cpu", ""))
    tried = {str(s): replace(quantiser, scheme=s) for s in schemes(options.full_provider, cpu)}
    models = {"original": network.model, **{name: q.outline(network.model) for name, q in tried.items()}}
    stats = measure_models(network, models, bench)
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
