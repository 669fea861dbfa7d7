"""The test behind `bench --compare`, against counting by hand and against what it promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from onnxprune.errors import DeviceError
from onnxprune.latency import check_sessions, regression
from onnxprune.latency.regression import _at_most


def sessions(*p50_ms: float) -> list[list[float]]:
    return [[value, value, value] for value in p50_ms]


THEN = sessions(1.00, 1.01, 0.99, 1.02, 0.98)


@pytest.mark.parametrize(("first", "second"), [(1, 1), (2, 3), (4, 4), (5, 5), (3, 6)])
def test_the_probabilities_are_those_of_all_orders(first: int, second: int) -> None:
    wins = np.zeros(first * second + 1)
    for chosen in itertools.combinations(range(first + second), first):
        rest = [other for other in range(first + second) if other not in chosen]
        wins[sum(a > b for a in chosen for b in rest)] += 1
    np.testing.assert_allclose(_at_most(first, second), np.cumsum(wins) / wins.sum())


def test_a_clear_difference_is_a_regression() -> None:
    found = regression(THEN, sessions(1.20, 1.21, 1.19, 1.22, 1.18), 0.05)
    assert found.verdict == "regression"
    assert found.ratio == pytest.approx(1.2, abs=0.01)
    assert 1.05 < found.low < found.ratio < found.high
    # None of the orders but one is as extreme: 1 / C(10, 5).
    assert found.p_value == pytest.approx(1 / 252)


def test_the_same_figures_are_none() -> None:
    found = regression(THEN, THEN, 0.05)
    assert (found.verdict, found.ratio) == ("no regression", 1.0)
    assert found.low < 1 < found.high < 1.05


def test_what_is_allowed_is_no_regression_even_if_it_is_significant() -> None:
    slower = sessions(1.03, 1.04, 1.035, 1.045, 1.04)
    assert regression(THEN, slower, 0.10).verdict == "no regression"
    assert regression(THEN, slower, 0.0).verdict == "regression"


def test_noise_is_undecided_whatever_the_ratio() -> None:
    found = regression(sessions(0.8, 1.0, 1.2, 1.4, 0.9), sessions(0.9, 1.3, 1.5, 1.1, 1.2), 0.05)
    assert found.verdict == "undecided"
    assert found.low < 1.05 < found.ratio


def test_one_session_that_is_off_decides_nothing() -> None:
    assert regression(THEN, sessions(1.0, 1.01, 0.99, 1.02, 30.0), 0.05).verdict != "regression"
    assert regression(THEN, sessions(1.2, 1.21, 1.19, 1.22, 0.1), 0.0).ratio == pytest.approx(1.2, abs=0.02)


@pytest.mark.parametrize("allowed", [0.0, 0.05])
def test_chance_alone_is_rarely_called_a_regression(allowed: float) -> None:
    rng = np.random.default_rng(1)
    limit = 1 + allowed
    wrong = [
        regression(sessions(*rng.normal(1, 0.03, 5)), sessions(*(limit * rng.normal(1, 0.03, 5))), allowed).verdict
        == "regression"
        for _ in range(400)
    ]
    # 2.5 % are promised; 5.3 % of 400 would be a 1 in 1000 chance.
    assert sum(wrong) <= 21


def test_too_few_sessions_are_refused_with_what_is_needed() -> None:
    with pytest.raises(DeviceError, match=r"3 sessions, and 3 of the baseline, are too few .* --sessions 4 or more"):
        check_sessions(3, 3)
    check_sessions(4, 4)
    with pytest.raises(DeviceError, match="too few"):
        regression(THEN, sessions(1.0), 0.05)


def test_many_sessions_take_no_time_and_decide_closely() -> None:
    check_sessions(2000, 2000)
    rng = np.random.default_rng(0)
    then, now = ([[value] for value in rng.normal(1.0, 0.01, 150)] for _ in range(2))
    found = regression(then, now, 0.05)
    assert found.verdict == "no regression"
    assert 0.99 < found.low < found.ratio < found.high < 1.01
