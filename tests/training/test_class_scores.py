"""Class scores that are probabilities, exact and in int8, and how far apart two networks' are."""

from __future__ import annotations

import numpy as np
import pytest

from onnxprune.training import Dataset, diverge, evaluate
from onnxprune.training.class_scores import divergences, probability_kinds

CLASSES = 1000


def softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def in_int8(probabilities: np.ndarray) -> np.ndarray:
    """Round to 256 steps, as a quantised Softmax does."""
    return (np.rint(probabilities * 255) / 255).astype(np.float32)


def sure(rows: int, unsure: int) -> np.ndarray:
    """Logits of rows that are sure of a class, and of some that are not."""
    logits = np.zeros((rows, CLASSES))
    logits[np.arange(rows), np.arange(rows)] = 14.0
    logits[rows - unsure :] = np.linspace(0, 1, CLASSES)
    return logits


class Numbered:
    """Each sample is its number."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def fetch(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        return (rows.astype(np.float32)[:, None],)


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_rows_that_int8_is_unsure_of_do_not_change_what_the_others_mean(batch: int) -> None:
    exact = softmax(sure(64, unsure=4))
    data = Dataset(Numbered(64), np.arange(64))
    outputs = [lambda inputs, of=of: [of[inputs[0][:, 0].astype(int)]] for of in (in_int8(exact), exact)]
    metrics = evaluate(outputs[0], data, outputs[1], batch_size=batch)
    by_row = divergences(exact, in_int8(exact), (True, True))
    assert metrics.kl == pytest.approx(by_row.mean())
    assert by_row[:60].max() < 0.01
    np.testing.assert_allclose(diverge(outputs[1], outputs[0], data).by_sample, by_row)


def test_two_networks_in_int8_are_known_by_most_of_their_rows() -> None:
    rounded = in_int8(softmax(sure(64, unsure=4)))
    assert probability_kinds(rounded, rounded) == (True, True)


def test_logits_beside_probabilities_stay_logits() -> None:
    logits = np.random.default_rng(0).normal(0.0, 3.0, (16, 10)).astype(np.float32)
    assert probability_kinds(softmax(logits), logits) == (True, False)
    assert probability_kinds(logits, logits) == (False, False)
    np.testing.assert_allclose(divergences(softmax(logits), logits, (True, False)), 0.0, atol=1e-5)
