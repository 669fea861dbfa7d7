"""Which channels go: scores, measured layer costs, the allocation to the target, surgery and its proof."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxprune.channels import Verification, prune, verify
from onnxprune.errors import TargetOutOfReachError
from onnxprune.graph import random_inputs, release_weights, save_beside, to_bytes
from onnxprune.latency import (
    Device,
    LatencyStats,
    MeasureOptions,
    ModelSource,
)
from onnxprune.pipeline.prepare import Network
from onnxprune.progress import Observer
from onnxprune.search import (
    AllocationName,
    Plan,
    Probe,
    Problem,
    Subject,
    Target,
    find_plan,
    latency_problem,
    paper_problem,
)

# Above this the weights go through a file, so that onnxruntime maps them instead of copying.
_FILE_BYTES = 64 << 20
# A candidate is compared with the original in short sessions; the delivered file is measured at length.
_QUICK_SESSIONS, _QUICK_MS = 3, 60.0
_BUSY_SPREAD = 0.15
# If the long measurement does not confirm the short ones, the aim is lowered by these factors in turn.
_AIMS = (1.0, 0.975, 0.95, 0.92)


@dataclass(frozen=True)
class Structure:
    """The pruned network before any training.

    Attributes:
        plan: Which units stay, and how that was found.
        pruned: The smaller model.
        verification: The proof that removal equals silencing.
    """

    plan: Plan
    pruned: ir.Model
    verification: Verification


@dataclass(frozen=True)
class Choice:
    """What the user chose.

    Attributes:
        target: What to reach.
        allocation: How the pruning is spread over the groups.
        round_to: A fixed block of channels; None: what the measured layers ask for.
        seed: Seed of the verification's inputs.
    """

    target: Target
    allocation: AllocationName
    round_to: int | None
    seed: int


@dataclass(frozen=True)
class Bench:
    """Where and how latency is measured, and who is told.

    Attributes:
        device: The device.
        options: How to measure.
        observer: Told of the progress.
    """

    device: Device
    options: MeasureOptions
    observer: Observer


class LatencyEvaluator:
    """Measures structures beside the original network."""

    def __init__(self, network: Network, bench: Bench, original_ms: float) -> None:
        """Prepare to measure.

        Args:
            network: The original.
            bench: Where to measure.
            original_ms: Its p50, measured at length; candidates are scaled to it.
        """
        self._network = network
        self._bench = replace(bench, options=replace(bench.options, sessions=_QUICK_SESSIONS, session_ms=_QUICK_MS))
        self._original_ms = original_ms

    def latency_ms(self, keep: np.ndarray) -> float:
        """Return the p50 of the network that keeps these units, as a share of the original's beside it."""
        pruned = prune(self._network.model, self._network.channels, keep)
        before, after = measure_beside(self._network, pruned, self._bench)
        if max(before.spread, after.spread) > _BUSY_SPREAD:
            # On a busy machine the fastest runs say more than the medians.
            return after.min_ms / before.min_ms * self._original_ms
        return after.p50_ms / before.p50_ms * self._original_ms


def measure_original(network: Network, bench: Bench) -> float:
    """Return the original's p50 in ms."""
    return _measure(network, {"original": network.model}, bench)["original"].p50_ms


def measure_beside(network: Network, pruned: ir.Model, bench: Bench) -> tuple[LatencyStats, LatencyStats]:
    """Measure the original and a pruned model, interleaved."""
    stats = _measure(network, {"original": network.model, "pruned": pruned}, bench)
    return stats["original"], stats["pruned"]


def is_large(model: ir.Model) -> bool:
    """Say whether a model's weights should be mapped rather than copied."""
    tensors = (value.const_value for value in model.graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None) >= _FILE_BYTES


def _measure(network: Network, models: Mapping[str, ir.Model], bench: Bench) -> dict[str, LatencyStats]:
    feeds = random_inputs(network.model, network.input_shapes, 0)
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        sources = {name: _source(model, Path(folder) / f"{name}.onnx") for name, model in models.items()}
        return bench.device.measure(sources, dict.fromkeys(models, feeds), bench.options)


def _source(model: ir.Model, path: Path) -> ModelSource:
    if not is_large(model):
        return to_bytes(model)
    save_beside(model, path)
    return path


def find_structure(network: Network, scores: np.ndarray, choice: Choice, bench: Bench) -> Structure:
    """Choose what to remove, remove it, and prove the removal.

    Raises:
        TargetOutOfReachError: No structure meets the target.
        VerificationError: The pruned graph is wrong; nothing may be written.
    """
    bench.observer.stage("measuring the original")
    original_ms = measure_original(network, bench)
    problem = make_problem(network, scores, choice, bench, original_ms)
    if choice.target.kind == "latency":
        return _meet_latency(network, problem, choice, bench, original_ms)
    bench.observer.stage("removing and verifying")
    return _cut(network, find_plan(problem, choice.target, choice.allocation), choice)


def make_problem(network: Network, scores: np.ndarray, choice: Choice, bench: Bench, original_ms: float) -> Problem:
    """Measure what channel counts cost, layer by layer, unless the user fixed the block."""
    subject = Subject(network.model, network.channels, network.shapes, scores)
    if choice.round_to is not None:
        return paper_problem(subject, choice.round_to)
    bench.observer.stage("measuring layers")

    def on_layer(done: int, total: int) -> None:
        bench.observer.advance(note=f"{done}/{total} layers")

    return latency_problem(subject, bench.device.layer_costs(bench.options), original_ms, on_layer=on_layer)


def _meet_latency(network: Network, problem: Problem, choice: Choice, bench: Bench, original_ms: float) -> Structure:
    limit_ms = choice.target.resolve(original_ms)
    evaluator = LatencyEvaluator(network, bench, original_ms)
    probes: list[Probe] = []

    def on_probe(probe: Probe) -> None:
        bench.observer.advance(note=f"{probe.measured:.3g} ms")

    for aim in _AIMS:
        bench.observer.stage("finding the structure")
        target = replace(choice.target, value=limit_ms * aim, relative=False)
        plan = find_plan(
            problem, target, choice.allocation, evaluator=evaluator, original_ms=original_ms, on_probe=on_probe
        )
        probes += plan.probes
        structure = _cut(network, replace(plan, probes=tuple(probes)), choice)
        bench.observer.stage("confirming the latency")
        before, after = measure_beside(network, structure.pruned, bench)
        allowed = choice.target.resolve(before.p50_ms)
        if after.p50_ms <= allowed:
            return structure
    raise TargetOutOfReachError(
        f"target latency '{choice.target.text}' was met in short measurements but not in long ones "
        f"(p50 {after.p50_ms:.3g} ms, allowed {allowed:.3g} ms, spread between sessions {after.spread:.0%}): "
        "is the machine busy?"
    )


def _cut(network: Network, plan: Plan, choice: Choice) -> Structure:
    pruned = prune(network.model, network.channels, plan.keep)
    release_weights(network.model)
    # A dynamic batch is left to verification, which takes 2 so that mixing samples would show.
    shapes: Mapping[str, Sequence[int]] = {name: (0, *sizes[1:]) for name, sizes in network.input_shapes.items()}
    verification = verify(network.model, network.channels, plan.keep, pruned, input_shapes=shapes, seed=choice.seed)
    return Structure(plan, pruned, verification)
