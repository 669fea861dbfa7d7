"""Which channels go: the plan for the target, surgery, its proof, and the latency confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxprune.channels import Verification, prune, verify
from onnxprune.errors import TargetOutOfReachError
from onnxprune.graph import release_weights
from onnxprune.latency import BUSY_SPREAD, LatencyStats
from onnxprune.pipeline.fitting import AIM, LEAST, MOST, Fitting
from onnxprune.pipeline.measuring import Bench, measure_models
from onnxprune.pipeline.planning import Choice, Planner
from onnxprune.pipeline.prepare import Network
from onnxprune.search import Plan, Probe, SearchOutcome

# The long measurement has the last word: the aim is corrected by it.
_ATTEMPTS = 4
# As often where none of these met the target and no fitting follows.
_MOST_ATTEMPTS = 10
# Where there is one structure only, a miss may be the measurement's.
_LOOKS_AT_ONE = 3
# Plans that are made before the closest is fitted. Further from the target than this a second one is worth its time: of
# its structures an agent knows what they are worth.
_PLANS, _NEAR = 2, (0.9, 1.06)
# A measurement as close to the target as this decides something, so that it is made twice.
_CLOSE = 0.94, 1.02
# Measurements of which the calmest counts, where other work disturbs them.
_MOST_LOOKS = 3
# How often the closest plan is fitted, where nothing came near below the target.
_FITS = 2
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
    """Plan, measure at length, and correct the aim or give channels back until the target is met closely."""
    limit_ms = choice.target.resolve(planner.original_ms)
    confirmed = _Confirmed(network, choice, bench, limit_ms)
    # Equal shares would not stay equal, nor would what was asked for channel by channel.
    fits = choice.allocation != "uniform" and choice.counts is None
    plans = _measured_plans(planner, choice, limit_ms, confirmed, fits=fits)
    probes = [probe for _, plan in plans for probe in plan.probes]
    if fits:
        probes += _fit(planner, choice, limit_ms, confirmed, plans)
    best = confirmed.best
    if best is None and not choice.strict:
        # What the plan aimed at by short measurements, not what was followed far down by disturbed ones.
        best = min(plans, key=lambda found: found[0])
    if best is None:
        # Once the machine is quiet, a run that goes on measures them again.
        bench.journal.void(confirmed.measurements)
        raise TargetOutOfReachError(
            f"target latency '{choice.target.text}' was met in short measurements but not in long ones "
            f"({confirmed.last}): is the machine busy?"
        )
    bench.observer.stage("removing and verifying")
    plan = replace(best[1], probes=tuple(probes))
    return replace(cut(network, plan, choice), outcome=planner.outcome)


def _measured_plans(
    planner: Planner, choice: Choice, limit_ms: float, confirmed: _Confirmed, *, fits: bool
) -> list[tuple[float, Plan]]:
    """Plan until one measures near the target, with a corrected aim each time; return all with what they measured."""
    near, attempts, most = (_NEAR, _PLANS, _PLANS) if fits else ((LEAST, MOST), _ATTEMPTS, _MOST_ATTEMPTS)
    if choice.counts is not None:
        near, attempts, most = (0.0, 1.0), _LOOKS_AT_ONE, _LOOKS_AT_ONE
    plans: list[tuple[float, Plan]] = []
    aim = 1.0
    for attempt in range(most):
        if attempt >= attempts and confirmed.best is not None:
            break
        plan = _planned(planner, choice, limit_ms * aim, plans)
        if plan is None:
            break
        if choice.counts is not None:
            confirmed.forget()
        share = confirmed.measure(plan)
        plans.append((share, plan))
        if near[0] <= share <= near[1]:
            break
        aim *= float(np.clip(AIM / share, 1 / _LARGEST_CORRECTION, _LARGEST_CORRECTION))
    return plans


def _fit(
    planner: Planner, choice: Choice, limit_ms: float, confirmed: _Confirmed, plans: Sequence[tuple[float, Plan]]
) -> list[Probe]:
    """Fit the closest plan to the target, and return what was measured."""
    probes: list[Probe] = []
    share, plan = min(plans, key=lambda found: abs(np.log(found[0] / AIM)))
    for again in range(_FITS):
        if again:
            # All of it may have been disturbed for a while.
            confirmed.forget()
            share = confirmed.measure(plan)
        fitting = Fitting(planner.problem, confirmed.measure, halves=choice.round_to is None)
        fitting.run(plan, share)
        probes += [replace(probe, measured=probe.measured * limit_ms) for probe in fitting.probes]
        if confirmed.best is not None and confirmed.best[0] >= _NEAR[0]:
            break
    return probes


class _Confirmed:
    """Structures that were measured at length, and the one that came closest to the target from below."""

    def __init__(self, network: Network, choice: Choice, bench: Bench, limit_ms: float) -> None:
        self._network, self._choice, self._bench, self._limit_ms = network, choice, bench, limit_ms
        self._shares: dict[bytes, float] = {}
        self.best: tuple[float, Plan] | None = None
        self.last = ""
        """The last measurement, for a message."""
        self.measurements: list[int] = []
        """All of them, by their numbers in the run's journal."""

    def measure(self, plan: Plan) -> float:
        """Return the latency of a structure as a share of what is allowed."""
        key = plan.counts.tobytes()
        if key not in self._shares:
            self._shares[key] = self._measured(plan)
        return self._shares[key]

    def forget(self) -> None:
        """Measure again what was measured."""
        self._shares.clear()

    def _measured(self, plan: Plan) -> float:
        self._bench.observer.stage("confirming the latency")
        delivered = self._bench.delivered(prune(self._network.model, self._network.channels, plan.keep))
        release_weights(self._network.model)
        share = self._share(delivered)
        if _CLOSE[0] <= share <= _CLOSE[1]:
            # Of many structures, those that only measured well by luck would be taken.
            share = (share + self._share(delivered)) / 2
        if share <= 1 and (self.best is None or (share <= MOST, share) > (self.best[0] <= MOST, self.best[0])):
            self.best = share, replace(plan, achieved=share * self._limit_ms)
        return share

    def _share(self, delivered: ir.Model) -> float:
        models = {"original": self._network.model, "pruned": delivered}
        looks: list[tuple[LatencyStats, LatencyStats]] = []
        while not looks or (len(looks) < _MOST_LOOKS and min(map(_disturbed, looks)) > BUSY_SPREAD):
            with self._bench.journal.listed() as numbers:
                stats = measure_models(self._network, models, self._bench)
            self.measurements += numbers
            looks.append((stats["original"], stats["pruned"]))
        before, after = min(looks, key=_disturbed)
        allowed = self._choice.target.resolve(before.p50_ms)
        self.last = f"p50 {after.p50_ms:.3g} ms, allowed {allowed:.3g} ms, spread between sessions {after.spread:.0%}"
        return after.p50_ms / allowed


def _disturbed(look: tuple[LatencyStats, LatencyStats]) -> float:
    """Return the larger spread of two models' sessions."""
    return max(stats.spread for stats in look)


def _planned(planner: Planner, choice: Choice, aim_ms: float, before: Sequence[object]) -> Plan | None:
    """Plan for a latency; None where none reaches it, and there are plans from before."""
    try:
        return planner.plan(replace(choice.target, value=aim_ms, relative=False))
    except TargetOutOfReachError:
        if not before:
            raise
        return None


def cut(network: Network, plan: Plan, choice: Choice) -> Structure:
    """Remove what a plan does not keep, and prove the removal.

    Raises:
        VerificationError: The pruned graph is wrong.
    """
    pruned = prune(network.model, network.channels, plan.keep)
    release_weights(network.model)
    shapes = network.free_batch_shapes
    verification = verify(network.model, network.channels, plan.keep, pruned, input_shapes=shapes, seed=choice.seed)
    return Structure(plan, pruned, verification, choice.source)
