import numpy as np
import pytest

from onnxprune.importance import score_units

from .models import build, by_channel, two_layers

# Three channels. Filters: |1|, |-2|, |3|, mean 2. Readers (columns): l1 norms 4, 4, 1, mean 3.
FILTERS, READERS = [1.0, -2.0, 3.0], [[1.0, 4.0, 0.0], [-3.0, 0.0, 1.0]]
FILTER_SCORES, READER_SCORES = np.array([0.5, 1.0, 1.5]), np.array([4 / 3, 4 / 3, 1 / 3])


def test_l1_averages_filters_and_readers_each_relative_to_its_tensor(tmp_path):
    scores = by_channel("l1", *two_layers(tmp_path, FILTERS, READERS), "w1", normalise="none")
    np.testing.assert_allclose(scores, (FILTER_SCORES + READER_SCORES) / 2, rtol=1e-6)


def test_l2_takes_euclidean_norms(tmp_path):
    scores = by_channel("l2", *two_layers(tmp_path, FILTERS, READERS), "w1", normalise="none")
    norms = np.array([np.sqrt(10), 4, 1])
    np.testing.assert_allclose(scores, (FILTER_SCORES + norms / norms.mean()) / 2, rtol=1e-6)


def test_reader_l1_looks_at_readers_only(tmp_path):
    scores = by_channel("reader_l1", *two_layers(tmp_path, FILTERS, READERS), "w1", normalise="none")
    np.testing.assert_allclose(scores, READER_SCORES, rtol=1e-6)


def test_variance_is_that_of_each_filters_weights(tmp_path):
    text = "agraph (float[n, 2] x) => (float[n, 1] y) { a = MatMul(x, w1) \n r = Relu(a) \n y = MatMul(r, w2) }"
    # Columns (1, 3), (2, 2) and (-4, 2): deviations from their means 1, 0 and 3.
    w1 = np.array([[1, 2, -4], [3, 2, 2]], dtype=np.float32)
    network = build(tmp_path, text, w1=w1, w2=np.array([[9], [1], [5]], dtype=np.float32))
    scores = by_channel("variance", *network, "w2", normalise="none")
    np.testing.assert_allclose(scores, np.array([1, 0, 9]) * 3 / 10, rtol=1e-6)


def test_reader_l1_takes_the_filters_of_channels_that_no_weight_reads(tmp_path):
    text = """
    agraph (float[n, 4, 2] x) => (float[n, 4, 4] y) {
        q = MatMul(x, wq)
        k = MatMul(x, wk)
        t = Transpose<perm = [0, 2, 1]>(k)
        y = MatMul(q, t)
    }"""
    wq, wk = np.array([[1, 2, 3]] * 2, dtype=np.float32), np.array([[1, 1, 4]] * 2, dtype=np.float32)
    model, channels = build(tmp_path, text, wq=wq, wk=wk)
    scores = score_units("reader_l1", model, channels, normalise="none")[channels.axis("wq", 1)]
    np.testing.assert_allclose(scores, [0.5, 0.75, 1.75], rtol=1e-6)


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ("mean", (FILTER_SCORES + READER_SCORES) / 2),
        ("sum", FILTER_SCORES + READER_SCORES),
        ("max", np.maximum(FILTER_SCORES, READER_SCORES)),
        ("l2", np.hypot(FILTER_SCORES, READER_SCORES)),
    ],
)
def test_reductions(tmp_path, reduction, expected):
    network = two_layers(tmp_path, FILTERS, READERS)
    scores = by_channel("l1", *network, "w1", normalise="none", reduction=reduction)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["l1", "l2", "reader_l1"])
def test_a_dead_channel_scores_zero(tmp_path, name):
    network = two_layers(tmp_path, [1.0, 0.0, 3.0], [[1.0, 0.0, 2.0], [3.0, 0.0, 1.0]])
    scores = by_channel(name, *network, "w1")
    assert scores[1] == 0
    assert (scores[[0, 2]] > 0).all()


@pytest.mark.parametrize("name", ["l1", "l2", "reader_l1"])
def test_the_scale_of_a_layer_does_not_matter(tmp_path, name):
    plain = by_channel(name, *two_layers(tmp_path, FILTERS, READERS), "w1")
    scaled = by_channel(name, *two_layers(tmp_path, [1e3 * w for w in FILTERS], READERS), "w1")
    np.testing.assert_allclose(scaled, plain, rtol=1e-5)


@pytest.mark.parametrize("size", [1e-38, 1e37])
def test_the_smallest_and_largest_weights_give_finite_scores(tmp_path, size):
    network = two_layers(tmp_path, [size * w for w in FILTERS], READERS)
    for name in ("l1", "l2", "fpgm"):
        scores = by_channel(name, *network, "w1")
        assert np.isfinite(scores).all()
        assert len(np.unique(scores)) == 3


def test_a_depthwise_weight_counts(tmp_path):
    text = """
    agraph (float[n, 1, 3, 3] x) => (float[n, 1, 3, 3] y) {
        a = Conv(x, w1)
        b = Conv<group = 2>(a, dw)
        y = Conv(b, w2)
    }"""
    weights = {"w1": np.ones((2, 1, 1, 1)), "dw": np.array([1.0, 3.0]).reshape(2, 1, 1, 1), "w2": np.ones((1, 2, 1, 1))}
    network = build(tmp_path, text, **{name: w.astype(np.float32) for name, w in weights.items()})
    np.testing.assert_allclose(by_channel("l1", *network, "w1"), [2.5 / 3, 3.5 / 3], rtol=1e-6)


def test_a_large_weight_is_summed_over_all_its_blocks(tmp_path):
    rng = np.random.default_rng(0)
    w1, w2 = (rng.standard_normal(shape).astype(np.float32) for shape in ((900, 1000), (1000, 700)))
    text = "agraph (float[n, 900] x) => (float[n, 700] y) { a = MatMul(x, w1) \n r = Relu(a) \n y = MatMul(r, w2) }"
    model, channels = build(tmp_path, text, w1=w1, w2=w2)
    scores = by_channel("l1", model, channels, "w2", normalise="none")
    filters, readers = np.abs(w1).sum(axis=0), np.abs(w2).sum(axis=1)
    np.testing.assert_allclose(scores, (filters / filters.mean() + readers / readers.mean()) / 2, rtol=1e-5)


def test_quantised_weights_are_taken_at_their_real_size(tmp_path):
    text = """
    agraph (float[n, 1, 3, 3] x) => (float[n, 1, 3, 3] y) {
        f = DequantizeLinear<axis = 0>(q, scale, zero)
        a = Conv(x, f)
        y = Conv(a, w2)
    }"""
    model, channels = build(
        tmp_path,
        text,
        q=np.array([12, 10], dtype=np.int8).reshape(2, 1, 1, 1),
        scale=np.array([0.5, 3.0], dtype=np.float32),
        zero=np.array([10, 9], dtype=np.int8),
        w2=np.ones((1, 2, 1, 1), dtype=np.float32),
    )
    # (12 - 10) 0.5 = 1 and (10 - 9) 3 = 3.
    np.testing.assert_allclose(by_channel("l1", model, channels, "q"), [0.75, 1.25], rtol=1e-6)
    np.testing.assert_allclose(by_channel("reader_l1", model, channels, "q"), [1, 1])


def test_a_transposed_quantised_weight_is_scored_on_its_own_axes(tmp_path):
    text = """
    agraph (float[n, 2] x) => (float[n, 1] y) {
        f = DequantizeLinear(q, scale)
        t = Transpose<perm = [1, 0]>(f)
        a = MatMul(x, t)
        r = Relu(a)
        y = MatMul(r, w2)
    }"""
    q, w2 = np.array([[1, 1], [2, 0], [0, 6]]), np.array([[1], [1], [4]])
    network = build(
        tmp_path, text, q=q.astype(np.int8), scale=np.array(0.5, dtype=np.float32), w2=w2.astype(np.float32)
    )
    # Filters are rows of q, 2, 2 and 6 of mean 10 / 3; readers rows of w2, of mean 2.
    np.testing.assert_allclose(by_channel("reader_l1", *network, "w2"), [0.5, 0.5, 2], rtol=1e-6)
    np.testing.assert_allclose(by_channel("l1", *network, "w2"), [0.55, 0.55, 1.9], rtol=1e-6)
