"""The library's front door: `compress` and `prune` with plain arguments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnxprune.errors import ArgumentError, TargetError
from onnxprune.latency import choose
from onnxprune.pipeline.arguments import (
    Ratios,
    allocation_name,
    as_path,
    augmentations,
    block_size,
    check_ratios,
    one_target,
    patterns,
    quantisation,
    restriction,
    stage_number,
)
from onnxprune.pipeline.jobs import Job, runs
from onnxprune.pipeline.prepare import InputShapes
from onnxprune.pipeline.settings import TEACHERS, Settings, TeacherName
from onnxprune.progress import Observer, SilentObserver
from onnxprune.search import Limits, rl_pruner_config
from onnxprune.search import search_budget as read_search_budget
from onnxprune.training import DataSpec, DistillConfig, MetricFunction, Preprocess, load_preprocess, read_metric
from onnxprune.training.config import Optimizer


@runs
def compress(
    model: str | Path,
    *,
    output: str | Path | None = None,
    target_latency: str | float | None = None,
    target_macs: str | float | None = None,
    target_params: str | float | None = None,
    target_size: str | float | None = None,
    ratio: float | None = None,
    ratios: Ratios | None = None,
    data: DataSpec | None = None,
    val: DataSpec | None = None,
    test: DataSpec | None = None,
    preprocess: str | Path | Preprocess | None = None,
    metric: str | MetricFunction | None = None,
    input_shapes: InputShapes | None = None,
    importance: str | None = None,
    allocation: str | None = None,
    search_budget: str | int | None = None,
    rl_pruner: str | Sequence[str] = (),
    branches: bool = True,
    keep: str | Sequence[str] = (),
    only: str | Sequence[str] = (),
    units: str | Sequence[str] = (),
    max_ratio: float | None = None,
    min_channels: int | None = None,
    round_to: int | None = None,
    device: str = "local",
    provider: str | None = None,
    threads: int | None = None,
    batch: int = 1,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    optimizer: Optimizer | None = None,
    time_budget: float | None = None,
    features: float = 0.0,
    augment: str | Sequence[str] = (),
    heal: bool = True,
    stages: int | str = "auto",
    teacher: TeacherName = "original",
    quantize: str | None = None,
    calibration: str = "minmax",
    max_drop: float | None = None,
    seed: int = 0,
    report: str | Path | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    command: str | None = None,
    observer: Observer | None = None,
) -> Job:
    """Make a trained network meet a target: prune it, heal and distil it, and prove the result.

    Args:
        model: The `.onnx` file; it is never changed.
        output: Where the result goes; default `<stem>.pruned.onnx` beside the model.
        target_latency: `10ms`, `500us`, or a share of the original's such as `60%` or `0.5x`; a number is in ms.
        target_macs: Multiply-accumulates of one run: `500M`, `50%`.
        target_params: Number of weights: `3M`, `50%`.
        target_size: Bytes of the file: `3MB`, `50%`.
        ratio: Instead of a target, the share of the channels to remove.
        ratios: Instead of a target, the share to remove of each group: a JSON file of patterns with shares, or a dict.
        data: A folder of pictures, an `.npz` file, `package.module:function`, or arrays. None: random inputs stand
            in, and the result says what that is worth.
        val: Validation data; None: split off by seed.
        test: Test data, touched once, at the end; None: split off by seed.
        preprocess: A preset (`imagenet`, `tf`, `unit`, `none`) or a JSON file.
        metric: What the network is for, where that is not classes: `package.module:function` or a function of (outputs,
            labels) that returns points, higher for better; outputs is the array of all samples, or a tuple of arrays
            where the model has several outputs. Labels may then be anything with one row a sample.
        input_shapes: Sizes of dynamic inputs by name.
        importance: Criterion that scores channels; None: `reconstruction` with data, `reader_l1` without.
        allocation: `rl` learns how to spread the pruning, `random` searches without learning, `global` and
            `uniform` do not search, `rl-pruner` is the published algorithm. None: `rl` with data and training, else
            `global`.
        search_budget: Structures that `rl` and `random` judge at most (`200`) in each stage, or a time (`10m`) for all.
        rl_pruner: Hyper-parameters of the allocation `rl-pruner`, as `name=value`; see `search.RlPrunerConfig`.
        branches: Whether whole residual blocks and branches of concatenations may go, where the data says what they
            are worth.
        keep: Patterns of names of nodes (`layer1*`) whose channels stay, and with them all that must go together.
        only: Patterns of names of nodes; where there are any, only what they name may lose channels.
        units: What may go: "channels", "mlp" (hidden units of matrix products), "head-dim" (the same entries of every
            head of attention), "heads" (whole heads), "embedding" (approximate: what LayerNormalizations see); none:
            the first three.
        max_ratio: Share of any one group that may go at most; no branch goes whole then.
        min_channels: Channels of any one group that always stay; no branch goes whole then.
        round_to: Keep multiples of this many channels; None: what this device's measured layers ask for.
        device: Where latency is measured: `local`, `ssh://user@host?python=PATH`, either with `provider=` and
            `threads=`, or a name from `onnxprune.toml`; see docs/devices.md.
        provider: onnxruntime's execution provider; None: the device's, else `cpu`.
        threads: Threads inside an operator; None: the device's, else 1.
        batch: Samples per run that latency is measured with.
        epochs: Passes over the training data.
        batch_size: Samples per optimizer step.
        learning_rate: Peak learning rate.
        optimizer: `adamw` or `sgd`; None: `adamw`, and `sgd` for the allocation `rl-pruner`, which knows no other.
        time_budget: Seconds of training, at most, of all stages.
        features: Weight of the error of what layers inside give, beside the outputs; 0: outputs only.
        augment: Random changes to training pictures: "flip" left to right, "shift" by up to an eighth of the size.
        heal: Correct weights in closed form before candidates are judged and before training.
        stages: Steps that the target is reached in, each pruned, healed and trained; `auto`: by the gap to the target.
            Not for the allocation `rl-pruner`, whose steps are of one size.
        teacher: Whom later stages learn from: `original`, `previous` (stage), or the `better` of the two.
        quantize: `int8`: the trained result is quantised, and the target latency is met by it so; needs data.
        calibration: How ranges of activations follow from samples: `minmax`, `percentile` or `entropy`.
        max_drop: Points of the metric that may be lost; needs data.
        seed: Seed of everything random.
        report: Where `report.json` goes.
        run_dir: Where everything needed to go on after a kill is kept.
        resume: Go on with the run in `run_dir`; everything else must be given as before.
        command: The command line, for the report.
        observer: Told of the progress.

    Returns:
        The result's file and the record of the run.

    Raises:
        OnnxPruneError: See `onnxprune.errors`; nothing is written but for `MaxDropExceededError`.
    """
    if teacher not in TEACHERS:
        raise TargetError(f"unknown teacher '{teacher}'; known are {', '.join(TEACHERS)}")
    defaults, pixels = DistillConfig(), load_preprocess(preprocess)
    try:
        training = DistillConfig(
            epochs=epochs,
            batch_size=defaults.batch_size if batch_size is None else batch_size,
            learning_rate=learning_rate,
            optimizer=optimizer or defaults.optimizer,
            feature_weight=features,
            augment=augmentations(augment),
            layout=None if pixels is None else pixels.layout,
            time_budget_s=time_budget,
            seed=seed,
        )
    except ValueError as error:
        raise ArgumentError(f"training cannot be done so: {error}") from error
    target = one_target(target_latency, target_macs, target_params, target_size, ratio=ratio, ratios=ratios)
    check_ratios(target, allocation=allocation, round_to=round_to, stages=None if stages == "auto" else stages)
    number_format, ranges = quantisation(quantize, calibration, target)
    spec, measure = choose(device, provider, threads, batch)
    settings = Settings(
        target=target,
        output=as_path(output),
        data=data,
        val=val,
        test=test,
        preprocess=pixels,
        metric=read_metric(metric),
        input_shapes=input_shapes,
        importance=importance,
        allocation=allocation_name(allocation),
        search=None if search_budget is None else read_search_budget(search_budget),
        rl_pruner=rl_pruner_config(patterns(rl_pruner)),
        branches=branches,
        restriction=restriction(keep, only, units),
        limits=Limits(max_ratio, min_channels),
        round_to=block_size(round_to),
        measure=measure,
        training=training,
        optimizer=optimizer,
        heal=heal and allocation != "rl-pruner",
        stages=stage_number(stages),
        teacher=teacher,
        quantize=number_format,
        calibration=ranges,
        max_drop=max_drop,
        seed=seed,
        report=as_path(report),
        run_dir=as_path(run_dir),
        resume=resume,
        command=command,
        observer=observer or SilentObserver(),
    )
    return Job(model, spec, settings)


@runs
def prune(
    model: str | Path,
    *,
    output: str | Path | None = None,
    ratio: float | None = None,
    target_latency: str | float | None = None,
    target_macs: str | float | None = None,
    target_params: str | float | None = None,
    target_size: str | float | None = None,
    ratios: Ratios | None = None,
    data: DataSpec | None = None,
    val: DataSpec | None = None,
    test: DataSpec | None = None,
    preprocess: str | Path | Preprocess | None = None,
    metric: str | MetricFunction | None = None,
    input_shapes: InputShapes | None = None,
    importance: str | None = None,
    allocation: str | None = None,
    search_budget: str | int | None = None,
    rl_pruner: str | Sequence[str] = (),
    branches: bool = True,
    keep: str | Sequence[str] = (),
    only: str | Sequence[str] = (),
    units: str | Sequence[str] = (),
    max_ratio: float | None = None,
    min_channels: int | None = None,
    round_to: int | None = None,
    device: str = "local",
    provider: str | None = None,
    threads: int | None = None,
    batch: int = 1,
    heal: bool = False,
    max_drop: float | None = None,
    seed: int = 0,
    report: str | Path | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    command: str | None = None,
    observer: Observer | None = None,
) -> Job:
    """Remove channels without training; the removal is verified, and PyTorch is needed only by `taylor` and to heal.

    Args:
        model: The `.onnx` file; it is never changed.
        output: Where the result goes; default `<stem>.pruned.onnx` beside the model.
        ratio: Instead of a target, the share of the channels to remove.
        target_latency: As for `compress`, like all others.
        target_macs: Multiply-accumulates of one run.
        target_params: Number of weights.
        target_size: Bytes of the file.
        ratios: Instead of a target, the share to remove of each group.
        data: For criteria that need it, and to report what the pruning cost.
        val: Validation data.
        test: Test data.
        preprocess: What is done to the data's values.
        metric: What the network is for, where that is not classes: `package.module:function` or a function of (outputs,
            labels) that returns points, higher for better; outputs is the array of all samples, or a tuple of arrays
            where the model has several outputs. Labels may then be anything with one row a sample.
        input_shapes: Sizes of dynamic inputs by name.
        importance: Criterion that scores channels; None: `reconstruction` with data, `reader_l1` without.
        allocation: `rl` learns how to spread the pruning, `random` searches without learning, `global` and
            `uniform` do not search, `rl-pruner` is the published algorithm. None: `rl` with data and training, else
            `global`.
        search_budget: Structures that `rl` and `random` judge at most (`200`) in each stage, or a time (`10m`) for all.
        rl_pruner: Hyper-parameters of the allocation `rl-pruner`, as `name=value`; see `search.RlPrunerConfig`.
        branches: Whether whole branches may go.
        keep: Patterns of names of nodes whose channels stay.
        only: Patterns of names of nodes; where there are any, only what they name may lose channels.
        units: What may go: "channels", "mlp" (hidden units of matrix products), "head-dim" (the same entries of every
            head of attention), "heads" (whole heads), "embedding" (approximate: what LayerNormalizations see); none:
            the first three.
        max_ratio: Share of any one group that may go at most.
        min_channels: Channels of any one group that always stay.
        round_to: Keep multiples of this many channels; None: what this device's measured layers ask for.
        device: Where latency is measured: `local`, `ssh://user@host?python=PATH`, either with `provider=` and
            `threads=`, or a name from `onnxprune.toml`; see docs/devices.md.
        provider: onnxruntime's execution provider; None: the device's, else `cpu`.
        threads: Threads inside an operator; None: the device's, else 1.
        batch: Samples per run.
        heal: Correct the weights in closed form on the data's samples; labels are not needed.
        max_drop: Points of the metric that may be lost; needs data.
        seed: Seed of everything random.
        report: Where `report.json` goes.
        run_dir: Where everything needed to go on after a kill is kept.
        resume: Go on with the run in `run_dir`; everything else must be given as before.
        command: The command line, for the report.
        observer: Told of the progress.

    Returns:
        The result's file and the record of the run.

    Raises:
        OnnxPruneError: See `onnxprune.errors`; nothing is written but for `MaxDropExceededError`.
    """
    target = one_target(target_latency, target_macs, target_params, target_size, ratio=ratio, ratios=ratios)
    check_ratios(target, allocation=allocation, round_to=round_to)
    spec, measure = choose(device, provider, threads, batch)
    settings = Settings(
        target=target,
        output=as_path(output),
        data=data,
        val=val,
        test=test,
        preprocess=load_preprocess(preprocess),
        metric=read_metric(metric),
        input_shapes=input_shapes,
        importance=importance,
        allocation=allocation_name(allocation),
        search=None if search_budget is None else read_search_budget(search_budget),
        rl_pruner=rl_pruner_config(patterns(rl_pruner)),
        branches=branches,
        restriction=restriction(keep, only, units),
        limits=Limits(max_ratio, min_channels),
        round_to=block_size(round_to),
        measure=measure,
        heal=heal,
        max_drop=max_drop,
        seed=seed,
        report=as_path(report),
        run_dir=as_path(run_dir),
        resume=resume,
        command=command,
        observer=observer or SilentObserver(),
    )
    return Job(model, spec, settings)
