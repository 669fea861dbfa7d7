"""A model that meets its target as it is: nothing is removed, searched, healed or trained, and that is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxprune.graph import load
from onnxprune.latency.fake import FakeDevice
from onnxprune.pipeline import Settings, run
from onnxprune.pipeline.preview import make_preview
from onnxprune.report.preview import preview_lines
from onnxprune.search import Target, parse_count, parse_latency, parse_size
from onnxprune.training import DistillConfig
from tests.pipeline.test_run import Listening, by_macs, pictures
from tests.report.conftest import small_cnn


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "cnn.onnx"
    onnx.save(small_cnn(), path)
    return path


def test_rl_pruner_removes_nothing_where_the_target_is_met(model: Path) -> None:
    told = Settings(target=parse_count("500M"), data=pictures(64), allocation="rl-pruner", device=FakeDevice(by_macs))
    report = run(model, told).report
    assert report.after.macs == report.before.macs
    assert len([warning for warning in report.warnings if "as it is" in warning]) == 1


def test_a_target_met_already_changes_nothing(model: Path) -> None:
    for target in (parse_latency("1000ms"), parse_count("500M", "params"), parse_count("500M"), parse_size("1GB")):
        result = run(model, Settings(target=target, device=FakeDevice(by_macs), round_to=1))
        assert result.report.after.macs == result.report.before.macs
        (met,) = [warning for warning in result.report.warnings if "as it is" in warning]
        assert met.startswith(f"the model meets the target {target.kind} '{target.text}' as it is, with ")
        assert met.endswith(": nothing was removed")


@pytest.mark.parametrize("allocation", ["global", "rl", "rl-pruner"])
@pytest.mark.parametrize("target", [parse_latency("1000ms"), parse_count("500M")])
def test_a_target_met_already_takes_one_stage_and_no_search(model: Path, target: Target, allocation: str) -> None:
    told = Settings(
        target=target,
        data=pictures(64),
        training=DistillConfig(epochs=2),
        stages=3,
        allocation=allocation,
        device=FakeDevice(by_macs),
    )
    steps = Listening()
    report = run(model, replace(told, observer=steps)).report
    (told_so,) = [text for text in steps.warnings if "as it is" in text or "each trains one" in text]
    assert told_so.endswith(": nothing was removed")
    assert not any(name.startswith(("searching", "sampling", "healing", "distilling")) for name in steps.stages)
    assert report.stages == ()
    assert report.learning is None


def test_nothing_is_trained_where_nothing_was_removed(model: Path, tmp_path: Path) -> None:
    out, training = tmp_path / "out.onnx", DistillConfig(epochs=3)
    told = Settings(
        target=parse_count("500M"), data=pictures(64), training=training, output=out, device=FakeDevice(by_macs)
    )
    assert run(model, told).report.training is None
    before, after = (
        {name: value.const_value.numpy() for name, value in load(file).graph.initializers.items() if value.const_value}
        for file in (model, out)
    )
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("shift", [1.3, 0.7])
def test_what_nothing_was_removed_from_is_not_blamed_on_its_channels(model: Path, shift: float) -> None:
    device = FakeDevice(lambda name, _: shift if name == "pruned" else 1.0)
    report = run(model, Settings(target=parse_count("500M"), device=device)).report
    assert not any("slower than the original" in text for text in report.warnings)


@pytest.mark.parametrize("allocation", ["rl", "rl-pruner"])
def test_a_dry_run_promises_neither_a_search_nor_stages(model: Path, allocation: str) -> None:
    told = Settings(
        target=parse_count("500M"),
        data=pictures(64),
        training=DistillConfig(epochs=2),
        stages=3,
        allocation=allocation,
        device=FakeDevice(by_macs),
    )
    preview = make_preview(model, told)
    assert (preview.stages, preview.structures, preview.epochs) == (1, 0, 0)
    assert [line.split(maxsplit=1)[1] for line in preview_lines(preview) if line.split()[0] == "search"] == [
        "none: nothing needs to be removed"
    ]
    assert preview.steps is not None
    assert not {step.name for step in preview.steps} & {"searching", "healing", "distilling"}
    assert [text for text in preview.warnings if "each trains one" in text] == []
