from __future__ import annotations

import numpy as np
import pytest

from onnxprune.latency import p50_ratio


def test_a_ratio_without_noise_is_certain() -> None:
    assert p50_ratio([[2.0, 2.0]] * 3, [[1.0, 1.0]] * 3) == (0.5, 0.5, 0.5)


def test_disturbances_of_both_cancel() -> None:
    # The machine is slower and slower, for both alike: the ratio does not vary, p50 does.
    slower = np.linspace(1, 3, 9)
    ratio, low, high = p50_ratio([[2 * s] * 4 for s in slower], [[s] * 4 for s in slower])
    assert ratio == pytest.approx(0.5)
    # Medians of the same sessions: whichever are drawn, the ratio is the same.
    assert (low, high) == (pytest.approx(0.5), pytest.approx(0.5))


def test_the_interval_holds_the_truth_and_narrows_with_runs() -> None:
    rng = np.random.default_rng(0)

    def width(runs: int) -> float:
        first, second = (rng.normal(mean, 0.1 * mean, (8, runs)).tolist() for mean in (10.0, 8.0))
        _, low, high = p50_ratio(first, second)
        assert low < 0.8 < high
        return high - low

    assert width(400) < width(10)
