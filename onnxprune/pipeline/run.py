"""The steps of a run, in order: read, score, choose what goes, cut and prove, heal, measure, write."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from onnxprune.errors import DataError, MaxDropExceededError, OutputError
from onnxprune.graph import load, release_weights, save
from onnxprune.importance import criterion, score_units
from onnxprune.latency import Device, LocalDevice, MeasureOptions
from onnxprune.pipeline.judging import (
    HealedJudge,
    Subjects,
    batch_size,
    candidate_healer,
    evaluation_samples,
    search_length,
)
from onnxprune.pipeline.measuring import Bench
from onnxprune.pipeline.outcome import Outcome, evaluate_both, final_latency
from onnxprune.pipeline.planning import Choice, MakeJudge
from onnxprune.pipeline.prepare import InputShapes, Network, read_network
from onnxprune.pipeline.structure import find_structure
from onnxprune.pipeline.summary import make_report
from onnxprune.pipeline.training import Trained, heal, train
from onnxprune.progress import Observer, SilentObserver
from onnxprune.report import Report, write_report
from onnxprune.search import AGENTS, AgentName, AllocationName, Judge, SearchConfig, Target
from onnxprune.training import (
    DataSpec,
    DataSplits,
    DistillConfig,
    Metrics,
    Preprocess,
    open_data,
    synthetic_data,
)

# Enough random inputs to heal on; what training on them is worth is said in the report.
_SYNTHETIC_SAMPLES = 512
# Importance needs few samples; more would only take time.
_CALIBRATION_SAMPLES, _CALIBRATION_BATCH = 256, 32
_CRITERION, _CRITERION_WITH_DATA = "reader_l1", "reconstruction"


@dataclass(frozen=True)
class CompressResult:
    """What a run made.

    Attributes:
        output: The smaller model's file.
        report: The record of the run.
    """

    output: Path
    report: Report


@dataclass(frozen=True)
class Settings:
    """Everything a run is told, beside the model.

    Attributes:
        target: What to reach.
        output: Where the result goes; None: `<stem>.pruned.onnx` beside the model.
        data: Training data, or None.
        val: Validation part, where it is given.
        test: Test part, where it is given.
        preprocess: What is done to the data's values.
        input_shapes: Sizes of dynamic inputs.
        importance: Name of the criterion; None: the default for what data there is.
        allocation: "global", "uniform", or an agent that learns it, "rl" or "random"; None: "rl" where real data is
            trained with, else "global".
        search: How long an agent searches; None: as long as serves for a network of this size.
        round_to: A fixed block of channels, or None for measured ones.
        measure: How latency is measured.
        device: Where.
        training: How to train; None: not at all.
        heal: Without training, correct the weights in closed form; needs data.
        max_drop: Points of the metric that may be lost.
        seed: Seed of everything.
        report: Where report.json goes, or None.
        command: The command line, for the report.
        observer: Told of the progress.
    """

    target: Target
    output: Path | None = None
    data: DataSpec | None = None
    val: DataSpec | None = None
    test: DataSpec | None = None
    preprocess: Preprocess | None = None
    input_shapes: InputShapes | None = None
    importance: str | None = None
    allocation: AllocationName | AgentName | None = None
    search: SearchConfig | None = None
    round_to: int | None = None
    measure: MeasureOptions = field(default_factory=MeasureOptions)
    device: Device = field(default_factory=LocalDevice)
    training: DistillConfig | None = None
    heal: bool = False
    max_drop: float | None = None
    seed: int = 0
    report: Path | None = None
    command: str | None = None
    observer: Observer = field(default_factory=SilentObserver)


def run(model: str | Path, settings: Settings) -> CompressResult:
    """Compress a model as told.

    Raises:
        OnnxPruneError: Anything that stands in the way; nothing is written then, but for
            `MaxDropExceededError`, where the result lies beside the output as `*.rejected.onnx`.
    """
    started = dt.datetime.now(dt.UTC)
    observer = _Collecting(settings.observer)
    observer.stage("reading the model")
    network = read_network(model, settings.input_shapes, settings.measure.batch)
    output = settings.output or network.path.with_name(f"{network.path.stem}.pruned.onnx")
    _check_output(output, network.path)
    if settings.report is not None:
        _check_output(settings.report, network.path)
    data = _open(network, settings, observer)
    scores = _score(network, settings, data, observer)
    choice = _choice(network, settings, data)
    bench = Bench(settings.device, settings.measure, observer)
    structure = find_structure(network, scores, choice, bench, _judge_maker(network, settings, data, scores, observer))
    trained: Trained | None = None
    if settings.training is not None and data is not None:
        config = replace(settings.training, fixed_batch=network.fixed_batch)
        trained = train(network, structure, data, config, observer)
    elif settings.heal and data is not None:
        structure = replace(structure, pruned=heal(network, structure, data, settings.seed, observer))
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        file = Path(folder) / "model.onnx"
        save(structure.pruned if trained is None else trained.model, file)
        # From here on the weights are mapped from the file; the arrays they were made of can go.
        result = load(file)
        structure = replace(structure, pruned=result)
        trained = None if trained is None else replace(trained, model=result)
        latency = final_latency(network, file, choice, bench)
        metrics = evaluate_both(network, file, data, observer) if data is not None else None
        rejection = _rejection(metrics, settings.max_drop)
        if rejection is not None:
            output = output.with_name(f"{output.stem}.rejected.onnx")
        observer.stage("writing")
        save(result, output)
    outcome = Outcome(network, result, output, structure, trained, latency, metrics, tuple(observer.warnings))
    report = make_report(outcome, settings, started)
    if settings.report is not None:
        write_report(report, settings.report)
    if rejection is not None:
        raise MaxDropExceededError(f"{rejection}; the result was written to '{output}' instead")
    return CompressResult(output, report)


class _Collecting:
    """Passes everything on, and keeps the warnings for the report."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.warnings: list[str] = []
        self.stage = observer.stage
        self.advance = observer.advance

    def warn(self, message: str) -> None:
        """Keep the message and pass it on."""
        self.warnings.append(message)
        self._observer.warn(message)


def _check_output(output: Path, model: Path) -> None:
    """Refuse, before hours of work, a path that cannot be written."""
    if output.resolve() == model.resolve():
        raise OutputError(f"'{output}' is the model itself, which is never changed; give another --output")
    if output.is_dir():
        raise OutputError(f"'{output}' is a directory; give a file name")
    if not output.parent.is_dir():
        raise OutputError(f"cannot write '{output}': the folder '{output.parent}' does not exist")
    if not os.access(output.parent, os.W_OK):
        raise OutputError(f"cannot write '{output}': no permission to write in '{output.parent}'")


def _open(network: Network, settings: Settings, observer: Observer) -> DataSplits | None:
    """Open the data; where training has none, random inputs stand in."""
    if settings.data is not None:
        observer.stage("reading data")
        data = open_data(
            settings.data,
            network.inputs,
            network.input_shapes,
            settings.preprocess,
            settings.seed,
            val=settings.val,
            test=settings.test,
        )
    elif settings.training is not None:
        data = synthetic_data(network.inputs, network.input_shapes, _SYNTHETIC_SAMPLES, settings.seed)
    elif settings.heal:
        raise DataError("healing corrects weights on samples: give data (--data); labels are not needed")
    else:
        observer.warn("no data given: how much accuracy the pruning cost was not measured (give --data)")
        return None
    for note in data.notes:
        observer.warn(note)
    return data


def _score(network: Network, settings: Settings, data: DataSplits | None, observer: Observer) -> np.ndarray:
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


def _choice(network: Network, settings: Settings, data: DataSplits | None) -> Choice:
    search = settings.search or SearchConfig(evaluations=search_length(network))
    return Choice(settings.target, _allocation(settings, data), settings.round_to, settings.seed, search)


def _allocation(settings: Settings, data: DataSplits | None) -> AllocationName | AgentName:
    """Choose how the pruning is spread, where the user did not."""
    real = data is not None and not data.synthetic
    if settings.allocation in AGENTS and not real:
        raise DataError(
            f"allocation '{settings.allocation}' judges candidates on samples; give data, or take 'global' or 'uniform'"
        )
    if settings.allocation is not None:
        return settings.allocation
    return "rl" if real and settings.training is not None else "global"


def _judge_maker(
    network: Network, settings: Settings, data: DataSplits | None, scores: np.ndarray, observer: Observer
) -> MakeJudge | None:
    if data is None or data.synthetic:
        return None

    def make() -> Judge:
        observer.stage("preparing to judge candidates")
        heal_candidate = candidate_healer(network, data.train, settings.seed)
        evaluation = data.val.subset(evaluation_samples(network), settings.seed)
        return HealedJudge(Subjects(network, scores, evaluation, heal_candidate))

    return make


def _rejection(metrics: tuple[Metrics, Metrics] | None, max_drop: float | None) -> str | None:
    """Say why the result is refused, or None."""
    if metrics is None or max_drop is None:
        return None
    before, after = metrics
    drop = before.primary - after.primary
    if drop <= max_drop:
        return None
    return f"{before.primary_name} fell by {drop:.2f} points, more than the {max_drop:g} allowed"
