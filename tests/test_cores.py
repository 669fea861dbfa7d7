"""Threads, in containers and beside others: as many as the process may use, unless the user says otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest

from onnxprune.channels.running import run_source
from onnxprune.cores import heed_quota, session_threads
from onnxprune.graph import load, random_inputs, resolve_input_shapes
from onnxprune.healing.activations import open_values
from onnxprune.latency import predictor
from onnxprune.torch_bridge import compare, to_torch
from tests.report.conftest import small_cnn

# Where the older control groups lie.
V1 = "cpu,cpuacct"


def system(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    group = root / "proc/self/cgroup"
    group.parent.mkdir(parents=True)
    group.write_text(f"3:{V1}:/job/step\n2:memory:/elsewhere\n0::/job/step\n")
    return str(root)


@pytest.mark.parametrize(
    ("files", "threads"),
    [
        ({"cpu.max": "200000 100000\n"}, "2"),
        ({"cpu.max": "50000 100000\n"}, "1"),
        ({"cpu.max": "350000 100000\n"}, "3"),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4"),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "1600000 100000\n"}, None),
        ({"job/step/cpu.max": "max 100000\n", "job/cpu.max": "600000 100000\n"}, "6"),
        ({"job/step/cpu.max": "300000 100000\n", "job/cpu.max": "600000 100000\n"}, "3"),
        ({"other/cpu.max": "300000 100000\n"}, None),
        (
            {f"{V1}/job/step/cpu.cfs_quota_us": "400000\n", f"{V1}/job/step/cpu.cfs_period_us": "100000\n"},
            "4",
        ),
        ({}, None),
    ],
)
def test_a_quota_bounds_the_threads(tmp_path: Path, files: dict[str, str], threads: str | None) -> None:
    environ: dict[str, str] = {}
    heed_quota(environ, system(tmp_path, files), cores=16)
    assert environ.get("OMP_NUM_THREADS") == threads


def test_what_the_user_said_stays(tmp_path: Path) -> None:
    environ = {"OMP_NUM_THREADS": "8"}
    heed_quota(environ, system(tmp_path, {"cpu.max": "200000 100000"}), cores=16)
    assert environ == {"OMP_NUM_THREADS": "8"}


@pytest.mark.parametrize(
    ("files", "said", "allowed", "threads"),
    [
        ({}, None, 16, 0),
        ({}, None, 3, 3),
        ({"cpu.max": "250000 100000\n"}, None, 16, 2),
        ({"cpu.max": "50000 100000\n"}, None, 16, 1),
        ({"cpu.max": "3200000 100000\n"}, None, 16, 0),
        ({}, "4", 16, 4),
        ({}, "4,2", 16, 4),
        ({}, "many", 16, 0),
        ({}, "32", 16, 0),
        ({"cpu.max": "600000 100000\n"}, "8", 5, 5),
    ],
)
def test_sessions_have_the_threads_that_this_process_may_use(
    tmp_path: Path, files: dict[str, str], said: str | None, allowed: int, threads: int
) -> None:
    environ = {} if said is None else {"OMP_NUM_THREADS": said}
    assert session_threads(environ, system(tmp_path, files), cores=16, allowed=allowed) == threads


@pytest.mark.parametrize("way", ["predictor", "run_source", "open_values", "compare"])
def test_sessions_keep_to_the_cores_of_their_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(small_cnn(), path)
    model = load(path)
    feeds = random_inputs(model, resolve_input_shapes(model), 0)
    names = [str(value.name) for value in model.graph.outputs]
    ways: dict[str, Callable[[], object]] = {
        "predictor": lambda: predictor(model),
        "run_source": lambda: run_source(path, feeds, names),
        "open_values": lambda: open_values(model, names),
        "compare": lambda: compare(to_torch(model), model, feeds),
    }
    opened: list[int] = []

    class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, source: object, options: onnxruntime.SessionOptions, **others: object) -> None:
            opened.append(options.intra_op_num_threads)
            super().__init__(source, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 7}, raising=False)
    ways[way]()
    assert opened == [3]
