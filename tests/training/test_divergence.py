"""Divergence of two networks, against figures computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxprune.errors import DataError
from onnxprune.training import diverge
from onnxprune.training.dataset import Dataset


class Arrays:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def fetch(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self.array[rows],)


def dataset(count: int, labels: list[int] | None = None) -> Dataset:
    source = Arrays(np.arange(count, dtype=np.float32)[:, None])
    return Dataset(source, np.arange(count), None if labels is None else np.array(labels))


def table(*outputs: Any) -> Any:
    """A network that looks its outputs up by the sample's number."""
    arrays = [np.array(output, dtype=np.float32) for output in outputs]
    return lambda inputs: [array[inputs[0][:, 0].astype(int)] for array in arrays]


def test_class_scores() -> None:
    first = table([[0.5, 0.5], [0.75, 0.25], [0.1, 0.9]])
    second = table([[0.5, 0.5], [0.25, 0.75], [0.1, 0.9]])
    found = diverge(first, second, dataset(3, [0, 0, 0]))
    kl = 0.75 * np.log(3) - 0.25 * np.log(3)
    np.testing.assert_allclose(found.by_sample, [0, kl, 0], atol=1e-6)
    assert found.agreement == pytest.approx(200 / 3)
    assert found.kl == pytest.approx(kl / 3, abs=1e-6)
    assert (found.top1(0), found.top1(1)) == (pytest.approx(200 / 3), pytest.approx(100 / 3))
    assert found.worst(2)[0] == 1
    energy = 0.5 + 0.625 + 0.82
    assert found.errors == (pytest.approx(np.sqrt(0.5 / energy), abs=1e-6),)
    assert found.max_abs == (pytest.approx(0.5),)


def test_outputs_that_are_no_scores() -> None:
    first, second = table([[[3.0, 4.0]], [[1.0, 0.0]]]), table([[[3.0, 1.0]], [[1.0, 2.0]]])
    found = diverge(first, second, dataset(2))
    np.testing.assert_allclose(found.by_sample, [3 / 5, 2])
    assert (found.agreement, found.kl, found.top1(0)) == (None, None, None)
    assert found.worst(1) == [1]


def test_zeros() -> None:
    zeros, ones = table([[[0.0]]]), table([[[1.0]]])
    assert diverge(zeros, zeros, dataset(1)).errors == (0.0,)
    assert diverge(zeros, ones, dataset(1)).errors == (None,)


def test_more_samples_than_a_batch() -> None:
    rng = np.random.default_rng(0)
    outputs = rng.standard_normal((150, 4))
    seen: list[int] = []
    found = diverge(table(outputs), table(outputs), dataset(150), seen.append)
    assert found.by_sample.shape == (150,)
    assert found.by_sample.max() == pytest.approx(0, abs=1e-9)
    assert sum(seen) == 150


def test_refusals() -> None:
    with pytest.raises(DataError, match="different shapes"):
        diverge(table([[1.0, 2.0]]), table([[1.0, 2.0, 3.0]]), dataset(1))
    with pytest.raises(DataError, match="label 5"):
        diverge(table([[1.0, 2.0]]), table([[1.0, 2.0]]), dataset(1, [5]))
