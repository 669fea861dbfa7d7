import numpy as np

from onnxprune.importance import score_units

from .models import array, build, by_channel, two_layers


def test_fpgm_sums_the_distances_to_the_other_filters(tmp_path):
    # |0-1| + |0-5| = 6, |1-0| + |1-5| = 5, |5-0| + |5-1| = 9, mean 20 / 3.
    scores = by_channel("fpgm", *two_layers(tmp_path, [0.0, 1.0, 5.0], [[1.0, 2.0, 3.0]] * 2), "w1")
    np.testing.assert_allclose(scores, np.array([6, 5, 9]) * 3 / 20, rtol=1e-6)


def test_duplicated_filters_score_lowest(tmp_path):
    w1 = array(6, 3, 3, 3)
    w1[4] = w1[1]
    text = "agraph (float[n, 3, 8, 8] x) => (float[n, 2, 4, 4] y) { a = Conv(x, w1) \n r = Relu(a) \n y = Conv(r, w2) }"
    network = build(tmp_path, text, w1=w1, w2=array(2, 6, 3, 3, seed=1))
    scores = by_channel("fpgm", *network, "w1")
    assert set(np.argsort(scores)[:2]) == {1, 4}
    np.testing.assert_allclose(scores[1], scores[4], rtol=1e-5)


def test_filters_behind_a_transpose_are_found(tmp_path):
    text = """
    agraph (float[n, 2] x) => (float[n, 1] y) {
        t = Transpose<perm = [1, 0]>(w1)
        a = MatMul(x, t)
        r = Relu(a)
        y = MatMul(r, w2)
    }"""
    w1 = np.array([[0, 0], [3, 4], [0, 0.5]], dtype=np.float32)
    network = build(tmp_path, text, w1=w1, w2=np.ones((3, 1), dtype=np.float32))
    sums = np.array([5.5, 5 + np.hypot(3, 3.5), 0.5 + np.hypot(3, 3.5)])
    np.testing.assert_allclose(by_channel("fpgm", *network, "w2"), sums / sums.mean(), rtol=1e-6)


def test_equal_filters_everywhere_leave_a_group_undecided(tmp_path):
    model, channels = two_layers(tmp_path, [2.0, 2.0, 2.0], [[1.0, 2.0, 3.0]] * 2)
    np.testing.assert_array_equal(score_units("fpgm", model, channels), np.ones(3))
