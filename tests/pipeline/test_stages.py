"""Targets reached in stages, and runs that go on after they were cut off."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.errors import RunDirectoryError, TargetError, TargetOutOfReachError
from onnxprune.latency import Feeds, LatencyStats, MeasureOptions, ModelSource
from onnxprune.latency.device import Progress
from onnxprune.latency.fake import FakeDevice
from onnxprune.pipeline import Settings, preview, run
from onnxprune.pipeline.stages import stage_count, stage_targets, stage_trainings
from onnxprune.progress import SilentObserver
from onnxprune.report.preview import preview_lines
from onnxprune.search import (
    SearchConfig,
    parse_count,
    parse_latency,
    ratio_target,
)
from onnxprune.training import DistillConfig
from tests.pipeline.test_run import by_macs, pictures
from tests.report.conftest import small_cnn


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "cnn.onnx"
    onnx.save(small_cnn(), path)
    return path


def test_every_stage_removes_the_same_share() -> None:
    costs = [target.value for target in stage_targets(parse_count("25%"), 800.0, 2)]
    assert costs == [pytest.approx(400.0), 0.25]
    shares = [target.value for target in stage_targets(ratio_target(0.75), 1.0, 2)]
    assert shares == [pytest.approx(0.5), 0.75]


def test_a_target_far_away_takes_stages_and_training_is_divided() -> None:
    config = DistillConfig(epochs=8)
    assert [stage_count(None, share, config) for share in (0.9, 0.4, 0.3, 0.1)] == [1, 1, 2, 3]
    assert stage_count(None, 0.1, None) == 1
    assert stage_count(3, 0.9, config) == 3


@pytest.mark.parametrize(
    ("config", "stages", "epochs"),
    [
        (DistillConfig(epochs=8), 3, [2, 2, 4]),
        # Whole epochs: what is cut is cut from the first.
        (DistillConfig(epochs=3), 3, [1, 1, 1]),
        (DistillConfig(epochs=4), 3, [1, 1, 2]),
        (DistillConfig(epochs=7), 3, [1, 2, 4]),
        (DistillConfig(epochs=11), 3, [2, 3, 6]),
        (DistillConfig(epochs=2), 3, [1, 1, 1]),
        # 200 steps an epoch make the 10 epochs that one stage trains at least.
        (DistillConfig(batch_size=64), 3, [2, 2, 6]),
        # As many as one stage trains where 2000 steps need more, of the batch size that the network has.
        (DistillConfig(fixed_batch=128), 4, [4, 4, 4, 8]),
        (DistillConfig(epochs=5), 1, [5]),
        (DistillConfig(), 1, [None]),
        (DistillConfig(time_budget_s=8.0), 3, [None, None, None]),
    ],
)
def test_stages_train_together_what_one_stage_trains(
    config: DistillConfig, stages: int, epochs: list[int | None]
) -> None:
    trainings = [training for training in stage_trainings(config, stages, 200 * 64) if training is not None]
    assert [training.epochs for training in trainings] == epochs


def test_a_time_to_train_is_divided_among_stages() -> None:
    trainings = stage_trainings(DistillConfig(epochs=8, time_budget_s=8.0), 3, 100)
    assert [(part.epochs, part.time_budget_s) for part in trainings if part is not None] == [(2, 2), (2, 2), (4, 4)]


@pytest.mark.slow
def test_a_preview_counts_as_many_epochs_in_stages_as_in_one(model: Path) -> None:
    told = {"target_macs": "30%", "data": pictures(), "round_to": 1, "allocation": "global"}
    one, three = (preview("compress", model, **told, stages=stages) for stages in (1, 3))
    assert (three.stages, three.epochs) == (3, one.epochs)


@pytest.mark.slow
def test_a_preview_counts_the_structures_of_all_stages(model: Path) -> None:
    told = {"target_macs": "30%", "data": pictures(), "round_to": 1, "allocation": "random", "search_budget": 8}
    one, two = (preview("compress", model, **told, stages=stages, epochs=2) for stages in (1, 2))
    assert (one.structures, two.structures) == (8, 16)
    assert any("at most 16 structures judged, in 2 stages" in line for line in preview_lines(two))


class Notes(SilentObserver):
    """Remembers the steps, and the notes beside their bars."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.notes: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:  # noqa: ARG002
        self.steps.append(name)

    def advance(self, steps: int = 1, note: str = "") -> None:  # noqa: ARG002
        self.notes.append(note)


def test_the_stage_and_the_best_so_far_are_seen_while_it_works(model: Path) -> None:
    notes = Notes()
    told = {"target_macs": "30%", "data": pictures(), "round_to": 1, "allocation": "random", "search_budget": 4}
    result = onnxprune.compress(model, **told, stages=2, epochs=2, observer=notes)
    for number in (1, 2):
        steps = ("searching (random)", "comparing the best", "removing and verifying", "healing", "distilling")
        assert {f"stage {number} of 2: {step}" for step in steps} <= set(notes.steps)
    assert notes.steps[-1] == "writing"
    found = next(note for note in notes.notes if note.startswith("best "))
    assert re.fullmatch(r"best [\d.]+ at [\d.]+ k MACs \(reward -?[\d.]+, \w+\), [\d.e+]+/s, at most \d+ s left", found)
    # The report adds up what both took.
    assert [step.name for step in result.report.steps].count("searching (random)") == 1


@pytest.mark.slow
def test_a_time_to_search_is_that_of_all_stages(model: Path) -> None:
    notes = Notes()
    settings = Settings(
        target=parse_count("30%"),
        data=pictures(),
        allocation="random",
        search=SearchConfig(evaluations=4, seconds=1000.0),
        stages=2,
        observer=notes,
    )
    assert len(run(model, settings).report.stages) == 2
    left_s = [float(found[1]) for note in notes.notes if (found := re.search(r"at most (\d+) s left", note))]
    assert left_s
    assert 300 < max(left_s) <= 500


@pytest.mark.slow
def test_what_a_ratio_costs_is_told_as_what_it_removes(model: Path, tmp_path: Path) -> None:
    settings = Settings(
        target=ratio_target(0.5),
        data=pictures(),
        round_to=1,
        allocation="rl",
        search=SearchConfig(evaluations=6),
        stages=2,
        run_dir=tmp_path / "r",
        output=tmp_path / "a.onnx",
    )
    first, again = (run(model, replace(settings, resume=goes_on)).report for goes_on in (False, True))
    lines = [json.loads(line) for line in (tmp_path / "r" / "history.jsonl").read_text().splitlines()]
    (network,) = (line for line in lines if line["kind"] == "network")
    assert (network["cost"], network["unit"]) == (0.0, first.target.unit)
    costs = [line["cost"] for line in lines if line["kind"] == "structure"]
    assert costs == [stage.cost for stage in first.stages] == [stage.cost for stage in again.stages]
    assert costs[-1] == first.target.achieved >= 0.5
    predicted = [line["predicted_cost"] for line in lines if line["kind"] == "judgement"]
    assert predicted == [judged.cost for stage in first.stages if stage.learning for judged in stage.learning.judged]
    assert predicted[-1] >= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("target", [{"target_macs": "25%"}, {"target_params": "30%"}, {"target_size": "40%"}])
def test_stages_prune_what_the_stage_before_trained(model: Path, target: dict[str, str]) -> None:
    report = onnxprune.compress(
        model, data=pictures(), epochs=3, batch_size=16, round_to=1, stages=2, search_budget=6, **target
    ).report
    first, last = report.stages
    assert all(after <= before for before, after in zip(first.channels, last.channels, strict=True))
    assert sum(last.channels) < sum(first.channels)
    assert report.target.achieved <= report.target.value
    assert last.channels == tuple(group.channels_after for group in report.groups)
    assert first.training is not None
    assert report.training == last.training


@pytest.mark.parametrize("options", [{"stages": 3}, {"allocation": "rl-pruner"}])
def test_what_only_the_last_stage_would_miss_is_refused_before_the_first(
    model: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    with pytest.raises(TargetOutOfReachError, match="out of reach"):
        onnxprune.compress(
            model, data=pictures(), epochs=3, round_to=1, target_macs="0.5%", run_dir=tmp_path / "run", **options
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("teacher", ["previous", "better"])
def test_a_later_stage_can_learn_from_the_one_before(model: Path, teacher: str) -> None:
    results = {
        name: onnxprune.compress(
            model,
            target_macs="30%",
            data=pictures(),
            epochs=3,
            batch_size=16,
            learning_rate=0.01,
            round_to=1,
            stages=2,
            allocation="global",
            teacher=name,
        ).output.read_bytes()
        for name in ("original", teacher)
    }
    # Random labels: whichever is better, the run ends; the previous stage is another teacher.
    assert teacher == "better" or results["original"] != results[teacher]


def test_stages_and_teachers_are_checked(model: Path) -> None:
    with pytest.raises(TargetError, match="stages must be"):
        onnxprune.compress(model, target_macs="50%", stages=0)
    with pytest.raises(TargetError, match="unknown teacher"):
        onnxprune.compress(model, target_macs="50%", teacher="me")  # type: ignore[arg-type]
    with pytest.raises(TargetError, match="unknown augmentation 'rotate'"):
        onnxprune.compress(model, target_macs="50%", augment="rotate")


class Cut(BaseException):
    """Ends a run as a kill would."""


class DyingDevice(FakeDevice):
    """Noisy, so that what is measured twice differs; dies after some measurements."""

    def __init__(self, measurements: int, seed: int) -> None:
        super().__init__(by_macs, 0.02, seed, lambda s: s.channels_in * s.channels_out * 576e-6)
        self._left = measurements

    def measure(
        self,
        models: Mapping[str, ModelSource],
        feeds: Mapping[str, Feeds],
        options: MeasureOptions,
        on_progress: Progress | None = None,
    ) -> dict[str, LatencyStats]:
        if self._left == 0:
            raise Cut
        self._left -= 1
        return super().measure(models, feeds, options, on_progress)


@pytest.mark.slow
@pytest.mark.parametrize("training", [DistillConfig(epochs=3, batch_size=16), None])
def test_a_run_that_goes_on_sees_what_it_saw(model: Path, tmp_path: Path, training: DistillConfig | None) -> None:
    settings = Settings(
        target=parse_latency("40%"),
        data=pictures(200),
        allocation="rl",
        search=SearchConfig(evaluations=10),
        training=training,
        heal=training is None,
        stages=2,
        run_dir=tmp_path / "run",
    )
    cuts = 0
    while True:
        try:
            device = DyingDevice(1, seed=cuts)
            result = run(model, replace(settings, device=device, resume=cuts > 0, output=tmp_path / "a.onnx"))
            break
        except Cut:
            cuts += 1
    assert cuts > 3
    # What the last attempt was given is all that a run in one piece needs to end the same.
    whole = run(model, replace(settings, device=DyingDevice(0, 0), resume=True, output=tmp_path / "b.onnx"))
    assert whole.output.read_bytes() == result.output.read_bytes()
    assert [s.channels for s in whole.report.stages] == [s.channels for s in result.report.stages]


class OtherDevice(FakeDevice):
    """Called as the other one, as this machine is everywhere, but of other hardware."""

    def fingerprint(self, options: MeasureOptions) -> dict[str, object]:
        return {**super().fingerprint(options), "cpu": "another", "onnxruntime": "1.99"}


@pytest.mark.parametrize("measurements", [0, 1])
def test_a_run_that_measured_does_not_go_on_on_another_device(model: Path, tmp_path: Path, measurements: int) -> None:
    # Of a fixed block, no layer is measured.
    settings = Settings(target=parse_count("50%"), round_to=1, run_dir=tmp_path / "run", output=tmp_path / "a.onnx")
    if measurements:
        settings = replace(settings, target=parse_latency("50%"))
    with pytest.raises(Cut):
        run(model, replace(settings, device=DyingDevice(measurements, 0)))
    again = replace(settings, device=OtherDevice(by_macs), resume=True)
    if not measurements:
        run(model, again)
        # It measured there now.
        again = replace(again, device=FakeDevice(by_macs))
    with pytest.raises(RunDirectoryError) as refused:
        run(model, again)
    both = ("cpu: 'fake' then, 'another' now", "onnxruntime: not known then, '1.99' now")
    other = ("cpu: 'another' then, 'fake' now", "onnxruntime: '1.99' then, not known now")
    assert all(words in str(refused.value) for words in (both if measurements else other))


def test_a_run_does_not_go_on_with_other_weights_beside_its_model(tmp_path: Path) -> None:
    model, data, told = tmp_path / "m.onnx", tmp_path / "m.onnx.data", {"target_macs": "50%", "round_to": 1}
    onnx.save(small_cnn(), model, save_as_external_data=True, location=data.name, size_threshold=0)
    onnxprune.prune(model, run_dir=tmp_path / "run", **told)
    onnxprune.prune(model, run_dir=tmp_path / "run", resume=True, **told)
    content = bytearray(data.read_bytes())
    data.unlink()
    with pytest.raises(RunDirectoryError, match=r"its model's file '.*m\.onnx\.data' cannot be read: No such file"):
        onnxprune.prune(model, run_dir=tmp_path / "run", resume=True, **told)
    content[0] ^= 1
    data.write_bytes(content)
    with pytest.raises(RunDirectoryError, match=r"its weights in 'm\.onnx\.data' beside '.*' have changed .*; put the"):
        onnxprune.prune(model, run_dir=tmp_path / "run", resume=True, **told)


def test_a_directory_belongs_to_one_run(model: Path, tmp_path: Path) -> None:
    x = pictures()[0]
    onnxprune.prune(model, target_macs="50%", data=x, round_to=1, run_dir=tmp_path / "r")
    with pytest.raises(RunDirectoryError, match="holds a run already"):
        onnxprune.prune(model, target_macs="50%", data=x, round_to=1, run_dir=tmp_path / "r")
    with pytest.raises(RunDirectoryError, match="was told seed = 0, not 1"):
        onnxprune.prune(model, target_macs="50%", data=x, round_to=1, run_dir=tmp_path / "r", resume=True, seed=1)
    with pytest.raises(RunDirectoryError, match="holds no run"):
        onnxprune.prune(model, target_macs="50%", data=x, round_to=1, run_dir=tmp_path / "s", resume=True)
    onnx.save(small_cnn(batch="1"), model)
    again = r"has changed since it began; put the file back as it was, or start a new run with another --run-dir"
    with pytest.raises(RunDirectoryError, match=again):
        onnxprune.prune(model, target_macs="50%", data=x, round_to=1, run_dir=tmp_path / "r", resume=True)


def test_scores_are_kept(model: Path, tmp_path: Path) -> None:
    onnxprune.prune(model, target_macs="50%", round_to=1, run_dir=tmp_path / "r")
    from onnxprune.pipeline.directory import kept_scores

    assert np.isfinite(kept_scores(tmp_path / "r" / "stage-1" / "scores.safetensors")).all()


@pytest.mark.slow
def test_a_limit_of_macs_is_met_alike_whatever_the_latency_of_the_day(model: Path) -> None:
    def kept(ms: float) -> list[tuple[int, ...]]:
        device = FakeDevice(
            lambda *which: ms * by_macs(*which), layer_ms=lambda s: s.channels_in * s.channels_out * 576e-6
        )
        told = {"target": parse_count("50%"), "data": pictures(), "allocation": "rl", "training": None}
        report = run(model, Settings(**told, device=device, search=SearchConfig(evaluations=12))).report
        assert report.learning is not None
        return [judged.channels for judged in report.learning.judged]

    assert kept(1.0) == kept(100.0)
