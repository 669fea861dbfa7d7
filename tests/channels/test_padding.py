"""Padding whose amounts are computed when the network runs, as where a decoder meets a skip connection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxprune.channels import analyse, prune, verify
from onnxprune.graph import load
from tests.channels.zeroed import check_removal, network, run

WEIGHTS = {"w": 0, "b": 0, "v": 0, "up": 1, "wide": 0}
X = np.random.default_rng(1).standard_normal((2, 3, 9, 12)).astype(np.float32)

CONSTANTS = {
    "w": (8, 3, 3, 3),
    "b": (8,),
    "v": (6, 8, 3, 3),
    "up": (6, 10, 2, 2),
    "joined": (5, 18, 1, 1),
    "wide": (15, 8, 1, 1),
    "few": (5, 15, 1, 1),
    "cropped": (5, 7, 1, 1),
    "same": (5, 8, 1, 1),
    "none": np.array([0]),
    "two": np.array([2]),
    "five": np.array([5]),
    "minus": np.array([-1]),
    "spatial": np.array([2, 3]),
}
# What height and width lack of those of `x`, behind a convolution that takes a pixel off each side.
LACKING = (
    "s = Shape<start = 2, end = 3>(x)\nt = Shape<start = 3>(x)\nk = Shape<start = 2, end = 3>(h)\n"
    "l = Shape<start = 3>(h)\np = Sub(s, k)\nq = Sub(t, l)\n"
)
# From `h`, 8 channels behind a Relu, to `y`, and how many units that leaves.
BODIES = {
    "skip connection": (
        "d_ = Conv<strides = [2, 2]>(h, v)\nd = Relu(d_)\nu_ = ConvTranspose<strides = [2, 2]>(d, up)\nu = Relu(u_)\n"
        "s = Shape<start = 2, end = 3>(h)\nt = Shape<start = 3>(h)\nk = Shape<start = 2, end = 3>(u)\n"
        "l = Shape<start = 3>(u)\np = Sub(s, k)\nq = Sub(t, l)\n"
        "a = Concat<axis = 0>(none, none, none, q, none, none, p, none)\ne = Pad(u, a)\n"
        "j = Concat<axis = 1>(h, e)\ny = Conv(j, joined)",
        8 + 6 + 10,
    ),
    "named axes": (f"{LACKING}a = Concat<axis = 0>(none, none, p, q)\ne = Pad(h, a, , spatial)\ny = Conv(e, same)", 8),
    "reflection": (
        f"{LACKING}a = Concat<axis = 0>(none, none, none, none, none, none, p, q)\n"
        'e = Pad<mode = "reflect">(h, a)\ny = Conv(e, same)',
        8,
    ),
    "channels, too": (
        f"{LACKING}a = Concat<axis = 0>(none, two, none, none, none, five, p, q)\ne = Pad(h, a)\n"
        "i_ = Conv<pads = [1, 1, 1, 1]>(h, wide)\ni = Relu(i_)\nj = Add(e, i)\ny = Conv(j, few)",
        15,
    ),
    "channels cropped": (
        f"{LACKING}a = Concat<axis = 0>(none, minus, none, none, none, none, p, q)\ne = Pad(h, a)\n"
        "y = Conv(e, cropped)",
        8,
    ),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("seed", range(5))
def test_removal_equals_weights_of_zero(name: str, seed: int, tmp_path: Path) -> None:
    body, units = BODIES[name]
    check_removal(network(body, CONSTANTS), WEIGHTS, X, units=units, folder=tmp_path, seed=seed)


def test_what_would_be_cropped_goes(tmp_path: Path) -> None:
    proto = network(BODIES["channels cropped"][0], CONSTANTS)
    onnx.save(proto, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model)
    keep = np.ones(channels.unit_count, dtype=bool)
    cropped, *_ = channels.axes["w"][0]
    keep[cropped] = False
    pruned = prune(model, channels, keep)
    verify(model, channels, keep, pruned, input_shapes={"x": X.shape})
    np.testing.assert_allclose(run(ir.serde.serialize_model(pruned), X), run(proto, X), rtol=1e-4, atol=1e-5)
