"""RL-Pruner as published: what a step removes, how the distribution moves, and that it finds a known optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxprune.errors import TargetError
from onnxprune.search import WORST, RlPruner, RlPrunerConfig, rl_pruner_config
from onnxprune.search.sizes import PaperCost

NO_COST = PaperCost({}, (), ())


def agent(filters: list[int], per_unit: list[int] | None = None, seed: int = 0, **options: Any) -> RlPruner:
    each = np.array(per_unit or [1] * len(filters))
    return RlPruner(np.array(filters), each, NO_COST, RlPrunerConfig(**options), seed)


def test_it_starts_with_the_groups_sizes() -> None:
    assert agent([10, 30]).distribution.tolist() == [0.25, 0.75]


def test_a_step_removes_its_share_and_leaves_one_of_each() -> None:
    subject = agent([100, 300], share=0.05)
    assert subject.removed(np.array([100, 300]), np.array([0.25, 0.75])).tolist() == [95, 285]
    # A group that has too few gives what it has, and the others give the rest.
    assert subject.removed(np.array([2, 300]), np.array([0.5, 0.5])).tolist() == [1, 281]
    # What is rounded goes to the largest remainders; the total is kept.
    assert subject.removed(np.array([100, 300]), np.array([0.33, 0.67])).sum() == 380


def test_what_always_stays_stays() -> None:
    subject = RlPruner(
        np.array([100, 300]), np.array([1, 1]), NO_COST, RlPrunerConfig(share=0.5), 0, least=np.array([80, 1])
    )
    assert subject.removed(np.array([100, 300]), np.array([0.5, 0.5])).tolist() == [80, 120]
    assert subject.removed(np.array([90, 40]), np.array([0.5, 0.5])).tolist() == [80, 1]


SIZES = np.array([64, 64, 128, 128, 256, 256])


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_steps_remove_their_share_until_nothing_is_left_that_can_go(ratio: float) -> None:
    least = np.maximum(1, (ratio * SIZES).astype(np.int64))
    each = np.ones_like(SIZES)
    subject = RlPruner(SIZES, each, NO_COST, RlPrunerConfig(rounds=3, samples=4, share=0.05), 0, least=least)
    counts, number, step = SIZES, 0, int(0.05 * SIZES.sum())
    while subject.can_step(counts):
        number += 1
        kept = subject.stage(number, counts, lambda c: 100.0 * float((c / SIZES).mean()))
        assert counts.sum() - kept.counts.sum() == min(step, (counts - least).sum())
        assert (kept.action[counts == least] == 0).all()
        counts = kept.counts
    assert counts.tolist() == least.tolist()


def test_what_a_group_does_not_have_is_divided_by_the_action() -> None:
    subject = agent([100, 100, 200], share=0.1)
    # 40 go; of 20 the first group has 9, and the 11 that it lacks go three to one.
    shares = np.array([0.5, 0.375, 0.125])
    assert subject.removed(np.array([10, 100, 200]), shares).tolist() == [1, 100 - 23, 200 - 8]


def test_looking_ahead_beyond_the_end_stays_there() -> None:
    subject = agent([10, 10], share=0.5, sample_step=4, rounds=1, samples=1, epsilon=0.0, discount=1.0)
    kept = subject.stage(1, np.array([10, 10]), lambda c: float(c.sum()))
    assert kept.value == 10 + 2 + 2 + 2


def test_channels_that_go_together_go_whole() -> None:
    subject = agent([100, 100], [1, 10], share=0.1)
    assert subject.removed(np.array([100, 10]), np.array([0.5, 0.5])).tolist() == [90, 9]


def test_the_distribution_moves_a_tenth_and_at_most_a_quarter() -> None:
    subject = agent([10, 10])
    subject.update(np.array([0.6, 0.4]))
    assert subject.distribution == pytest.approx([0.51, 0.49])
    subject = agent([1, 99])
    subject.update(np.array([0.9, 0.1]))
    # 0.01 + 0.1 * 0.89 would be nine times as much.
    assert subject.distribution[0] == pytest.approx(0.0125 / (0.0125 + 0.99 - 0.089), rel=1e-6)


def test_exploration_ends_with_the_first_tenth_of_the_stages() -> None:
    subject = agent([10])
    assert [round(subject.epsilon(n), 3) for n in (1, 5, 9, 80)] == [0.4, 0.2, 0.0, 0.0]


def test_it_learns_which_group_can_go() -> None:
    # Filters of the second group cost nothing, those of the first a point each.
    subject = agent([200, 200], share=0.02, epsilon=0.0, sigma=0.2)
    counts = np.array([200, 200])
    for number in range(1, 11):
        counts = subject.stage(number, counts, lambda c: 100.0 - 0.1 * (200 - float(c[0]))).counts
    assert subject.distribution[1] > 0.8
    assert (200 - counts[1]) > 2 * (200 - counts[0])


def test_a_fall_takes_the_stage_again_from_the_first_distribution() -> None:
    subject = agent([50, 50], share=0.02, retakes=2)
    calls: list[float] = []

    def metric(counts: np.ndarray) -> float:
        calls.append(float(counts.sum()))
        return 100.0 if counts.sum() == 100 else 10.0

    subject.stage(1, np.array([50, 50]), metric)
    # Sampled once, and again twice.
    assert len(calls) == 1 + 3 * 100
    assert subject.distribution.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(("after", "samplings"), [(-10.0, 1), (-10.9, 1), (-11.1, 3), (WORST, 3)])
def test_a_negative_metric_falls_by_its_size(after: float, samplings: int) -> None:
    subject = agent([50, 50], share=0.02, retakes=2, rounds=1, samples=1, epsilon=0.0)
    calls: list[float] = []

    def metric(counts: np.ndarray) -> float:
        calls.append(float(counts.sum()))
        return -10.0 if counts.sum() == 100 else after

    subject.stage(1, np.array([50, 50]), metric)
    assert len(calls) == 1 + samplings


def test_the_same_seed_gives_the_same_stage() -> None:
    def metric(counts: np.ndarray) -> float:
        return float(100 - (counts[0] - 30) ** 2 / 100)

    kept = [agent([64, 64, 32], seed=4).stage(1, np.array([64, 64, 32]), metric).counts.tolist() for _ in range(2)]
    assert kept[0] == kept[1]


def test_looking_ahead_is_discounted() -> None:
    subject = agent([50, 50], share=0.1, sample_step=2, rounds=1, samples=1, epsilon=0.0)
    kept = subject.stage(1, np.array([50, 50]), lambda c: float(c.sum()))
    assert kept.value == pytest.approx(90 + 0.9 * 80)


def test_hyper_parameters_are_read_and_refused() -> None:
    assert rl_pruner_config(("share=0.02", "rounds=3")) == RlPrunerConfig(share=0.02, rounds=3)
    with pytest.raises(TargetError, match="no hyper-parameter 'speed'; it has share"):
        rl_pruner_config(("speed=2",))
    with pytest.raises(TargetError, match="'share' gives no value: write NAME=VALUE"):
        rl_pruner_config(("share",))
    assert rl_pruner_config(("rate=0", "alpha=1", "sigma=0")) == RlPrunerConfig(rate=0.0, alpha=1.0, sigma=0.0)


@pytest.mark.parametrize(
    ("option", "allowed"),
    [
        ("rounds=many", "a whole number from 1, such as rounds=10"),
        ("rounds=0", "a whole number from 1, such as rounds=10"),
        ("samples=0", "a whole number from 1"),
        ("replay=0", "a whole number from 1"),
        ("epochs=0", "a whole number from 1"),
        ("stages=0", "a whole number from 1"),
        ("sample_step=0", "a whole number from 1"),
        ("retakes=-1", "a whole number from 0"),
        ("samples=2.5", "a whole number from 1"),
        ("temperature=0", "a number above 0, such as temperature=2.0"),
        ("learning_rate=0", "a number above 0"),
        ("share=0", "a number above 0, at most 1"),
        ("least=0", "a number above 0, at most 1"),
        ("alpha=2", "a number from 0, at most 1, such as alpha=0.75"),
        ("drop=1.5", "a number from 0, at most 1"),
        ("weight_decay=-1", "a number from 0"),
        ("sigma=nan", "a number from 0"),
        ("macs_weight=inf", "a number from 0"),
    ],
)
def test_a_value_outside_of_its_range_is_refused(option: str, allowed: str) -> None:
    with pytest.raises(TargetError) as refused:
        rl_pruner_config((option,))
    assert f"'{option}'" in str(refused.value)
    assert f"must be {allowed}" in str(refused.value)


def test_hyper_parameters_in_code_are_refused_too() -> None:
    for wrong in ({"rounds": 0}, {"rounds": 2.0}, {"clip": -0.5}, {"drop": float("nan")}):
        with pytest.raises(TargetError, match=f"{next(iter(wrong))} must be"):
            RlPrunerConfig(**wrong)  # type: ignore[arg-type]


def test_without_retakes_a_stage_is_sampled_once_whatever_it_loses() -> None:
    subject = agent([50, 50], share=0.02, retakes=0, rounds=1, samples=2, epsilon=0.0)
    calls: list[float] = []

    def metric(counts: np.ndarray) -> float:
        calls.append(float(counts.sum()))
        return 100.0 if counts.sum() == 100 else 10.0

    assert subject.stage(1, np.array([50, 50]), metric).counts.sum() == 98
    assert len(calls) == 1 + 2
