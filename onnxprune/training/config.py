"""What distillation is told, and what it tells: configuration and history. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from onnxprune.training.metrics import Metrics
from onnxprune.training.preprocess import Layout

Optimizer = Literal["sgd", "adamw"]
Augmentation = Literal["flip", "shift"]
StoppedBy = Literal["epochs", "time budget"]

LEARNING_RATES: dict[str, float] = {"sgd": 5e-3, "adamw": 5e-4}
"""Peak learning rate of each optimizer at 64 samples a step, where none is given."""
_FEWEST_BATCHES = 8
_MOST_EPOCHS = 1000


@dataclass(frozen=True)
class DistillConfig:
    """How the pruned network learns from the original.

    Attributes:
        epochs: Passes over the training data; None: as many as `steps` needs, between 10 and 60. With a time
            budget: None means as many as the budget holds, 1,000 at most, a number is an upper bound.
        steps: Optimizer steps aimed at where `epochs` is None.
        batch_size: Samples a step; fewer where the data set has fewer than 8 such batches.
        learning_rate: Peak learning rate; None: LEARNING_RATES.
        optimizer: "sgd" (with Nesterov momentum) or "adamw", whose steps do not depend on the size of the loss:
            networks that are sure of their answers have losses, and gradients, ten times those of others.
        momentum: Of SGD.
        weight_decay: On weights, not on biases and scales; of AdamW it is multiplied by 100, since it acts
            times the learning rate.
        temperature: That logits are divided by before they are compared.
        alpha: Weight of the original's outputs against the labels', where there are labels: loss = alpha *
            distillation + (1 - alpha) * task.
        logit_weight: Weight of the normalised squared error of class scores, beside their KL divergence.
        feature_weight: Weight of the squared error of what layers inside give, beside the outputs; 0: not compared. The
            teacher then runs at every step instead of once.
        warmup: Share of the training in which the learning rate rises.
        clip_norm: Gradients are scaled down to this norm; 0: they are not.
        seed: Of the order of samples and of augmentation.
        time_budget_s: Wall-clock seconds after which training ends, its schedule completed; None: no limit.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", ...
        amp: Mixed precision on a GPU.
        augment: Random changes to pictures: "flip" left to right, "shift" by up to an eighth of the size. The
            original's outputs are then computed at every step instead of once.
        layout: Where the channels of pictures are; None: seen from their shape.
        fixed_batch: The only batch size that the networks can run, where they have one; it goes before
            `batch_size`.
        cache_bytes: Memory that the original's outputs may take.
    """

    epochs: int | None = None
    steps: int = 2000
    batch_size: int = 64
    learning_rate: float | None = None
    optimizer: Optimizer = "adamw"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    temperature: float = 4.0
    alpha: float = 0.9
    logit_weight: float = 1.0
    feature_weight: float = 0.0
    warmup: float = 0.05
    clip_norm: float = 5.0
    seed: int = 0
    time_budget_s: float | None = None
    device: str = "auto"
    amp: bool = True
    augment: tuple[Augmentation, ...] = ()
    layout: Layout | None = None
    fixed_batch: int | None = None
    cache_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        positive = {
            "epochs": self.epochs,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "temperature": self.temperature,
            "time_budget_s": self.time_budget_s,
        }
        for name, value in positive.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        if self.optimizer not in LEARNING_RATES:
            raise ValueError(f"optimizer must be one of {', '.join(LEARNING_RATES)}, not {self.optimizer!r}")
        if not self.feature_weight >= 0:
            raise ValueError(f"feature_weight must be 0 or above, not {self.feature_weight}")
        if not (0 <= self.alpha <= 1 and 0 <= self.warmup < 1):
            raise ValueError("alpha must be from 0 to 1 and warmup from 0 to below 1")

    def peak_learning_rate(self, batch_size: int) -> float:
        """Return the learning rate after the warm-up; the default falls with the batch size's root."""
        if self.learning_rate is not None:
            return self.learning_rate
        return LEARNING_RATES[self.optimizer] * min(1.0, math.sqrt(batch_size / 64))

    def batch_size_for(self, samples: int) -> int:
        """Return the number of samples a step, for a data set of that size."""
        if self.fixed_batch is not None:
            return self.fixed_batch
        return max(1, min(self.batch_size, samples // _FEWEST_BATCHES))

    def steps_per_epoch(self, samples: int) -> int:
        """Return the number of optimizer steps an epoch, for a data set of that size."""
        return max(1, samples // self.batch_size_for(samples))

    def planned_epochs(self, steps_per_epoch: int) -> int:
        """Return the number of epochs, time budget aside."""
        if self.epochs is not None:
            return self.epochs
        if self.time_budget_s is not None:
            return _MOST_EPOCHS
        return min(60, max(10, -(-self.steps // max(steps_per_epoch, 1))))


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of training.

    Attributes:
        epoch: From 1; 0 is the network before training.
        progress: Share of the training that is done, 0 to 1.
        learning_rate: At the epoch's end.
        train_loss: Mean loss over the epoch; None before training.
        val: Metrics on the validation data; None without any.
        elapsed_s: Seconds since the training began.
    """

    epoch: int
    progress: float
    learning_rate: float
    train_loss: float | None
    val: Metrics | None
    elapsed_s: float


@dataclass(frozen=True)
class TrainingHistory:
    """What happened in training.

    Attributes:
        records: One a completed epoch, the network before training first.
        best_epoch: The epoch whose weights were kept; 0: training did not help.
        stopped_by: "epochs" or "time budget".
        steps: Optimizer steps made.
        device: Where it ran.
        config: What it was told.
        notes: What the user should know, such as a lowered learning rate.
        spent_s: Seconds that count toward a time budget, those of attempts before included.
    """

    records: tuple[EpochRecord, ...]
    best_epoch: int
    stopped_by: StoppedBy
    steps: int
    device: str
    config: DistillConfig
    notes: tuple[str, ...] = ()
    spent_s: float = 0.0

    @property
    def best(self) -> EpochRecord:
        """The record of the epoch whose weights were kept."""
        return next(r for r in self.records if r.epoch == self.best_epoch)

    def to_dict(self) -> dict[str, Any]:
        """Return the history as JSON takes it."""
        fields = asdict(self)
        fields["records"] = [{**asdict(r), "val": None if r.val is None else r.val.to_dict()} for r in self.records]
        fields["notes"] = list(self.notes)
        fields["config"]["augment"] = list(self.config.augment)
        return fields


OnEpoch = Callable[[EpochRecord], None]
