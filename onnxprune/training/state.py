"""A training under way, and its checkpoint: everything that the next epoch depends on, in one file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from onnxprune.errors import RunDirectoryError
from onnxprune.graph import write_atomically
from onnxprune.training.config import DistillConfig, EpochRecord
from onnxprune.training.dataset import AnyArray, Dataset
from onnxprune.training.features import Features
from onnxprune.training.losses import DistillLoss
from onnxprune.training.metrics import Metrics, Predict
from onnxprune.training.schedule import Schedule
from onnxprune.training.teacher import Teacher


@dataclass
class Run:
    """One training under way."""

    student: nn.Module
    teacher: Teacher
    loss: DistillLoss
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    schedule: Schedule
    config: DistillConfig
    device: torch.device
    batch_size: int
    generator: torch.Generator
    val: Dataset | None
    val_reference: Predict | tuple[AnyArray, ...]
    features: Features | None = None
    epoch: int = 0
    best_state: dict[str, Tensor] = field(default_factory=dict)
    best: Metrics | None = None
    best_epoch: int = 0
    records: list[EpochRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    retries: int = 0

    @property
    def highest(self) -> float:
        """The highest primary figure of the validation part so far."""
        known = [r.val.primary for r in self.records if r.val is not None and not math.isnan(r.val.primary)]
        return max(known, default=-math.inf)


def write_checkpoint(run: Run, path: Path) -> None:
    """Write a training's state, whole or not at all: tensors as safetensors, the rest as JSON in its header.

    Raises:
        OutputError: The file cannot be written.
    """
    tensors = {f"student.{name}": value for name, value in run.student.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in run.best_state.items()}
    for index, values in run.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": v for name, v in values.items() if isinstance(v, Tensor)}
    tensors["generator"] = run.generator.get_state()
    copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    header = {"state": json.dumps(_facts(run))}
    write_atomically(path, lambda temporary: save_file(copies, temporary, header), failures=(SafetensorError,))


def read_checkpoint(run: Run, path: Path) -> None:
    """Take up a training where a checkpoint left it.

    Args:
        run: A training of the same network and configuration that has just begun.
        path: The checkpoint.

    Raises:
        RunDirectoryError: It cannot be read, or is of another network.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            facts = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        run.student.load_state_dict(_part(tensors, "student."))
        run.best_state = {name: value.to(run.device) for name, value in _part(tensors, "best.").items()}
        run.optimizer.load_state_dict(_optimizer_state(run, tensors))
        run.generator.set_state(tensors["generator"])
        _take_up(run, facts)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise RunDirectoryError(f"checkpoint '{path}' cannot be taken up: {error}") from error


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _optimizer_state(run: Run, tensors: dict[str, Tensor]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimizer.").items():
        index, field_name = name.split(".", 1)
        state.setdefault(int(index), {})[field_name] = value
    return {"state": state, "param_groups": run.optimizer.state_dict()["param_groups"]}


def _facts(run: Run) -> dict[str, Any]:
    schedule, now_s = run.schedule, run.schedule.clock()
    return {
        "epoch": run.epoch,
        "done": schedule.done,
        "factor": schedule.factor,
        "spent_s": now_s - schedule.begun_s,
        "elapsed_s": now_s - schedule.start_s,
        "remaining_s": None if schedule.deadline_s is None else schedule.deadline_s - now_s,
        "retries": run.retries,
        "notes": run.notes,
        "best_epoch": run.best_epoch,
        "best": None if run.best is None else asdict(run.best),
        "records": [asdict(record) for record in run.records],
        "scaler": run.scaler.state_dict(),
    }


def _take_up(run: Run, facts: dict[str, Any]) -> None:
    schedule, now_s = run.schedule, run.schedule.clock()
    run.epoch, run.retries = facts["epoch"], facts["retries"]
    schedule.done, schedule.factor = facts["done"], facts["factor"]
    schedule.begun_s, schedule.start_s = now_s - facts["spent_s"], now_s - facts["elapsed_s"]
    schedule.deadline_s = None if facts["remaining_s"] is None else now_s + facts["remaining_s"]
    run.notes, run.best_epoch, run.best = facts["notes"], facts["best_epoch"], _metrics(facts["best"])
    run.records = [EpochRecord(**{**record, "val": _metrics(record["val"])}) for record in facts["records"]]
    if facts["scaler"]:
        run.scaler.load_state_dict(facts["scaler"])


def _metrics(fields: dict[str, Any] | None) -> Metrics | None:
    return None if fields is None else Metrics(**{**fields, "errors": tuple(fields["errors"])})
