import numpy as np
import pytest

from onnxprune.errors import CriterionError
from onnxprune.importance import score_units

from .models import array, build, by_channel, two_layers

TEXT = """
agraph (float[n, 3, 8, 8] x) => (float[n, 2, 8, 8] y) {
    a = Conv(x, w1)
    b = BatchNormalization(a, scale, shift, mean, var)
    r = Relu(b)
    y = Conv(r, w2)
}"""


def test_bn_scale_is_the_absolute_scale(tmp_path):
    scale = np.array([0.5, -2.0, 0.0, 1.5], dtype=np.float32)
    network = build(
        tmp_path,
        TEXT,
        w1=array(4, 3, 1, 1),
        w2=array(2, 4, 1, 1),
        scale=scale,
        shift=np.ones(4, dtype=np.float32),
        mean=np.zeros(4, dtype=np.float32),
        var=np.full(4, 2, dtype=np.float32),
    )
    np.testing.assert_allclose(by_channel("bn_scale", *network, "w1"), [0.5, 2, 0, 1.5], rtol=1e-6)


def test_bn_scale_says_that_batchnorm_was_folded_and_what_else_there_is(tmp_path):
    model, channels = two_layers(tmp_path, [1.0, 2.0], [[1.0, 1.0]] * 2)
    with pytest.raises(CriterionError, match=r"fold it into the convolutions\. Use l1, reader_l1 or fpgm"):
        score_units("bn_scale", model, channels)
