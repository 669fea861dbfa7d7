"""`bench`: models side by side on a device, what is inside them, and what became of them since a baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxprune.errors import ArgumentError, DeviceError, TargetError
from onnxprune.graph import check_writable, graph_cost, random_inputs, read_unchanged, resolve_input_shapes, samples_of
from onnxprune.latency import (
    BUSY_SPREAD,
    Feeds,
    InspectableDevice,
    LatencyStats,
    MeasureOptions,
    check_sessions,
    choose,
    layer_times,
    opened,
    p50_ratio,
)
from onnxprune.latency.providers import PROVIDERS
from onnxprune.pipeline.argument_types import typed
from onnxprune.pipeline.baselines import QUIETER, check_device, check_sizes, regressions, unclear
from onnxprune.pipeline.collecting import Collecting
from onnxprune.pipeline.files import check_files
from onnxprune.pipeline.prepare import InputShapes, load_models
from onnxprune.pipeline.unheeded import batch_note
from onnxprune.progress import Observer, SilentObserver
from onnxprune.report import (
    BenchedModel,
    BenchResult,
    CopyFigures,
    DeviceFigures,
    LayersRecord,
    LayerTimeRecord,
    MemoryFigures,
    RegressionRecord,
    environment,
    read_baseline,
    write_report,
)
from onnxprune.report.assembly import device_figures, file_bytes, latency_figures

_DIGITS_MS = 4
_DIGITS_RATIO = 4


@typed
def bench(
    models: Sequence[str | Path] | str | Path,
    *,
    input_shapes: InputShapes | None = None,
    device: str = "local",
    provider: str | None = None,
    threads: int | None = None,
    batch: int = 1,
    io_binding: bool | None = None,
    sessions: int = 5,
    per_layer: bool = False,
    memory: bool = True,
    compare: str | Path | None = None,
    max_regression: float = 0.05,
    force: bool = False,
    report: str | Path | None = None,
    seed: int = 0,
    observer: Observer | None = None,
) -> BenchResult:
    """Measure models side by side, interleaved.

    Args:
        models: The `.onnx` files; a single one may be given as it is.
        input_shapes: Sizes of dynamic inputs by name.
        device: Where latency is measured: `local`, `ssh://user@host?python=PATH`, either with `provider=` and
            `threads=`, or a name from `onnxprune.toml`; see docs/devices.md.
        provider: onnxruntime's execution provider; None: the device's, else `cpu`.
        threads: Threads inside an operator; None: the device's, else 1.
        batch: Samples per run, where the model's batch is dynamic.
        io_binding: Keep inputs and outputs in the provider's memory, so that copies are not timed; None: on CUDA and
            TensorRT.
        sessions: Fresh sessions per model.
        per_layer: Say too where the time goes, by onnxruntime's profiler.
        memory: Say too how much memory each model takes, in a process of its own on the device.
        compare: A report of `bench`, `compress` or `prune` that the models are compared with; see
            `pipeline.raise_on_regression`.
        max_regression: Share by which a model may be slower than there.
        force: Compare with a report of another device, or of other input sizes, too.
        report: Where the result is written as JSON.
        seed: Seed of the inputs.
        observer: Told of the progress.

    Raises:
        BaselineError: The baseline is of another device or of other input sizes, or has no latency of a model.
        OnnxPruneError: A model or the baseline cannot be read, or a model cannot be run.
    """
    files = _checked(models, max_regression, compare, report)
    observer = Collecting(observer or SilentObserver())
    spec, options = choose(device, provider, threads, batch)
    networks = _read(files, input_shapes, batch, seed, observer)
    sizes = next(iter(networks.values())).shapes
    options = replace(options, sessions=sessions, io_binding=io_binding, batch=samples_of(sizes))
    baseline = None if compare is None else read_baseline(compare)
    pairs = None if baseline is None else baseline.pairs(list(networks))
    for _, latency in pairs or ():
        check_sessions(len(latency.samples_ms), sessions)
    with opened(spec, observer.warn) as target:
        if baseline is not None and pairs is not None:
            check_device(baseline, device_figures(target, options, sizes), observer, force=force)
            shapes = {name: network.shapes for name, network in networks.items()}
            check_sizes(baseline.file, pairs, shapes, observer, force=force)
        stats = _measure(target, networks, options, observer)
        inside = {
            name: _inside(target, (name, network), options, observer, per_layer=per_layer, memory=memory)
            for name, network in networks.items()
        }
        _pass_notes(target, observer)
        # Only now it is known what the device was like meanwhile, and how long it was asked for.
        figures = device_figures(target, options, sizes)
    first = next(iter(stats.values()))
    benched = tuple(_benched(name, networks[name], stats[name], inside[name], first) for name in networks)
    compared = () if pairs is None else regressions(benched, str(compare), pairs, max_regression)
    result = _result(figures, benched, compared, observer)
    if report is not None:
        write_report(result, report)
    return result


def _checked(
    models: Sequence[str | Path] | str | Path,
    max_regression: float,
    compare: str | Path | None,
    report: str | Path | None,
) -> list[Path]:
    """Return the models' files, once it is known that nothing stands in the way of what is asked for."""
    files = [Path(models)] if isinstance(models, str | Path) else [Path(model) for model in models]
    if not files:
        raise ArgumentError("there is no model to measure: give the path of an .onnx file, or several")
    if not max_regression >= 0:
        raise TargetError(f"max_regression must be a share of at least 0, not {max_regression}")
    check_files({"models": files, "compare": compare, "report": report})
    if report is not None:
        check_writable(Path(report))
    return files


def _result(
    figures: DeviceFigures,
    benched: tuple[BenchedModel, ...],
    compared: tuple[RegressionRecord, ...],
    observer: Collecting,
) -> BenchResult:
    for warning in unclear(compared):
        observer.warn(warning)
    env = environment()
    return BenchResult(
        onnxprune_version=env.packages.get("onnxprune", "unknown"),
        environment=env,
        device=figures,
        models=benched,
        regressions=compared,
        warnings=tuple(observer.warnings),
    )


@dataclass(frozen=True)
class _Network:
    """A model that is to be measured.

    Attributes:
        path: Its file.
        model: The loaded model.
        shapes: Sizes of its inputs.
        feeds: Its inputs.
    """

    path: Path
    model: ir.Model
    shapes: Mapping[str, tuple[int, ...]]
    feeds: Feeds

    @property
    def samples(self) -> int:
        """Samples of one run: the first axis of the first input that has several."""
        return samples_of(self.shapes)


def _read(
    files: Sequence[Path], input_shapes: InputShapes | None, batch: int, seed: int, observer: Observer
) -> dict[str, _Network]:
    """Load the models, each by the name that it is measured under."""
    for twice in (file for file, times in Counter(map(str, files)).items() if times > 1):
        observer.warn(f"model '{twice}' is given more than once, and measured once")
    networks = {}
    for path, model in zip(files, load_models(files, input_shapes), strict=True):
        shapes = resolve_input_shapes(model, input_shapes, batch)
        networks[str(path)] = _Network(path, model, shapes, random_inputs(model, shapes, seed))
    for network in networks.values():
        for note in batch_note(network.path, network.shapes, batch):
            observer.warn(note)
    return networks


def _measure(
    device: InspectableDevice, networks: Mapping[str, _Network], options: MeasureOptions, observer: Observer
) -> dict[str, LatencyStats]:
    observer.stage("measuring", options.sessions * len(networks))
    done = 0

    def on_progress(steps: int, _total: int) -> None:
        nonlocal done
        observer.advance(steps - done)
        done = steps

    paths = {name: network.path for name, network in networks.items()}
    feeds = {name: network.feeds for name, network in networks.items()}
    stats = device.measure(paths, feeds, options, on_progress)
    _pass_notes(device, observer)
    for name, figures in stats.items():
        if figures.spread > BUSY_SPREAD:
            observer.warn(
                f"model '{name}': its sessions on '{device.name}' differ by {figures.spread:.0%} of p50, so its "
                f"figures are not to be trusted. {QUIETER}"
            )
    return stats


def _pass_notes(device: InspectableDevice, observer: Observer) -> None:
    for note in device.take_notes():
        observer.warn(note)


@dataclass(frozen=True)
class _Inside:
    layers: LayersRecord | None
    memory: MemoryFigures | None


def _inside(
    device: InspectableDevice,
    named: tuple[str, _Network],
    options: MeasureOptions,
    observer: Observer,
    *,
    per_layer: bool,
    memory: bool,
) -> _Inside:
    """Look into one model, after everything was timed."""
    name, network = named
    layers = None
    if per_layer:
        observer.stage(f"profiling {network.path.name}")
        layers = _layers(device, name, network, options)
        if options.full_provider != PROVIDERS["cpu"]:
            observer.warn(
                f"model '{name}': the layers' times are onnxruntime's own; a provider that computes on another chip "
                "may count only what it takes to hand a layer over, or show many layers as one"
            )
    return _Inside(layers, _memory(device, name, network, options, observer) if memory else None)


def _layers(device: InspectableDevice, name: str, network: _Network, options: MeasureOptions) -> LayersRecord:
    profile = device.profile(name, network.path, network.feeds, options)
    layers = layer_times(read_unchanged(network.path).graph, profile)
    return LayersRecord(
        runs=profile.runs,
        run_ms=round(profile.run_ms, _DIGITS_MS),
        kernels_ms=round(sum(layer.ms for layer in layers), _DIGITS_MS),
        layers=tuple(
            LayerTimeRecord(
                name=layer.name,
                op=layer.op,
                fused=layer.fused,
                kernels=layer.kernels,
                provider=layer.provider,
                ms=round(layer.ms, _DIGITS_MS),
                share=round(layer.share, 5),
            )
            for layer in layers
        ),
    )


def _memory(
    device: InspectableDevice, name: str, network: _Network, options: MeasureOptions, observer: Observer
) -> MemoryFigures | None:
    observer.stage(f"memory of {network.path.name}")
    try:
        found = device.peak_memory(name, network.path, network.feeds, options)
    except DeviceError as error:
        # What was timed is worth more than what only takes a while to find out.
        observer.warn(str(error))
        return None
    if found.peak_bytes is None or found.base_bytes is None:
        observer.warn(f"device '{device.name}' does not tell how much memory a process takes")
        return None
    return MemoryFigures(peak_bytes=found.peak_bytes, base_bytes=found.base_bytes)


def _benched(name: str, network: _Network, stats: LatencyStats, inside: _Inside, first: LatencyStats) -> BenchedModel:
    cost = graph_cost(network.model, network.shapes)
    ratio = None if stats is first else [round(x, _DIGITS_RATIO) for x in p50_ratio(first.samples_ms, stats.samples_ms)]
    copies = stats.copies_ms
    return BenchedModel(
        path=name,
        file_bytes=file_bytes(network.path, network.model),
        macs=cost.macs,
        parameters=cost.parameters,
        latency=latency_figures(stats, network.shapes),
        ratio=None if ratio is None else ratio[0],
        ratio_ci95=None if ratio is None else (ratio[1], ratio[2]),
        samples=network.samples,
        throughput=round(network.samples * 1e3 / stats.mean_ms, 3),
        load_ms=round(float(np.median(stats.load_ms)), _DIGITS_MS) if stats.load_ms else None,
        copies=None if copies is None else CopyFigures(inputs_ms=_ms(copies[0]), outputs_ms=_ms(copies[1])),
        memory=inside.memory,
        layers=inside.layers,
    )


def _ms(value: float) -> float:
    return round(value, _DIGITS_MS)
