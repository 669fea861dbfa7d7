"""LSTM, GRU and RNN beside what PyTorch has: what is refused, what is trained, which outputs may be left out."""

from __future__ import annotations

import pytest
import torch
from bridge_models import array, parse

from onnxprune.errors import ConversionError
from onnxprune.torch_bridge import compare, to_torch


@pytest.mark.parametrize(
    ("attributes", "inputs", "reason"),
    [
        ("hidden_size = 5", "x, w, r", "reset before the product"),
        (
            'hidden_size = 5, linear_before_reset = 1, activations = ["Sigmoid", "Relu"]',
            "x, w, r",
            "activations sigmoid",
        ),
        ("hidden_size = 5, linear_before_reset = 1", "x, w, r, , lengths", "lengths of sequences"),
    ],
)
def test_recurrences_that_pytorch_has_not_say_so(attributes, inputs, reason):
    model = parse(
        f"""agraph (float[6, 2, 4] x, int32[2] lengths, float[1, 15, 4] w, float[1, 15, 5] r) => (float[6, 1, 2, 5] y)
        {{
            y = GRU <{attributes}> ({inputs})
        }}""",
        w=array(1, 15, 4),
        r=array(1, 15, 5),
    )
    with pytest.raises(ConversionError, match=reason):
        to_torch(model)


def test_the_weights_of_a_recurrence_are_trained():
    model = parse(
        """agraph (float[6, 2, 4] x, float[1, 20, 4] w, float[1, 20, 5] r, float[1, 40] b) => (float[6, 1, 2, 5] y) {
            y = LSTM <hidden_size = 5> (x, w, r, b)
        }""",
        w=array(1, 20, 4),
        r=array(1, 20, 5),
        b=array(1, 40),
    )
    module = to_torch(model).train()
    module(torch.from_numpy(array(6, 2, 4)))[0].square().sum().backward()
    assert sorted(module.weight_names.values()) == ["b", "r", "w"]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_only_the_last_state_of_a_recurrence_may_be_read():
    model = parse(
        """agraph (float[6, 2, 4] x, float[1, 20, 4] w, float[1, 20, 5] r) => (float[1, 2, 5] h) {
            unread, h = LSTM <hidden_size = 5> (x, w, r)
        }""",
        w=array(1, 20, 4),
        r=array(1, 20, 5),
    )
    node = next(iter(model.graph))
    node.outputs[0].name = ""
    assert compare(to_torch(model), model, {"x": array(6, 2, 4)}).relative < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_a_recurrence_is_trained_on_a_gpu(op, gates):
    more, rows = ", linear_before_reset = 1" if op == "GRU" else "", 5 * gates
    model = parse(
        f"""agraph (float[6, 2, 4] x, float[1, {rows}, 4] w, float[1, {rows}, 5] r) => (float[6, 1, 2, 5] y) {{
            y = {op} <hidden_size = 5{more}> (x, w, r)
        }}""",
        w=array(1, rows, 4),
        r=array(1, rows, 5),
    )
    module = to_torch(model).cuda().eval()
    module(torch.ones(6, 2, 4, device="cuda"))[0].sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
