"""Distillation: the pruned network learns to give the original's outputs again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from onnxprune.errors import TrainingError
from onnxprune.training.augmentation import augmented
from onnxprune.training.class_scores import scores_output
from onnxprune.training.config import DistillConfig, EpochRecord, OnEpoch, StoppedBy, TrainingHistory
from onnxprune.training.dataset import AnyArray, Batch, Dataset
from onnxprune.training.devices import batch_tensors, choose_device, forward, module_predict, placed, seeded
from onnxprune.training.features import Features
from onnxprune.training.losses import DistillLoss, mean_square, output_kinds
from onnxprune.training.matching import Rows
from onnxprune.training.metrics import Metrics, Predict, check_labels, collect, evaluate, sized
from onnxprune.training.schedule import Schedule
from onnxprune.training.state import Run, read_checkpoint, write_checkpoint
from onnxprune.training.teacher import TEACHER_BATCH, Teacher

_SMALLEST_BATCHNORM_BATCH = 8
_RETRIES = 3
_LOWER = 0.3
_FARTHER = 4.0
# Relative errors end near 1, where nothing of the original's outputs is left.
_FARTHER_IN_ERROR = 1.5
_CLOSE = 0.01
_NO_FEATURES = "what layers give inside is not compared: there is no layer whose channels both networks have"


def distil(
    student: nn.Module,
    teacher: nn.Module | Predict,
    data: Dataset,
    val: Dataset | None,
    config: DistillConfig = DistillConfig(),
    *,
    on_epoch: OnEpoch | None = None,
    checkpoint: Path | None = None,
    kept: Rows | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingHistory:
    """Train a network, in place, to give the original's outputs; the weights of its best epoch are kept.

    The network before training is a candidate too. Epochs are compared by `Metrics.better_than`; those that a user's
    metric fails on are worse than the others.
    PyTorch's global random state is left as it was; on a CPU the same seed gives the same weights, a time
    budget aside.

    Args:
        student: The network to train; returns a tuple of outputs.
        teacher: The original, with the same inputs and outputs: a module, which stays unchanged, or a
            function on arrays.
        data: Training samples; their labels are used where there are any, unless they are a user's metric's.
        val: Validation samples; None: the last weights are kept.
        config: How to train.
        on_epoch: Called after every epoch, and once before the first.
        checkpoint: Where everything needed to go on is kept after every epoch; if the file is there already,
            training goes on from it.
        kept: The teacher's output channels that the student has, from `kept_rows`, where features are compared.
        clock: Seconds; for tests.

    Raises:
        DataError: Labels out of range, or outputs of the original that are not finite.
        DeviceError: The device is not there.
        TrainingError: The loss did not stay finite even at a lower learning rate, or nothing can be trained.
    """
    start_s = clock()
    if data.metric is not None:
        data = data.unlabelled()
    device = choose_device(config.device)
    modules = [m for m in (student, teacher) if isinstance(m, nn.Module)]
    training = student.training
    with seeded(config.seed, device), placed(modules, device):
        original = _teacher(teacher, data, config, device)
        schedule = _schedule(config, len(data), start_s, clock)
        run = _start(student, original, (data, val), config, schedule=schedule, device=device)
        if checkpoint is not None and checkpoint.exists():
            read_checkpoint(run, checkpoint)
        else:
            _record(run, None, on_epoch)
        with _watched(run, teacher, data, kept):
            stopped_by = _train(run, data, on_epoch, checkpoint)
        student.load_state_dict(run.best_state)
    student.train(training)
    return TrainingHistory(
        tuple(run.records),
        run.best_epoch,
        stopped_by,
        schedule.done,
        str(device),
        config,
        tuple(run.notes),
        schedule.spent_s(),
    )


@contextmanager
def _watched(run: Run, teacher: nn.Module | Predict, data: Dataset, kept: Rows | None) -> Iterator[None]:
    """Compare what layers inside give, if the configuration asks for it."""
    if run.config.feature_weight == 0 or kept is None or not isinstance(teacher, nn.Module):
        yield
        return
    run.features = Features(kept, run.device)
    inputs, _ = batch_tensors(next(data.batches(run.batch_size)), run.device)
    with run.features.watching(run.student, teacher, tuple(inputs)):
        if not run.features.chosen and _NO_FEATURES not in run.notes:
            run.notes.append(_NO_FEATURES)
        yield


def _start(
    student: nn.Module,
    original: Teacher,
    parts: tuple[Dataset, Dataset | None],
    config: DistillConfig,
    *,
    schedule: Schedule,
    device: torch.device,
) -> Run:
    data, val = parts
    return Run(
        student,
        original,
        _loss(original, parts, config),
        _optimizer(student, config, schedule.peak),
        _scaler(config, device),
        schedule,
        config,
        device,
        config.batch_size_for(len(data)),
        torch.Generator().manual_seed(config.seed),
        val,
        _reference(original, val, config),
    )


def _teacher(teacher: nn.Module | Predict, data: Dataset, config: DistillConfig, device: torch.device) -> Teacher:
    return Teacher(
        teacher,
        data,
        device,
        cache_bytes=config.cache_bytes,
        changing=bool(config.augment) or config.feature_weight > 0,
        fixed_batch=config.fixed_batch,
    )


def _loss(original: Teacher, parts: tuple[Dataset, Dataset | None], config: DistillConfig) -> DistillLoss:
    """Choose each output's loss, after checking that the labels are in the range of the class scores."""
    kinds = output_kinds(original.sample_outputs, parts[0].origin, scored=parts[0].scored)
    scores = scores_output(original.sample_outputs)
    for part in parts:
        if scores is not None and part is not None and part.scored:
            check_labels(part, original.sample_outputs[scores].shape[1])
    energies = tuple(mean_square(output) for output in original.sample_outputs)
    return DistillLoss(kinds, config.temperature, config.alpha, config.logit_weight, energies)


def _schedule(config: DistillConfig, samples: int, start_s: float, clock: Callable[[], float]) -> Schedule:
    batch_size = config.batch_size_for(samples)
    steps_per_epoch = config.steps_per_epoch(samples)
    steps = config.planned_epochs(steps_per_epoch) * steps_per_epoch
    deadline_s = None if config.time_budget_s is None else start_s + config.time_budget_s
    peak = config.peak_learning_rate(batch_size)
    return Schedule(steps, peak, config.warmup, clock, start_s, clock(), deadline_s)


def _scaler(config: DistillConfig, device: torch.device) -> torch.amp.GradScaler:
    """Make the loss scaler, which is needed where mixed precision means float16."""
    half = device.type == "cuda" and config.amp and not torch.cuda.is_bf16_supported()
    return torch.amp.GradScaler(device.type, enabled=half)


def _reference(original: Teacher, val: Dataset | None, config: DistillConfig) -> Predict | tuple[AnyArray, ...]:
    """Run the original over the validation samples, once, if its outputs fit into memory."""
    if val is None or not original.fits(val, config.cache_bytes):
        return original.predict
    return collect(original.predict, val, TEACHER_BATCH)


def _optimizer(student: nn.Module, config: DistillConfig, rate: float) -> torch.optim.Optimizer:
    parameters = [p for p in student.parameters() if p.requires_grad]
    if not parameters:
        raise TrainingError("the network has no weights that can be trained")
    decay = config.weight_decay * (100 if config.optimizer == "adamw" else 1)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate)
    return torch.optim.SGD(groups, lr=rate, momentum=config.momentum, nesterov=config.momentum > 0)


def _train(run: Run, data: Dataset, on_epoch: OnEpoch | None, checkpoint: Path | None) -> StoppedBy:
    """Run epochs until the schedule is complete; tell what completed it."""
    while True:
        if checkpoint is not None:
            write_checkpoint(run, checkpoint)
        if run.schedule.progress() >= 1.0:
            return "time budget" if run.schedule.done < run.schedule.steps else "epochs"
        run.epoch += 1
        mean_loss = _epoch(run, data)
        if mean_loss is not None:
            _record(run, mean_loss, on_epoch)
            if _diverges(run):
                _go_back(run, "the outputs moved away from the original's")


def _epoch(run: Run, data: Dataset) -> float | None:
    """Train one epoch, or what is left of the schedule; return its mean loss, None if it was abandoned."""
    _set_training(run.student, run.batch_size)
    total, count = 0.0, 0
    for batch in data.batches(run.batch_size, (run.config.seed, run.epoch), drop_last=True):
        if run.schedule.progress() >= 1.0:
            break
        value = _step(run, batch)
        run.schedule.done += 1
        if not math.isfinite(value):
            _go_back(run, f"the loss became {value}")
            return None
        total, count = total + value, count + 1
    return total / count if count else None


def _set_training(student: nn.Module, batch_size: int) -> None:
    """Training mode, but no dropout, and BatchNorm by its running statistics where batches are small."""
    student.train()
    for part in student.modules():
        dropout = isinstance(part, nn.modules.dropout._DropoutNd)
        small = isinstance(part, nn.modules.batchnorm._BatchNorm) and batch_size < _SMALLEST_BATCHNORM_BATCH
        if dropout or small:
            part.eval()


def _step(run: Run, batch: Batch) -> float:
    """Make one optimizer step; return the loss, before which nothing is changed if it is not finite."""
    rate = run.schedule.learning_rate()
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    tensors, labels = batch_tensors(batch, run.device)
    inputs = augmented(tensors, run.config.augment, run.generator, run.config.layout)
    dtype = torch.float16 if run.scaler.is_enabled() else torch.bfloat16
    with torch.autocast(run.device.type, dtype=dtype, enabled=run.device.type == "cuda" and run.config.amp):
        wanted = run.teacher.outputs(batch, inputs)
        outputs = forward(run.student, inputs)
    loss = run.loss(outputs, wanted, labels)
    inner = None if run.features is None else run.features.loss()
    if inner is not None:
        loss = loss + run.config.feature_weight * inner
    value = float(loss.detach())
    if not math.isfinite(value):
        return value
    run.optimizer.zero_grad(set_to_none=True)
    run.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    if run.config.clip_norm > 0:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.student.parameters(), run.config.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    return value


def _diverges(run: Run) -> bool:
    """Whether a lower rate should be tried: the outputs are much farther off than before training."""
    first, last = run.records[0].val, run.records[-1].val
    if first is None or last is None or run.retries == _RETRIES or run.schedule.progress() >= 1.0:
        return False
    farther = _FARTHER if first.kl is not None else _FARTHER_IN_ERROR
    far = not last.distance <= max(farther * first.distance, _CLOSE)
    return far and not last.better_than(first)


def _go_back(run: Run, what: str) -> None:
    """Take the best weights, no momentum and a lower learning rate."""
    run.retries += 1
    rate = run.schedule.peak * run.schedule.factor
    if run.retries > _RETRIES:
        raise TrainingError(
            f"{what} {run.retries} times, at last at a learning rate of {rate:.2g}; give a "
            "lower --learning-rate, and check the data's preprocessing"
        )
    run.schedule.factor *= _LOWER
    run.notes.append(f"{what} at step {run.schedule.done}: learning rate lowered to {rate * _LOWER:.2g}")
    run.student.load_state_dict(run.best_state)
    run.optimizer.state.clear()


def _record(run: Run, train_loss: float | None, on_epoch: OnEpoch | None) -> None:
    """Validate, keep the weights if they are the best so far, and tell."""
    clock = run.schedule.clock
    progress, rate = run.schedule.progress(), run.schedule.learning_rate()
    metrics = None
    if run.val is not None:
        before_s = clock()
        metrics = _validate(run, run.val)
        if metrics.failure is not None and not any(r.val is not None and r.val.failure for r in run.records):
            run.notes.append(
                f"epochs that the metric fails on count as worse than any other; epoch {run.epoch} is the first: "
                f"{metrics.failure}"
            )
        if run.epoch == 0 and run.schedule.deadline_s is not None:
            # The budget includes the last validation.
            run.schedule.deadline_s -= clock() - before_s
            run.schedule.start_s = clock()
    if metrics is None or run.best is None or metrics.better_than(run.best, run.highest):
        run.best, run.best_epoch = metrics, run.epoch
        run.best_state = {name: value.detach().clone() for name, value in run.student.state_dict().items()}
    elapsed_s = clock() - run.schedule.start_s
    run.records.append(EpochRecord(run.epoch, progress, rate, train_loss, metrics, elapsed_s))
    if on_epoch is not None:
        on_epoch(run.records[-1])


def _validate(run: Run, val: Dataset) -> Metrics:
    predict = sized(module_predict(run.student, run.device), run.config.fixed_batch)
    return evaluate(predict, val, run.val_reference, batch_size=TEACHER_BATCH, forgiving=True)
