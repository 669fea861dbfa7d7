"""RL-Pruner as published (Wang et al., arXiv 2411.06463): a pruning distribution, learned by noisy samples.

    policy   PD, each group's share of the filters to remove next; at first proportional to the groups' filters
    action   A = PD + sigma u N(0, 1), u uniform in [0, 1], clamped to at least 1e-5, 0 where nothing more can go,
             normalised
    step     int(1 % of the original's filters) go, by the action's shares, the least important ones of each group;
             what a group does not have goes from the others
    reward   Q = metric + 100 (a * cut of MACs + b * cut of parameters), in points, right after pruning
    update   PD <- PD * clip((PD + 0.1 (A* - PD)) / PD, 1 - 0.25, 1 + 0.25), normalised, A* the best action of a round,
             where its Q is above the stage's best so far

A stage is ten rounds of ten samples; epsilon-greedy chooses which sample is kept; what is kept is distilled.
docs/search.md lists where this differs from the authors' code.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral

import numpy as np

from onnxprune.errors import TargetError
from onnxprune.search.sizes import PaperCost

Metric = Callable[[np.ndarray], float]
"""The metric, in percent, of the network that keeps these units of each group, right after pruning."""


@dataclass(frozen=True)
class _Range:
    """What a hyper-parameter may be: a finite number from `low`, or above it where that is left out, to `high`."""

    low: float = 0.0
    high: float = math.inf
    low_left_out: bool = False
    whole: bool = False

    def __contains__(self, value: float) -> bool:
        if self.whole and not isinstance(value, Integral):
            return False
        # What is no number compares as false, and whole numbers may be too large for a float.
        low = value > self.low if self.low_left_out else value >= self.low
        return low and value <= self.high and value < math.inf

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f"above {self.low:g}" if self.low_left_out else f"from {self.low:g}"
        return f"{kind} {low}" + (f", at most {self.high:g}" if self.high < math.inf else "")


_AMOUNT, _SHARE = _Range(), _Range(high=1.0)
_POSITIVE, _PART = _Range(low_left_out=True), _Range(high=1.0, low_left_out=True)
_COUNT, _COUNT_OR_NONE = _Range(1, whole=True), _Range(whole=True)

_RANGES: Mapping[str, _Range] = {
    name: allowed
    for allowed, names in {
        _PART: "share least",
        _SHARE: "rate clip epsilon exploring discount drop alpha momentum",
        _COUNT: "rounds samples replay stages sample_step epochs images",
        _COUNT_OR_NONE: "retakes",
        _POSITIVE: "learning_rate temperature",
        _AMOUNT: "sigma macs_weight params_weight weight_decay",
    }.items()
    for name in names.split()
}


@dataclass(frozen=True)
class RlPrunerConfig:
    """Hyper-parameters of `rl-pruner`, with the paper's values. Validates itself.

    Attributes:
        share: Share of the original's filters that a step removes.
        rounds: Rounds of a stage.
        samples: Samples of a round.
        sigma: Deviation of the noise on the distribution.
        least: No group's share is lower.
        replay: Samples that are remembered.
        rate: How far the distribution moves toward the best action.
        clip: How much a share may change in one update, relative to itself.
        epsilon: Chance that a random sample is kept instead of the best, at first.
        exploring: Share of the stages over which that chance falls to 0, along a cosine.
        stages: Number of stages that this share is of; the run itself ends where the target is met.
        discount: On what later steps of a sample are worth.
        sample_step: Steps that a sample looks ahead.
        macs_weight: a above.
        params_weight: b above.
        drop: Loss of the metric, before distillation, relative to its size, at which a stage is taken again from the
            first distribution.
        retakes: How often at most; 0: never.
        epochs: Epochs of distillation after each stage, where --epochs does not say.
        learning_rate: Likewise.
        temperature: T of the distillation's loss.
        alpha: Weight of the teacher's outputs in it.
        weight_decay: Of its optimizer.
        momentum: Likewise.
        images: Samples that importance which needs data is summed over.

    Raises:
        TargetError: A value is outside of its range.
    """

    share: float = 0.01
    rounds: int = 10
    samples: int = 10
    sigma: float = 0.04
    least: float = 1e-5
    replay: int = 10
    rate: float = 0.1
    clip: float = 0.25
    epsilon: float = 0.4
    exploring: float = 0.1
    stages: int = 80
    discount: float = 0.9
    sample_step: int = 1
    macs_weight: float = 0.0
    params_weight: float = 0.0
    drop: float = 0.1
    retakes: int = 3
    epochs: int = 20
    learning_rate: float = 1e-3
    temperature: float = 2.0
    alpha: float = 0.75
    weight_decay: float = 5e-4
    momentum: float = 0.9
    images: int = 100

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value not in _RANGES[name]:
                raise _refused(name, value)


def rl_pruner_config(options: tuple[str, ...]) -> RlPrunerConfig:
    """Read hyper-parameters given as `name=value`.

    Raises:
        TargetError: A name is unknown, or its value cannot be read or is outside of its range.
    """
    given: dict[str, float] = {}
    names = [f.name for f in fields(RlPrunerConfig)]
    for option in options:
        name, equals, text = option.partition("=")
        if not equals:
            raise TargetError(
                f"'{option}' gives no value: write NAME=VALUE, such as share=0.02; names are {', '.join(names)}"
            )
        if name not in names:
            raise TargetError(f"rl-pruner has no hyper-parameter '{name}'; it has {', '.join(names)}")
        try:
            given[name] = int(text) if _RANGES[name].whole else float(text)
        except ValueError as error:
            raise _refused(name, text) from error
        if given[name] not in _RANGES[name]:
            raise _refused(name, text)
    return RlPrunerConfig(**given)  # type: ignore[arg-type]


def _refused(name: str, value: object) -> TargetError:
    usual = getattr(RlPrunerConfig, name)
    return TargetError(f"rl-pruner's '{name}={value}': {name} must be {_RANGES[name]}, such as {name}={usual}")


@dataclass(frozen=True, eq=False)
class Sample:
    """An action and what came of it.

    Attributes:
        action: Shape (groups,).
        counts: Units that each group keeps after its first step, shape (groups,).
        metric: Of that structure, in percent.
        value: Q.
    """

    action: np.ndarray
    counts: np.ndarray
    metric: float
    value: float


OnSample = Callable[[Sample], None]


class RlPruner:
    """The agent: its distribution, and how a stage is sampled."""

    def __init__(
        self,
        filters: np.ndarray,
        per_unit: np.ndarray,
        paper: PaperCost,
        config: RlPrunerConfig,
        seed: int,
        *,
        least: np.ndarray | None = None,
    ) -> None:
        """Start with shares proportional to the groups' filters.

        Args:
            filters: Filters of each group in the original, shape (groups,).
            per_unit: Filters that go with one unit of each group, shape (groups,).
            paper: MACs and parameters of structures.
            config: Hyper-parameters.
            seed: Seed of everything drawn.
            least: Units of each group that always stay, shape (groups,); None: one of each.
        """
        self._least = np.ones(len(filters), dtype=np.int64) if least is None else least
        self._filters, self._per_unit, self._paper, self._config = filters, per_unit, paper, config
        self._rng = np.random.default_rng(seed)
        self._first = filters / filters.sum()
        self.distribution = self._first.copy()

    def can_step(self, counts: np.ndarray) -> bool:
        """Say whether anything can go of a structure, shape (groups,)."""
        return bool((counts > self._least).any())

    def stage(self, number: int, counts: np.ndarray, metric: Metric, on_sample: OnSample = lambda _: None) -> Sample:
        """Sample a stage and return the sample that is kept.

        Args:
            number: The stage, from 1.
            counts: Units that each group has, shape (groups,); some can go.
            metric: Judges structures.
            on_sample: Called after each sample.
        """
        before = metric(counts)
        for _ in range(1 + self._config.retakes):
            kept = self._sampled(number, counts, metric, on_sample)
            # A user's metric may be negative, such as minus an error.
            if kept.metric >= before - self._config.drop * abs(before):
                return kept
            self.distribution = self._first.copy()
        return kept

    def _sampled(self, number: int, counts: np.ndarray, metric: Metric, on_sample: OnSample) -> Sample:
        config = self._config
        replay: deque[Sample] = deque(maxlen=config.replay)
        best: Sample | None = None
        for _ in range(config.rounds):
            samples = []
            for _ in range(config.samples):
                samples.append(self._sample(counts, metric))
                on_sample(samples[-1])
            replay.extend(samples)
            top = max(samples, key=lambda sample: sample.value)
            if best is None or top.value > best.value:
                best = top
                self.update(top.action)
        assert best is not None
        explore = self._rng.random() < self.epsilon(number)
        return replay[int(self._rng.integers(len(replay)))] if explore else best

    def epsilon(self, number: int) -> float:
        """Return the chance that a stage, from 1, keeps a random sample."""
        progress = (number - 1) / max(1.0, self._config.exploring * self._config.stages)
        return self._config.epsilon * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    def update(self, action: np.ndarray) -> None:
        """Move the distribution toward an action, shape (groups,)."""
        config = self._config
        wanted = self.distribution + config.rate * (action - self.distribution)
        ratio = np.clip(wanted / self.distribution, 1 - config.clip, 1 + config.clip)
        # No action has a share of an exhausted group: its own would fall to 0, which the ratio divides by.
        moved = np.maximum(self.distribution * ratio, config.least)
        self.distribution = moved / moved.sum()

    def _sample(self, counts: np.ndarray, metric: Metric) -> Sample:
        action = self._action(counts)
        after = self.removed(counts, action)
        first = metric(after)
        value, later = self._value(after, first), after
        for step in range(1, self._config.sample_step):
            if self.can_step(later):
                later = self.removed(later, self._action(later))
            value += self._config.discount**step * self._value(later, metric(later))
        return Sample(action, after, first, value)

    def _action(self, counts: np.ndarray) -> np.ndarray:
        """Draw an action of which every share can be removed, at least in part: else what costs nothing is best."""
        noise = self._config.sigma * self._rng.random() * self._rng.normal(size=len(self.distribution))
        action = np.maximum(self.distribution + noise, self._config.least)
        drawn: np.ndarray = np.where(counts > self._least, action, 0.0)
        drawn /= drawn.sum()
        return drawn

    def removed(self, counts: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Take one step: remove filters by an action's shares, as long as there are any that need not stay.

        Args:
            counts: Units that each group has, shape (groups,).
            action: Shares, shape (groups,); above 0 where units can go.

        Returns:
            Units that each group keeps, shape (groups,). Where several filters go with a unit, the units nearest to
            a group's share go, at least one.
        """
        total = max(1, int(self._config.share * int(self._filters.sum())))
        filters = _divided(total, action, (counts - self._least) * self._per_unit)
        units = np.maximum(np.round(filters / self._per_unit), (filters > 0) & (self._per_unit > 1))
        after: np.ndarray = counts - units.astype(np.int64)
        return after

    def _value(self, counts: np.ndarray, metric: float) -> float:
        config, full = self._config, np.round(self._filters / self._per_unit).astype(np.int64)
        macs = 1 - self._paper.macs_of(counts) / max(self._paper.macs_of(full), 1)
        parameters = 1 - self._paper.parameters_of(counts) / max(self._paper.parameters_of(full), 1)
        return metric + 100 * (config.macs_weight * macs + config.params_weight * parameters)


def _divided(total: int, shares: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Divide a number of filters by shares; what a group has no room for goes to the others, by theirs.

    Args:
        total: Filters to divide; no more than there is room for are.
        shares: Of each group, shape (groups,); above 0 where there is room.
        room: Filters that each group can take, shape (groups,).

    Returns:
        Shape (groups,). What rounding leaves over goes to the largest remainders.
    """
    given = np.zeros(len(room), dtype=np.int64)
    while (left := min(total, int(room.sum())) - int(given.sum())) > 0:
        unfilled = np.where(given < room, shares, 0.0)
        exact = left * unfilled / unfilled.sum()
        part = np.floor(exact).astype(np.int64)
        part[np.argsort(part - exact, kind="stable")[: left - int(part.sum())]] += 1
        given = np.minimum(given + part, room)
    return given
