"""Operators whose PyTorch function takes no half precision, behind one that mixed precision makes give it."""

from __future__ import annotations

import torch
from bridge_models import array, parse

from onnxprune.torch_bridge import to_torch


def test_a_fourier_transform_of_halves():
    model = parse(
        """net (float[2, 5, 6] x) => (float[2, 5, 8, 2] y) {
            h = MatMul(x, w)
            axis = Constant<value_ints = [-1]>()
            u = Unsqueeze(h, axis)
            y = DFT<axis = 2>(u)
        }""",
        w=array(6, 8),
    )
    module, x = to_torch(model), torch.from_numpy(array(2, 5, 6))
    with torch.no_grad():
        (exact,) = module(x)
        with torch.autocast("cpu", torch.bfloat16):
            (found,) = module(x)
    assert torch.allclose(found.float(), exact, atol=0.05 * float(exact.abs().max()))
