"""Which channels go: the plan for the target, surgery, its proof, and the latency confirmed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxprune.channels import Verification, prune, verify
from onnxprune.errors import TargetOutOfReachError
from onnxprune.graph import release_weights
from onnxprune.pipeline.measuring import Bench, measure_beside
from onnxprune.pipeline.planning import Choice, Planner
from onnxprune.pipeline.prepare import Network
from onnxprune.search import Plan, Probe, SearchOutcome

# The long measurement has the last word: where it lies outside this share of the target, the aim is corrected by it.
_ON_TARGET, _AIM, _ATTEMPTS = 0.955, 0.98, 4
# One measurement does not move the aim further than this.
_LARGEST_CORRECTION = 1.1


@dataclass(frozen=True)
class Structure:
    """The pruned network before any training.

    Attributes:
        plan: Which units stay, and how that was found.
        pruned: The smaller model.
        verification: The proof that removal equals silencing.
        allocation: The allocation or agent that found it, or "ratios" where the user gave it.
        outcome: What an agent's search found on the way; None without one.
    """

    plan: Plan
    pruned: ir.Model
    verification: Verification
    allocation: str
    outcome: SearchOutcome | None = None


def find_structure(network: Network, planner: Planner, choice: Choice, bench: Bench) -> Structure:
    """Choose what to remove, remove it, and prove the removal.

    Args:
        network: What is pruned.
        planner: Finds the structure for a target.
        choice: What the user chose.
        bench: Where latency is measured.

    Raises:
        TargetOutOfReachError: No structure meets the target.
        VerificationError: The pruned graph is wrong; nothing may be written.
    """
    if choice.target.kind == "latency":
        return _meet_latency(network, planner, choice, bench)
    plan = planner.plan(choice.target)
    bench.observer.stage("removing and verifying")
    return replace(cut(network, plan, choice), outcome=planner.outcome)


def _meet_latency(network: Network, planner: Planner, choice: Choice, bench: Bench) -> Structure:
    """Plan, measure at length, and plan again with a corrected aim until the target is met closely."""
    limit_ms, aim = choice.target.resolve(planner.original_ms), 1.0
    probes: list[Probe] = []
    measured: dict[bytes, float] = {}
    best: tuple[float, Structure] | None = None
    for _ in range(_ATTEMPTS):
        plan = _planned(planner, choice, limit_ms * aim, best)
        if plan is None:
            break
        probes += plan.probes
        key = plan.counts.tobytes()
        if key not in measured:
            structure = cut(network, plan, choice)
            bench.observer.stage("confirming the latency")
            before, after = measure_beside(network, structure.pruned, bench)
            allowed = choice.target.resolve(before.p50_ms)
            measured[key] = after.p50_ms / allowed
            if measured[key] <= 1 and (best is None or measured[key] > best[0]):
                best = measured[key], structure
        share = measured[key]
        if _ON_TARGET <= share <= 1:
            break
        aim *= float(np.clip(_AIM / share, 1 / _LARGEST_CORRECTION, _LARGEST_CORRECTION))
    if best is None:
        raise TargetOutOfReachError(
            f"target latency '{choice.target.text}' was met in short measurements but not in long ones "
            f"(p50 {after.p50_ms:.3g} ms, allowed {allowed:.3g} ms, spread between sessions {after.spread:.0%}): "
            "is the machine busy?"
        )
    structure = best[1]
    return replace(structure, plan=replace(structure.plan, probes=tuple(probes)), outcome=planner.outcome)


def _planned(planner: Planner, choice: Choice, aim_ms: float, best: object) -> Plan | None:
    """Plan for a latency; None where none reaches it, and another structure already meets the target."""
    try:
        return planner.plan(replace(choice.target, value=aim_ms, relative=False))
    except TargetOutOfReachError:
        if best is None:
            raise
        return None


def cut(network: Network, plan: Plan, choice: Choice) -> Structure:
    """Remove what a plan does not keep, and prove the removal.

    Raises:
        VerificationError: The pruned graph is wrong.
    """
    pruned = prune(network.model, network.channels, plan.keep)
    release_weights(network.model)
    # A dynamic batch is left to verification, which takes 2 so that mixing samples would show.
    shapes: Mapping[str, Sequence[int]] = {name: (0, *sizes[1:]) for name, sizes in network.input_shapes.items()}
    verification = verify(network.model, network.channels, plan.keep, pruned, input_shapes=shapes, seed=choice.seed)
    return Structure(plan, pruned, verification, choice.source)
