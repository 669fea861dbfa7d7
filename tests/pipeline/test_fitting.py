"""Fitting a structure to a target by measurements that differ from the prediction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxprune.pipeline.fitting import LEAST, MOST, Fitting
from onnxprune.search import Plan, Problem, Subject, full_counts, make_plan, paper_problem
from tests.search.test_allocation import subject

__all__ = ["subject"]


def fitted(problem: Problem, counts: np.ndarray, true: Callable[[np.ndarray], float], **options: bool) -> list[Plan]:
    """Fit a structure to a latency of 1, and return what was measured."""
    plans: list[Plan] = []

    def measure(plan: Plan) -> float:
        plans.append(plan)
        return true(plan.counts)

    Fitting(problem, measure, **options).run(make_plan(problem, counts, 0.0, 0.0, ()), true(counts))
    return plans


@settings(max_examples=30, deadline=None, derandomize=True)
@given(share=st.floats(0.9, 1.06), wobble=st.floats(0.0, 0.02), first=st.integers(20, 50), second=st.integers(16, 40))
def test_a_structure_comes_close_below_the_target(
    subject: Subject, share: float, wobble: float, first: int, second: int
) -> None:
    problem = paper_problem(subject, 1)
    counts = np.array([first, second])
    unit = share / problem.cost.total(counts)

    def true(now: np.ndarray) -> float:
        """Half of the latency does not depend on the channels, and it is no smooth function of them."""
        return share / 2 + unit / 2 * problem.cost.total(now) + wobble * float(np.sin(now.sum()) - np.sin(counts.sum()))

    plans = fitted(problem, counts, true)
    assert len(plans) <= 12
    last = share if not plans else true(plans[-1].counts)
    assert LEAST - 1e-9 <= last <= MOST + 1e-9


def test_too_slow_a_structure_becomes_smaller_and_too_fast_a_one_larger(subject: Subject) -> None:
    problem, counts = paper_problem(subject, 1), np.array([32, 24])
    scale = problem.cost.total(counts)
    (*_, smaller) = fitted(problem, counts, lambda now: 1.04 * problem.cost.total(now) / scale)
    assert (smaller.counts <= counts).all()
    assert smaller.counts.sum() < counts.sum()
    (*_, larger) = fitted(problem, counts, lambda now: 0.92 * problem.cost.total(now) / scale)
    assert (larger.counts >= counts).all()
    assert larger.counts.sum() > counts.sum()
    assert larger.keep.sum() == larger.counts.sum()


def test_counts_between_the_admissible_ones_are_a_last_resort(subject: Subject) -> None:
    problem, counts = paper_problem(subject, 16), np.array([32, 32])

    def true(now: np.ndarray) -> float:
        """A whole step is too much."""
        return 0.93 + 0.005 * float((now - counts).sum())

    plans = fitted(problem, counts, true)
    assert LEAST <= true(plans[-1].counts) <= MOST
    assert any(count % 16 for count in plans[-1].counts)
    assert all((plan.counts % 16 == 0).all() for plan in fitted(problem, counts, true, halves=False))


def test_a_structure_on_target_is_left_alone(subject: Subject) -> None:
    assert fitted(paper_problem(subject, 1), full_counts(subject.channels), lambda _: 0.97) == []


def test_where_the_first_measurement_was_lucky_it_goes_on_downward(subject: Subject) -> None:
    problem, counts = paper_problem(subject, 1), np.array([48, 40])
    scale = problem.cost.total(counts)
    found: list[tuple[float, Plan]] = []

    def measure(plan: Plan) -> float:
        found.append((1.4 * problem.cost.total(plan.counts) / scale, plan))
        return found[-1][0]

    Fitting(problem, measure).run(make_plan(problem, counts, 0.0, 0.0, ()), 1.02)
    assert found[-1][0] <= MOST


def test_where_nothing_gets_below_the_target_it_ends(subject: Subject) -> None:
    plans = fitted(paper_problem(subject, 1), np.array([32, 24]), lambda _: 1.02)
    assert 1 <= len(plans) <= 12
