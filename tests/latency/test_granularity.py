import numpy as np
import pytest

from onnxprune.latency.granularity import CountCost, efficient_step


def staircase(block: int) -> CountCost:
    return lambda count: 1.0 + -(-count // block)


def aligned(block: int, alignment: int) -> CountCost:
    """A staircase whose counts cost three times as much where they are off the alignment, as on x86."""
    return lambda count: (-(-count // block)) * (1.0 if count % alignment == 0 else 3.0)


def linear(count: int) -> float:
    return 5.0 + 0.1 * count


@pytest.mark.parametrize("count", [24, 40, 58, 64, 96, 97, 116, 144, 512, 960])
def test_a_staircase_of_16(count: int) -> None:
    assert efficient_step(staircase(16), count) == (16 if count < 960 else 32)


@pytest.mark.parametrize("count", [58, 96, 116, 200])
def test_a_penalty_off_multiples_of_4_within_blocks_of_16(count: int) -> None:
    assert efficient_step(aligned(16, 4), count) == 16


@pytest.mark.parametrize("count", [24, 58, 96, 116])
def test_a_penalty_off_multiples_of_4_without_larger_blocks(count: int) -> None:
    assert efficient_step(aligned(4, 4), count) == 4


@pytest.mark.parametrize("count", [8, 24, 40, 58, 96])
def test_linear_costs_allow_about_a_thirtieth_of_the_channels(count: int) -> None:
    assert efficient_step(linear, count) == max(1, 2 ** int(np.ceil(np.log2(count / 32))))


def test_differences_below_the_resolution_say_nothing() -> None:
    # A staircase of 64 in layers of 2 us coarsens nobody's step.
    assert efficient_step(lambda count: 0.002 + 0.0001 * -(-count // 64), 256) == 8
    assert efficient_step(lambda count: 0.002 if count % 4 == 0 else 0.007, 96) == 4


def test_whole_groups_stay_whole() -> None:
    assert efficient_step(linear, 104, unit=8) == 8
    assert efficient_step(staircase(64), 192, unit=24) == 96
    assert efficient_step(linear, 16, unit=16) == 16


def test_a_count_below_one_block_leaves_the_choice_to_other_layers() -> None:
    assert efficient_step(staircase(16), 8) == 1


def test_a_flat_cost_still_avoids_misaligned_counts() -> None:
    assert efficient_step(lambda count: 1.0 if count % 4 == 0 else 2.0, 64) == 4


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [64, 96, 144])
def test_noise_of_two_percent_does_not_change_the_step(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    factors = {c: float(rng.uniform(1.0, 1.02)) for c in range(1, count + 1)}
    assert efficient_step(lambda c: staircase(16)(c) * factors[c], count) == 16
