"""What `onnxprune bench` says beside what onnxruntime's own perf test says: the same, it should turn out.

    python benchmarks/perf_test.py models/fashion-resnet20.onnx models/benchmarks/*.onnx --repeats 20

No wheel holds `onnxruntime_perf_test`, and what is in them for Python (`onnxruntime.transformers.bert_perf_test`) takes
BERT alone. So its loop is written here as its source has it (onnxruntime/test/perftest: `PerformanceRunner::Run` and
`PerformanceResult`): a process of its own, one session, one run to warm up, then runs one after the other for a fixed
time, P50 the run at half of the sorted ones. Two things differ: it is called from Python, as bench is, which adds the
conversion of inputs and outputs to both; and the time is short, with many repeats instead of one long one.

Each repeat is the loop, `onnxprune bench MODEL` with its defaults, and the loop again, which shows the noise; in
changing order. A ratio is taken within a repeat; what is printed is the median over the repeats with its 95 % interval
(bootstrap). Beside p50 stands the ratio of the fastest runs, which is what is left of a latency on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from onnxprune.graph import load, random_inputs, resolve_input_shapes

WAYS = ("perf test", "bench", "perf test again")
Figures = dict[str, float]

LOOP = """\
import json, sys, time
import numpy as np
import onnxruntime as ort
model, inputs, threads, seconds = sys.argv[1:]
feeds = dict(np.load(inputs))
options = ort.SessionOptions()
options.intra_op_num_threads = int(threads)
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
session.run(None, feeds)
costs, begin = [], time.perf_counter()
while time.perf_counter() - begin < float(seconds):
    start = time.perf_counter()
    session.run(None, feeds)
    costs.append((time.perf_counter() - start) * 1e3)
costs.sort()
print(json.dumps({"p50_ms": costs[int(len(costs) * 0.5)], "min_ms": costs[0]}))
"""


def main() -> None:
    """Measure, print, and write the samples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0, help="time of each loop")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file for the samples")
    given = parser.parse_args()
    about = {
        "machine": platform.platform(),
        **{name: getattr(given, name) for name in ("threads", "seconds", "repeats")},
    }
    results = {}
    for model in given.models:
        results[model.name] = measure(model, given.threads, given.seconds, given.repeats)
        show(model, results[model.name])
        if given.out is not None:
            given.out.write_text(json.dumps({**about, "models": results}, indent=1) + "\n")


def measure(model: Path, threads: int, seconds: float, repeats: int) -> dict[str, list[Figures]]:
    """Return the figures of each repeat, by way."""
    graph = load(model)
    result: dict[str, list[Figures]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs.npz"
        np.savez(inputs, **random_inputs(graph, resolve_input_shapes(graph), 0))

        def loop() -> Figures:
            arguments = [str(model), str(inputs), str(threads), str(seconds)]
            return json.loads(output([sys.executable, "-c", LOOP, *arguments]))

        ways: Mapping[str, Callable[[], Figures]] = {
            "perf test": loop,
            "bench": lambda: bench(model, threads),
            "perf test again": loop,
        }
        for repeat in range(repeats):
            first = repeat % len(WAYS)
            for way in WAYS[first:] + WAYS[:first]:
                result[way].append({name: round(value, 5) for name, value in ways[way]().items()})
    return result


def bench(model: Path, threads: int) -> Figures:
    """Return what the command says."""
    command = [
        sys.executable,
        "-m",
        "onnxprune",
        "bench",
        str(model),
        "--threads",
        str(threads),
        "--no-memory",
        "--json",
    ]
    (found,) = json.loads(output(command))["models"]
    latency = found["latency"]
    return {"p50_ms": latency["p50_ms"], "min_ms": min(min(session) for session in latency["samples_ms"])}


def output(command: list[str]) -> str:
    """Run a command and return what it prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True).stdout


def show(model: Path, samples: Mapping[str, list[Figures]]) -> None:
    """Print a model's ratios."""
    base = samples["perf test"]
    print(f"{model.name}: p50 of the perf test {np.median([f['p50_ms'] for f in base]):.4f} ms")
    for figure in ("p50_ms", "min_ms"):
        for way in WAYS[1:]:
            ratios = np.array([a[figure] / b[figure] for a, b in zip(samples[way], base, strict=True)])
            drawn = np.random.default_rng(0).integers(len(ratios), size=(2000, len(ratios)))
            low, high = np.percentile(np.median(ratios[drawn], axis=1), [2.5, 97.5])
            print(f"  {way:15} {figure[:3]} / perf test {np.median(ratios):.4f}  [{low:.4f}, {high:.4f}]")


if __name__ == "__main__":
    main()
