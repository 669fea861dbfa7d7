"""The agents that propose how to spread the pruning: `rl`, which learns, and `random`, which does not.

`rl` is an actor-critic. Its actor is a Gaussian policy over preferences, N(m, diag s^2), moved after each round
toward the best actions so far, weighted by rank (the cross-entropy method; its update is a natural-gradient step
with a rank-based advantage). Its critic predicts the reward of a structure; of many actions that the actor draws,
those are judged that the critic expects most of, or knows least about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onnxprune.search.candidates import Candidate, Judgement, expected_rewards
from onnxprune.search.critic import Critic
from onnxprune.search.environment import Environment

_MOST_DRAWS = 400
_ENOUGH_TO_LEARN = 8
# Weight on the logarithm of how many layers a group is the sum of.
_SUM_WEIGHTS = (0.0, 0.25, 0.5)


@dataclass(frozen=True)
class RlConfig:
    """Hyper-parameters of `rl`.

    Attributes:
        sigma: Deviation of the first policy, in units of log preference.
        least_sigma: The policy never gets narrower.
        elite_share: Share of the judged actions that the policy moves toward.
        rate: How far it moves in one round.
        pool: Actions drawn for each one that is judged, once the critic knows something.
        exploration: How many standard deviations of the critic's doubt count as reward.
        unscreened: Share of the actions that are judged whatever the critic says.
    """

    sigma: float = 0.7
    least_sigma: float = 0.08
    elite_share: float = 0.2
    rate: float = 0.5
    pool: int = 8
    exploration: float = 0.7
    unscreened: float = 0.2


class Agent(Protocol):
    """Proposes structures and learns from what is said of them."""

    @property
    def name(self) -> str:
        """Name for logs and reports."""

    def propose(self, count: int, seen: set[bytes]) -> list[Candidate]:
        """Propose up to `count` structures that have not been seen."""

    def learn(self, judgements: Sequence[Judgement]) -> None:
        """Take in everything that was judged so far."""


class RandomAgent:
    """Draws actions around the global ranking, always with the same spread."""

    name = "random"

    def __init__(self, environment: Environment, seed: int, sigma: float = RlConfig.sigma) -> None:
        """Prepare to draw; `sigma` is that of `rl`'s first policy."""
        self._environment = environment
        self._rng = np.random.default_rng(seed)
        self._sigma = sigma

    def propose(self, count: int, seen: set[bytes]) -> list[Candidate]:
        """Draw structures that have not been seen."""

        def draw() -> np.ndarray:
            return self._rng.normal(0.0, self._sigma, self._environment.groups)

        return _distinct(self._environment, draw, count, seen, self.name)

    def learn(self, judgements: Sequence[Judgement]) -> None:
        """Learn nothing."""


class RlAgent:
    """The actor-critic described above."""

    name = "rl"

    def __init__(self, environment: Environment, seed: int, config: RlConfig = RlConfig()) -> None:
        """Start from the global ranking."""
        self._environment = environment
        self._config = config
        self._rng = np.random.default_rng(seed)
        self.mean = np.zeros(environment.groups)
        self.sigma = np.full(environment.groups, config.sigma)
        self._elites: list[np.ndarray] = []
        self._critic: Critic | None = None

    def propose(self, count: int, seen: set[bytes]) -> list[Candidate]:
        """Draw actions, and of many keep those the critic expects most of."""
        if self._critic is None:
            return _distinct(self._environment, self._draw, count, seen, self.name)
        free = max(1, round(count * self._config.unscreened))
        pool = _distinct(self._environment, self._draw, count * self._config.pool, seen, self.name)
        unscreened, rest = pool[:free], pool[free:]
        if not rest:
            return unscreened
        mean, doubt = self._critic.predict(self._features([c.counts for c in rest]))
        hope = mean + self._config.exploration * doubt
        chosen = np.argsort(-hope, kind="stable")[: count - len(unscreened)]
        return [*unscreened, *(rest[i] for i in chosen)]

    def learn(self, judgements: Sequence[Judgement]) -> None:
        """Fit the critic to all structures, and move the policy toward the best actions."""
        rewards = expected_rewards(judgements)
        if len(judgements) >= _ENOUGH_TO_LEARN:
            self._critic = Critic(self._features([j.candidate.counts for j in judgements]), rewards)
        order = np.argsort(-rewards, kind="stable")
        acted = [action for i in order if (action := judgements[i].candidate.preference) is not None]
        if not acted:
            return
        actions = np.array(acted[: max(4, round(len(acted) * self._config.elite_share))])
        weights = np.log(len(actions) + 0.5) - np.log(np.arange(1, len(actions) + 1))
        weights /= weights.sum()
        spread = weights @ (actions - self.mean) ** 2
        rate = self._config.rate
        self.mean = (1 - rate) * self.mean + rate * (weights @ actions)
        self.sigma = np.sqrt((1 - rate) * self.sigma**2 + rate * spread)
        self.sigma = np.clip(self.sigma, self._config.least_sigma, self._config.sigma)
        self._elites = list(actions)

    def _draw(self) -> np.ndarray:
        """Draw an action from the policy, or change a few groups of one of the best so far."""
        if self._elites and self._rng.random() < 0.5:
            action = self._elites[self._rng.integers(len(self._elites))].copy()
            touched = self._rng.choice(len(action), size=min(len(action), 1 + self._rng.poisson(2)), replace=False)
            action[touched] += self._rng.normal(0.0, self._config.sigma, len(touched))
            return action
        return self.mean + self.sigma * self._rng.normal(size=len(self.mean))

    def _features(self, structures: Sequence[np.ndarray]) -> np.ndarray:
        """The logarithm of the share that each group keeps, shape (n, groups); nothing counts as a tenth of a unit."""
        features: np.ndarray = np.log(np.maximum(np.array(structures), 0.1) / self._environment.sizes)
        return features


def plain_candidates(environment: Environment) -> list[Candidate]:
    """Return the plain allocations within the budget: the global ranking, where `rl` starts, and equal shares.

    The ranking is tried with more weight, too, on groups that many layers add up to, such as a residual stream: one
    channel less is one less for all of them, which the share of the group's importance that goes does not tell.
    """
    sums = np.log([len(group.producers) for group in environment.problem.channels.groups])
    found: list[tuple[np.ndarray | None, str, np.ndarray | None]] = [
        (environment.act(weight * sums), "global", weight * sums) for weight in _SUM_WEIGHTS
    ]
    found.insert(1, (environment.uniform(), "uniform", None))
    unique: dict[bytes, Candidate] = {}
    for counts, source, action in found:
        if counts is not None:
            candidate = Candidate(counts, source, action)
            unique.setdefault(candidate.key, candidate)
    return list(unique.values())


def _distinct(
    environment: Environment, draw: Callable[[], np.ndarray], count: int, seen: set[bytes], source: str
) -> list[Candidate]:
    """Draw actions until `count` new structures are found, or it seems that there are no more."""
    found: dict[bytes, Candidate] = {}
    for _ in range(min(count * 10, _MOST_DRAWS)):
        if len(found) == count:
            break
        action = draw()
        counts = environment.act(action)
        if counts is None:
            continue
        candidate = Candidate(counts, source, action)
        if candidate.key not in seen:
            found.setdefault(candidate.key, candidate)
    return list(found.values())
