import subprocess
import sys

import numpy as np
import pytest

from onnxprune.errors import CriterionError
from onnxprune.importance import Criterion, SliceScores, criteria, criterion, score_units
from onnxprune.importance.registry import _CRITERIA, register

from .models import Batch, array, build, by_channel, two_layers

# Groups of 4, 6 (a residual sum and a depthwise layer) and 5 units; a concatenation joins the last two.
BRANCHED = """
agraph (float[n, 3, 8, 8] x) => (float[n, 4] y) {
    a = Conv(x, w1)
    ar = Relu(a)
    b = Conv(ar, w2)
    c = Conv(ar, w3)
    d = Add(b, c)
    e = Conv<group = 6>(d, w4)
    f = Conv(ar, w5)
    g = Concat<axis = 1>(e, f)
    h = GlobalAveragePool(g)
    i = Flatten(h)
    y = Gemm<transB = 1>(i, w6, bias)
}"""


@pytest.fixture
def branched(tmp_path):
    shapes = {
        "w1": (4, 3, 3, 3),
        "w2": (6, 4, 1, 1),
        "w3": (6, 4, 1, 1),
        "w4": (6, 1, 1, 1),
        "w5": (5, 4, 1, 1),
        "w6": (4, 11),
        "bias": (4,),
    }
    return build(tmp_path, BRANCHED, **{n: array(*shape, seed=i) for i, (n, shape) in enumerate(shapes.items())})


@pytest.mark.parametrize("name", ["l1", "l2", "reader_l1", "fpgm", "variance", "taylor", "random"])
def test_every_unit_has_a_finite_score_and_every_group_a_mean_of_one(branched, name):
    model, channels = branched
    assert sorted(group.size for group in channels.groups) == [4, 5, 6]
    scores = score_units(name, model, channels, calibration=[Batch((array(4, 3, 8, 8),), np.arange(4))])
    assert scores.shape == (15,)
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    for group in channels.groups:
        assert scores[group.units].mean() == pytest.approx(1)
        assert np.ptp(scores[group.units]) > 0


def test_normalising_by_the_maximum(branched):
    model, channels = branched
    scores = score_units("l1", model, channels, normalise="max")
    assert [scores[group.units].max() for group in channels.groups] == [1, 1, 1]


def test_lamp_is_the_share_of_what_is_left_of_the_group(tmp_path):
    # Only filters differ: l1 is 1, 2, 3 plus 2 for the readers, halved, over 2: proportional to 3, 4, 5.
    network = two_layers(tmp_path, [1.0, -2.0, 3.0], [[1.0, 1.0, 1.0]] * 2)
    scores = by_channel("l1", *network, "w1", normalise="lamp")
    np.testing.assert_allclose(scores, [9 / 50, 16 / 41, 1], rtol=1e-6)


def test_lamp_ranks_a_redundant_group_below_a_group_of_equals(tmp_path):
    text = "agraph (float[n, 2] x) => (float[n, 2] y) { a = MatMul(x, w1) \n b = MatMul(a, w2) \n y = MatMul(b, w3) }"
    weights = {
        "w1": np.ones((2, 4)),
        "w2": np.ones((4, 4)),
        "w3": np.array([[9, 9], [0.1, 0.1], [0.1, 0.1], [0.1, 0.1]]),
    }
    model, channels = build(tmp_path, text, **{n: w.astype(np.float32) for n, w in weights.items()})
    scores = score_units("reader_l1", model, channels, normalise="lamp")
    equal, redundant = channels.axis("w2", 0), channels.axis("w3", 0)
    assert np.sort(scores[redundant])[:3].max() < scores[equal].min()


@pytest.mark.parametrize(("how", "scores"), [("mean", [0, 0]), ("max", [0, 0]), ("lamp", [0, 1])])
def test_a_group_that_is_all_dead_has_no_score(tmp_path, how, scores):
    model, channels = two_layers(tmp_path, [0.0, 0.0], [[0.0, 0.0]] * 2)
    np.testing.assert_array_equal(score_units("l1", model, channels, normalise=how), scores)


def test_units_that_a_criterion_does_not_see_count_as_average(tmp_path, monkeypatch):
    seen = SliceScores("x", np.array([0, 1]), np.array([1, 3]))
    monkeypatch.setitem(_CRITERIA, "partial", Criterion("partial", "", "nothing", lambda _: iter([seen])))
    model, channels = two_layers(tmp_path, [1.0, 2.0, 3.0], [[1.0, 1.0, 1.0]] * 2)
    for reduction in ("mean", "sum", "max", "l2"):
        scores = score_units("partial", model, channels, normalise="none", reduction=reduction)
        np.testing.assert_allclose(scores, [0.5, 1.5, 1])


def test_scores_that_are_not_finite_name_the_tensor(tmp_path, monkeypatch):
    bad = SliceScores("'w1'", np.array([0]), np.array([np.nan]))
    monkeypatch.setitem(_CRITERIA, "nan", Criterion("nan", "", "nothing", lambda _: iter([bad])))
    with pytest.raises(CriterionError, match="scores of 'w1' are not finite"):
        score_units("nan", *two_layers(tmp_path, [1.0], [[1.0]] * 2))


def test_random_is_seeded(tmp_path):
    network = two_layers(tmp_path, [1.0] * 8, [[1.0] * 8] * 2)
    first, again, other = (score_units("random", *network, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_scoring_leaves_the_model_as_it_was(branched):
    model, channels = branched
    before = {name: value.const_value.numpy().copy() for name, value in model.graph.initializers.items()}
    for name in ("l1", "fpgm", "taylor"):
        score_units(name, model, channels, calibration=[Batch((array(2, 3, 8, 8),))])
    for name, value in model.graph.initializers.items():
        np.testing.assert_array_equal(value.const_value.numpy(), before[name])


def test_a_misspelt_criterion_gets_a_suggestion():
    with pytest.raises(
        CriterionError, match=r"unknown importance 'tailor'; did you mean 'taylor'\? Known are bn_scale, "
    ):
        criterion("tailor")
    with pytest.raises(CriterionError, match=r"unknown importance 'zzz'\. Known are"):
        criterion("zzz")


def test_criteria_are_listed_with_what_they_need():
    needs = {c.name: c.needs for c in criteria()}
    assert needs == {
        "bn_scale": "batchnorm",
        "fpgm": "nothing",
        "l1": "nothing",
        "l2": "nothing",
        "random": "nothing",
        "reader_l1": "nothing",
        "variance": "nothing",
        "taylor": "data",
        "reconstruction": "data",
    }
    assert all(c.summary and "\n" not in c.summary for c in criteria())


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="'l1' is registered already"):
        register(criterion("l1"))


def test_importing_the_criteria_loads_no_torch():
    code = "import sys; from onnxprune.importance import criteria; criteria(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
