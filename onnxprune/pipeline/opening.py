"""The data, opened and held against the model before anything is computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxprune.errors import DataError
from onnxprune.latency import predictor
from onnxprune.pipeline.outcome import predict_with
from onnxprune.pipeline.prepare import Network, runnable
from onnxprune.pipeline.samples import Output, check_inputs, check_learnable, check_outputs, try_outputs
from onnxprune.pipeline.settings import Settings
from onnxprune.progress import Observer
from onnxprune.search import AGENTS
from onnxprune.training import (
    Dataset,
    DataSplits,
    Predict,
    as_judged,
    check_labels,
    check_pictures,
    collect,
    evaluate,
    open_data,
    synthetic_data,
)

# Enough random inputs to heal on; what training on them is worth is said in the report.
_SYNTHETIC_SAMPLES = 512
# With fewer, one sample is more than a point.
_FEWEST_JUDGED = 100
_TRIED = 16
_SCORES = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


def opened_data(network: Network, settings: Settings, observer: Observer) -> tuple[Network, DataSplits | None]:
    """Open the data and refuse what it cannot end well with; where training has none, random inputs stand in.

    Args:
        network: What the data is for.
        settings: Say where it is.
        observer: Told of what was assumed, and of what figures on the data are worth.

    Returns:
        The network, with the outputs that it is judged by, and the data in its parts; None: there is none.

    Raises:
        DataError: The data is missing or does not fit the model, the model takes what no samples can be made of or
            gives what cannot be told apart by sample, or the user's metric fails on it.
        DeviceError: The model does not run on several samples.
    """
    if settings.data is not None or settings.training is not None:
        network = _with_rows(network, settings, observer)
    if settings.data is not None:
        observer.stage("reading data")
        data = _real(network, settings)
    elif settings.metric is not None:
        raise DataError("a metric judges outputs on samples: give data (--data)")
    elif settings.training is not None:
        data = synthetic_data(network.inputs, network.input_shapes, _SYNTHETIC_SAMPLES, settings.seed)
    elif settings.heal:
        raise DataError("healing corrects weights on samples: give data (--data); labels are not needed")
    else:
        observer.warn("no data given: how much accuracy the pruning cost was not measured (give --data)")
        return network, None
    for note in (*data.notes, *_few(data), *_unlabelled(data)):
        observer.warn(note)
    return network, data


def _with_rows(network: Network, settings: Settings, observer: Observer) -> Network:
    """Say which outputs a network is judged by: those that can be told apart by sample.

    Raises:
        DataError: No samples can be given to it, there is no such output, or one is not such that training, taylor or a
            user's metric reads.
    """
    instead = "; 'onnxprune prune' without --data needs no samples"
    shapes = [network.shapes.get(str(value.name), ()) for value in network.model.graph.outputs]
    check_inputs(network.inputs, shapes, instead)
    outputs = _tried(network)
    judged = tuple(position for position, output in enumerate(outputs) if output.has_rows)
    reads_all = settings.training is not None or settings.metric is not None or settings.importance == "taylor"
    if reads_all or not judged:
        check_outputs(network.inputs, outputs, instead)
    if settings.training is not None:
        check_learnable(outputs, "; 'onnxprune prune' does not train")
    for output in outputs:
        if not output.has_rows:
            observer.warn(f"{output}: it is left out of what is judged")
    return network if len(judged) == len(outputs) else replace(network, judged=judged)


def _tried(network: Network) -> tuple[Output, ...]:
    model = runnable(network.model)
    predict = predictor(network.path if model is network.model else model)
    return try_outputs(model, predict, network.input_shapes, network.fixed_batch)


def _real(network: Network, settings: Settings) -> DataSplits:
    assert settings.data is not None
    data = open_data(
        settings.data,
        network.inputs,
        network.input_shapes,
        settings.preprocess,
        settings.seed,
        val=settings.val,
        test=settings.test,
        metric=settings.metric,
    )
    for part in (data.train, data.val, data.test) if settings.training is not None else (data.val, data.test):
        check_pictures(part)
    if settings.metric is not None:
        return _judged_by_metric(network, settings, data)
    classes = _class_scores(network)
    if classes is not None:
        for name, part in (("train", data.train), ("val", data.val), ("test", data.test)):
            check_labels(part, classes, name)
    return data


def _judged_by_metric(network: Network, settings: Settings, data: DataSplits) -> DataSplits:
    """Say what labels and outputs are to the user's metric, and try it on the parts that it will be asked of."""
    chooses = settings.training is not None or settings.allocation in AGENTS
    predict = predict_with(network, network.path, network.model)
    part = "val" if chooses else "test"
    data = as_judged(data, collect(predict, _few_of(getattr(data, part))))
    for name in dict.fromkeys((part, "test")):
        _try_metric(predict, getattr(data, name))
    return data


def _few_of(data: Dataset) -> Dataset:
    return data.select(np.arange(min(_TRIED, len(data))))


def judged_alone(network: Network, data: Dataset) -> bool:
    """Whether a network can be judged without the original's outputs: by a metric, or by labels of class scores."""
    return data.metric is not None or (data.labelled and _class_scores(network) is not None)


def _class_scores(network: Network) -> int | None:
    """Return how many class scores a network gives, as `training.scores_output` finds them; None: none."""
    outputs = network.model.graph.outputs
    shapes = [network.shapes.get(str(value.name)) for value in outputs]
    if any(shape is None for shape in shapes):
        # Of sizes that are computed when it runs.
        shapes = [output.tried[0].shape for output in _tried(network)]
    for value, shape in network.picked(list(zip(outputs, shapes, strict=True))):
        if shape is not None and len(shape) == 2 and shape[1] >= 2 and value.dtype in _SCORES:
            return shape[1]
    return None


def _try_metric(predict: Predict, data: Dataset) -> None:
    """Find out that the user's metric fails on the original's outputs before hours of work, not after.

    Some metrics mean nothing on a few samples (of one class, without a single box), so that only what the whole part
    gives counts against one.
    """
    try:
        evaluate(predict, _few_of(data))
    except DataError:
        evaluate(predict, data)


def _few(data: DataSplits) -> tuple[str, ...]:
    """Say how coarse figures are that few test samples give."""
    samples = len(data.test)
    if data.synthetic or samples >= _FEWEST_JUDGED:
        return ()
    many = "1 sample" if samples == 1 else f"{samples} samples"
    return (
        f"the test part has {many} only, so one of them is {100 / samples:.3g} points: smaller differences of the "
        "result's accuracy mean nothing (give more data, or --test)",
    )


def _unlabelled(data: DataSplits) -> tuple[str, ...]:
    """Say that a user's metric gets no labels, with which some give a figure that means nothing."""
    parts = (data.val, data.test)
    asked = any(part.metric is not None for part in parts)
    labelled = any(part.labels is not None or part.targets is not None for part in parts)
    return ("the data has no labels: --metric gets None for them",) if asked and not labelled else ()
