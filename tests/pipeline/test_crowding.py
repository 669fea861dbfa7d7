"""When PyTorch's threads do not find free cores, the user is told how to have fewer."""

from __future__ import annotations

import os

import pytest

from onnxprune.pipeline.crowding import crowding_note


@pytest.mark.parametrize(
    ("others", "cores", "threads", "advice"),
    [
        (1.0, 2, None, "OMP_NUM_THREADS=1"),
        (1.4, 2, None, "OMP_NUM_THREADS=1"),
        (3.0, 8, None, "OMP_NUM_THREADS=5"),
        (9.0, 8, None, "OMP_NUM_THREADS=1"),
        (3.0, 8, "6", "OMP_NUM_THREADS=5"),
        (3.0, 8, "4", None),
        (9.0, 16, "1,1", None),
        (0.3, 8, None, None),
        (1.0, 1, None, None),
    ],
)
def test_fewer_threads_are_advised_where_cores_are_taken(
    monkeypatch: pytest.MonkeyPatch, others: float, cores: int, threads: str | None, advice: str | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    note = crowding_note("local", {"others_cores": others}, cores)
    assert (note is None) == (advice is None)
    assert advice is None or advice in str(note)


def test_another_device_tells_nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert crowding_note("ssh://pi", {"others_cores": 3.0}, 4) is None
    assert crowding_note("local", {}, 4) is None


def test_a_process_that_is_bound_to_free_cores_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 4}, raising=False)
    assert crowding_note("local", {"others_cores": 9.0}) is None
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert "OMP_NUM_THREADS=7" in str(crowding_note("local", {"others_cores": 9.0}))
