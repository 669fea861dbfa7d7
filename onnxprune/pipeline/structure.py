"""Which channels go: scores, measured layer costs, the allocation to the target, surgery and its proof."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxprune.channels import Verification, prune, verify
from onnxprune.errors import TargetOutOfReachError
from onnxprune.graph import random_inputs, save, to_bytes
from onnxprune.latency import (
    Device,
    LatencyStats,
    LayerCosts,
    MeasureOptions,
    ModelSource,
    ProfilingTimer,
)
from onnxprune.pipeline.prepare import Network
from onnxprune.progress import Observer
from onnxprune.search import (
    AllocationName,
    Plan,
    Probe,
    Problem,
    Target,
    find_plan,
    full_counts,
    latency_problem,
    paper_problem,
)

# Above this the weights go through a file, so that onnxruntime maps them instead of copying.
_FILE_BYTES = 64 << 20
# A candidate is compared with the original in short sessions; the delivered file is measured at length.
_QUICK = {"sessions": 3, "session_ms": 60.0}
# If the long measurement does not confirm the short ones, the aim is lowered by these factors in turn.
_AIMS = (1.0, 0.975, 0.95, 0.92)


@dataclass(frozen=True)
class Structure:
    """The pruned network before any training.

    Attributes:
        plan: Which units stay, and how that was found.
        pruned: The smaller model.
        verification: The proof that removal equals silencing.
        latency: Of "original" and "pruned", measured interleaved; empty where latency was not measured.
    """

    plan: Plan
    pruned: ir.Model
    verification: Verification
    latency: Mapping[str, LatencyStats] = field(default_factory=dict)


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


class LatencyEvaluator:
    """Measures structures beside the original network."""

    def __init__(self, network: Network, device: Device, options: MeasureOptions, original_ms: float) -> None:
        """Prepare to measure.

        Args:
            network: The original.
            device: Where to measure.
            options: How to measure.
            original_ms: Its p50, measured at length; candidates are scaled to it.
        """
        self._network = network
        self._device = device
        self._options = replace(options, **_QUICK)  # type: ignore[arg-type]
        self._original_ms = original_ms

    def latency_ms(self, keep: np.ndarray) -> float:
        """Return the p50 of the network that keeps these units, as a share of the original's beside it."""
        pruned = prune(self._network.model, self._network.channels, keep)
        stats = measure_models(self._network, {"original": self._network.model, "pruned": pruned}, self._device, self._options)
        return stats["pruned"].p50_ms / stats["original"].p50_ms * self._original_ms


def measure_models(
    network: Network, models: Mapping[str, ir.Model], device: Device, options: MeasureOptions, seed: int = 0
) -> dict[str, LatencyStats]:
    """Measure models with the network's inputs, interleaved."""
    feeds = random_inputs(network.model, network.input_shapes, seed)
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        sources = {name: _source(model, Path(folder) / f"{name}.onnx") for name, model in models.items()}
        return device.measure(sources, dict.fromkeys(models, feeds), options)


def _source(model: ir.Model, path: Path) -> ModelSource:
    size = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    if size < _FILE_BYTES:
        return to_bytes(model)
    save(model, path)
    return path


def find_structure(
    network: Network,
    scores: np.ndarray,
    choice: Choice,
    device: Device,
    options: MeasureOptions,
    observer: Observer,
) -> Structure:
    """Choose what to remove, remove it, and prove the removal.

    Raises:
        TargetOutOfReachError: No structure meets the target.
        VerificationError: The pruned graph is wrong; nothing may be written.
    """
    observer.stage("measuring the original")
    original_ms = measure_models(network, {"original": network.model}, device, options)["original"].p50_ms
    problem = make_problem(network, scores, choice, device, options, original_ms, observer)
    if choice.target.kind != "latency":
        plan = find_plan(problem, choice.target, choice.allocation)
        return _cut(network, plan, choice)
    return _meet_latency(network, problem, choice, device, options, original_ms, observer)


def make_problem(
    network: Network,
    scores: np.ndarray,
    choice: Choice,
    device: Device,
    options: MeasureOptions,
    original_ms: float,
    observer: Observer,
) -> Problem:
    """Measure what channel counts cost, layer by layer, unless the user fixed the block."""
    if choice.round_to is not None:
        return paper_problem(network.model, network.channels, network.shapes, scores, choice.round_to)
    observer.stage("measuring layers")
    return latency_problem(
        network.model,
        network.channels,
        network.shapes,
        scores,
        LayerCosts(ProfilingTimer(options)),
        original_ms,
        fine=choice.target.kind != "latency",
        on_layer=lambda done, total: observer.advance(note=f"{done}/{total} layers"),
    )


def _meet_latency(
    network: Network,
    problem: Problem,
    choice: Choice,
    device: Device,
    options: MeasureOptions,
    original_ms: float,
    observer: Observer,
) -> Structure:
    limit_ms = choice.target.resolve(original_ms)
    probes: list[Probe] = []
    for aim in _AIMS:
        observer.stage("finding the structure")
        target = replace(choice.target, value=limit_ms * aim, relative=False)
        evaluator = LatencyEvaluator(network, device, options, original_ms)
        plan = find_plan(
            problem,
            target,
            choice.allocation,
            evaluator=evaluator,
            original_ms=original_ms,
            on_probe=lambda probe: observer.advance(note=f"{probe.measured:.3g} ms"),
        )
        probes += plan.probes
        structure = _cut(network, replace(plan, probes=tuple(probes)), choice)
        observer.stage("confirming the latency")
        latency = measure_models(network, {"original": network.model, "pruned": structure.pruned}, device, options)
        allowed = choice.target.resolve(latency["original"].p50_ms)
        if latency["pruned"].p50_ms <= allowed:
            return replace(structure, latency=latency)
    raise TargetOutOfReachError(
        f"target latency '{choice.target.text}' was met in short measurements but not in long ones "
        f"(p50 {latency['pruned'].p50_ms:.3g} ms, allowed {allowed:.3g} ms, spread between sessions "
        f"{latency['pruned'].spread:.0%}): is the machine busy?"
    )


def _cut(network: Network, plan: Plan, choice: Choice) -> Structure:
    pruned = prune(network.model, network.channels, plan.keep)
    # A dynamic batch is left to verification, which takes 2 so that mixing samples would show.
    shapes: Mapping[str, Sequence[int]] = {name: (0, *sizes[1:]) for name, sizes in network.input_shapes.items()}
    verification = verify(
        network.model, network.channels, plan.keep, pruned, input_shapes=shapes, seed=choice.seed
    )
    return Structure(plan, pruned, verification)


def removed_nothing(network: Network, plan: Plan) -> bool:
    """Say whether the plan is the original network."""
    return bool((plan.counts == full_counts(network.channels)).all())
