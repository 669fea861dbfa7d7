"""One stage after the other, as a run's settings say: score, find the structure, cut, heal, train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from onnxprune.graph import release_weights
from onnxprune.importance import criterion, score_units
from onnxprune.latency import predictor
from onnxprune.pipeline.branches import with_branches
from onnxprune.pipeline.collecting import Collecting
from onnxprune.pipeline.crowding import crowding_note
from onnxprune.pipeline.directory import RunDirectory, keep_scores, kept_scores, other_structure
from onnxprune.pipeline.judging import HealedJudge, Subjects, batch_size, candidate_healer, evaluation_samples
from onnxprune.pipeline.measuring import Bench, LatencyEvaluator
from onnxprune.pipeline.opening import judged_alone
from onnxprune.pipeline.planning import (
    Choice,
    Planner,
    beginning_of,
    is_missed,
    kept_structures,
    left_as_it_is,
    make_problem,
    smallest_cost,
)
from onnxprune.pipeline.prepare import Network, runnable
from onnxprune.pipeline.published import run_published
from onnxprune.pipeline.quantising import Quantiser, measured_start
from onnxprune.pipeline.replay import RecordedJudge, SearchClock, recorded_end
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
from onnxprune.pipeline.training import Lesson, Trained, draft_healer, final_healer, heal, train
from onnxprune.pipeline.unheeded import stages_note
from onnxprune.progress import Observer
from onnxprune.search import (
    UNITS,
    Beginning,
    Judge,
    Judgement,
    Problem,
    Sample,
    calibrated,
    in_reach,
    limit_of,
    met_already,
    original_cost,
    out_of_reach,
    told_cost,
    with_kept,
)
from onnxprune.training import Batch, DataSplits, DistillConfig, EpochRecord, evaluate, sized

# Importance needs few samples; more would only take time.
CALIBRATION_SAMPLES, _CALIBRATION_BATCH = 256, 32
_CRITERION, _CRITERION_WITH_DATA, _PUBLISHED = "reader_l1", "reconstruction", "taylor"


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
        observer: Collecting,
    ) -> None:
        """Prepare a run's stages.

        Args:
            network: The original.
            settings: What the run was told.
            choice: How it chooses structures.
            data: Its data, or None.
            bench: Where it measures.
            directory: Where it keeps what must not be computed twice.
            observer: Told of the progress, and in which stage it is.
        """
        self._network, self.settings, self.choice = network, settings, choice
        self._data, self._bench, self._directory = data, bench, directory
        self.observer = observer
        self.original_ms = 0.0
        self.start_ms = 0.0
        self.problem: Problem | None = None
        self.quantiser: Quantiser | None = None

    def run(self) -> list[StageResult]:
        """Run every stage, and return what each made."""
        network, target = self._network, self.choice.target
        scores = self.scores(network, 1)
        self._measure_original()
        exactly = original_cost(make_problem(network, scores, self._unmeasured, self._bench, 0.0), target)
        original, start = (self.original_ms, self.start_ms) if target.kind == "latency" else (exactly, exactly)
        limit = limit_of(target, original)
        met = left_as_it_is(self.choice, network.channels, start, limit)
        if met is not None:
            self.choice = met
            self.observer.warn(f"{met_already(target, start)}: nothing was removed")
        problem = make_problem(network, scores, self.choice, self._bench, self.start_ms)
        self.problem = self._calibrated(self._opened(self._limited(problem, limit)))
        self._note_network(original)
        everything = np.ones(network.channels.unit_count, dtype=bool)
        training = with_batch(self.settings.training, network)
        first = Stage(1, target, network, everything, start, training)
        wanted = self.settings.stages if start > limit and self.choice.counts is None else 1
        count = stage_count(wanted, limit / start, training)
        self.choice = replace(self.choice, search=self.choice.search.divided(count))
        published = self.choice.source == "rl-pruner" and met is None
        if count > 1 or published:
            self._check_reach(first, limit)
        if published:
            return run_published(self, first, limit)
        for note in stages_note(self.settings, self.choice, count):
            self.observer.warn(note)
        samples = 0 if self._data is None else len(self._data.train)
        return run_stages(first, stage_targets(target, start, count, limit), samples, partial(self._stage, count))

    @property
    def _unmeasured(self) -> Choice:
        """The choice, for a problem of which no layer needs to be measured."""
        return replace(self.choice, round_to=self.choice.round_to or 1)

    def _check_reach(self, stage: Stage, limit: float) -> None:
        """Refuse at once what only the last of several stages would find out of reach."""
        assert self.problem is not None
        lowest = smallest_cost(self.problem, stage.target, self.evaluator(stage), self.observer)
        if is_missed(stage.target, lowest / limit):
            raise out_of_reach(stage.target, limit, lowest, stage.cost, self.beginning(stage))

    def _measure_original(self) -> None:
        """Measure the original, and what pruning begins with: the same, or in int8 where the result will be."""
        batches: Sequence[Batch] = ()
        if self.settings.quantize is not None:
            assert self._data is not None
            batches = calibration_batches(self._network, self._data, self.settings.seed)
        start = measured_start(self._network, self.settings, self.choice, self._bench, batches)
        self.original_ms, self.start_ms, self.quantiser = start.original_ms, start.start_ms, start.quantiser
        self._bench, self.choice, self.settings = start.bench, start.choice, start.settings
        if self.settings.training is not None or self.settings.heal:
            note = crowding_note(self._bench.device.name, self._bench.device.conditions)
            if note is not None:
                self.observer.warn(note)

    def _limited(self, problem: Problem, limit: float) -> Problem:
        """Keep to the user's limits, and let more go where efficient counts alone do not reach the target."""
        limits, choice = self.settings.limits, self.choice
        problem = limits.on(problem)
        if choice.round_to is not None or choice.counts is not None:
            return problem
        return in_reach(problem, choice.target, limit, limits.least(problem.channels))

    def _opened(self, problem: Problem) -> Problem:
        """Let branches go whole, where that can be judged and was not ruled out."""
        data = self._data
        if data is None or not branches_may_go(self.settings, self.choice, data):
            return problem
        self.observer.stage("finding branches that can go whole")
        return with_branches(problem, self._network, calibration_batches(self._network, data, self.settings.seed))

    def _calibrated(self, problem: Problem) -> Problem:
        """Correct the predicted latency by what a profile measured, or measure where an agent is to search by it."""
        if self.choice.target.kind != "latency":
            return problem
        known = kept_structures(self._network, self._bench)
        if (corrected := with_kept(problem, known, self.original_ms)) is not None:
            return corrected
        if not self.choice.searches or self.choice.round_to is not None:
            return problem
        evaluator = LatencyEvaluator(self._network, self._bench, self.original_ms)
        self.observer.stage("calibrating the latency model")

        def on_measured(predicted: float, measured: float) -> None:
            self.observer.advance(note=f"{measured:.3g} ms measured, {predicted:.3g} ms predicted")

        return calibrated(problem, evaluator, self.start_ms, self.choice.seed, on_measured)

    def _stage(self, count: int, stage: Stage) -> StageResult:
        self.observer.place = f"stage {stage.number} of {count}" if count > 1 else ""
        problem = self.problem_of(stage)
        choice = replace(self.choice, target=stage.target, strict=stage.last)
        clock = SearchClock()
        planner = Planner(
            problem,
            choice,
            self.evaluator(stage),
            self.judge(stage, problem.scores, clock),
            start_ms=stage.cost,
            beginning=self.beginning(stage),
            on_judgement=partial(self._note_judgement, stage),
            clock=clock,
            time_up=recorded_end(self._directory.journal, stage.number),
        )
        return self.finish(stage, find_structure(stage.network, planner, choice, self._bench))

    def problem_of(self, stage: Stage) -> Problem:
        """Return what a stage decides about: what is left, scored anew."""
        assert self.problem is not None
        if stage.number == 1:
            return self.problem
        return limited(self.problem, stage, among_left(self.scores(stage.network, stage.number), stage.left))

    def beginning(self, stage: Stage) -> Beginning | None:
        """Say what a stage begins with, where that is not the original as it is."""
        return beginning_of(self.choice, self._bench, self.original_ms, stage.number)

    def evaluator(self, stage: Stage) -> LatencyEvaluator:
        """Return what measures a stage's structures."""
        return LatencyEvaluator(stage.network, self._bench, self.original_ms)

    def finish(self, stage: Stage, structure: Structure) -> StageResult:
        """Heal and train a stage's structure, as the run was told."""
        data, observer, heals = self._data, self._bench.observer, self.settings.heal
        trained: Trained | None = None
        self._note_structure(stage, structure)
        if structure.plan.keep.all():
            # Nothing was lost that could be made up for: what int8 costs comes after it.
            return StageResult(stage, structure, None)
        if stage.training is not None and data is not None:
            on_epoch = partial(self._note_epoch, stage)
            files = self._directory.stage(stage.number)
            shows_start = self.quantiser is not None
            lesson = Lesson(stage.network, structure, self._teacher(stage, data), data, files, heals, shows_start)
            trained = train(lesson, stage.training, observer, on_epoch)
        elif heals and data is not None:
            pruned = heal(stage.network, structure, data, self.settings.seed, observer)
            structure = replace(structure, pruned=pruned)
        return StageResult(stage, structure, trained)

    def scores(self, network: Network, number: int) -> np.ndarray:
        """Score every unit of a stage's network, or take the scores that were kept."""
        files = self._directory.stage(number)
        if files is not None and files.scores.exists():
            return kept_scores(files.scores)
        scores = score(network, self.settings, self._data, self._bench.observer)
        if files is not None:
            keep_scores(files.scores, scores)
        return scores

    def judge(self, stage: Stage, scores: np.ndarray, clock: SearchClock) -> Judge | None:
        """Return the judge of a stage's structures; None without data."""
        data, network = self._data, stage.network
        if data is None or data.synthetic:
            return None
        seed, observer = self.settings.seed, self._bench.observer

        def make() -> Judge:
            observer.advance(0, note="preparing to judge candidates")
            heals = self.settings.heal
            heal_candidate = candidate_healer(network, data.train, seed) if heals else None
            finish = final_healer(network, data.train, seed) if heals else None
            draft = draft_healer(network, data.train, seed) if heals else None
            evaluation = data.val.spread(evaluation_samples(network), seed)
            return HealedJudge(Subjects(network, scores, evaluation, heal_candidate, self._network, finish, draft))

        return RecordedJudge(make, self._directory.journal, stage.number, clock)

    def _teacher(self, stage: Stage, data: DataSplits) -> Network:
        """Choose whom the pruned network learns from."""
        original, previous = self._network, stage.network
        name = self.settings.teacher
        if stage.number == 1 or name == "original" or (name == "better" and not judged_alone(original, data.val)):
            return original
        if name == "previous":
            return previous
        before, after = (
            evaluate(sized(predictor(runnable(n.model)), n.fixed_batch), data.val, forgiving=True).primary
            for n in (original, previous)
        )
        return previous if after > before else original

    def _note_network(self, original: float) -> None:
        groups = [
            {"name": group.name, "units": group.size, "channels": group.size * group.channels_per_unit}
            for group in self._network.channels.groups
        ]
        kind = self.choice.target.kind
        own = {} if self.settings.metric is None else {"metric": self.settings.metric.name}
        fields = {"groups": groups, "cost": told_cost(kind, original), "unit": UNITS[kind], **own}
        self._directory.journal.note("network", fields)

    def _note_judgement(self, stage: Stage, judgement: Judgement) -> None:
        candidate, verdict = judgement.candidate, judgement.verdict
        if not verdict.known:
            return

        def fields() -> dict[str, Any]:
            return {
                "round": judgement.round,
                "source": candidate.source,
                "units": candidate.counts.tolist(),
                "reward": verdict.reward,
                "metric": verdict.metric,
                "samples": verdict.samples,
                "predicted_cost": told_cost(stage.target.kind, judgement.cost),
                "elapsed_s": round(judgement.elapsed_s, 3),
            }

        self._directory.journal.observe("judgement", {"stage": stage.number, "index": judgement.index}, fields)

    def note_sample(self, stage: Stage, number: int, sample: Sample, cost: float) -> None:
        """Write down a sample of `rl-pruner`: what it leaves, its Q, and what it costs by prediction."""
        fields = {"units": sample.counts.tolist(), "metric": sample.metric, "value": sample.value}
        fields["predicted_cost"] = told_cost(stage.target.kind, cost)
        self._directory.journal.observe("sample", {"stage": stage.number, "index": number}, lambda: fields)

    def _note_structure(self, stage: Stage, structure: Structure) -> None:
        """Write down what a stage took; see that what was healed and trained before is of the same structure.

        Raises:
            RunDirectoryError: It is of another one.
        """
        units: list[int] = structure.plan.counts.tolist()
        cost = told_cost(stage.target.kind, structure.plan.achieved)
        fields = {"units": units, "cost": cost}
        taken = self._directory.journal.observe("structure", {"stage": stage.number}, lambda: fields).get("units")
        if taken != units:
            raise other_structure(self._directory.path, stage.number)

    def _note_epoch(self, stage: Stage, record: EpochRecord) -> None:
        def fields() -> dict[str, Any]:
            return {
                "train_loss": record.train_loss,
                "val_metric": None if record.val is None else record.val.to_dict()["primary"],
                "elapsed_s": round(record.elapsed_s, 3),
            }

        self._directory.journal.observe("epoch", {"stage": stage.number, "epoch": record.epoch}, fields)


def with_batch(training: DistillConfig | None, network: Network) -> DistillConfig | None:
    """Tell the training of the batch size that the network's module has, where it has no choice."""
    return None if training is None else replace(training, fixed_batch=network.module_batch)


def branches_may_go(settings: Settings, choice: Choice, data: DataSplits | None) -> bool:
    """Say whether whole branches may go: where that can be judged and was not ruled out."""
    if not settings.branches or data is None or data.synthetic or choice.target.kind == "ratio":
        return False
    if choice.counts is not None:
        return False
    return choice.allocation not in {"uniform", "rl-pruner"} and not settings.limits.any


def criterion_name(settings: Settings, data: DataSplits | None) -> str:
    """Return the criterion that a run was told, or the default for what data there is."""
    if settings.importance is not None:
        return settings.importance
    if settings.allocation == "rl-pruner":
        return _PUBLISHED
    return _CRITERION_WITH_DATA if data is not None and not data.train.synthetic else _CRITERION


def score(network: Network, settings: Settings, data: DataSplits | None, observer: Observer) -> np.ndarray:
    """Score every unit of a network, shape (units,), by the criterion that a run was told."""
    name = criterion_name(settings, data)
    observer.stage(f"scoring channels by {name}")
    calibration = None
    if data is not None and criterion(name).needs == "data":
        samples = settings.rl_pruner.images if settings.allocation == "rl-pruner" else CALIBRATION_SAMPLES
        calibration = calibration_batches(network, data, settings.seed, samples)
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


def calibration_batches(network: Network, data: DataSplits, seed: int, count: int = CALIBRATION_SAMPLES) -> list[Batch]:
    """Draw the samples of the training part that criteria see."""
    samples = data.train.spread(count, seed).filled(network.fixed_batch or 1)
    size = network.fixed_batch or min(batch_size(network), _CALIBRATION_BATCH)
    return list(samples.batches(size, drop_last=True))
