"""`compare`: two models side by side, on the same samples and the same machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxprune.errors import MismatchError, TargetError
from onnxprune.graph import InputSpec, check_writable, input_specs, output_names, resolve_input_shapes
from onnxprune.latency import p50_ratio, predictor
from onnxprune.pipeline.argument_types import typed
from onnxprune.pipeline.benching import bench
from onnxprune.pipeline.collecting import Collecting
from onnxprune.pipeline.files import check_files
from onnxprune.pipeline.prepare import InputShapes, load_models
from onnxprune.pipeline.samples import check_inputs, check_outputs, try_outputs
from onnxprune.progress import Observer, SilentObserver
from onnxprune.report import BenchResult, Comparison, OutputDifference, WorstSample
from onnxprune.report.worst_samples import check_pictures, plot_worst
from onnxprune.training import (
    Dataset,
    DataSpec,
    Divergence,
    Predict,
    Preprocess,
    diverge,
    load_preprocess,
    open_samples,
    sized,
    synthetic_samples,
)

_SYNTHETIC_SAMPLES = 256


@typed
def compare(
    first: str | Path,
    second: str | Path,
    *,
    data: DataSpec | None = None,
    preprocess: str | Path | Preprocess | None = None,
    input_shapes: InputShapes | None = None,
    samples: int | None = None,
    worst: int = 10,
    pictures: str | Path | None = None,
    device: str = "local",
    provider: str | None = None,
    threads: int | None = None,
    batch: int = 1,
    sessions: int = 5,
    seed: int = 0,
    observer: Observer | None = None,
) -> Comparison:
    """Compare what two models give for the same samples, and what they cost.

    Args:
        first: The `.onnx` file that the other is compared with.
        second: The other `.onnx` file.
        data: As for `compress`; its test part, where it comes in parts. None: random inputs, and the result says so.
        preprocess: What is done to the data's values.
        input_shapes: Sizes of dynamic inputs by name.
        samples: Most samples to compare on, drawn by seed; None: all of them.
        worst: How many of the samples that differ the most are listed.
        pictures: File, .svg or .png, that these are drawn into, where the first input is one of pictures.
        device: Where latency is measured, as for `bench`; outputs are compared on this machine.
        provider: onnxruntime's execution provider, for the latency; None: the device's, else `cpu`.
        threads: Threads inside an operator; None: the device's, else 1.
        batch: Samples per run, where the models leave a choice.
        sessions: Fresh sessions per model.
        seed: Seed of the draw and of random inputs.
        observer: Told of the progress.

    Raises:
        MismatchError: The models have different inputs or outputs.
        OnnxPruneError: A model or the data cannot be used.
    """
    if samples is not None and samples < 1:
        raise TargetError(f"samples must be 1 or more, not {samples}")
    check_files({"first": first, "second": second, "data": data, "pictures": pictures})
    observer = Collecting(observer or SilentObserver())
    if preprocess is not None and data is None:
        observer.warn("--preprocess has no effect: it is for --data, and there is none here")
    observer.stage("reading the models")
    paths = (Path(first), Path(second))
    models = load_models(paths, input_shapes)
    _check_same(models, paths)
    for model in models:
        check_inputs(input_specs(model), [_of_value(value)[2] or () for value in model.graph.outputs])
    # Where one of them fixes the batch, the other follows; `bench` says if another was asked for.
    shapes = _shapes(models, input_shapes, _fixed_batch(models) or batch)
    positions = _comparable(paths, models, shapes, observer)
    dataset = _samples(input_specs(models[0]), shapes, (data, load_preprocess(preprocess)), samples, seed)
    for note in dataset.notes:
        observer.warn(note)
    if pictures is not None:
        check_writable(Path(pictures))
        check_pictures(Path(pictures), next(dataset.batches(1)).inputs[0][0])
    observer.stage("comparing outputs", len(dataset))
    first_run, second_run = (_predict(path, model, positions) for path, model in zip(paths, models, strict=True))
    divergence = diverge(first_run, second_run, dataset, observer.advance)
    costs = bench(
        list(dict.fromkeys(paths)),
        input_shapes=shapes,
        device=device,
        provider=provider,
        threads=threads,
        batch=batch,
        sessions=sessions,
        seed=seed,
        memory=False,
        observer=observer,
    )
    names = [output_names(models[0])[position] for position in positions]
    found = _comparison(costs, dataset, divergence, names, worst)
    if pictures is not None:
        shown = dataset.select(np.array(divergence.worst(worst), dtype=np.int64))
        plot_worst(found, [batch.inputs[0][0] for batch in shown.batches(1)], Path(pictures))
    return found.model_copy(update={"warnings": tuple(observer.warnings)})


def _check_same(models: Sequence[ir.Model], paths: Sequence[Path]) -> None:
    """Refuse models that do not take and give the same.

    Raises:
        MismatchError: Says every difference.
    """
    before, after = models
    differences = [
        *_differences("input", [_of_spec(s) for s in input_specs(before)], [_of_spec(s) for s in input_specs(after)]),
        *_differences(
            "output", [_of_value(v) for v in before.graph.outputs], [_of_value(v) for v in after.graph.outputs]
        ),
    ]
    if differences:
        raise MismatchError(
            f"'{paths[0]}' and '{paths[1]}' cannot be compared: {'; '.join(differences)}. "
            "Give two models that take and give the same"
        )


_Signature = tuple[str, str, tuple[int | str | None, ...] | None]


def _of_spec(spec: InputSpec) -> _Signature:
    return spec.name, str(spec.dtype), spec.shape


def _of_value(value: ir.Value) -> _Signature:
    shape = None if value.shape is None else tuple(d if isinstance(d, int) else d.value for d in value.shape)
    return str(value.name), "" if value.dtype is None else str(value.dtype.numpy()), shape


def _differences(what: str, first: Sequence[_Signature], second: Sequence[_Signature]) -> list[str]:
    names = [[name for name, _, _ in values] for values in (first, second)]
    if names[0] != names[1]:
        return [f"the {what}s are {', '.join(names[0])} in the one and {', '.join(names[1])} in the other"]
    return [
        f"{what} '{a[0]}' is {_written(a)} in the one and {_written(b)} in the other"
        for a, b in zip(first, second, strict=True)
        if a[1] != b[1] or not _fit(a[2], b[2])
    ]


def _fit(first: tuple[int | str | None, ...] | None, second: tuple[int | str | None, ...] | None) -> bool:
    """Whether shapes can be the same; a dynamic size fits any."""
    if first is None or second is None:
        return True
    if len(first) != len(second):
        return False
    return all(a == b for a, b in zip(first, second, strict=True) if isinstance(a, int) and isinstance(b, int))


def _written(signature: _Signature) -> str:
    _, dtype, shape = signature
    sizes = "?" if shape is None else ", ".join("?" if size is None else str(size) for size in shape)
    return f"{dtype} [{sizes}]"


def _fixed_batch(models: Sequence[ir.Model]) -> int | None:
    """Return the batch size, where one of the models leaves no choice."""
    firsts = [spec.shape[0] for model in models for spec in input_specs(model)[:1] if spec.shape]
    return next((size for size in firsts if isinstance(size, int)), None)


def _shapes(models: Sequence[ir.Model], given: InputShapes | None, batch: int) -> dict[str, tuple[int, ...]]:
    """Resolve the inputs' sizes; what one model fixes need not be given for the other."""
    fixed: dict[str, list[int]] = {name: list(sizes) for name, sizes in (given or {}).items()}
    for model in models:
        for spec in input_specs(model):
            sizes = fixed.setdefault(spec.name, [0] * len(spec.shape))
            for axis, size in enumerate(spec.shape):
                if isinstance(size, int) and axis < len(sizes):
                    sizes[axis] = size
    return resolve_input_shapes(models[0], fixed, batch)


def _samples(
    inputs: tuple[InputSpec, ...],
    shapes: dict[str, tuple[int, ...]],
    data: tuple[DataSpec | None, Preprocess | None],
    count: int | None,
    seed: int,
) -> Dataset:
    spec, preprocess = data
    if spec is None:
        return synthetic_samples(inputs, shapes, count or _SYNTHETIC_SAMPLES, seed)
    dataset = open_samples(spec, inputs, shapes, preprocess)
    return dataset if count is None else dataset.subset(count, seed)


def _comparable(
    paths: Sequence[Path], models: Sequence[ir.Model], shapes: dict[str, tuple[int, ...]], observer: Observer
) -> list[int]:
    """Return the positions of the outputs that have one row a sample in both models; a warning names the others.

    Raises:
        DataError: There is none.
    """
    tried = [
        try_outputs(model, predictor(path), shapes, _fixed_batch([model]))
        for path, model in zip(paths, models, strict=True)
    ]
    rows = [all(output.has_rows for output in both) for both in zip(*tried, strict=True)]
    if not any(rows):
        for model, outputs in zip(models, tried, strict=True):
            check_outputs(input_specs(model), outputs)
    for both in zip(*tried, strict=True):
        odd = next((output for output in both if not output.has_rows), None)
        if odd is not None:
            observer.warn(f"{odd}: it was not compared")
    return [position for position, has_rows in enumerate(rows) if has_rows]


def _predict(path: Path, model: ir.Model, positions: Sequence[int]) -> Predict:
    """Open a model that gives only some of its outputs."""
    run = predictor(path)
    return sized(lambda inputs: [run(inputs)[position] for position in positions], _fixed_batch([model]))


def _comparison(
    costs: BenchResult, data: Dataset, divergence: Divergence, names: Sequence[str], worst: int
) -> Comparison:
    # A model that is compared with itself was measured once.
    models = (costs.models[0], costs.models[-1])
    ratio, low, high = p50_ratio(models[0].latency.samples_ms, models[1].latency.samples_ms)
    top1 = tuple(value for network in (0, 1) if (value := divergence.top1(network)) is not None)
    return Comparison(
        onnxprune_version=costs.onnxprune_version,
        environment=costs.environment,
        device=costs.device,
        models=models,
        latency_ratio=round(ratio, 4),
        latency_ratio_ci95=(round(low, 4), round(high, 4)),
        # The name of a file alone; not the end of "folder 'pictures'".
        data=data.origin[1:-1] if data.origin.startswith("'") else data.origin,
        synthetic=data.synthetic,
        samples=len(data),
        top1=(top1[0], top1[1]) if len(top1) == 2 else None,
        agreement=divergence.agreement,
        kl=divergence.kl,
        divergence="relative error" if divergence.top is None else "KL (nats)",
        outputs=tuple(
            OutputDifference(name=name, relative_error=error, max_abs=largest)
            for name, error, largest in zip(names, divergence.errors, divergence.max_abs, strict=True)
        ),
        worst=tuple(_worst(position, data, divergence) for position in divergence.worst(worst)),
    )


def _worst(position: int, data: Dataset, divergence: Divergence) -> WorstSample:
    top = None if divergence.top is None else divergence.top[:, position]
    return WorstSample(
        index=int(data.rows[position]),
        name=data.name(position),
        divergence=float(divergence.by_sample[position]),
        label=None if data.labels is None else int(data.labels[position]),
        first=None if top is None else int(top[0]),
        second=None if top is None else int(top[1]),
    )
