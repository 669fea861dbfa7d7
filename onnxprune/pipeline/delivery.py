"""The end of a run: the result is quantised where that was asked for, measured, judged, and written."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from onnxprune.graph import load, save
from onnxprune.pipeline.directory import RunDirectory
from onnxprune.pipeline.files import rejected_output
from onnxprune.pipeline.layer_figures import layer_records
from onnxprune.pipeline.measuring import Bench, noise_note
from onnxprune.pipeline.outcome import Outcome, evaluate_all, final_latency
from onnxprune.pipeline.prepare import Network
from onnxprune.pipeline.prepared import Prepared
from onnxprune.pipeline.quantising import Quantiser
from onnxprune.pipeline.settings import Settings
from onnxprune.pipeline.stages import StageResult
from onnxprune.pipeline.versions import Versions
from onnxprune.report import LayerRecord
from onnxprune.report.units import score_digits
from onnxprune.training import Metrics


def deliver(
    prepared: Prepared,
    results: list[StageResult],
    settings: Settings,
    bench: Bench,
    *,
    quantiser: Quantiser | None,
    directory: RunDirectory,
) -> tuple[Outcome, str | None]:
    """Write the result of the last stage, with what it is worth.

    Args:
        prepared: The original, the data and the target.
        results: What every stage made; the last one's network is mapped from the file afterwards.
        settings: What the run was told.
        bench: Where latency is measured.
        quantiser: Makes integers of the result; None: it stays float.
        directory: Where quantised networks are kept, so that they are made once.

    Returns:
        What the run found out, and why the result is refused: then it lies beside its place. None: it is not.
    """
    network, choice, data, observer = prepared.network, prepared.choice, prepared.data, bench.observer
    structure, trained = results[-1].structure, results[-1].trained
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        file = Path(folder) / "model.onnx"
        versions = Versions(network, Path(folder), directory)
        if quantiser is not None:
            observer.stage("quantising")
            versions.add(quantiser, structure, trained, file)
        else:
            save(structure.pruned if trained is None else trained.model, file)
        # From here on the weights are mapped from the file; the arrays they were made of can go.
        result = load(file)
        structure = replace(structure, pruned=result)
        trained = None if trained is None else replace(trained, model=result, healed=None)
        results[-1] = replace(results[-1], structure=structure, trained=trained)
        stats = final_latency(
            network,
            file,
            choice,
            bench,
            expected_ms=structure.plan.achieved,
            others=versions.timed,
            unchanged=bool(structure.plan.keep.all()),
        )
        noise = noise_note(bench, stats.values())
        if noise is not None:
            observer.warn(noise)
        layers = _layers(network, result, settings, bench)
        files = {**versions.judged, "result": file}
        judged = evaluate_all(network, files, data, observer) if data is not None else None
        metrics = (judged[0], judged[-1]) if judged is not None else None
        quantised = versions.record(stats, judged, observer)
        refusal = _refusal(metrics, settings.max_drop)
        output = prepared.output if refusal is None else rejected_output(prepared.output)
        observer.stage("writing")
        save(result, output)
    outcome = Outcome(
        network=network,
        target=choice.target,
        result=result,
        output=output,
        structure=structure,
        trained=trained,
        latency=(stats["original"], stats["pruned"]),
        metrics=metrics,
        stages=tuple(results),
        layers=layers,
        quantised=quantised,
    )
    return outcome, refusal


def _layers(network: Network, result: ir.Model, settings: Settings, bench: Bench) -> tuple[LayerRecord, ...]:
    """Time the result's layers beside the original's, unless the user's own block made that superfluous."""
    if settings.round_to is not None:
        return ()
    bench.observer.stage("measuring the result's layers")
    return layer_records(network, result, bench.costs, settings.quantize)


def _refusal(metrics: tuple[Metrics, Metrics] | None, max_drop: float | None) -> str | None:
    """Say why the result is refused, or None."""
    if metrics is None or max_drop is None:
        return None
    before, after = metrics
    if after.failure is not None:
        return (
            f"it is not known whether {before.primary_name} fell by more than the {max_drop:g} allowed: {after.failure}"
        )
    drop = before.primary - after.primary
    if drop <= max_drop:
        return None
    name = before.primary_name
    return f"{name} fell by {score_digits(drop, name)} points, more than the {max_drop:g} allowed"
