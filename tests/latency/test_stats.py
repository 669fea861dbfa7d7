import json

import numpy as np
import pytest

from onnxprune.latency import summarise


def test_known_samples() -> None:
    stats = summarise([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [9.0, 10.0, 11.0]])
    assert stats.p50_ms == 3.0
    assert stats.mean_ms == pytest.approx(5.0)
    assert stats.p90_ms == pytest.approx(10.2)
    assert stats.p99_ms == pytest.approx(10.92)
    assert stats.spread == pytest.approx((10 - 2) / 3)
    assert (stats.sessions, stats.runs, stats.min_ms) == (3, 9, 1.0)


def test_one_bad_session_with_many_runs_does_not_move_p50() -> None:
    good = [[1.0] * 10] * 4
    assert summarise([*good, [1.25] * 1000]).p50_ms == 1.0


def test_interval_contains_p50_and_widens_with_the_sessions_spread() -> None:
    rng = np.random.default_rng(0)
    calm = summarise([rng.normal(10, 0.1, 50) for _ in range(5)])
    rough = summarise([rng.normal(10 + shift, 0.1, 50) for shift in (-2, -1, 0, 1, 2)])
    for stats in (calm, rough):
        low, high = stats.ci95_ms
        assert low <= stats.p50_ms <= high
    assert rough.ci95_ms[1] - rough.ci95_ms[0] > 5 * (calm.ci95_ms[1] - calm.ci95_ms[0])


def test_same_samples_same_interval() -> None:
    samples = np.random.default_rng(1).normal(5, 1, (4, 20))
    assert summarise(samples.tolist()) == summarise(samples.tolist())


def test_to_dict_is_json_and_keeps_every_sample() -> None:
    stats = summarise([[1.0, 2.0], [3.0]])
    assert json.loads(json.dumps(stats.to_dict()))["samples_ms"] == [[1.0, 2.0], [3.0]]


@pytest.mark.parametrize("samples", [[], [[]], [[1.0], []]])
def test_no_samples_are_refused(samples: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        summarise(samples)
