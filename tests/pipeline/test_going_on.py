"""Runs that go on: they take what was taken, or say why they cannot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

import onnxprune
from onnxprune.errors import DeviceError, RunDirectoryError, TargetOutOfReachError
from onnxprune.latency.fake import FakeDevice
from onnxprune.pipeline import Settings, run, staging
from onnxprune.pipeline.replay import SearchClock
from onnxprune.search import Judgement, RlAgent, parse_count, parse_latency, search_budget
from tests.pipeline.test_disturbed import DisturbedDevice
from tests.pipeline.test_replay import Time
from tests.pipeline.test_run import Erratic, Listening, by_macs, model, pictures
from tests.residual import residual_cnn

__all__ = ["model"]


class Cut(BaseException):
    """Ends a run as a kill would."""


class CutAt(Listening):
    """Ends a run at one of its stages."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def stage(self, name: str, total: int | None = None) -> None:  # noqa: ARG002
        if name == self._name:
            raise Cut


def lines(folder: Path, kind: str) -> list[dict]:
    every = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    return [line for line in every if line["kind"] == kind]


def told_as(name: str, value: object) -> str:
    """Return a field as the history has it."""
    return json.dumps({name: value}, separators=(",", ":"))[1:-1]


def test_a_search_limited_by_time_ends_where_it_ended(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(residual_cnn(), model)
    settings = Settings(
        target=parse_count("50%"),
        data=pictures(100),
        device=FakeDevice(by_macs),
        allocation="rl",
        search=search_budget("5s"),
        round_to=1,
        run_dir=tmp_path / "run",
        output=tmp_path / "a.onnx",
    )
    time, learn, outputs = Time(), RlAgent.learn, []
    monkeypatch.setattr(staging, "SearchClock", lambda: SearchClock(time))
    # The machine is faster when the run goes on.
    for seconds in (3.0, 0.0):

        def learning(agent: RlAgent, judgements: Sequence[Judgement], seconds: float = seconds) -> None:
            time.now += seconds
            learn(agent, judgements)

        monkeypatch.setattr(RlAgent, "learn", learning)
        run(model, replace(settings, resume=seconds == 0.0))
        outputs.append((len(lines(tmp_path / "run", "judgement")), (tmp_path / "a.onnx").read_bytes()))
    assert outputs[0] == outputs[1]
    assert [line["up"] for line in lines(tmp_path / "run", "time")] == [False, True]


def test_what_was_trained_of_another_structure_is_not_gone_on_with(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    told = {"target_macs": "60%", "round_to": 1, "data": pictures(64), "heal": True, "importance": "l1"}
    with pytest.raises(Cut):
        onnxprune.prune(model, **told, run_dir=folder, observer=CutAt("healing"))
    history = (folder / "history.jsonl").read_text()
    (taken,) = lines(folder, "structure")
    # As an onnxprune would have written it that decides otherwise.
    other = history.replace(told_as("units", taken["units"]), told_as("units", [1, *taken["units"][1:]]))
    (folder / "history.jsonl").write_text(other)
    with pytest.raises(RunDirectoryError, match="took another structure in stage 1 than it finds now"):
        onnxprune.prune(model, **told, run_dir=folder, resume=True)
    (folder / "history.jsonl").write_text(history)
    with pytest.raises(Cut):
        onnxprune.prune(model, **told, run_dir=folder, resume=True, observer=CutAt("healing"))


def test_a_noisy_device_is_measured_again_once_it_is_quiet(model: Path, tmp_path: Path) -> None:
    settings = Settings(target=parse_latency("60%"), allocation="global", round_to=1, run_dir=tmp_path / "run")
    with pytest.raises(DeviceError, match="too noisy to measure"):
        run(model, replace(settings, device=Erratic(by_macs)))
    for noise in (Erratic(by_macs), Erratic(by_macs)):
        with pytest.raises(DeviceError, match="too noisy to measure"):
            run(model, replace(settings, device=noise, resume=True))
    first = run(model, replace(settings, device=FakeDevice(by_macs), resume=True)).report
    assert first.target.achieved <= first.target.value
    # What was measured then is not measured again.
    again = run(model, replace(settings, device=Erratic(by_macs), resume=True)).report
    assert again.target == first.target


def test_what_no_long_measurement_confirmed_is_measured_again(model: Path, tmp_path: Path) -> None:
    settings = Settings(
        target=parse_latency("40%"),
        data=pictures(64),
        allocation="rl",
        search=search_budget(4),
        round_to=1,
        run_dir=tmp_path / "run",
    )
    with pytest.raises(TargetOutOfReachError, match="met in short measurements but not in long ones"):
        run(model, replace(settings, device=DisturbedDevice(99)))
    judged = lines(tmp_path / "run", "evaluation")
    report = run(model, replace(settings, device=DisturbedDevice(0), resume=True)).report
    assert report.target.achieved <= report.target.value
    # What was judged is not judged again.
    assert lines(tmp_path / "run", "evaluation") == judged
