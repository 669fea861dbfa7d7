"""What a run would do, and how long it should take: `--dry-run`."""

from __future__ import annotations

from typing import Literal

from onnxprune.report.figures import DeviceFigures
from onnxprune.report.record import Operation, Record
from onnxprune.report.units import count, counted, data_size, milliseconds, percent, quantity
from onnxprune.search.target import TargetKind


class DataPart(Record):
    """A part of the data.

    Attributes:
        name: "training", "validation" or "test".
        samples: How many.
        labelled: Whether they have labels.
    """

    name: str
    samples: int
    labelled: bool


class StepEstimate(Record):
    """How long a step should take.

    Attributes:
        name: What is done.
        seconds: Wall-clock seconds, from a short measurement.
    """

    name: str
    seconds: float


class Preview(Record):
    """What a run would do.

    Attributes:
        operation: "compress" or "prune".
        model: The original's file.
        file_bytes: Its size.
        macs: Its multiply-accumulates.
        parameters: Its weights.
        groups: Groups of channels that can be removed.
        coverage: Share of the MACs that they take part in, 0 to 1.
        device: What latencies are measured on.
        original_ms: The original's p50 there, measured shortly.
        target: "latency", "macs", "params", "size" or "ratio".
        requested: What the user wrote.
        unit: Unit of the next three.
        original: What the original costs; of a ratio nothing is removed, 0.
        allowed: What the result may cost at most; of a ratio what must go at least.
        smallest: What the smallest structure costs; null where the target was not compared with it.
        data: The parts of the data; empty without any.
        synthetic: Whether they are random inputs.
        met: Whether the model meets the target as it is, so that nothing is removed, healed or trained.
        importance: What channels are judged by.
        allocation: How the pruning is spread.
        structures: Structures that are judged at most, in all stages together; 0: the allocation does not search, or a
            time limits it.
        search_limit_s: Longest time of the search, in all stages together; null: no limit.
        stages: Steps that the target is reached in; 0: `rl-pruner` finds out on its way.
        epochs: Passes over the training data, of all stages, of each where `stages` is 0; 0: no training; null: as
            many as the time budget allows.
        batch_size: Samples a training step.
        quantize: What the result would be quantised to; null: nothing.
        outputs: Files that would be written.
        steps: How long the steps should take; empty where nobody can say.
        seconds: Their sum; null where nobody can say.
        warnings: What to keep in mind.
    """

    operation: Operation
    model: str
    file_bytes: int
    macs: int
    parameters: int
    groups: int
    coverage: float
    device: DeviceFigures
    original_ms: float
    target: TargetKind
    requested: str
    unit: str
    original: float
    allowed: float
    smallest: float | None = None
    data: tuple[DataPart, ...] = ()
    synthetic: bool = False
    met: bool = False
    importance: str
    allocation: str
    structures: int = 0
    search_limit_s: float | None = None
    stages: int = 1
    epochs: int | None = 0
    batch_size: int = 0
    quantize: Literal["int8"] | None = None
    outputs: tuple[str, ...]
    steps: tuple[StepEstimate, ...] = ()
    seconds: float | None = None
    warnings: tuple[str, ...] = ()


def preview_lines(preview: Preview) -> list[str]:
    """Say in a few lines what would be done."""
    device = preview.device
    threads = f"{device.threads} thread{'s' if device.threads > 1 else ''}"
    return [
        f"This run would {preview.operation} {preview.model}; nothing was written.",
        f"  model     {count(preview.macs)} MACs, {count(preview.parameters)} parameters, "
        f"{data_size(preview.file_bytes)}; removable channels, in {counted(preview.groups, 'group')}, take part in "
        f"{percent(preview.coverage)} of the MACs",
        f"  device    {device.name}, {device.provider}, {threads}, batch {device.batch}: reachable, the original takes "
        f"about {milliseconds(preview.original_ms)}",
        f"  target    {_target(preview)}",
        f"  data      {_data(preview)}",
        f"  search    {_search(preview)}",
        f"  training  {_training(preview)}",
        f"  outputs   {', '.join(preview.outputs)}",
        f"  time      {_time(preview)}",
    ]


def duration(seconds: float) -> str:
    """A time as people say it: `40 s`, `6 min`, `2.5 h`."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _target(preview: Preview) -> str:
    limited = quantity(preview.target)
    show = limited.show
    if preview.target == "ratio":
        text = f"{show(preview.allowed)} of the channels removed"
        return text if preview.smallest is None else f"{text}; at most {show(preview.smallest)} can go"
    text = f"{limited.noun} {preview.requested}: at most {show(preview.allowed)} of {show(preview.original)}"
    if preview.smallest is None:
        return text
    return f"{text}; the smallest structure has {show(preview.smallest)}"


def _data(preview: Preview) -> str:
    if not preview.data:
        return "none"
    parts = ", ".join(f"{part.samples} {part.name}" for part in preview.data)
    if preview.synthetic:
        return f"random inputs ({parts}): they say little about accuracy"
    labelled = all(part.labelled for part in preview.data)
    return f"{parts} samples, {'labelled' if labelled else 'without labels'}"


def _search(preview: Preview) -> str:
    if preview.met:
        return "none: nothing needs to be removed"
    text = f"{preview.allocation}, channels judged by {preview.importance}"
    if preview.search_limit_s is not None:
        text += f", structures judged for {duration(preview.search_limit_s)} at most"
    elif preview.structures:
        text += f", at most {counted(preview.structures, 'structure')} judged"
    if preview.stages == 0:
        return f"{text}, in as many stages as the target takes"
    return f"{text}, in {preview.stages} stages" if preview.stages > 1 else text


def _training(preview: Preview) -> str:
    then = "" if preview.quantize is None else f", then quantised to {preview.quantize}"
    if preview.epochs == 0:
        return f"none{then}"
    epochs = "epochs until the time budget ends" if preview.epochs is None else counted(preview.epochs, "epoch")
    each = " in each stage" if preview.stages == 0 else ""
    return f"{epochs}{each}, {counted(preview.batch_size, 'sample')} a step{then}"


def _time(preview: Preview) -> str:
    if preview.seconds is None:
        return "no estimate for this allocation"
    longest = sorted(preview.steps, key=lambda step: -step.seconds)[:3]
    parts = ", ".join(f"{step.name} {duration(step.seconds)}" for step in longest)
    return f"about {duration(preview.seconds)} ({parts}); an estimate from a short measurement"
