"""Latency of the original, of candidates beside it, and where the weights of large models stay meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnxprune.channels import prune
from onnxprune.errors import DeviceError, InputsError
from onnxprune.graph import random_inputs, session_source, shown_sizes
from onnxprune.journal import Journal
from onnxprune.latency import (
    BUSY_SPREAD,
    Device,
    Feeds,
    LatencyStats,
    LayerCosts,
    MeasureOptions,
    ModelSource,
    NumberFormat,
)
from onnxprune.pipeline.prepare import Network, runnable
from onnxprune.progress import Observer

# A candidate is compared with the original in short sessions; the delivered file is measured at length.
_QUICK_SESSIONS, _QUICK_MS = 3, 60.0
# Where p50 is not known better than to this share of it, measured again at length, no target can be aimed at.
_TOO_NOISY, _LONGER = 0.5, 4


def _as_it_is(model: ir.Model) -> ir.Model:
    return model


@dataclass(frozen=True)
class Bench:
    """Where and how latency is measured, and who is told.

    Attributes:
        device: The device.
        options: How to measure.
        observer: Told of the progress.
        delivered: Makes of a pruned float network what will run on the device.
        number_format: What its layers compute in then; None: what they compute in before.
        journal: Where the device's measurements are written down; those that end in a refusal are voided there.
    """

    device: Device
    options: MeasureOptions
    observer: Observer
    delivered: Callable[[ir.Model], ir.Model] = _as_it_is
    number_format: NumberFormat | None = None
    journal: Journal = field(default_factory=Journal)

    @cached_property
    def costs(self) -> LayerCosts:
        """The device's table of layers, opened when it is first needed."""
        return self.device.layer_costs(self.options)


class LatencyEvaluator:
    """Measures structures beside the original network."""

    def __init__(self, network: Network, bench: Bench, original_ms: float) -> None:
        """Prepare to measure.

        Args:
            network: The original.
            bench: Where to measure.
            original_ms: Its p50, measured at length; candidates are scaled to it.
        """
        self.observer = bench.observer
        self._network = network
        self._bench = replace(bench, options=replace(bench.options, sessions=_QUICK_SESSIONS, session_ms=_QUICK_MS))
        self.original_ms = original_ms

    def latency_ms(self, keep: np.ndarray) -> float:
        """Return the p50 of the network that keeps these units, as a share of the original's beside it."""
        pruned = prune(self._network.model, self._network.channels, keep)
        before, after = measure_beside(self._network, pruned, self._bench)
        if max(before.spread, after.spread) > BUSY_SPREAD:
            # On a busy machine the fastest runs say more than the medians.
            return after.min_ms / before.min_ms * self.original_ms
        return after.p50_ms / before.p50_ms * self.original_ms


def measure_original(network: Network, bench: Bench, *, needed: bool = True) -> float:
    """Return the original's p50 in ms.

    Args:
        network: The original.
        bench: Where to measure.
        needed: Whether something depends on it.

    Raises:
        DeviceError: It is needed, and the device is too noisy to tell.
    """
    return measure_steadily(network, {"original": network.model}, bench, needed=needed)["original"].p50_ms


def measure_steadily(
    network: Network, models: Mapping[str, ir.Model], bench: Bench, *, needed: bool = True
) -> dict[str, LatencyStats]:
    """Measure forms of the original, once more at length where the device is noisy.

    Args:
        network: The original.
        models: It, by names.
        bench: Where to measure.
        needed: Whether something depends on it.

    Raises:
        DeviceError: It is needed, and the device is too noisy to tell.
    """
    with bench.journal.listed() as measurements:
        stats = measure_models(network, models, bench)
        if not needed or max(map(_uncertainty, stats.values())) <= _TOO_NOISY:
            return stats
        longer = replace(bench, options=replace(bench.options, sessions=_LONGER * bench.options.sessions))
        stats = measure_models(network, models, longer)
    worst = max(stats.values(), key=_uncertainty)
    if _uncertainty(worst) > _TOO_NOISY:
        # Whoever heeds the advice and goes on must not be told the same of the same measurements.
        bench.journal.void(measurements)
        low, high = worst.ci95_ms
        raise DeviceError(
            f"device '{bench.device.name}' is too noisy to measure: after {worst.sessions} sessions the original's p50 "
            f"lies anywhere from {low:.3g} to {high:.3g} ms, and sessions differ by {worst.spread:.0%} of it; stop "
            "what else runs there, let it cool, and fix its clock (a governor such as 'performance')"
        )
    return stats


def noise_note(bench: Bench, stats: Iterable[LatencyStats]) -> str | None:
    """Say how far sessions differ, where that is too much to trust the last per cent; None where it is not."""
    stats = tuple(stats)
    spread = max(one.spread for one in stats)
    if spread <= BUSY_SPREAD:
        return None
    either_side = max(map(_uncertainty, stats)) / 2
    return (
        f"sessions on '{bench.device.name}' differ by {spread:.0%} of p50, which is known to within "
        f"{either_side:.0%} either side only; stop what else runs there, let it cool, or fix its clock, and measure "
        "the result again with 'onnxprune bench'"
    )


def _uncertainty(stats: LatencyStats) -> float:
    low, high = stats.ci95_ms
    return (high - low) / stats.p50_ms


def measure_beside(network: Network, pruned: ir.Model, bench: Bench) -> tuple[LatencyStats, LatencyStats]:
    """Measure the original and a pruned model, as it is delivered, interleaved."""
    stats = measure_models(network, {"original": network.model, "pruned": bench.delivered(pruned)}, bench)
    return stats["original"], stats["pruned"]


def measure_models(network: Network, models: Mapping[str, ir.Model], bench: Bench) -> dict[str, LatencyStats]:
    """Measure models with a network's inputs, interleaved."""
    models = {name: runnable(model, bench.options.provider) for name, model in models.items()}
    feeds = random_inputs(next(iter(models.values())), network.input_shapes, 0)
    with ExitStack() as opened, _sizes_named(network):
        sources = {name: opened.enter_context(session_source(model, name)) for name, model in models.items()}
        return measured(bench, sources, dict.fromkeys(models, feeds))


@contextmanager
def _sizes_named(network: Network) -> Iterator[None]:
    """Name the sizes of the inputs where a model does not run on them and may on others."""
    try:
        yield
    except InputsError as error:
        if all(isinstance(size, int) for spec in network.inputs for size in spec.shape[1:]):
            raise
        raise InputsError(
            f"{error}. Its inputs had the sizes {shown_sizes(network.input_shapes)}; if it takes others, say which by "
            "--input-shape"
        ) from error


def measured(bench: Bench, models: Mapping[str, ModelSource], feeds: Mapping[str, Feeds]) -> dict[str, LatencyStats]:
    """Measure models side by side, and pass on what the device noticed."""
    stats = bench.device.measure(models, feeds, bench.options)
    for note in bench.device.take_notes():
        bench.observer.warn(note)
    return stats
