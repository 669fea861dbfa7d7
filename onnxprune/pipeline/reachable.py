"""What the user's limits cost where they put a target out of reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxprune.channels import Restriction, permitted
from onnxprune.errors import PatternError, TargetOutOfReachError
from onnxprune.pipeline.prepare import Network
from onnxprune.pipeline.settings import Settings
from onnxprune.search import UNITS, Limits, Subject, Target, exact, original_cost, paper_problem, share_off


@dataclass(frozen=True)
class _Wishes:
    """What may go, as the user said it."""

    restriction: Restriction
    limits: Limits
    round_to: int

    def options(self) -> Mapping[str, _Wishes]:
        """Return the options that were given, each with what is left of the wishes without it."""
        restriction, limits = self.restriction, self.limits

        def listed(option: str, values: Sequence[str], quote: str = "'") -> str:
            return " ".join(f"{option} {quote}{value}{quote}" for value in values)

        found = {
            listed("--keep", restriction.keep): replace(self, restriction=replace(restriction, keep=())),
            listed("--only", restriction.only): replace(self, restriction=replace(restriction, only=())),
            listed("--unit", restriction.units, ""): replace(self, restriction=replace(restriction, units=())),
        }
        if limits.max_ratio is not None:
            found[f"--max-ratio {limits.max_ratio:g}"] = replace(self, limits=replace(limits, max_ratio=None))
        if limits.min_channels is not None:
            found[f"--min-channels {limits.min_channels}"] = replace(self, limits=replace(limits, min_channels=None))
        if self.round_to > 1:
            found[f"--round-to {self.round_to}"] = replace(self, round_to=1)
        return {option: without for option, without in found.items() if option}


def explained(error: TargetOutOfReachError, network: Network, settings: Settings) -> TargetOutOfReachError:
    """Add to an error which of the user's limits hold pruning back, and what would be reachable without them.

    Args:
        error: The target is out of reach.
        network: What is pruned.
        settings: The user's wishes.

    Returns:
        The error as it is, where no limit was given or none of them matters.
    """
    wishes = _Wishes(settings.restriction, settings.limits, settings.round_to or 1)
    options = wishes.options()
    if not isinstance(settings.target, Target) or not options:
        return error
    # Latencies that nobody measured are not known: MACs stand in.
    target = settings.target if settings.target.kind != "latency" else replace(settings.target, kind="macs")
    smallest, original = _smallest(network, wishes, target)
    alone = {option: _smallest(network, without, target)[0] for option, without in options.items()}
    at_fault = [option for option, reached in alone.items() if reached < smallest]
    best = _smallest(network, _Wishes(Restriction(), Limits(), 1), target)[0]
    if best >= smallest:
        return error
    parts = [f"with {' '.join(options)}, {_reached(target, smallest, original)}"]
    parts += [f"without {option}, {_reached(target, alone[option], original)}" for option in at_fault]
    if len(at_fault) != 1:
        parts.append(f"without any of that, {_reached(target, best, original)}")
    return TargetOutOfReachError(f"{error}. What you asked for holds it back: {'; '.join(parts)}")


def _smallest(network: Network, wishes: _Wishes, target: Target) -> tuple[float, float]:
    """Return what the smallest structure that some wishes allow costs, and what the original costs."""
    try:
        channels = permitted(network.model, wishes.restriction)
    except PatternError:
        # Of patterns that were made for each other one alone may make no sense.
        return float("inf"), float("inf")
    if not channels.groups:
        return float("inf"), float("inf")
    subject = Subject(network.model, channels, network.shapes, np.ones(channels.unit_count))
    problem = wishes.limits.on(paper_problem(subject, wishes.round_to))
    return exact(problem, target, problem.admissible.smallest), original_cost(problem, target)


def _reached(target: Target, cost: float, original: float) -> str:
    if target.kind == "ratio":
        return f"{share_off(cost)} of the channels can go"
    return f"{cost / original:.0%} of the {UNITS[target.kind]} are left"
