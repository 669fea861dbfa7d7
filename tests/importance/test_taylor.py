import numpy as np
import pytest

from onnxprune.errors import CriterionError
from onnxprune.importance import score_units

from .models import Batch, array, build, by_channel, two_layers

LINEAR = "agraph (float[n, 2] x) => (float[n, 1] y) { a = MatMul(x, w1) \n y = MatMul(a, w2) }"


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_taylor_is_the_first_order_change_of_the_cross_entropy(tmp_path):
    w1, w2 = [1.0, 2.0, 0.5], [[1.0, -1.0, 2.0], [0.5, 1.0, -1.0]]
    x, labels = np.abs(array(4, 1, 3, 3)), np.array([0, 1, 1, 0])
    network = two_layers(tmp_path, w1, w2)
    # The network is linear for x > 0: y = W2 diag(w1) m, so that the change is that of y's gradient times y's part.
    m = x.mean(axis=(1, 2, 3))
    y = m[:, None] * (np.array(w2) @ np.array(w1))
    residual = (softmax(y) - np.eye(2)[labels]) / len(labels)
    parts = np.abs(np.einsum("no,oc,c,n->c", residual, np.array(w2), np.array(w1), m))
    scores = by_channel("taylor", *network, "w1", calibration=[Batch((x,), labels)])
    np.testing.assert_allclose(scores, parts / parts.mean(), rtol=1e-4)


def test_batches_add_up_in_absolute_value(tmp_path):
    network = two_layers(tmp_path, [1.0, 2.0, 0.5], [[1.0, -1.0, 2.0], [0.5, 1.0, -1.0]])
    x = np.abs(array(2, 1, 3, 3))
    first, second = Batch((x[:1],), np.array([0])), Batch((x[1:],), np.array([1]))
    both = by_channel("taylor", *network, "w1", calibration=[first, second], normalise="none")
    swapped = by_channel("taylor", *network, "w1", calibration=[second, first], normalise="none")
    np.testing.assert_allclose(both, swapped, rtol=1e-6)


@pytest.mark.parametrize("labels", [np.array([0, 1]), None])
def test_a_dead_channel_scores_zero(tmp_path, labels):
    network = two_layers(tmp_path, [1.0, 0.0, 3.0], [[1.0, 0.0, 2.0], [3.0, 0.0, 1.0]])
    scores = by_channel("taylor", *network, "w1", calibration=[Batch((np.abs(array(2, 1, 3, 3)),), labels)])
    assert scores[1] == 0
    assert (scores[[0, 2]] > 0).all()


def test_without_labels_the_seed_decides(tmp_path):
    network = build(
        tmp_path,
        "agraph (float[n, 4] x) => (float[n, 3] y) { a = MatMul(x, w1) \n r = Relu(a) \n y = MatMul(r, w2) }",
        w1=array(4, 8),
        w2=array(8, 3, seed=1),
    )
    batches = [Batch((array(16, 4, seed=2),))]
    first, again, other = (score_units("taylor", *network, calibration=batches, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_outputs_that_are_no_class_scores_get_a_gradient_too(tmp_path):
    w1, w2 = np.array([[1, 2, 3], [1, 2, 3]], dtype=np.float32), np.array([[2], [1], [1]], dtype=np.float32)
    network = build(tmp_path, LINEAR, w1=w1, w2=w2)
    scores = by_channel("taylor", *network, "w2", calibration=[Batch((np.ones((1, 2), dtype=np.float32),))])
    # One output: whatever the projection, a channel's part of it is (1 + 1) w1 w2 = 4, 4, 6.
    np.testing.assert_allclose(scores, np.array([4, 4, 6]) * 3 / 14, rtol=1e-5)


def test_probabilities_are_scored_as_the_logits_behind_them(tmp_path):
    body = "agraph (float[n, 4] x) => (float[n, 3] y) {{ a = MatMul(x, w1) \n r = Relu(a) \n {} }}"
    weights = {"w1": array(4, 8), "w2": array(8, 3, seed=1)}
    batches = [Batch((array(16, 4, seed=2),), np.arange(16) % 3)]
    logits = build(tmp_path, body.format("y = MatMul(r, w2)"), **weights)
    probabilities = build(tmp_path, body.format("z = MatMul(r, w2) \n y = Softmax<axis = 1>(z)"), **weights)
    np.testing.assert_allclose(
        by_channel("taylor", *probabilities, "w2", calibration=batches),
        by_channel("taylor", *logits, "w2", calibration=batches),
        rtol=1e-4,
    )


@pytest.mark.parametrize("calibration", [None, []])
def test_taylor_says_that_it_needs_data(tmp_path, calibration):
    network = two_layers(tmp_path, [1.0, 2.0], [[1.0, 1.0]] * 2)
    with pytest.raises(CriterionError, match=r"'taylor' needs calibration data: give --data.*fpgm, l1, l2"):
        score_units("taylor", *network, calibration=calibration)


def test_labels_beyond_the_classes_are_refused(tmp_path):
    network = two_layers(tmp_path, [1.0, 2.0], [[1.0, 1.0]] * 2)
    with pytest.raises(CriterionError, match="labels go from 1 to 7, but the model has 2 classes"):
        score_units("taylor", *network, calibration=[Batch((array(2, 1, 3, 3),), np.array([7, 1]))])


def test_quantised_weights_have_no_gradient(tmp_path):
    network = build(
        tmp_path,
        """
        agraph (float[n, 2] x) => (float[n, 2] y) {
            f = DequantizeLinear(q1, scale)
            a = MatMul(x, f)
            g = DequantizeLinear(q2, scale)
            y = MatMul(a, g)
        }""",
        q1=np.ones((2, 3), dtype=np.int8),
        q2=np.ones((3, 2), dtype=np.int8),
        scale=np.array(0.5, dtype=np.float32),
    )
    with pytest.raises(CriterionError, match="quantised weights have none"):
        score_units("taylor", *network, calibration=[Batch((np.ones((1, 2), dtype=np.float32),))])


def test_every_batch_is_reported(tmp_path):
    network = two_layers(tmp_path, [1.0, 2.0], [[1.0, 1.0]] * 2)
    seen = []
    batches = [Batch((array(2, 1, 3, 3, seed=seed),)) for seed in range(3)]
    score_units("taylor", *network, calibration=batches, on_batch=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_what_no_gradient_reaches_is_not_taken_for_dead(tmp_path):
    model, channels = build(
        tmp_path,
        "agraph (float[n, 4] x) => (float[n, 3] y, int64[n, 1] z) "
        "{ a = MatMul(x, w1) \n y = MatMul(a, w2) \n b = MatMul(x, w3) \n c = MatMul(b, w4) "
        "\n z = ArgMax<axis = 1>(c) }",
        w1=array(4, 8),
        w2=array(8, 3, seed=1),
        w3=array(4, 8, seed=2),
        w4=array(8, 3, seed=3),
    )
    scores = score_units("taylor", model, channels, calibration=[Batch((array(16, 4, seed=2),))])
    np.testing.assert_array_equal(scores[channels.axis("w3", 1)], np.ones(8))


def test_scores_that_are_not_finite_are_refused(tmp_path):
    network = two_layers(tmp_path, [1.0, 2.0], [[1.0, 1.0]] * 2)
    with pytest.raises(CriterionError, match="class scores on the calibration samples are not finite; check the data"):
        score_units("taylor", *network, calibration=[Batch((np.full((2, 1, 3, 3), np.inf, np.float32),))])
