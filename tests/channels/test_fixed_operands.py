"""Operands of one entry for each channel that are fixed themselves: they fix the channels that they meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxprune.channels import ChannelMap, analyse, prune, verify
from onnxprune.graph import load


def loaded(text: str, weights: dict[str, tuple[int, ...]], folder: Path) -> ir.Model:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    rng = np.random.default_rng(0)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in weights.items()
    )
    onnx.save(model, folder / "net.onnx")
    return load(folder / "net.onnx")


def check_removal(model: ir.Model, channels: ChannelMap) -> None:
    """Remove half of every group, and compare with silencing it."""
    keep = np.ones(channels.unit_count, dtype=bool)
    for group in channels.groups:
        keep[group.units[::2]] = False
    verify(model, channels, keep, prune(model, channels, keep))


@pytest.mark.parametrize(("size", "units"), [(8, 4), (1, 8 + 4)])
def test_scales_of_each_channel_that_the_caller_gives(size: int, units: int, tmp_path: Path) -> None:
    text = f"""net (float[2, 3, 4, 4] x, float[{size}] scale) => (float[2, 5, 4, 4] y) {{
            a = Conv(x, w)
            q = QuantizeLinear<axis = 1>(a, scale)
            d = DequantizeLinear<axis = 1>(q, scale)
            b = Conv(d, v)
            y = Conv(b, u)
        }}"""
    model = loaded(text, {"w": (8, 3, 1, 1), "v": (4, 8, 1, 1), "u": (5, 4, 1, 1)}, tmp_path)
    channels = analyse(model)
    assert channels.unit_count == units
    if size > 1:
        assert channels.fixed[0].channels == 8
        assert channels.fixed[0].reason.startswith("QuantizeLinear")
    check_removal(model, channels)


BODIES = {
    "Conv": "d = Conv<group = 6>(x, grouped, c)",
    "ConvTranspose": "d = ConvTranspose<group = 6>(x, transposed, c)",
}


@pytest.mark.parametrize("name", BODIES)
def test_a_bias_is_fixed_where_the_channels_are_that_it_is_added_to(name: str, tmp_path: Path) -> None:
    text = f"""net (float[1, 6, 4, 4] x) => (float[1, 5, 4, 4] y) {{
            c = Neg(bias)
            a = Conv(x, w, c)
            {BODIES[name]}
            e = Conv(a, v)
            f = Conv(d, u)
            s = Add(e, f)
            y = Conv(s, last)
        }}"""
    weights = {"w": (6, 6, 1, 1), "bias": (6,), "v": (4, 6, 1, 1), "u": (4, 6, 1, 1), "last": (5, 4, 1, 1)}
    model = loaded(text, weights | {"grouped": (6, 1, 1, 1), "transposed": (6, 1, 1, 1)}, tmp_path)
    channels = analyse(model)
    assert [group.size for group in channels.groups] == [4]
    check_removal(model, channels)
