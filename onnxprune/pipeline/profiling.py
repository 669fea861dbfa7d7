"""`profile`: what a model's layers cost over their channel counts, measured once and kept for later runs."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from onnxprune.errors import DeviceError
from onnxprune.graph import check_writable
from onnxprune.latency import LayerCosts, LayerSpec, choose, opened
from onnxprune.latency.profiling import LayerProfile, LayerProfiler
from onnxprune.latency.surface import Line
from onnxprune.pipeline.argument_types import typed
from onnxprune.pipeline.files import check_files
from onnxprune.pipeline.measuring import Bench, LatencyEvaluator, measure_original
from onnxprune.pipeline.prepare import InputShapes, Network, read_network
from onnxprune.pipeline.unheeded import batch_note
from onnxprune.progress import Observer, SilentObserver
from onnxprune.report import environment
from onnxprune.report.assembly import device_figures
from onnxprune.report.profile import LayerStairs, ProfileResult, Staircase
from onnxprune.report.staircases import image_format, plot_staircases
from onnxprune.search import Subject, drawn_structures, keep_mask, latency_problem, network_key
from onnxprune.search.problem import layer_specs

# Whole structures that correct what layers measured alone add up to; their seed makes them the same every time.
_STRUCTURES, _SEED = 16, 0
_DIGITS_MS = 5


@typed
def profile(
    model: str | Path,
    *,
    input_shapes: InputShapes | None = None,
    device: str = "local",
    provider: str | None = None,
    threads: int | None = None,
    batch: int = 1,
    budget: float | None = None,
    plot: str | Path | None = None,
    observer: Observer | None = None,
) -> ProfileResult:
    """Measure what a model's layers cost over their channel counts, and keep it where later runs find it.

    Args:
        model: The `.onnx` file.
        input_shapes: Sizes of dynamic inputs by name.
        device: Where to measure, as for `compress`.
        provider: onnxruntime's execution provider; None: the device's, else `cpu`.
        threads: Threads inside an operator; None: the device's, else 1.
        batch: Samples per run.
        budget: Seconds of device time, at most; None: as long as it takes.
        plot: Draw the staircases into this file, .svg or .png.
        observer: Told of the progress.

    Returns:
        What is known of the layers now.

    Raises:
        OnnxPruneError: The model or the device cannot be used, or the picture cannot be written.
    """
    observer = observer or SilentObserver()
    if budget is not None and budget <= 0:
        raise DeviceError(f"the budget must be a time above 0 seconds, not {budget!r}")
    check_files({"model": model, "plot": plot})
    if plot is not None:
        image_format(Path(plot))
        check_writable(Path(plot))
    spec, options = choose(device, provider, threads, batch)
    observer.stage("reading the model")
    network = read_network(model, input_shapes, batch)
    for note in batch_note(network.path, network.input_shapes, batch):
        observer.warn(note)
    if spec.target is not None:
        observer.stage("connecting to the device")
    with opened(spec, observer.warn) as target:
        result = profiled(network, Bench(target, options, observer), budget)
    if plot is not None:
        plot_staircases(result, Path(plot))
    return result


def profiled(network: Network, bench: Bench, budget_s: float | None = None) -> ProfileResult:
    """Profile a network on an open device.

    Args:
        network: The network.
        bench: Where to measure.
        budget_s: Seconds of device time, at most; the first look at the network, and at the counts of groups smaller
            than a block, comes on top.
    """
    observer = bench.observer
    named = layer_specs(network.model, network.shapes, network.channels)
    table = bench.costs
    observer.stage("measuring the model")
    start = time.perf_counter()
    original_ms = measure_original(network, bench)
    seconds = time.perf_counter() - start
    profiler = LayerProfiler(table, list(named.values()), budget_s)
    observer.stage("measuring layers", len(set(named.values())))
    done = 0

    def on_layer(now: int, _total: int) -> None:
        nonlocal done
        observer.advance(now - done, note=f"{table.measured_points} points")
        done = now

    try:
        profiler.probe(on_layer)
        spent_s, measured = _measure_structures(network, bench, table, profiler, original_ms)
        observer.stage("measuring where the staircases are")
        profiler.refine()
    finally:
        # What was measured is worth keeping when the rest fails or is interrupted.
        kept = _keep(table, observer)
    layers = tuple(_stairs(table, profiler, found, named) for found in profiler.results())
    env = environment()
    return ProfileResult(
        onnxprune_version=env.packages.get("onnxprune", "unknown"),
        environment=env,
        device=device_figures(bench.device, bench.options, network.input_shapes),
        model=str(network.path),
        latency_ms=round(original_ms, _DIGITS_MS),
        layers=layers,
        layers_known=sum(layer.known for layer in layers),
        points_measured=table.measured_points,
        structures=len(table.structures(_key(network))),
        structures_measured=measured,
        device_s=round(seconds + table.measured_s + spent_s, 2),
        finished=not profiler.spent,
        table=str(table.file) if kept else None,
    )


def _keep(table: LayerCosts, observer: Observer) -> bool:
    """Keep what was measured; what cannot be kept is said, since keeping it is what a profile is for."""
    kept = table.save()
    if not kept:
        observer.warn(
            f"what was measured is not kept: '{table.file}' cannot be written; set ONNXPRUNE_CACHE to a folder that can"
        )
    return kept


def _key(network: Network) -> str:
    return network_key(network.model, network.channels, network.shapes)


def _measure_structures(
    network: Network, bench: Bench, table: LayerCosts, profiler: LayerProfiler, original_ms: float
) -> tuple[float, int]:
    """Measure whole structures beside the original, as far as the budget goes, and keep their latencies.

    Returns:
        Seconds that it took, and how many were measured.
    """
    if profiler.spent:
        return 0.0, 0
    key = _key(network)
    scores = np.zeros(network.channels.unit_count)
    problem = latency_problem(Subject(network.model, network.channels, network.shapes, scores), table, original_ms)
    drawn = drawn_structures(network.channels, problem.admissible, _STRUCTURES, _SEED)
    known = {counts for counts, _ in table.structures(key)}
    missing = [counts for counts in dict.fromkeys(tuple(c.tolist()) for c in drawn) if counts not in known]
    if missing:
        bench.observer.stage("measuring whole structures", len(missing))
    evaluator = LatencyEvaluator(network, bench, original_ms)
    start, measured = time.perf_counter(), 0
    for counts in missing:
        if profiler.spent:
            break
        before = time.perf_counter()
        ratio = evaluator.latency_ms(keep_mask(network.channels, scores, np.array(counts))) / original_ms
        profiler.charge(time.perf_counter() - before)
        table.keep_structure(key, counts, ratio)
        measured += 1
        bench.observer.advance(note=f"{ratio * original_ms:.3g} ms")
    return time.perf_counter() - start, measured


def _stairs(
    table: LayerCosts, profiler: LayerProfiler, found: LayerProfile, named: dict[str, LayerSpec]
) -> LayerStairs:
    spec, lines = found.spec, found.lines
    full_ms = table.cost_ms(spec) if table.knows(spec) else None
    half_ms = None
    if lines:
        half_in = max(spec.channels_in // 2, 1) if spec.tied else spec.channels_in
        half_ms = found.cost_ms(table)(half_in, max(spec.channels_out // 2, 1))
    return LayerStairs(
        name=next(name for name, other in named.items() if other == spec),
        copies=profiler.copies(spec),
        op=spec.op,
        channels=(spec.channels_in, spec.channels_out),
        tied=spec.tied,
        full_ms=_rounded(full_ms),
        half_ms=_rounded(half_ms),
        step_in=found.step_in,
        step_out=found.step_out,
        points=found.points,
        measured=found.measured,
        known=found.known,
        staircase_in=_staircase(table, lines[0]) if lines else (),
        staircase_out=_staircase(table, lines[1]) if len(lines) > 1 else (),
    )


def _staircase(table: LayerCosts, line: Line) -> Staircase:
    """Return all that was measured along a line, counts between its steps too: there a staircase shows."""
    return tuple((count, round(ms, _DIGITS_MS)) for count, ms in table.measured_counts(line.spec, line.axis))


def _rounded(value_ms: float | None) -> float | None:
    return None if value_ms is None else round(value_ms, _DIGITS_MS)
