from __future__ import annotations

import json
import math

import numpy as np
import pytest

from onnxprune.errors import DataError
from onnxprune.training import Metrics, collect, evaluate, in_batches_of, open_data


@pytest.fixture
def rows(make_spec):
    """A dataset of 5 rows of 4 features, labels as given: its validation part, whole."""

    def make(x, y=None):
        source = {"x": np.asarray(x, np.float32), **({} if y is None else {"y": np.asarray(y)})}
        inputs, shapes = (make_spec("x", "n", np.shape(x)[1]),), {"x": (1, np.shape(x)[1])}
        return open_data(np.ones((3, np.shape(x)[1])), inputs, shapes, None, 0, val=source, test=source).val

    return make


X = [[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 4.0], [5.0, 0.0, 1.0]]


def test_top1(rows):
    metrics = evaluate(lambda inputs: [inputs[0]], rows(X, [0, 1, 2, 1]), batch_size=3)
    assert (metrics.primary_name, metrics.primary, metrics.samples) == ("top-1", 75.0, 4)
    assert metrics.agreement is None


def test_agreement_and_kl(rows):
    def swapped(inputs):
        scores = inputs[0].copy()
        scores[0] = scores[0][[1, 0, 2]]
        return [scores]

    data = rows(X)
    metrics = evaluate(swapped, data, lambda inputs: [inputs[0]], batch_size=10)
    p = np.exp(X[0]) / np.exp(X[0]).sum()
    assert (metrics.primary_name, metrics.primary) == ("top-1 agreement", 75.0)
    assert metrics.kl == pytest.approx((p[0] - p[1]) / 4)
    assert metrics.errors[0] == pytest.approx(math.sqrt(2 / np.square(X).sum()))


def test_probabilities_are_taken_as_they_are(rows):
    softmax = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)
    data = rows(X)
    metrics = evaluate(lambda inputs: [inputs[0]], data, [softmax.astype(np.float32)])
    assert metrics.kl == pytest.approx(0, abs=1e-6)


def test_outputs_that_are_no_scores(rows):
    data = rows(X)
    metrics = evaluate(
        lambda i: [i[0][:, None, :], i[0].argmax(1)], data, lambda i: [i[0][:, None, :] * 2, i[0].argmin(1)]
    )
    assert metrics.primary_name == "normalised agreement"
    assert metrics.errors == (pytest.approx(0.5), pytest.approx(1.0))
    assert metrics.primary == pytest.approx((75 + 0) / 2)


def test_labels_and_reference_give_both(rows):
    metrics = evaluate(lambda i: [i[0]], rows(X, [0, 1, 2, 1]), lambda i: [i[0]])
    assert (metrics.primary_name, metrics.top1, metrics.agreement) == ("top-1", 75.0, 100.0)


def test_a_reference_may_be_collected_before(rows):
    data = rows(np.random.default_rng(0).standard_normal((9, 3)))
    original = collect(lambda i: [i[0] * 2 + 1], data, batch_size=4)
    called = evaluate(lambda i: [i[0]], data, lambda i: [i[0] * 2 + 1], batch_size=2)
    assert evaluate(lambda i: [i[0]], data, original, batch_size=5).kl == pytest.approx(called.kl)


def test_an_output_whose_shape_differs_is_left_out(rows):
    metrics = evaluate(
        lambda i: [i[0][:, :, None], i[0][:1, None]], rows(X), lambda i: [i[0][:, :, None], i[0][:2, None]]
    )
    assert metrics.errors == (0.0, None)
    assert metrics.primary == 100.0


def test_class_scores_of_another_shape_are_no_agreement_of_nothing(rows):
    metrics = evaluate(lambda i: [i[0], i[0][:, 0]], rows(X), lambda i: [i[0][:, :2], i[0][:, 0]])
    assert (metrics.primary_name, metrics.primary, metrics.agreement) == ("normalised agreement", 100.0, None)
    with pytest.raises(DataError, match="no output can be compared"):
        evaluate(lambda i: [i[0]], rows(X), lambda i: [i[0][:, :2]])


def test_json(rows):
    metrics = evaluate(lambda i: [i[0][:, None] * np.nan], rows(X), lambda i: [i[0][:, None]])
    assert json.loads(json.dumps(metrics.to_dict(), allow_nan=True))["errors"] == [None]


@pytest.mark.parametrize(
    ("ours", "theirs", "better"),
    [
        ((90.0, 0.5), (80.0, 0.1), True),
        ((80.0, 0.1), (90.0, 0.5), False),
        ((89.0, 0.1), (90.0, 0.5), True),
        ((91.0, 0.5), (90.0, 0.1), False),
        ((90.0, 0.1), (90.0, 0.1), False),
    ],
)
def test_within_a_standard_error_closer_outputs_are_better(ours, theirs, better):
    first, second = (Metrics("top-1", primary, 100, kl=kl) for primary, kl in (ours, theirs))
    assert second.standard_error == pytest.approx(100 * math.sqrt(second.primary * (100 - second.primary)) / 1000)
    assert first.better_than(second) == better


def test_labels_out_of_range(rows):
    with pytest.raises(DataError, match="label 3, but the model has 3 class scores"):
        evaluate(lambda i: [i[0]], rows(X, [0, 1, 2, 3]))


def test_nothing_to_measure_by(rows):
    with pytest.raises(DataError, match="has no labels"):
        evaluate(lambda i: [i[0]], rows(X))


def test_no_output_can_be_compared(rows):
    with pytest.raises(DataError, match="no output can be compared"):
        evaluate(lambda i: [i[0][:1, None]], rows(X), lambda i: [i[0][:2, None]])


def test_a_fixed_batch_size_sees_only_that_size(rows):
    sizes = []

    def fixed(inputs):
        sizes.append(len(inputs[0]))
        return [inputs[0] * 2]

    x = np.arange(21.0, dtype=np.float32).reshape(7, 3)
    assert np.array_equal(in_batches_of(fixed, 3)((x,))[0], x * 2)
    assert sizes == [3, 3, 3]


def test_probabilities_in_steps_of_an_integer_are_still_probabilities(rows):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (40, 10))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rounded = (np.round(softmax * 256) / 256).astype(np.float32)
    data, exact = rows(rounded), [softmax.astype(np.float32)]
    for batch_size in (1, 40):
        assert evaluate(lambda inputs: [inputs[0]], data, exact, batch_size=batch_size).kl < 0.05


def test_epochs_that_are_a_little_worse_in_turn_do_not_add_up():
    falling = [Metrics("top-1", 90.0 - 0.3 * i, 3600, kl=1.0 - 0.01 * i) for i in range(20)]
    best, highest = falling[0], -math.inf
    for metrics in falling:
        highest = max(highest, metrics.primary)
        best = metrics if metrics.better_than(best, highest) else best
    assert 90.0 - best.primary <= falling[0].standard_error
    assert best.primary < 90.0


def test_what_is_no_number_is_worse_than_any():
    none, poor = Metrics("normalised agreement", math.nan, 10), Metrics("normalised agreement", -5.0, 10)
    assert poor.better_than(none)
    assert not none.better_than(poor)
    assert not none.better_than(none)
