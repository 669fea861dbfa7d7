"""What a run is told, and what it gives back."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from onnxprune.channels import Restriction
from onnxprune.latency import Device, LocalDevice, MeasureOptions
from onnxprune.pipeline.prepare import InputShapes
from onnxprune.progress import Observer, SilentObserver
from onnxprune.quantisation import Calibration
from onnxprune.report import Operation, Report
from onnxprune.search import AgentName, AllocationName, GroupRatios, Limits, RlPrunerConfig, SearchConfig, Target
from onnxprune.training import DataSpec, DistillConfig, Preprocess, TaskMetric
from onnxprune.training.config import Optimizer

TeacherName = Literal["original", "previous", "better"]
TEACHERS: tuple[TeacherName, ...] = ("original", "previous", "better")

# Where results go and who is told does not change them.
_NOT_TOLD = {"output", "report", "command", "run_dir", "resume", "observer", "device"}


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
        target: What to reach, or which share of which group goes.
        output: Where the result goes; None: `<stem>.pruned.onnx` beside the model.
        data: Training data, or None.
        val: Validation part, where it is given.
        test: Test part, where it is given.
        preprocess: What is done to the data's values.
        metric: The user's own metric, or None.
        input_shapes: Sizes of dynamic inputs.
        importance: Name of the criterion; None: the default for what data there is.
        allocation: "global", "uniform", or an agent, "rl", "random" or "rl-pruner"; None: "rl" where real data is
            trained with, else "global".
        search: How long an agent searches; None: as long as serves for a network of this size.
        round_to: A fixed block of channels, or None for measured ones.
        measure: How latency is measured.
        device: Where.
        training: How to train; None: not at all.
        optimizer: Which optimizer was asked for, where one was: some allocations have their own.
        stages: How many steps the target is reached in; None: as many as the gap to it asks for.
        teacher: Whom the pruned network learns from: "original", "previous" (what the stage before made), or "better",
            whichever of the two the validation part prefers.
        heal: Correct weights in closed form, of candidates too, before any training; needs data.
        branches: Whether whole branches may go; needs data, and an allocation that ranks or learns.
        rl_pruner: Hyper-parameters of the agent "rl-pruner".
        restriction: What the user wants touched.
        limits: What may go of any one group.
        quantize: "int8": the result is quantised, and the target holds for it so; None: it stays float.
        calibration: How ranges of activations follow from samples, where it is quantised.
        max_drop: Points of the metric that may be lost; needs data.
        seed: Seed of everything.
        report: Where report.json goes, or None.
        command: The command line, for the report.
        run_dir: Where everything needed to go on with the run is kept, or None.
        resume: Go on with the run in `run_dir`.
        observer: Told of the progress.
    """

    target: Target | GroupRatios
    output: Path | None = None
    data: DataSpec | None = None
    val: DataSpec | None = None
    test: DataSpec | None = None
    preprocess: Preprocess | None = None
    metric: TaskMetric | None = None
    input_shapes: InputShapes | None = None
    importance: str | None = None
    allocation: AllocationName | AgentName | None = None
    search: SearchConfig | None = None
    round_to: int | None = None
    measure: MeasureOptions = field(default_factory=MeasureOptions)
    device: Device = field(default_factory=LocalDevice)
    training: DistillConfig | None = None
    optimizer: Optimizer | None = None
    stages: int | None = None
    teacher: TeacherName = "original"
    heal: bool = False
    branches: bool = True
    rl_pruner: RlPrunerConfig = field(default_factory=RlPrunerConfig)
    restriction: Restriction = field(default_factory=Restriction)
    limits: Limits = field(default_factory=Limits)
    quantize: Literal["int8"] | None = None
    calibration: Calibration = "minmax"
    max_drop: float | None = None
    seed: int = 0
    report: Path | None = None
    command: str | None = None
    run_dir: Path | None = None
    resume: bool = False
    observer: Observer = field(default_factory=SilentObserver)

    @property
    def operation(self) -> Operation:
        """What the user asked for."""
        return "prune" if self.training is None else "compress"


def told(settings: Settings) -> dict[str, JsonValue]:
    """Return the settings that a result depends on, as text."""
    said = {f.name: _text(getattr(settings, f.name)) for f in fields(settings) if f.name not in _NOT_TOLD}
    return {**said, "device": settings.device.name}


def _text(value: object) -> str:
    """Write a setting down; functions and other objects by their names, since their addresses change."""
    if isinstance(value, TaskMetric):
        return value.name
    if isinstance(value, partial):
        given = [*map(_argument, value.args), *(f"{name}={_argument(each)}" for name, each in value.keywords.items())]
        return f"partial({', '.join([_text(value.func), *given])})"
    name = getattr(value, "__qualname__", None)
    if name is None and (callable(value) or type(value).__repr__ is object.__repr__):
        return f"{type(value).__module__}.{type(value).__qualname__}"
    return str(value if name is None else name)


def _argument(value: object) -> str:
    """Write down what a function is given, which may be other functions."""
    return f"({', '.join(map(_argument, value))})" if isinstance(value, list | tuple) else _text(value)


def arguments_of(settings: Settings) -> tuple[str, ...] | None:
    """Return the command line after `onnxprune`; None where the library was called."""
    return None if settings.command is None else tuple(shlex.split(settings.command)[1:])
