"""The measuring loop: sessions that take turns, and layers timed by onnxruntime's profiler."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

# Timed runs in a row before the next model's turn. Turns of one run each would time every model with the
# others' weights in the cache; the first run of a turn is not timed for the same reason.
_TURN_RUNS = 5
_LAYER_BUDGET_S, _LAYER_MIN_RUNS, _LAYER_MAX_RUNS = 0.012, 4, 60
# A layer that takes less than the profiler can see is still there.
_SHORTEST_MS = 1e-4
_COPIES = ("MemcpyFromHost", "MemcpyToHost")
# What onnxruntime puts before the names of layers whose half precision it has no kernel for.
_CAST_PREFIX = "InsertedPrecisionFreeCast_"


class Runner(Protocol):
    """A loaded model."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Run once."""


class Profiled(Runner, Protocol):
    """A loaded model whose kernels are timed by onnxruntime."""

    def end_profile(self) -> object:
        """Stop profiling and return the path of the file that was written."""


class Plan(Protocol):
    """How long a session is measured; see `MeasureOptions`."""

    @property
    def warmup(self) -> int:
        """Runs that are not timed."""

    @property
    def min_runs(self) -> int:
        """Fewest timed runs."""

    @property
    def max_runs(self) -> int:
        """Most timed runs."""

    @property
    def session_ms(self) -> float:
        """Time to measure for."""

    @property
    def binds(self) -> bool:
        """Whether inputs and outputs stay in the provider's memory."""


def whole_round(
    open_runner: Callable[[str], Runner],
    names: Sequence[str],
    feeds: Mapping[str, Mapping[str, np.ndarray]],
    plan: Plan,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, Any]]:
    """Load models, in order, and let them take turns; see `timed_round`.

    Returns:
        By model: `samples_ms`, the timed runs; `load_ms`, what loading took; `copies_ms`, what copies there and back
        take where they are not part of a run.
    """
    runners: dict[str, Any] = {}
    load_ms: dict[str, float] = {}
    for name in names:
        start = clock()
        runners[name] = open_runner(name)
        load_ms[name] = (clock() - start) * 1e3
    samples = timed_round(runners, feeds, plan, clock)
    return {
        name: {
            "samples_ms": samples[name],
            "load_ms": load_ms[name],
            "copies_ms": runners[name].copies_ms(feeds[name]) if plan.binds else None,
        }
        for name in names
    }


def timed_round(
    runners: Mapping[str, Runner],
    feeds: Mapping[str, Mapping[str, np.ndarray]],
    plan: Plan,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Let loaded models take turns of a few runs until each has run long enough.

    Returns:
        The timed runs of each model, in milliseconds.
    """
    for name, runner in runners.items():
        for _ in range(plan.warmup):
            runner.run(feeds[name])
    timed: dict[str, list[float]] = {name: [] for name in runners}
    while True:
        waiting = [name for name in runners if not _enough(timed[name], plan)]
        if not waiting:
            return timed
        for name in waiting:
            if len(runners) > 1:
                runners[name].run(feeds[name])
            for _ in range(_turn(timed[name], plan)):
                start = clock()
                runners[name].run(feeds[name])
                timed[name].append((clock() - start) * 1e3)


def _enough(timed_ms: Sequence[float], plan: Plan) -> bool:
    long_enough = len(timed_ms) >= plan.min_runs and sum(timed_ms) >= plan.session_ms
    return long_enough or len(timed_ms) >= plan.max_runs


def _turn(timed_ms: Sequence[float], plan: Plan) -> int:
    """Return how many runs are timed before the next model's turn."""
    limit = plan.min_runs if sum(timed_ms) >= plan.session_ms else plan.max_runs
    return min(_TURN_RUNS, limit - len(timed_ms))


def layer_ms(
    session: Profiled,
    feeds: Mapping[str, np.ndarray],
    bread: Sequence[str],
    *,
    by_kernel: bool,
    overhead_ms: float = 0.0,
) -> float:
    """Return the mean of the fastest quarter of the runs: what disturbs a run only ever adds to it.

    Args:
        session: The layer's model, profiled.
        feeds: Its inputs.
        bread: Names of the nodes before and behind the layer.
        by_kernel: Take the kernels' times where the profile has them; else the clock's.
        overhead_ms: What the profiler adds to the time of each kernel; see `profiler_overhead_ms`.
    """
    session.run(feeds)
    wall: list[float] = []
    end = time.perf_counter() + _LAYER_BUDGET_S
    while len(wall) < _LAYER_MIN_RUNS or (time.perf_counter() < end and len(wall) < _LAYER_MAX_RUNS):
        start = time.perf_counter()
        session.run(feeds)
        wall.append((time.perf_counter() - start) * 1e3)
    kernels = _kernels(session.end_profile())
    inside = _between_bread(kernels, bread, overhead_ms)[1:] if by_kernel else []
    return max(_fastest_quarter(inside or wall), _SHORTEST_MS)


def profiler_overhead_ms(
    profiled: Profiled, plain: Runner, feeds: Mapping[str, np.ndarray], nodes: int, runs: int = 100
) -> float:
    """Return what the profiler adds to the time of a kernel: it writes the kernel down before it stops the clock.

    Args:
        profiled: A chain of nodes that do next to nothing, profiled.
        plain: The same, not profiled.
        feeds: Their inputs.
        nodes: Length of the chain.
        runs: Runs of each.
    """
    wall = []
    for _ in range(runs):
        profiled.run(feeds)
        start = time.perf_counter()
        plain.run(feeds)
        wall.append((time.perf_counter() - start) * 1e3)
    told = [event["dur"] / 1e3 for event in _kernels(profiled.end_profile())]
    whole = [sum(told[start : start + nodes]) for start in range(0, len(told), nodes)]
    return max(_fastest_quarter(whole) - _fastest_quarter(wall), 0.0) / nodes


def _fastest_quarter(runs: Sequence[float]) -> float:
    ordered = np.sort(runs)
    return float(ordered[: max(1, len(ordered) // 4)].mean())


def _kernels(profile: object) -> list[dict[str, Any]]:
    events = json.loads(Path(str(profile)).read_text(encoding="utf-8"))
    nodes = [event for event in events if event.get("cat") == "Node"]
    kernels = [event for event in nodes if str(event.get("name", "")).endswith("_kernel_time")]
    for event in kernels:
        event["name"] = plain_name(str(event["name"]))
    return kernels


def plain_name(name: str) -> str:
    """Return a node's name without what onnxruntime puts before it."""
    return name[len(_CAST_PREFIX) :] if name.startswith(_CAST_PREFIX) else name


def _between_bread(kernels: Sequence[dict[str, Any]], bread: Sequence[str], overhead_ms: float) -> list[float]:
    """Sum the kernel times (ms) of each run between the slices of bread; without bread the layer's own."""

    def own_ms(event: dict[str, Any]) -> float:
        return max(float(event["dur"]) / 1e3 - overhead_ms, 0.0)

    if not any(str(event["name"]).startswith(bread[0]) for event in kernels):
        return [own_ms(event) for event in kernels if str(event["name"]).startswith("layer")]
    runs: list[float] = []
    current: float | None = None
    for event in kernels:
        name = str(event["name"])
        if name.startswith(bread[0]):
            current = 0.0
        elif name.startswith(bread[1]) and current is not None:
            runs.append(current)
            current = None
        elif current is not None:
            current += own_ms(event)
    return runs


def nodes_by_provider(session: Profiled, feeds: Mapping[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """Run a profiled model once and count its nodes: provider -> operator -> nodes.

    The copies that onnxruntime puts between a GPU's nodes and the CPU's are none of the model's.
    """
    session.run(feeds)
    placed = {str(event["name"]): event.get("args", {}) for event in _kernels(session.end_profile())}
    result: dict[str, dict[str, int]] = {}
    for node in placed.values():
        operator = str(node.get("op_name", ""))
        if operator in _COPIES:
            continue
        operators = result.setdefault(str(node.get("provider", "")), {})
        operators[operator] = operators.get(operator, 0) + 1
    return result
