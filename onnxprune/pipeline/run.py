"""The steps of a run, in order: read, score, choose what goes, cut and prove, heal, measure, write."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from onnxprune.channels import verify_reading
from onnxprune.errors import MaxDropExceededError, TargetOutOfReachError
from onnxprune.pipeline.collecting import Collecting
from onnxprune.pipeline.delivery import deliver
from onnxprune.pipeline.digests import data_digest
from onnxprune.pipeline.directory import RunDirectory, open_directory
from onnxprune.pipeline.measuring import Bench
from onnxprune.pipeline.prepare import Network
from onnxprune.pipeline.prepared import Prepared, prepare
from onnxprune.pipeline.reachable import explained
from onnxprune.pipeline.replay import RecordedDevice
from onnxprune.pipeline.run_record import RunRecord, make_record
from onnxprune.pipeline.settings import CompressResult, Settings, arguments_of, told
from onnxprune.pipeline.stages import StageResult
from onnxprune.pipeline.staging import Staging, criterion_name
from onnxprune.pipeline.summary import make_report
from onnxprune.progress import Observer
from onnxprune.report import environment, write_report
from onnxprune.search import met_already


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
    digests = {name: data_digest(getattr(settings, name)) for name in ("data", "val", "test")}
    return make_record(
        model,
        settings.operation,
        arguments_of(settings),
        told(settings),
        environment(),
        device=device,
        data={name: digest for name, digest in digests.items() if digest is not None},
    )


def _run(model: str | Path, settings: Settings, directory: RunDirectory) -> CompressResult:
    started = dt.datetime.now(dt.UTC)
    observer = Collecting(settings.observer)
    prepared = prepare(model, settings, observer)
    _compare_reading(prepared.network, settings, observer)
    bench = Bench(
        RecordedDevice(settings.device, directory.journal), settings.measure, observer, journal=directory.journal
    )
    staging = Staging(
        prepared.network,
        settings,
        prepared.choice,
        prepared.data,
        bench=bench,
        directory=directory,
        observer=observer,
    )
    results = _staged(staging, prepared.network, settings)
    outcome, refusal = deliver(prepared, results, settings, bench, quantiser=staging.quantiser, directory=directory)
    report = make_report(outcome, _resolved(settings, prepared), started, observer)
    for path in (settings.report, directory.report):
        if path is not None:
            write_report(report, path)
    if refusal is not None:
        raise MaxDropExceededError(f"{refusal}; the result was written to '{outcome.output}' instead", report)
    return CompressResult(outcome.output, report)


def _resolved(settings: Settings, prepared: Prepared) -> Settings:
    """Return the settings with what was chosen where the user did not say."""
    search = prepared.choice.search if prepared.choice.searches else None
    return replace(settings, importance=criterion_name(settings, prepared.data), search=search)


def _compare_reading(network: Network, settings: Settings, observer: Observer) -> None:
    if not verify_reading(network.path, network.model, input_shapes=network.free_batch_shapes, seed=settings.seed):
        observer.warn(
            "what was read could not be compared with the file: onnxruntime does not run it as it is, or it gives "
            "other outputs every time"
        )


def _staged(staging: Staging, network: Network, settings: Settings) -> list[StageResult]:
    """Prune, heal and train, in all stages, and say what there is to say of the structure."""
    try:
        results = staging.run()
    except TargetOutOfReachError as error:
        raise explained(error, network, settings) from error
    structure, observer = results[-1].structure, staging.observer
    observer.place = ""
    if staging.choice.counts is None and len(results) == 1 and structure.plan.keep.all():
        observer.warn(f"{met_already(staging.choice.target, structure.plan.original)}: nothing was removed")
    for note in structure.verification.notes:
        observer.warn(note)
    return results
