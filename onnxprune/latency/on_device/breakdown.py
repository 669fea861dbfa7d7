"""What each node of a model takes, by onnxruntime's profiler."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.latency.on_device.timing import Profiled, plain_name

_WARMUP, _MIN_RUNS, _MAX_RUNS, _BUDGET_S = 3, 10, 100, 0.5
_SUFFIX = "_kernel_time"
# Their time is that of the nodes inside them, which the profile has too.
_HOLD_GRAPHS = ("If", "Loop", "Scan")


def node_times(session: Profiled, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Run a profiled model and return what each node takes.

    Returns:
        `runs`: how many were looked at; `run_ms`: what one took; `nodes`: in the order of execution, each with `name`,
        `op`, `provider`, and `ms`: the mean of the middle half of the runs.
    """
    for _ in range(_WARMUP):
        session.run(feeds)
    done, end = 0, time.perf_counter() + _BUDGET_S
    while done < _MIN_RUNS or (done < _MAX_RUNS and time.perf_counter() < end):
        session.run(feeds)
        done += 1
    events = json.loads(Path(str(session.end_profile())).read_text(encoding="utf-8"))
    return _summary(_runs(events)[_WARMUP:])


def _runs(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Split a profile into its runs: the time of each, and its node events, which come before its end."""
    runs: list[dict[str, Any]] = []
    nodes: list[Mapping[str, Any]] = []
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith(_SUFFIX):
            nodes.append(event)
        elif event.get("name") == "model_run":
            runs.append({"ms": event["dur"] / 1e3, "nodes": nodes})
            nodes = []
    return runs


def _summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    told: dict[str, Mapping[str, Any]] = {}
    times: dict[str, list[float]] = {}
    for number, run in enumerate(runs):
        for event in _innermost(run["nodes"]):
            name = plain_name(str(event["name"])[: -len(_SUFFIX)])
            told.setdefault(name, event.get("args", {}))
            # Inside a loop a node runs several times.
            of_runs = times.setdefault(name, [0.0] * len(runs))
            of_runs[number] += event["dur"] / 1e3
    nodes = [
        {
            "name": name,
            "op": str(args.get("op_name", "")),
            "provider": str(args.get("provider", "")),
            "ms": _middle(times[name]),
        }
        for name, args in told.items()
    ]
    return {"runs": len(runs), "run_ms": _middle([run["ms"] for run in runs]), "nodes": nodes}


def _innermost(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out what has other nodes inside."""
    return [event for event in events if event.get("args", {}).get("op_name") not in _HOLD_GRAPHS]


def _middle(values: Sequence[float]) -> float:
    """Return the mean of the middle half: the profiler counts whole microseconds, which a median would keep."""
    ordered = np.sort(values)
    quarter = len(ordered) // 4
    return float(ordered[quarter : len(ordered) - quarter].mean()) if len(ordered) else 0.0
