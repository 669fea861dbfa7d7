import numpy as np
import onnxruntime as ort
import pytest

from onnxprune.latency import LayerSpec
from onnxprune.latency.layers import sandwich, weight_bytes

GROUPED = LayerSpec("Conv", 24, 48, batch=2, size=(6, 5), groups=4, kernel=(1, 1))
WHOLE_GROUPS = LayerSpec("Conv", 24, 24, batch=2, size=(6, 5), width=8, kernel=(1, 1))
MULTIPLIED = LayerSpec("Conv", 24, 48, batch=2, size=(6, 5), width=2, width_out=4, kernel=(1, 1))
TRANSPOSED = LayerSpec("ConvTranspose", 8, 5, batch=2, size=(6, 5), kernel=(2, 2), strides=(2, 2))


@pytest.mark.parametrize(
    ("spec", "out_size"),
    [
        (GROUPED, (6, 5)),
        (WHOLE_GROUPS, (6, 5)),
        (WHOLE_GROUPS.along(16), (6, 5)),
        (MULTIPLIED.along(10), (6, 5)),
        (TRANSPOSED, (12, 10)),
    ],
)
def test_a_convolution_stands_between_bread_of_16_channels(spec: LayerSpec, out_size: tuple[int, ...]) -> None:
    model, feeds = sandwich(spec)
    assert feeds["x"].shape == (2, 16, 6, 5)
    (y,) = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, feeds)
    assert y.shape == (2, 16, *out_size)
    assert np.isfinite(y).all()


def test_a_matrix_product_stands_alone() -> None:
    model, feeds = sandwich(LayerSpec("MatMul", 10, 7, batch=3))
    (y,) = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, feeds)
    assert y.shape == (3, 7)


def test_a_large_layer_is_a_small_file() -> None:
    spec = LayerSpec("MatMul", 25088, 4096)
    assert weight_bytes(spec) == 4 * 25088 * 4096
    assert len(sandwich(spec)[0]) < 1000


@pytest.mark.parametrize(
    ("spec", "weights"),
    [
        (GROUPED, 48 * 6),
        (WHOLE_GROUPS, 24 * 8),
        (WHOLE_GROUPS.along(16), 16 * 8),
        (MULTIPLIED, 48 * 2),
        (MULTIPLIED.along(10), 20 * 2),
    ],
)
def test_weights_shrink_with_the_groups(spec: LayerSpec, weights: int) -> None:
    assert weight_bytes(spec) == 4 * weights
