"""`report.json`: the versioned record of one run, written whole and read back the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Literal, get_args

from pydantic import AwareDatetime, Field, JsonValue, ValidationError

from onnxprune.errors import ReportError
from onnxprune.report.environment import Environment
from onnxprune.report.figures import DeviceFigures, MetricFigures, ModelFigures, ModelFile
from onnxprune.report.record import MaybeFinite, Operation, Record
from onnxprune.search.target import TargetKind

SCHEMA_VERSION: Final = 1
"""Raised when a field is removed or changes its meaning; a new field alone does not raise it."""


class TargetRecord(Record):
    """What was asked for and what was reached.

    Attributes:
        kind: "latency", "macs", "params", "size" or "ratio".
        requested: What the user wrote, such as "60%".
        value: The absolute value that this means.
        unit: Unit of `value` and `achieved`: "ms", "MACs", "parameters", "bytes", or a share of the channels.
        achieved: The same figure of the result.
    """

    kind: TargetKind
    requested: str
    value: float
    unit: str
    achieved: float


class GroupRecord(Record):
    """Channels that are removed together.

    Attributes:
        name: Name of the first producer.
        producers: Names of the nodes whose weights bring the channels forth.
        channels_before: Channels of each producer in the original.
        channels_after: And in the result.
    """

    name: str
    producers: tuple[str, ...]
    channels_before: int
    channels_after: int


class FixedRecord(Record):
    """Channels that cannot be removed.

    Attributes:
        producer: Name of the node whose weight brings them forth.
        channels: How many they are.
        reason: What fixes them.
        hint: What would free them.
    """

    producer: str
    channels: int
    reason: str
    hint: str = ""


class VerificationRecord(Record):
    """How far the pruned network's outputs are from the silenced original's, before any training.

    Attributes:
        relative_error: Largest absolute difference over the largest magnitude of that output.
        output: The output where it occurs, or a value before it; empty where there is no difference.
        tolerance: What was allowed.
        compared: What was run: both networks "as they are", or copies of both "in float32" (half precision) or "without
            rounding" (int8, where a sum in another order was rounded to the next step).
        sizes: The inputs' sizes at which both ran; several where sizes behind the batch are dynamic.
    """

    relative_error: float
    output: str
    tolerance: float
    compared: str = "as they are"
    sizes: tuple[str, ...] = ()


class ExportCheck(Record):
    """How far the written ONNX file is from the PyTorch module that was trained, on the same inputs.

    Attributes:
        relative_error: Largest absolute difference over the largest magnitude of that output.
        max_abs: Largest absolute difference.
    """

    relative_error: float
    max_abs: float


class LayerRecord(Record):
    """What a convolution or matrix product costs by itself on the device.

    Attributes:
        name: Name of the node.
        op: "Conv", "ConvTranspose" or "MatMul".
        channels_before: Its input and output channels in the original.
        channels_after: And in the result; null where the layer is gone.
        before_ms: What it takes alone, with the conversions of layout around it.
        after_ms: And in the result; null where the layer is gone.
        staircase: Output channels and ms of every count that was measured, at the original's input channels; of an int8
            result in int8.
    """

    name: str
    op: str
    channels_before: tuple[int, int]
    channels_after: tuple[int, int] | None
    before_ms: float
    after_ms: float | None
    staircase: tuple[tuple[int, float], ...] = ()


class TrainingEpoch(Record):
    """One epoch of training.

    Attributes:
        epoch: From 1; 0 is the network before training.
        train_loss: Mean loss over the epoch; null before training.
        val_metric: The metric on the validation part, in percent; null without one.
        learning_rate: At the epoch's end.
        elapsed_s: Seconds since the training began.
    """

    epoch: int
    train_loss: MaybeFinite
    val_metric: MaybeFinite
    learning_rate: float
    elapsed_s: float


class TrainingRecord(Record):
    """How the result was trained.

    Attributes:
        epochs: The completed epochs, the network before training first.
        best_epoch: The epoch whose weights were kept; 0: training did not help.
        stopped_by: "epochs" or "time budget".
        steps: Optimizer steps made.
        device: Where it ran: "cpu", "cuda".
        settings: Every setting of the training, defaults included.
        notes: What happened that the user should know, such as a lowered learning rate.
    """

    epochs: tuple[TrainingEpoch, ...]
    best_epoch: int
    stopped_by: str
    steps: int
    device: str
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


class JudgedStructure(Record):
    """One structure that an agent's search judged, in order.

    Attributes:
        round: 0 for the plain allocations, then from 1.
        source: "global", "uniform", or the agent that proposed it.
        channels: What each group keeps, in the order of `groups`.
        reward: What the search maximises; see docs/search.md.
        metric: The metric of the healed network on the evaluation samples, in percent.
        samples: How many these were; hopeless structures are judged on fewer.
        cost: Predicted, in the target's unit.
        elapsed_s: Seconds since the search began.
    """

    round: int
    source: str
    channels: tuple[int, ...]
    reward: float
    metric: float
    samples: int
    cost: float
    elapsed_s: float


class LearningRecord(Record):
    """How an agent searched.

    Attributes:
        agent: "rl" or "random".
        stopped_by: "evaluations", "time", "patience" or "exhausted".
        judged: Every structure judged that there is a number for.
        failed: How many had none: outputs that are not finite, or that the user's metric fails on.
    """

    agent: str
    stopped_by: str
    judged: tuple[JudgedStructure, ...]
    failed: int = 0


class StageRecord(Record):
    """One stage of a run that took several.

    Attributes:
        cost: What it reached, in the target's unit.
        channels: What each group keeps after it, in the order of `groups`.
        training: How it was trained; null without training.
        learning: What an agent judged in it; null where the allocation was not learned.
    """

    cost: float
    channels: tuple[int, ...]
    training: TrainingRecord | None
    learning: LearningRecord | None


class SearchProbe(Record):
    """One structure that the search measured, in order.

    Attributes:
        predicted: Its cost by the cost model, in the target's unit.
        measured: Its true cost.
        macs: Its multiply-accumulates; null where they were not counted.
        delivered: Whether it is the structure that was delivered; none is, where that was made after measuring.
    """

    predicted: MaybeFinite
    measured: float
    macs: int | None = None
    delivered: bool = False


class VersionRecord(Record):
    """The network at one step of a run that ends in int8, on the test part and on the device.

    Attributes:
        name: "original", "original in int8", "pruned" (before any correction), "healed", "trained" or "result".
        p50_ms: Latency, all measured interleaved; null where it is that of the step before.
        metric: How good it is; null where there was nothing to measure it on.
    """

    name: str
    p50_ms: float | None
    metric: MetricFigures | None


class QuantisationRecord(Record):
    """How the result became int8.

    Attributes:
        format: "int8".
        scheme: Types of activations and weights, as onnxruntime names them: "U8S8", "S8S8"; weights have a scale for
            each output channel.
        calibration: How ranges of activations followed from samples: "minmax", "percentile" or "entropy".
        samples: How many these were.
        versions: The network at each step, in order.
    """

    format: Literal["int8"] = "int8"
    scheme: str
    calibration: str
    samples: int
    versions: tuple[VersionRecord, ...] = ()


class StepTime(Record):
    """Where the time of a run went.

    Attributes:
        name: What was done, as the progress line said it.
        seconds: Wall-clock seconds, over all stages of the run.
    """

    name: str
    seconds: float


class Report(Record):
    """The record of one run.

    Attributes:
        schema_version: Version of this format.
        onnxprune_version: Version of onnxprune.
        operation: "compress" or "prune".
        command: The command line; null where the library was called.
        seed: Seed of everything random.
        started_at: When the run began.
        finished_at: When it ended.
        duration_s: Wall-clock seconds between.
        steps: Where they went, in the order in which steps first began.
        environment: Software and hardware.
        settings: Options of the run, defaults included, as the library takes them; `search_budget` and `rl_pruner` are
            null where the allocation heeds none.
        model: The original's file.
        output: The result's file.
        target: What was asked for and reached.
        device: What latencies were measured on; null where none was.
        before: Figures of the original.
        after: Figures of the result.
        coverage: Share of the original's MACs that removable channels take part in, 0 to 1.
        groups: Every group of removable channels.
        fixed: Every producer with channels that cannot be removed.
        layers: What each layer costs by itself; empty where layers were not measured.
        verification: Proof that removing equalled silencing.
        export_check: ONNX against PyTorch; null without training.
        training: How it was trained; null without training.
        search: What the search measured.
        learning: What an agent judged; null where the allocation was not learned.
        stages: Every stage, where there were several; `verification`, `training`, `search` and `learning` are the last
            one's.
        quantisation: How the result became int8; null where it is float.
        warnings: What to keep in mind when reading the figures.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    onnxprune_version: str
    operation: Operation
    command: str | None = None
    seed: int
    started_at: AwareDatetime
    finished_at: AwareDatetime
    duration_s: float
    steps: tuple[StepTime, ...] = ()
    environment: Environment
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    model: ModelFile
    output: ModelFile
    target: TargetRecord
    device: DeviceFigures | None = None
    before: ModelFigures
    after: ModelFigures
    coverage: float | None = None
    groups: tuple[GroupRecord, ...] = ()
    fixed: tuple[FixedRecord, ...] = ()
    layers: tuple[LayerRecord, ...] = ()
    verification: VerificationRecord
    export_check: ExportCheck | None = None
    training: TrainingRecord | None = None
    search: tuple[SearchProbe, ...] = ()
    learning: LearningRecord | None = None
    stages: tuple[StageRecord, ...] = ()
    quantisation: QuantisationRecord | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, text: str | bytes) -> Report:
        """Read a report.

        Args:
            text: What `to_json` gave.

        Raises:
            ReportError: It is no report, or one of another schema version.
        """
        return _parse(text, "the text")


def read_report(path: str | Path) -> Report:
    """Read a report from a file.

    Raises:
        ReportError: The file cannot be read, is no report, or has another schema version.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ReportError(f"report '{path}' cannot be read: {error.strerror or error}") from error
    return _parse(text, f"'{path}'")


def _parse(text: str | bytes, where: str) -> Report:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ReportError(f"{where} is not a report: it is not JSON ({error})") from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise ReportError(f"{where} is not a report: it has no field 'schema_version'")
    version = content["schema_version"]
    if version != SCHEMA_VERSION:
        raise ReportError(
            f"{where} is a report of schema version {version}; this onnxprune reads {SCHEMA_VERSION}. "
            f"Read it with the version that wrote it ({content.get('onnxprune_version')})"
        )
    if isinstance(operation := content.get("operation"), str) and operation not in get_args(Operation):
        raise ReportError(f"{where} is a record of '{operation}'; give the report of 'compress' or 'prune'")
    try:
        return Report.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ReportError(f"{where} is not a valid report: field '{place}': {first['msg']}") from error
