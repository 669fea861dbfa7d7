"""Accuracy at equal latency or MACs: ways to spread the pruning, ours and others', fine-tuned alike.

    python models/benchmark_networks.py vgg --data CIFAR --out NETS
    python benchmarks/allocation.py NETS/vgg.onnx --data NETS/cifar10 --out benchmarks/results/allocation.json
    python benchmarks/allocation.py resnet56-cifar10.onnx --data NETS/cifar10 --budget macs --shares 0.476 \\
        --methods rl torch-pruning

`--data` is a folder with train.npz, val.npz, test.npz and preprocess.json, as that recipe writes it. Every method gets
the same calibration and fine-tuning images, the same number of epochs, optimiser and teacher (networks that were not
healed may want larger steps: `--optimizer sgd --learning-rate 0.02`, the tables show the better one); choices are made
on the validation part, and the test part gives the accuracy once. Runs that are in the results already are not made
again, so the command can be stopped and started; with `--runs DIR` our own go on where they were stopped, and their
steps count seconds from then. Torch-Pruning 1.6.1 (beside the project's own packages) is the best, on the validation
part after an eighth of the images, of group magnitude and Taylor, local and global, rounded to 16 and not.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import onnxprune
from onnxprune.graph import graph_cost, load, random_inputs, resolve_input_shapes, save
from onnxprune.latency import BUSY_SPREAD, LocalDevice, MeasureOptions, predictor
from onnxprune.torch_bridge import to_torch, write_weights
from onnxprune.training import DataSplits, DistillConfig, distil, evaluate, load_preprocess, open_data
from onnxprune.training.config import Augmentation

OURS: dict[str, dict[str, Any]] = {
    "uniform l1": {"allocation": "uniform", "importance": "l1", "heal": False},
    "global taylor": {"allocation": "global", "importance": "taylor", "heal": False, "branches": False},
    "rl-pruner": {"allocation": "rl-pruner", "rl_pruner": ("share=0.05", "rounds=4", "stages=16")},
    "rl without healing": {"allocation": "rl", "heal": False, "importance": "taylor"},
    "global": {"allocation": "global"},
    "rl": {"allocation": "rl"},
    "rl without labels": {"allocation": "rl"},
    "rl with features": {"allocation": "rl", "features": 10.0},
    "rl with features at 1": {"allocation": "rl", "features": 1.0},
}
METHODS = (*OURS, "torch-pruning")
SAMPLES, EPOCHS = 10_000, 4
_BISECTIONS, _CONFIRMATIONS = 7, 3
# A measurement at length may be above a short one by this much.
_NOISE = 1.02
# Measurements of which the calmest counts, where other work disturbs them.
_LOOKS = 3


@dataclass(frozen=True)
class Job:
    """One network to one latency.

    Attributes:
        network: The original's file.
        parts: Files of its data.
        budget: What the target limits, "latency" or "macs".
        share: The target as a share of the original's.
        samples: Training images.
        epochs: Passes over them.
        seed: Seed of everything.
        optimizer: What fine-tunes.
        learning_rate: Its highest rate; None: the default.
        batch_size: Images a step.
        augment: Whether pictures are flipped and shifted.
        runs: Where our own runs are kept, to go on with; None: nowhere.
    """

    network: Path
    parts: Path
    budget: str
    share: float
    samples: int
    epochs: int
    seed: int
    optimizer: str = "adamw"
    learning_rate: float | None = None
    batch_size: int = DistillConfig.batch_size
    augment: bool = False
    runs: Path | None = None

    def key(self, method: str) -> str:
        """What the result of a method is called."""
        return f"{self.network.stem} {self.budget} {self.share:g}x {method} seed {self.seed}{self.recipe}"

    @property
    def recipe(self) -> str:
        """What results of another recipe than the default are marked with."""
        length = "" if self.samples == SAMPLES else f" {self.samples} images"
        length += "" if self.epochs == EPOCHS else f" {self.epochs} epochs"
        length += "" if self.batch_size == DistillConfig.batch_size else f" batches of {self.batch_size}"
        length += " augmented" if self.augment else ""
        return length + ("" if self.learning_rate is None else f" by {self.optimizer} {self.learning_rate:g}")

    @property
    def augmentations(self) -> tuple[Augmentation, ...]:
        """How pictures are changed."""
        return ("flip", "shift") if self.augment else ()

    def training_images(self) -> dict[str, np.ndarray]:
        """Draw the training images."""
        with np.load(self.parts / "train.npz") as arrays:
            chosen = np.sort(np.random.default_rng(0).choice(len(arrays["y"]), self.samples, replace=False))
            return {"x": arrays["x"][chosen], "y": arrays["y"][chosen]}


def ours(job: Job, method: str, folder: Path) -> dict[str, Any]:
    """Compress with onnxprune; rl-pruner distils one epoch a stage, which is more than the others get."""
    options = dict(OURS[method])
    images, validation = job.training_images(), dict(np.load(job.parts / "val.npz"))
    if job.budget == "macs":
        # Counts that this machine's kernels like are for latency; the others do not round either.
        options["round_to"] = 1
    if method == "rl without labels":
        images, validation = {"x": images["x"]}, {"x": validation["x"]}
    kept = None if job.runs is None else job.runs / job.key(method).replace(" ", "-")
    result = onnxprune.compress(
        job.network,
        run_dir=kept,
        resume=kept is not None and kept.exists(),
        output=folder / "out.onnx",
        **{f"target_{job.budget}": f"{job.share:g}x"},
        data=images,
        val=validation,
        test=str(job.parts / "test.npz"),
        preprocess=str(job.parts / "preprocess.json"),
        epochs=1 if method == "rl-pruner" else job.epochs,
        stages=job_stages(method),
        seed=job.seed,
        optimizer=job.optimizer,
        learning_rate=job.learning_rate,
        batch_size=job.batch_size,
        augment=job.augmentations,
        **options,
    )
    report = result.report
    judged = report.learning.judged if report.learning else ()
    return {
        "before": report.before.metric.value,
        "after": report.after.metric.value,
        "latency": round(report.after.latency.p50_ms / report.before.latency.p50_ms, 4),
        "macs": round(report.after.macs / report.before.macs, 4),
        "healed": report.training.epochs[0].val_metric,
        "evaluations": len(judged),
        "stages": max(1, len(report.stages)),
        "steps": {step.name: round(step.seconds, 1) for step in report.steps},
    }


def job_stages(method: str) -> int | str:
    """Return the stages that a method takes: those that do not search take one."""
    return "auto" if method.startswith("rl") else 1


def torch_pruning(job: Job, folder: Path) -> dict[str, Any]:
    """Prune with every variant to the target, keep the best after a short fine-tuning, and fine-tune it."""
    data = open_parts(job)
    short = data.train.subset(len(data.train) // 8, job.seed)
    variants = [(i, g, r) for i in ("magnitude", "taylor") for g in (False, True) for r in (None, 16)]
    found: dict[str, tuple[float, Path]] = {}
    for importance, everywhere, round_to in variants:
        name = f"{importance} {'global' if everywhere else 'local'} {round_to or 'unrounded'}"
        path = folder / f"{name.replace(' ', '-')}.onnx"
        if not to_budget(job, data, (importance, everywhere, round_to), path):
            continue
        tuned = folder / "short.onnx"
        fine_tune(job, path, short, data, tuned, epochs=1)
        found[name] = (evaluate(predictor(tuned), data.val).primary, path)
    if not found:
        return {"failed": "no variant reaches the target"}
    best = max(found, key=lambda name: found[name][0])
    result = folder / "out.onnx"
    fine_tune(job, found[best][1], data.train, data, result, epochs=job.epochs)
    latency, macs = latency_share(job, result, sessions=5), macs_share(job, result)
    before, after = (evaluate(predictor(path), data.test).primary for path in (job.network, result))
    return {"before": before, "after": after, "latency": latency, "macs": macs, "variant": best}


def to_budget(job: Job, data: DataSplits, variant: tuple[str, bool, int | None], path: Path) -> bool:
    """Find the least pruning ratio whose exported network meets the target, measured again at length."""
    low = 0.0
    for _ in range(_CONFIRMATIONS):
        ratio = bisected(job, data, variant, path, low)
        if ratio is None or job.budget == "macs":
            return ratio is not None
        if latency_share(job, path, sessions=5) <= job.share * _NOISE:
            return True
        low = ratio
    return False


def bisected(job: Job, data: DataSplits, variant: tuple[str, bool, int | None], path: Path, low: float) -> float | None:
    """Find the least pruning ratio above another whose exported network meets the target; None where none does."""
    high, met = 0.97, None
    for _ in range(_BISECTIONS):
        ratio = (low + high) / 2
        trial = path.with_suffix(".trial.onnx")
        try:
            prune_torch(job, data, variant, ratio, trial)
            share = macs_share(job, trial) if job.budget == "macs" else latency_share(job, trial, sessions=3)
        except Exception as error:
            print("torch-pruning", variant, f"{ratio:.2f}", type(error).__name__, str(error)[:100], flush=True)
            high = ratio
            continue
        if share <= job.share:
            high = met = ratio
            trial.replace(path)
        else:
            low = ratio
    return met


def prune_torch(job: Job, data: DataSplits, variant: tuple[str, bool, int | None], ratio: float, path: Path) -> None:
    """Prune the network, converted to PyTorch, and export it."""
    import torch_pruning as tp
    from onnx2torch import convert

    importance, everywhere, round_to = variant
    torch.manual_seed(job.seed)
    clean = path.with_suffix(".clean.onnx")
    save(load(job.network), clean)
    model = convert(str(clean)).eval()
    example = torch.zeros(1, *data.train.source.fetch(data.train.rows[:1])[0].shape[1:])
    ignored = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    if "resnet56" in job.network.name:
        # Its parameter-free shortcuts break Torch-Pruning's result: only the channels inside the blocks can go.
        convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
        ignored += [convolutions[0], *convolutions[2::2]]
    kinds = {"magnitude": tp.importance.GroupMagnitudeImportance(p=2), "taylor": tp.importance.GroupTaylorImportance()}
    if importance == "taylor":
        for batch in data.train.subset(256, job.seed).batches(64):
            outputs = model(torch.from_numpy(batch.inputs[0]))
            torch.nn.functional.cross_entropy(outputs, torch.from_numpy(batch.labels)).backward()
    pruner = tp.pruner.BasePruner(
        model,
        example,
        importance=kinds[importance],
        global_pruning=everywhere,
        pruning_ratio=ratio,
        max_pruning_ratio=0.95,
        round_to=round_to,
        ignored_layers=ignored,
    )
    pruner.step()
    torch.onnx.export(
        model, (example,), str(path), input_names=["image"], output_names=["logits"], opset_version=17, dynamo=False,
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
    )  # fmt: skip


def fine_tune(job: Job, path: Path, train: Any, data: DataSplits, out: Path, *, epochs: int) -> None:
    """Distil a pruned network from the original, as `compress` does."""
    model = load(path)
    student, teacher = to_torch(model), to_torch(load(job.network))
    distil(
        student,
        teacher,
        train,
        data.val,
        DistillConfig(
            epochs=epochs,
            seed=job.seed,
            optimizer=job.optimizer,
            learning_rate=job.learning_rate,
            batch_size=job.batch_size,
            augment=job.augmentations,
        ),
    )
    save(write_weights(student, model), out)


def open_parts(job: Job) -> DataSplits:
    """Open the same data that `compress` gets."""
    from onnxprune.graph import input_specs

    model = load(job.network)
    return open_data(
        job.training_images(),
        input_specs(model),
        resolve_input_shapes(model),
        load_preprocess(str(job.parts / "preprocess.json")),
        job.seed,
        val=str(job.parts / "val.npz"),
        test=str(job.parts / "test.npz"),
    )


def macs_share(job: Job, path: Path) -> float:
    """Count a network's multiply-accumulates as a share of the original's."""
    return round(graph_cost(load(path)).macs / graph_cost(load(job.network)).macs, 4)


def latency_share(job: Job, path: Path, *, sessions: int) -> float:
    """Measure a network beside the original, again while other work disturbs it, as `compress` does."""
    model = load(job.network)
    feeds = random_inputs(model, resolve_input_shapes(model), 0)
    files = {"original": job.network, "pruned": path}
    looks: list[tuple[float, float]] = []
    while not looks or (len(looks) < _LOOKS and min(looks)[0] > BUSY_SPREAD):
        stats = LocalDevice().measure(files, dict.fromkeys(files, feeds), MeasureOptions(sessions=sessions))
        spread = max(stat.spread for stat in stats.values())
        looks.append((spread, stats["pruned"].p50_ms / stats["original"].p50_ms))
    return round(min(looks)[1], 4)


def run(job: Job, method: str) -> dict[str, Any]:
    """Run one method."""
    started = time.monotonic()
    make: Callable[[Path], dict[str, Any]] = (
        (lambda folder: torch_pruning(job, folder))
        if method == "torch-pruning"
        else lambda folder: ours(job, method, folder)
    )
    with tempfile.TemporaryDirectory() as temporary:
        try:
            record = make(Path(temporary))
        except onnxprune.OnnxPruneError as error:
            record = {"failed": str(error)[:200]}
    return {**record, "seconds": round(time.monotonic() - started)}


def main() -> None:
    """Run what is missing, and write the results after every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/allocation.json"))
    parser.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS)
    parser.add_argument("--budget", default="latency", choices=("latency", "macs"))
    parser.add_argument("--shares", nargs="*", type=float, default=(0.5, 0.33))
    parser.add_argument("--seeds", type=int, nargs="*", default=(0, 1, 2))
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--optimizer", default="adamw", choices=("adamw", "sgd"))
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--batch-size", type=int, default=DistillConfig.batch_size)
    parser.add_argument("--augment", action="store_true", help="flip and shift the pictures")
    parser.add_argument("--runs", type=Path, help="where our own runs are kept, to go on with")
    options = parser.parse_args()
    for seed in options.seeds:
        for share in options.shares:
            for method in options.methods:
                results = json.loads(options.out.read_text()) if options.out.exists() else {}
                job = Job(
                    options.network,
                    options.data,
                    options.budget,
                    share,
                    options.samples,
                    options.epochs,
                    seed,
                    options.optimizer,
                    options.learning_rate,
                    options.batch_size,
                    options.augment,
                    options.runs,
                )
                key = job.key(method)
                if key in results:
                    continue
                results[key] = run(job, method)
                print(key, results[key], flush=True)
                options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
