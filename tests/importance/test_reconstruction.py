"""Reconstruction: channels that others can stand in for go first; the score is what the healed layer loses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxprune.channels import ChannelMap, prune
from onnxprune.errors import CriterionError
from onnxprune.graph import to_bytes
from onnxprune.healing import collect_moments, heal_weights
from onnxprune.importance import score_units
from onnxprune.latency import predictor
from tests.importance.models import Batch, build

NETWORK = """
agraph (float[n, 4, 6, 6] x) => (float[n, 5, 6, 6] y) {
    a = Conv(x, w1)
    y = Conv(a, w2)
}"""


def samples(seed: int = 0) -> list[Batch]:
    rng = np.random.default_rng(seed)
    return [Batch((rng.standard_normal((32, 4, 6, 6)).astype(np.float32),)) for _ in range(4)]


def network(tmp_path: Path, first: np.ndarray) -> tuple[ir.Model, ChannelMap]:
    second = np.random.default_rng(1).uniform(0.5, 1.0, (5, len(first), 1, 1)).astype(np.float32)
    return build(tmp_path, NETWORK, w1=first.astype(np.float32)[:, :, None, None], w2=second)


def test_a_channel_that_others_can_stand_in_for_goes_first(tmp_path: Path) -> None:
    # Channel 2 is the sum of 0 and 1; channel 3 is smaller, but nothing can replace it.
    model, channels = network(tmp_path, np.array([[3, 0, 0, 0], [0, 3, 0, 0], [3, 3, 0, 0], [0, 0, 2, 0]]))
    scores = score_units("reconstruction", model, channels, calibration=samples())
    assert np.argmin(scores) != 3
    assert scores[3] > 5 * scores.min()
    assert np.argmin(score_units("l1", model, channels)) == 3


def test_the_channels_kept_lose_less_than_those_of_the_largest_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    model, channels = network(tmp_path, rng.standard_normal((12, 4)) * rng.uniform(0.5, 2, (12, 1)))
    moments = collect_moments(model, samples())
    x = samples(7)[0].inputs
    wanted = predictor(to_bytes(model))(x)[0]
    losses = {}
    for name in ("reconstruction", "l1"):
        scores = score_units(name, model, channels, calibration=samples())
        keep = np.zeros(channels.unit_count, dtype=bool)
        keep[np.argsort(-scores)[:3]] = True
        healed = heal_weights(prune(model, channels, keep), channels, keep, moments, ridge=1e-6)
        losses[name] = float(np.linalg.norm(predictor(to_bytes(healed))(x)[0] - wanted))
    assert losses["reconstruction"] < losses["l1"]


def test_it_needs_samples(tmp_path: Path) -> None:
    model, channels = network(tmp_path, np.eye(4))
    with pytest.raises(CriterionError, match="needs calibration data"):
        score_units("reconstruction", model, channels)


@pytest.mark.filterwarnings("error")
def test_activations_too_large_to_square_are_refused(tmp_path: Path) -> None:
    model, channels = network(tmp_path, np.eye(4))
    huge = [Batch(tuple(array * np.float32(3e37) for array in batch.inputs)) for batch in samples()]
    with pytest.raises(CriterionError, match=r"layer '.*' reads .* so large .* reader_l1"):
        score_units("reconstruction", model, channels, calibration=huge)


def test_the_same_seed_gives_the_same_scores(tmp_path: Path) -> None:
    model, channels = network(tmp_path, np.random.default_rng(0).standard_normal((8, 4)))
    first, second = (score_units("reconstruction", model, channels, calibration=samples(), seed=5) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_what_is_not_solved_again_is_scored_by_weights(tmp_path: Path) -> None:
    text = NETWORK.replace("y = Conv(a, w2)", "y = ConvTranspose(a, w2)")
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((6, 4, 1, 1)), rng.standard_normal((6, 5, 1, 1))
    model, channels = build(tmp_path, text, w1=first.astype(np.float32), w2=second.astype(np.float32))
    scores = score_units("reconstruction", model, channels, calibration=samples())
    np.testing.assert_allclose(scores, score_units("reader_l1", model, channels))
