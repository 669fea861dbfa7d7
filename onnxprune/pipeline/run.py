"""The steps of a run, in order: read, score, choose what goes, cut and prove, heal, measure, write."""

from __future__ import annotations

import datetime as dt
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import onnx_ir as ir
from pydantic import JsonValue

from onnxprune.channels import verify_reading
from onnxprune.errors import DataError, MaxDropExceededError, QuantisedModelError, TargetOutOfReachError
from onnxprune.graph import check_writable, is_quantised, load, save
from onnxprune.pipeline.collecting import Collecting
from onnxprune.pipeline.directory import RunDirectory, RunRecord, make_record, open_directory
from onnxprune.pipeline.files import check_files, default_output, rejected_output
from onnxprune.pipeline.judging import search_length
from onnxprune.pipeline.layer_figures import layer_records
from onnxprune.pipeline.measuring import Bench, noise_note
from onnxprune.pipeline.opening import opened_data
from onnxprune.pipeline.outcome import Outcome, evaluate_all, final_latency
from onnxprune.pipeline.planning import Choice
from onnxprune.pipeline.prepare import Network, read_network, runnable
from onnxprune.pipeline.quantising import check_calibration, check_quantisable
from onnxprune.pipeline.reachable import explained
from onnxprune.pipeline.replay import RecordedDevice
from onnxprune.pipeline.settings import CompressResult, Settings, arguments_of, told
from onnxprune.pipeline.staging import Staging
from onnxprune.pipeline.summary import make_report
from onnxprune.pipeline.unheeded import check_without_data, unheeded
from onnxprune.pipeline.versions import Versions
from onnxprune.progress import Observer
from onnxprune.report import LayerRecord, environment, write_report
from onnxprune.search import (
    AGENTS,
    AgentName,
    AllocationName,
    GroupRatios,
    SearchConfig,
    kept_share,
    met_already,
    ratio_target,
)
from onnxprune.training import DataSplits, Metrics


def run(model: str | Path, settings: Settings) -> CompressResult:
    """Compress a model as told.

    Raises:
        OnnxPruneError: Anything that stands in the way; nothing is written then, but for
            `MaxDropExceededError`, where the result lies beside the output as `*.rejected.onnx`, and for what the
            run directory holds.
    """
    with open_directory(settings.run_dir, lambda: _record(Path(model), settings), resume=settings.resume) as directory:
        return _run(model, settings, directory)


def _record(model: Path, settings: Settings) -> RunRecord:
    device = cast(dict[str, JsonValue], settings.device.fingerprint(settings.measure))
    return make_record(model, settings.operation, arguments_of(settings), told(settings), environment(), device=device)


def _run(model: str | Path, settings: Settings, directory: RunDirectory) -> CompressResult:
    started = dt.datetime.now(dt.UTC)
    observer = Collecting(settings.observer)
    prepared = prepare(model, settings, observer)
    network, output, data, choice = prepared.network, prepared.output, prepared.data, prepared.choice
    if not verify_reading(network.path, network.model, input_shapes=network.free_batch_shapes, seed=settings.seed):
        observer.warn(
            "what was read could not be compared with the file: onnxruntime does not run it as it is, or it gives "
            "other outputs every time"
        )
    bench = Bench(RecordedDevice(settings.device, directory.journal), settings.measure, observer)
    staging = Staging(network, settings, choice, data, bench=bench, directory=directory)
    try:
        results = staging.run()
    except TargetOutOfReachError as error:
        raise explained(error, network, settings) from error
    structure, trained = results[-1].structure, results[-1].trained
    if staging.choice.counts is None and len(results) == 1 and structure.plan.keep.all():
        observer.warn(f"{met_already(choice.target, structure.plan.original)}: nothing was removed")
    for note in structure.verification.notes:
        observer.warn(note)
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        file = Path(folder) / "model.onnx"
        steps = Versions(network, Path(folder), directory)
        if staging.quantiser is not None:
            observer.stage("quantising")
            steps.add(staging.quantiser, structure, trained, file)
        else:
            save(structure.pruned if trained is None else trained.model, file)
        # From here on the weights are mapped from the file; the arrays they were made of can go.
        result = load(file)
        structure = replace(structure, pruned=result)
        trained = None if trained is None else replace(trained, model=result, healed=None)
        results[-1] = replace(results[-1], structure=structure, trained=trained)
        stats = final_latency(network, file, choice, bench, expected_ms=structure.plan.achieved, others=steps.timed)
        noise = noise_note(bench, stats.values())
        if noise is not None:
            observer.warn(noise)
        layers = _layers(network, result, settings, bench)
        files = {**steps.judged, "result": file}
        judged = evaluate_all(network, files, data, observer) if data is not None else None
        metrics = (judged[0], judged[-1]) if judged is not None else None
        quantised = steps.record(stats, judged, observer)
        rejection = _rejection(metrics, settings.max_drop)
        if rejection is not None:
            output = rejected_output(output)
        observer.stage("writing")
        save(result, output)
    warnings = tuple(observer.warnings)
    latency = stats["original"], stats["pruned"]
    outcome = Outcome(
        network,
        choice.target,
        result,
        output,
        structure,
        trained,
        latency,
        metrics,
        warnings,
        stages=tuple(results),
        layers=layers,
        quantised=quantised,
    )
    report = make_report(outcome, settings, started, observer.steps())
    for path in (settings.report, directory.report):
        if path is not None:
            write_report(report, path)
    if rejection is not None:
        raise MaxDropExceededError(f"{rejection}; the result was written to '{output}' instead")
    return CompressResult(output, report)


@dataclass(frozen=True)
class Prepared:
    """What a run knows before it computes anything.

    Attributes:
        network: The original.
        output: Where the result goes.
        data: The data in its parts; None: there is none.
        choice: How the structure is chosen.
    """

    network: Network
    output: Path
    data: DataSplits | None
    choice: Choice


def prepare(model: str | Path, settings: Settings, observer: Observer) -> Prepared:
    """Read the model and the data, and refuse what cannot end well.

    Raises:
        OnnxPruneError: The model, the data or a path to be written cannot be used.
    """
    check_without_data(settings)
    observer.stage("reading the model")
    network = read_network(model, settings.input_shapes, settings.measure.batch, settings.restriction)
    _check_format(network, settings, observer)
    output = settings.output or default_output(network.path)
    check_files({"model": network.path, "output": output, "report": settings.report, "run_dir": settings.run_dir})
    for path in (output, settings.report):
        if path is not None:
            check_writable(path)
    data = opened_data(network, settings, observer)
    check_calibration(data, settings.quantize)
    choice = _choice(network, settings, data)
    for note in unheeded(settings, choice, network):
        observer.warn(note)
    return Prepared(network, output, data, choice)


def _layers(network: Network, result: ir.Model, settings: Settings, bench: Bench) -> tuple[LayerRecord, ...]:
    """Time the result's layers beside the original's, unless the user's own block made that superfluous."""
    if settings.round_to is not None:
        return ()
    bench.observer.stage("measuring the result's layers")
    return layer_records(network, result, bench.costs)


def _check_format(network: Network, settings: Settings, observer: Observer) -> None:
    """Refuse to train integers, and say where copies stand in."""
    if settings.training is not None and is_quantised(network.model):
        raise QuantisedModelError(
            f"'{network.path}' is quantised already: its weights are integers, which cannot be trained. "
            "Compress the float model that it was made from (--quantize int8 gives integers again), or prune it as it "
            "is, without training: onnxprune prune --heal --data DATA"
        )
    if settings.quantize is not None:
        check_quantisable(network)
    if runnable(network.model, settings.measure.provider) is not network.model:
        observer.warn("onnxruntime runs no bfloat16 on the CPU: latency and accuracy are those of float32 copies")


def _choice(network: Network, settings: Settings, data: DataSplits | None) -> Choice:
    search = settings.search or SearchConfig(evaluations=search_length(network))
    if isinstance(settings.target, GroupRatios):
        counts = settings.target.counts(network.channels, settings.limits)
        target = ratio_target(1 - kept_share(network.channels, counts), settings.target.text)
        return Choice(target, "global", None, settings.seed, search, counts)
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


def _rejection(metrics: tuple[Metrics, Metrics] | None, max_drop: float | None) -> str | None:
    """Say why the result is refused, or None."""
    if metrics is None or max_drop is None:
        return None
    before, after = metrics
    drop = before.primary - after.primary
    if drop <= max_drop:
        return None
    return f"{before.primary_name} fell by {drop:.2f} points, more than the {max_drop:g} allowed"
