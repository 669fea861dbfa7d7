"""The task an agent learns: how to spread the pruning over the groups within a budget.

    state    the groups: their sizes, importance, share of the cost, and the structures judged so far
    action   a preference p in R^groups; a group's loss counts exp(p) times in the global ranking
    step     the ranking's walk down to the budget, then back up wherever there is room; heal; judge
    reward   the judge's: the task's metric of the healed network on the evaluation samples

The budget is kept by construction, so the agent never learns about it. p = 0 is the global ranking itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from onnxprune.search.admissible import CostModel, Problem, thinned
from onnxprune.search.allocation import fill, global_path, uniform_path

_LEVELS = 16


@dataclass(frozen=True)
class Environment:
    """A network with a budget.

    Attributes:
        problem: The network and what its structures cost.
        budget: What the target limits, in any unit.
        limit: The most it may be, in the same unit.
    """

    problem: Problem
    budget: CostModel
    limit: float

    @property
    def groups(self) -> int:
        """Number of groups, the length of an action."""
        return len(self.problem.channels.groups)

    @cached_property
    def _coarse(self) -> Problem:
        # Thousands of walks are made; the steps that are left out are taken when the budget is filled.
        return replace(self.problem, admissible=thinned(self.problem.admissible, _LEVELS))

    @property
    def sizes(self) -> np.ndarray:
        """Units of each group, shape (groups,)."""
        return np.array([group.size for group in self.problem.channels.groups])

    def act(self, preference: np.ndarray) -> np.ndarray | None:
        """Return the structure that an action leads to, shape (groups,); None where the budget is out of its reach."""
        path = global_path(self._coarse, self.budget, preference)
        return self._within(path, preference)

    def uniform(self) -> np.ndarray | None:
        """Return the largest structure of equal shares within the budget."""
        path = uniform_path(self.problem)
        return next((counts for counts in path if self.cost(counts) <= self.limit), None)

    def cost(self, counts: np.ndarray) -> float:
        """Return what a structure costs of the budget."""
        return self.budget.total(counts)

    def _within(self, path: list[np.ndarray], preference: np.ndarray) -> np.ndarray | None:
        low, high = 0, len(path) - 1
        if self.cost(path[high]) > self.limit:
            return None
        while low < high:
            middle = (low + high) // 2
            if self.cost(path[middle]) <= self.limit:
                high = middle
            else:
                low = middle + 1
        return fill(self.problem, path[low], self.budget, self.limit, preference)
