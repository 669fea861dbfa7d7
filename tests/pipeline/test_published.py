"""Runs of `rl-pruner`: what a stage judges and removes, when it ends, and how it is trained."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

import onnxprune
from onnxprune.graph import graph_cost, load
from onnxprune.latency.fake import FakeDevice
from onnxprune.pipeline import Settings, preview, run
from onnxprune.report.preview import preview_lines
from onnxprune.search import (
    Limits,
    Target,
    parse_count,
    parse_latency,
    rl_pruner_config,
)
from onnxprune.training import DistillConfig
from tests.pipeline.test_run import by_macs, pictures
from tests.report.conftest import small_cnn


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "cnn.onnx"
    onnx.save(small_cnn(), path)
    return path


def test_a_preview_of_the_published_agent_does_not_count_its_stages(model: Path) -> None:
    told = {"target_macs": "30%", "data": pictures(), "allocation": "rl-pruner", "epochs": 2}
    seen = preview("compress", model, **told)
    assert (seen.stages, seen.epochs) == (0, 2)
    lines = preview_lines(seen)
    assert any("in as many stages as the target takes" in line for line in lines)
    assert any("2 epochs in each stage" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("target", [parse_count("60%"), parse_latency("70%")], ids=["macs", "latency"])
def test_the_published_agent_removes_and_distils_until_the_target_is_met(model: Path, target: Target) -> None:
    settings = Settings(
        target=target,
        device=FakeDevice(by_macs, layer_ms=lambda s: s.channels_in * s.channels_out * 576e-6),
        data=pictures(),
        allocation="rl-pruner",
        rl_pruner=rl_pruner_config(("share=0.1", "rounds=2", "samples=3", "stages=4")),
        training=DistillConfig(epochs=1, batch_size=16),
    )
    report = run(model, settings).report
    assert len(report.stages) > 1
    costs = [stage.cost for stage in report.stages]
    assert all(cost > report.target.value for cost in costs[:-1])
    assert costs[-1] <= report.target.value
    assert costs == sorted(costs, reverse=True)


@pytest.mark.slow
def test_the_published_agent_judges_no_structure_twice_and_tells_every_sample(model: Path, tmp_path: Path) -> None:
    hyper = ("share=0.1", "rounds=3", "samples=8", "retakes=0")
    told = {"target_macs": "80%", "round_to": 1, "data": pictures(), "epochs": 1}
    onnxprune.compress(model, **told, allocation="rl-pruner", rl_pruner=hyper, run_dir=tmp_path / "r")
    lines = [json.loads(line) for line in (tmp_path / "r" / "history.jsonl").read_text().splitlines()]
    stages = {line["stage"] for line in lines if line["kind"] == "structure"}
    for stage in stages:
        judged, samples = (
            [line for line in lines if line["kind"] == kind and line["stage"] == stage]
            for kind in ("evaluation", "sample")
        )
        assert [sample["index"] for sample in samples] == list(range(1, 25))
        structures = [tuple(line["units"]) for line in judged]
        assert len(set(structures)) == len(structures)
        metrics = dict(zip(structures, (line["metric"] for line in judged), strict=True))
        # Without weights of MACs and parameters Q is the metric.
        assert all(metrics[tuple(sample["units"])] == sample["metric"] == sample["value"] for sample in samples)
        costs = {tuple(line["units"]): line["cost"] for line in lines if line["kind"] == "structure"}
        taken = [sample for sample in samples if tuple(sample["units"]) in costs]
        assert taken
        assert all(sample["predicted_cost"] == costs[tuple(sample["units"])] for sample in taken)
    # Few structures are 10 % smaller: some were drawn more than once.
    assert sum(line["kind"] == "evaluation" for line in lines) < sum(line["kind"] == "sample" for line in lines)


@pytest.mark.slow
def test_the_published_agent_reaches_what_the_limits_leave(model: Path) -> None:
    limits = Limits(max_ratio=0.5)
    smallest = onnxprune.prune(model, ratios={"first": 0.5, "second": 0.5})
    settings = Settings(
        target=parse_count(graph_cost(load(smallest.output), {}).macs),
        # Agreement with the original: a step that removed nothing would be the best.
        data=pictures()[0],
        allocation="rl-pruner",
        rl_pruner=rl_pruner_config(("share=0.05", "sigma=1", "rounds=2", "samples=5", "epsilon=0", "retakes=0")),
        limits=limits,
    )
    report = run(model, settings).report
    assert [group.channels_after for group in report.groups] == [g.channels_after for g in smallest.report.groups]


@pytest.mark.slow
def test_the_published_agent_trains_within_its_time_over_all_stages(model: Path) -> None:
    budget_s = 5.0
    settings = Settings(
        target=parse_count("50%"),
        data=pictures(),
        allocation="rl-pruner",
        rl_pruner=rl_pruner_config(("share=0.1", "rounds=1", "samples=2")),
        training=DistillConfig(epochs=10**5, batch_size=16, time_budget_s=budget_s),
    )
    stages = run(model, settings).report.stages
    assert len(stages) > 2
    trainings = [stage.training for stage in stages if stage.training is not None]
    assert len(trainings) == len(stages)
    assert all(training.stopped_by == "time budget" for training in trainings)
    assert trainings[-1].steps > 0
    assert sum(training.epochs[-1].elapsed_s for training in trainings) < budget_s


@pytest.mark.slow
def test_the_published_agent_says_from_where_on_time_is_up(model: Path) -> None:
    settings = Settings(
        target=parse_count("50%"),
        data=pictures(),
        allocation="rl-pruner",
        rl_pruner=rl_pruner_config(("share=0.1", "rounds=1", "samples=2")),
        training=DistillConfig(batch_size=16, time_budget_s=1e-6),
    )
    report = run(model, settings).report
    assert [stage.training is None for stage in report.stages] == [False] + [True] * (len(report.stages) - 1)
    (warning,) = [text for text in report.warnings if "time budget is used up" in text]
    assert warning == "the time budget is used up: stages from 2 on are not trained"
