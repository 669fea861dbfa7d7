"""What a run that goes on takes from its journal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from onnxprune.journal import Journal
from onnxprune.pipeline.replay import RecordedJudge, SearchClock
from onnxprune.search import Verdict


class Time:
    """A clock that is told what passes."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """A judge that takes a second for a structure."""

    looks = (4, 16)

    def __init__(self, time: Time) -> None:
        self._time = time
        self.asked = 0

    def judge(self, counts: np.ndarray, samples: int) -> Verdict:
        self._time.now += 1.0
        self.asked += 1
        return Verdict(float(counts.sum()), 50.0, samples)

    def confirm(self, counts: np.ndarray) -> Verdict:
        return self.judge(counts, self.looks[-1])


def searched(folder: Path, planning_s: float, structures: int) -> tuple[float, int]:
    """Judge some structures; return the seconds of searching, and how many were judged anew."""
    time = Time()
    clock, slow = SearchClock(time), Slow(time)

    def make() -> Slow:
        time.now += 20.0
        return slow

    judge = RecordedJudge(make, Journal(folder / "history.jsonl"), 1, clock)
    time.now += planning_s
    assert judge.looks == (4, 16)
    clock()
    for structure in range(structures):
        judge.judge(np.array([structure]), 16)
    return clock(), slow.asked


def test_only_judging_counts_as_searching(tmp_path: Path) -> None:
    assert searched(tmp_path, planning_s=30.0, structures=5) == (5.0, 5)


def test_a_search_that_goes_on_has_the_time_that_an_unbroken_one_has_left(tmp_path: Path) -> None:
    searched(tmp_path, planning_s=30.0, structures=5)
    # What was planned comes from the journal, so it takes no time now.
    assert searched(tmp_path, planning_s=0.0, structures=8) == (8.0, 3)


def test_what_is_written_of_a_structure_are_its_units(tmp_path: Path) -> None:
    time = Time()
    judge = RecordedJudge(lambda: Slow(time), Journal(tmp_path / "history.jsonl"), 1, SearchClock(time))
    judge.judge(np.array([3, 4]), 16)
    judge.confirm(np.array([3, 4]))
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    told = [(line["kind"], line["units"]) for line in lines if "units" in line]
    assert told == [("evaluation", [3, 4]), ("confirmation", [3, 4])]
    assert all("channels" not in line for line in lines)
