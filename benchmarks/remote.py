"""What SSH and made weights do to a measured latency: nothing, it should turn out.

    python benchmarks/remote.py models/fashion-resnet20.onnx models/benchmarks/*.onnx --repeats 40
    python benchmarks/remote.py model.onnx --device 'ssh://localhost?python=/path/to/python'

Run it from the top of the checkout. Without --device an OpenSSH server is started on the loopback, so both sides are
this machine. Each repeat measures one session of each model here (twice, which shows the noise), by the runner without
SSH, over SSH with weights made there, and over SSH with the true weights (--ways), in changing order. A ratio is taken
within a repeat; the table has the median over the repeats and its 95 % interval (bootstrap).

Each session has a process of its own, here too. --kept keeps one process for each way, as a run does; but then whatever
makes one process faster than another of the same code stays in all the ratios, and looks like a difference of the ways.

On a machine with other work, --cpu-time takes both sides' clock from the CPU time of the thread that runs: with one
thread a run's wall-clock time on an idle machine, and what others take of the core does not count. Many short repeats
(--session-ms 20 --min-runs 3 --repeats 100) keep both sides of a ratio close together in time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.graph import load, random_inputs, resolve_input_shapes
from onnxprune.latency import Device, LatencyStats, LocalDevice, MeasureOptions, read_spec
from onnxprune.latency.remote import SshDevice, Target
from onnxprune.latency.remote.recipe import recipe

WAYS = ("local", "local again", "runner here", "made there", "sent")
Way = Callable[[Path, MeasureOptions], LatencyStats]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--device", help="an ssh:// device that is this machine")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--session-ms", type=float, default=150.0)
    parser.add_argument("--min-runs", type=int, default=10)
    parser.add_argument("--cpu-time", action="store_true", help="time by the CPU time of the thread; needs no --device")
    parser.add_argument("--ways", nargs="+", choices=WAYS[1:], default=WAYS[1:], help="beside the local one")
    parser.add_argument("--kept", action="store_true", help="keep one process for each way")
    parser.add_argument("--out", type=Path, help="JSON file for the samples")
    given = parser.parse_args()
    options = MeasureOptions(sessions=1, session_ms=given.session_ms, min_runs=given.min_runs)
    with device_spec(given.device, cpu_time=given.cpu_time) as spec, ExitStack() as stack:
        target = read_spec(spec).target
        if target is None:
            parser.error("--device must be an ssh:// one")
        ways = ways_to(target, stack, kept=given.kept, cpu_time=given.cpu_time)
        chosen = {way: ways[way] for way in (WAYS[0], *given.ways)}
        results = {str(model): measure(model, chosen, options, given.repeats) for model in given.models}
    for model, samples in results.items():
        show(Path(model), samples)
    if given.out is not None:
        given.out.write_text(json.dumps(results, indent=1))


def ways_to(target: Target, stack: ExitStack, *, kept: bool, cpu_time: bool) -> dict[str, Way]:
    """Return what measures one session of a model in each way."""

    def over_ssh(send_weights: bool, without: bool = False) -> Callable[[], SshDevice]:
        def connect() -> SshDevice:
            with no_ssh() if without else ExitStack():
                return SshDevice(target, send_weights=send_weights)

        return connect

    remote = {"runner here": over_ssh(False, without=True), "made there": over_ssh(False), "sent": over_ssh(True)}
    if kept:
        here = LocalDevice(clock=time.thread_time if cpu_time else time.perf_counter)
        devices: dict[str, Device] = {"local": here, "local again": here}
        devices |= {way: stack.enter_context(closing(connect())) for way, connect in remote.items()}
        return {way: lambda model, options, on=on: one_session(on, model, options) for way, on in devices.items()}

    def afresh(connect: Callable[[], SshDevice]) -> Way:
        def way(model: Path, options: MeasureOptions) -> LatencyStats:
            with closing(connect()) as device:
                return one_session(device, model, options)

        return way

    def local(model: Path, options: MeasureOptions) -> LatencyStats:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            return process.submit(session_here, model, options, cpu_time=cpu_time).result()

    return {"local": local, "local again": local, **{way: afresh(connect) for way, connect in remote.items()}}


def session_here(model: Path, options: MeasureOptions, *, cpu_time: bool) -> LatencyStats:
    """Measure in this process."""
    return one_session(LocalDevice(clock=time.thread_time if cpu_time else time.perf_counter), model, options)


def one_session(device: Device, model: Path, options: MeasureOptions) -> LatencyStats:
    """Measure one session."""
    graph = load(model)
    feeds = {"m": random_inputs(graph, resolve_input_shapes(graph, None, 1), 0)}
    return device.measure({"m": model}, feeds, options)["m"]


@contextmanager
def no_ssh() -> Iterator[None]:
    """Have what is to be run over SSH run by a shell here."""
    before = os.environ["PATH"]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "ssh"
        program.write_text('#!/bin/sh\nfor last; do :; done\neval "$last"\n')
        program.chmod(0o755)
        os.environ["PATH"] = f"{folder}:{before}"
        try:
            yield
        finally:
            os.environ["PATH"] = before


@contextmanager
def device_spec(given: str | None, *, cpu_time: bool = False) -> Iterator[str]:
    """Take the device that was given, or start a server."""
    if given is not None:
        yield given
        return
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.latency.remote.server import serving

    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "server") as server:
        yield server.spec(python=timing_by_cpu(server, sys.executable) if cpu_time else sys.executable)


def timing_by_cpu(server: Any, python: str) -> Path:
    """Return a Python there whose clock is the CPU time of its thread."""
    told = "import sys, time; time.perf_counter = time.thread_time; exec(sys.argv[-1])"
    path: Path = server.script("python", f"exec {python} -c '{told}' \"$@\"")
    return path


def measure(
    model: Path, ways: Mapping[str, Way], options: MeasureOptions, repeats: int
) -> dict[str, dict[str, list[float]]]:
    """Return the median and the fastest run of each repeat, by way."""
    result: dict[str, dict[str, list[float]]] = {way: {"p50_ms": [], "min_ms": []} for way in ways}
    names = list(ways)
    for repeat in range(repeats):
        first = repeat % len(names)
        for way in names[first:] + names[:first]:
            stats = ways[way](model, options)
            result[way]["p50_ms"].append(stats.p50_ms)
            result[way]["min_ms"].append(stats.min_ms)
    return result


def show(model: Path, samples: Mapping[str, Mapping[str, list[float]]]) -> None:
    """Print a model's ratios, and how much is sent of it."""
    described = len(json.dumps(list(recipe("m", model).requests())))
    print(f"{model.name}: file {model.stat().st_size / 1e3:.0f} kB, sent {described / 1e3:.0f} kB")
    base = {figure: np.array(values) for figure, values in samples["local"].items()}
    print(f"  local p50 {np.median(base['p50_ms']):.4f} ms, fastest {base['min_ms'].min():.4f} ms")
    for way in list(samples)[1:]:
        for figure in ("p50_ms", "min_ms"):
            middle, low, high = interval(np.array(samples[way][figure]) / base[figure])
            print(f"  {way:12} {figure[:3]} / local {middle:.4f}  [{low:.4f}, {high:.4f}]")
    for one, other in (("made there", "sent"), ("made there", "runner here")):
        if {one, other} <= samples.keys():
            middle, low, high = interval(np.array(samples[one]["p50_ms"]) / np.array(samples[other]["p50_ms"]))
            print(f"  {one} p50 / {other:12} {middle:.4f}  [{low:.4f}, {high:.4f}]")


def interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """Return the median and its 95 % interval."""
    drawn = np.random.default_rng(0).integers(len(ratios), size=(2000, len(ratios)))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


if __name__ == "__main__":
    main()
