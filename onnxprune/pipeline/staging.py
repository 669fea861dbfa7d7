"""One stage after the other, as a run's settings say: score, find the structure, cut, heal, train."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from onnxprune.graph import release_weights, to_bytes
from onnxprune.importance import criterion, score_units
from onnxprune.latency import predictor
from onnxprune.pipeline.directory import RunDirectory, keep_scores, kept_scores
from onnxprune.pipeline.judging import HealedJudge, Subjects, batch_size, candidate_healer, evaluation_samples
from onnxprune.pipeline.measuring import Bench, LatencyEvaluator, measure_original
from onnxprune.pipeline.planning import Choice, Planner, make_problem
from onnxprune.pipeline.prepare import Network
from onnxprune.pipeline.replay import RecordedJudge, SearchClock
from onnxprune.pipeline.settings import Settings
from onnxprune.pipeline.stages import (
    Stage,
    StageResult,
    among_left,
    limited,
    run_stages,
    stage_count,
    stage_targets,
)
from onnxprune.pipeline.structure import Structure, find_structure
from onnxprune.pipeline.training import Lesson, Trained, heal, train
from onnxprune.progress import Observer
from onnxprune.search import UNITS, Judge, Judgement, Problem, limit_of, original_cost
from onnxprune.training import DataSplits, EpochRecord, evaluate, sized

# Importance needs few samples; more would only take time.
_CALIBRATION_SAMPLES, _CALIBRATION_BATCH = 256, 32
_CRITERION, _CRITERION_WITH_DATA = "reader_l1", "reconstruction"


class Staging:
    """The stages of one run."""

    def __init__(
        self,
        network: Network,
        settings: Settings,
        choice: Choice,
        data: DataSplits | None,
        *,
        bench: Bench,
        directory: RunDirectory,
    ) -> None:
        """Prepare a run's stages.

        Args:
            network: The original.
            settings: What the run was told.
            choice: How it chooses structures.
            data: Its data, or None.
            bench: Where it measures.
            directory: Where it keeps what must not be computed twice.
        """
        self._network, self._settings, self._choice = network, settings, choice
        self._data, self._bench, self._directory = data, bench, directory
        self._original_ms = 0.0
        self._problem: Problem | None = None

    def run(self) -> list[StageResult]:
        """Run every stage, and return what each made."""
        network, target, bench = self._network, self._choice.target, self._bench
        scores = self._scores(network, 1)
        bench.observer.stage("measuring the original")
        self._original_ms = measure_original(network, bench)
        problem = make_problem(network, scores, self._choice, bench, self._original_ms)
        self._problem = problem
        original = self._original_ms if target.kind == "latency" else original_cost(problem, target)
        self._note_network(original)
        count = stage_count(self._settings.stages, limit_of(target, original) / original, self._settings.training)
        first = Stage(
            1, target, network, np.ones(network.channels.unit_count, dtype=bool), original, self._settings.training
        )
        return run_stages(first, stage_targets(target, original, count), self._stage)

    def _stage(self, stage: Stage) -> StageResult:
        assert self._problem is not None
        files = self._directory.stage(stage.number)
        problem = self._problem
        if stage.number > 1:
            problem = limited(problem, stage, among_left(self._scores(stage.network, stage.number), stage.left))
        choice, observer = replace(self._choice, target=stage.target), self._bench.observer
        evaluator = LatencyEvaluator(stage.network, self._bench, self._original_ms)
        clock = SearchClock()
        planner = Planner(
            problem,
            choice,
            evaluator,
            self._judge(stage, problem.scores, clock),
            start_ms=stage.cost,
            on_judgement=partial(self._note_judgement, stage),
            clock=clock,
        )
        structure = find_structure(stage.network, planner, choice, self._bench)
        trained: Trained | None = None
        data = self._data
        if stage.training is not None and data is not None:
            on_epoch = partial(self._note_epoch, stage)
            lesson = Lesson(stage.network, structure, self._teacher(stage, data), data, files)
            trained = train(lesson, replace(stage.training, fixed_batch=self._network.fixed_batch), observer, on_epoch)
        elif self._settings.heal and data is not None:
            pruned = heal(stage.network, structure, data, self._settings.seed, observer)
            structure = replace(structure, pruned=pruned)
        self._note_structure(stage, structure)
        return StageResult(stage, structure, trained)

    def _scores(self, network: Network, number: int) -> np.ndarray:
        files = self._directory.stage(number)
        if files is not None and files.scores.exists():
            return kept_scores(files.scores)
        scores = score(network, self._settings, self._data, self._bench.observer)
        if files is not None:
            keep_scores(files.scores, scores)
        return scores

    def _judge(self, stage: Stage, scores: np.ndarray, clock: SearchClock) -> Judge | None:
        data, network = self._data, stage.network
        if data is None or data.synthetic:
            return None
        seed, observer = self._settings.seed, self._bench.observer

        def make() -> Judge:
            observer.stage("preparing to judge candidates")
            heal_candidate = candidate_healer(network, data.train, seed)
            evaluation = data.val.subset(evaluation_samples(network), seed)
            return HealedJudge(Subjects(network, scores, evaluation, heal_candidate, self._network))

        return RecordedJudge(make, self._directory.journal, stage.number, clock)

    def _teacher(self, stage: Stage, data: DataSplits) -> Network:
        """Choose whom the pruned network learns from."""
        original, previous = self._network, stage.network
        name = self._settings.teacher
        if stage.number == 1 or name == "original" or (name == "better" and not data.val.labelled):
            return original
        if name == "previous":
            return previous
        before, after = (
            evaluate(sized(predictor(to_bytes(n.model)), n.fixed_batch), data.val).primary for n in (original, previous)
        )
        return previous if after > before else original

    def _note_network(self, original: float) -> None:
        groups = [{"name": g.name, "channels": g.size * g.channels_per_unit} for g in self._network.channels.groups]
        unit = UNITS[self._choice.target.kind]
        self._directory.journal.note("network", {"groups": groups, "cost": original, "unit": unit})

    def _note_judgement(self, stage: Stage, judgement: Judgement) -> None:
        candidate, verdict = judgement.candidate, judgement.verdict

        def fields() -> dict[str, Any]:
            return {
                "round": judgement.round,
                "source": candidate.source,
                "units": candidate.counts.tolist(),
                "reward": verdict.reward,
                "metric": verdict.metric,
                "samples": verdict.samples,
                "predicted_cost": judgement.cost,
                "elapsed_s": round(judgement.elapsed_s, 3),
            }

        self._directory.journal.observe("judgement", {"stage": stage.number, "index": judgement.index}, fields)

    def _note_structure(self, stage: Stage, structure: Structure) -> None:
        plan = structure.plan
        fields = {"stage": stage.number, "units": plan.counts.tolist(), "cost": plan.achieved}
        self._directory.journal.note("structure", fields)

    def _note_epoch(self, stage: Stage, record: EpochRecord) -> None:
        def fields() -> dict[str, Any]:
            return {
                "train_loss": record.train_loss,
                "val_metric": None if record.val is None else record.val.primary,
                "elapsed_s": round(record.elapsed_s, 3),
            }

        self._directory.journal.observe("epoch", {"stage": stage.number, "epoch": record.epoch}, fields)


def score(network: Network, settings: Settings, data: DataSplits | None, observer: Observer) -> np.ndarray:
    """Score every unit of a network, shape (units,), by the criterion that a run was told."""
    real = data is not None and not data.train.synthetic
    name = settings.importance or (_CRITERION_WITH_DATA if real else _CRITERION)
    observer.stage(f"scoring channels by {name}")
    calibration = None
    if data is not None and criterion(name).needs == "data":
        samples = data.train.subset(_CALIBRATION_SAMPLES, settings.seed)
        calibration = list(
            samples.batches(network.fixed_batch or min(batch_size(network), _CALIBRATION_BATCH), drop_last=True)
        )
    scores = score_units(
        name,
        network.model,
        network.channels,
        calibration=calibration,
        seed=settings.seed,
        on_batch=lambda done, total: observer.advance(note=f"{done}/{total} batches"),
    )
    release_weights(network.model)
    return scores
