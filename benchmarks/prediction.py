"""Is the predicted latency the measured one? Random allocations of several networks.

    python benchmarks/prediction.py NETWORK.onnx ... --out benchmarks/results/prediction.json

Each network is profiled as `onnxprune profile` does, into a cache of its own; then allocations are drawn without
looking at their cost (a share of the channels, and each group's around it), built, and measured interleaved with the
original. What is compared is the ratio to the original: predicted from the profile alone, and measured. The profile's
own structures are drawn by another seed. Some allocations are measured twice, for what two measurements differ by.

`--clock cpu` times runs by the process's CPU time, which on one thread is what the clock says on an idle machine; for
machines that others use meanwhile. The profile's layers are timed by the clock in either case.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.channels import prune
from onnxprune.graph import random_inputs, to_bytes
from onnxprune.latency import LocalDevice, MeasureOptions
from onnxprune.pipeline.measuring import Bench, measure_original
from onnxprune.pipeline.planning import kept_structures
from onnxprune.pipeline.prepare import Network, read_network
from onnxprune.pipeline.profiling import profiled
from onnxprune.progress import SilentObserver
from onnxprune.search import Problem, Subject, drawn_structures, keep_mask, latency_problem, with_kept

ALLOCATIONS, TOGETHER, AGAIN = 50, 10, 5
SEED = 1
MEASUREMENTS = ("measured", "fastest", "measured again", "fastest again")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def measured(
    network: Network, allocations: Sequence[np.ndarray], device: LocalDevice, options: MeasureOptions
) -> list[tuple[float, float]]:
    """Measure allocations beside the original; return their latency over its own, by p50 and by the fastest runs."""
    scores = np.zeros(network.channels.unit_count)
    models = {"original": to_bytes(network.model)}
    for index, counts in enumerate(allocations):
        models[str(index)] = to_bytes(
            prune(network.model, network.channels, keep_mask(network.channels, scores, counts))
        )
    feeds = dict.fromkeys(models, random_inputs(network.model, network.input_shapes, 0))
    stats = device.measure(models, feeds, options)
    original = stats.pop("original")
    return [(s.p50_ms / original.p50_ms, s.min_ms / original.min_ms) for s in stats.values()]


def run(path: Path, clock: str, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Profile a network, and compare predictions with measurements: those from `before`, where there are any."""
    network = read_network(path, None, 1)
    device = LocalDevice(clock=CLOCKS[clock])
    bench = Bench(device, MeasureOptions(), SilentObserver())
    first = profiled(network, bench)
    start = time.perf_counter()
    second = profiled(network, Bench(device, MeasureOptions(), SilentObserver()))
    assert second.points_measured == 0
    again_s = time.perf_counter() - start
    original_ms = measure_original(network, bench)
    scores = np.zeros(network.channels.unit_count)
    table = device.layer_costs(bench.options)
    subject = Subject(network.model, network.channels, network.shapes, scores)
    layers_alone = latency_problem(subject, table, original_ms)
    problem = with_kept(layers_alone, kept_structures(network, bench), original_ms)
    assert problem is not None
    if before is None:
        allocations = drawn_structures(network.channels, problem.admissible, ALLOCATIONS, SEED)
        figures = measurements(network, allocations, device)
    else:
        allocations = [np.array(counts) for counts in before["counts"]]
        figures = {name: before[name] for name in MEASUREMENTS}
    return {
        "clock": clock,
        "original_ms": round(original_ms, 4),
        "points": first.points_measured,
        "device_s": first.device_s,
        "again_s": round(again_s, 1),
        "predicted": shares(problem, allocations, original_ms),
        "predicted from layers alone": shares(layers_alone, allocations, original_ms),
        **figures,
        "counts": [counts.tolist() for counts in allocations],
    }


def measurements(network: Network, allocations: Sequence[np.ndarray], device: LocalDevice) -> dict[str, list[float]]:
    """Measure every allocation, and the first few again."""
    options = MeasureOptions(sessions=3, session_ms=40.0)
    batches = [allocations[at : at + TOGETHER] for at in range(0, ALLOCATIONS, TOGETHER)]
    ratios = [ratio for batch in batches for ratio in measured(network, batch, device, options)]
    ratios += measured(network, allocations[:AGAIN], device, options)
    p50, fastest = ([round(ratio[kind], 4) for ratio in ratios] for kind in (0, 1))
    figures = (p50[:ALLOCATIONS], fastest[:ALLOCATIONS], p50[ALLOCATIONS:], fastest[ALLOCATIONS:])
    return dict(zip(MEASUREMENTS, figures, strict=True))


def shares(problem: Problem, allocations: Sequence[np.ndarray], original_ms: float) -> list[float]:
    """Return the predicted latency of allocations as shares of the original's."""
    return [round(problem.cost.total(counts) / original_ms, 4) for counts in allocations]


def main() -> None:
    """Run what is missing, and write the results after every network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--predict-again", action="store_true", help="predict anew what is in the results already")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/prediction.json"))
    options = parser.parse_args()
    for path in options.networks:
        results = json.loads(options.out.read_text()) if options.out.exists() else {}
        before = results.get(path.stem)
        if (before is not None) != options.predict_again:
            continue
        with tempfile.TemporaryDirectory(prefix="onnxprune-") as cache:
            os.environ["ONNXPRUNE_CACHE"] = cache
            row = run(path, options.clock, before)
        # Another process may have written meanwhile.
        results = (json.loads(options.out.read_text()) if options.out.exists() else {}) | {path.stem: row}
        errors = np.abs(np.array(row["predicted"]) / row["measured"] - 1)
        print(
            f"{path.stem}: {row['points']} points, {row['device_s']} s of device time, {row['again_s']} s again; "
            f"error {np.median(errors):.1%} median, {np.percentile(errors, 90):.1%} p90",
            flush=True,
        )
        text = json.dumps(results, indent=1)
        options.out.write_text(re.sub(r"\[[^\[\]{}]*\]", lambda m: re.sub(r"\s+", " ", m[0]), text) + "\n")


if __name__ == "__main__":
    main()
