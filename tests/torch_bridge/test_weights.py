"""Training changes the ONNX graph's weights, and nothing else of it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from bridge_models import array, parse

from onnxprune.errors import ConversionError
from onnxprune.torch_bridge import BatchNorm, compare, read_weights, to_torch, write_weights

NETWORK = """agraph (float[n, 3, 6, 6] x, float[4, 3, 3, 3] w, float[4] g, float[4] b, float[4] m, float[4] v,
    float[4, 5] fc, float[5] fb) => (float[n, 5] y) {
    c = Conv <pads = [0, 0, 1, 1]> (x, w)
    h = BatchNormalization <momentum = 0.8> (c, g, b, m, v)
    r = Relu (h)
    p = GlobalAveragePool (r)
    f = Flatten (p)
    y = Gemm <alpha = 0.5, beta = 2.0> (f, fc, fb)
}"""


def network() -> ir.Model:
    model = parse(
        NETWORK,
        w=array(4, 3, 3, 3),
        g=1 + 0.1 * array(4),
        b=array(4, seed=1),
        m=array(4, seed=2),
        v=np.abs(array(4, seed=3)) + 1,
        fc=array(4, 5, seed=4),
        fb=array(5, seed=5),
    )
    for index, node in enumerate(model.graph):
        node.name = f"node{index}"
    return model


def train(module: torch.nn.Module, steps: int = 3) -> None:
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    for step in range(steps):
        optimizer.zero_grad()
        module(torch.from_numpy(array(4, 3, 6, 6, seed=step)))[0].square().mean().backward()
        optimizer.step()


def values(model: ir.Model) -> dict[str, np.ndarray]:
    return {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}


def test_trained_weights_and_statistics_return_to_their_initializers():
    model = network()
    module = to_torch(model)
    train(module)
    written = write_weights(module, model)
    before, after = values(model), values(written)
    assert set(before) == set(after) == set(read_weights(module, model))
    assert all(not np.array_equal(before[name], after[name]) for name in before)
    assert compare(module, written, {"x": array(2, 3, 6, 6, seed=9)}).relative < 1e-5
    assert compare(module, model, {"x": array(2, 3, 6, 6, seed=9)}).relative > 1e-3


def test_everything_else_is_as_it_was():
    model = network()
    model.metadata_props["author"] = "someone"
    module = to_torch(model)
    train(module)
    written = write_weights(module, model)
    for value in (*model.graph.initializers.values(), *written.graph.initializers.values()):
        value.const_value = ir.tensor(np.zeros(1, np.float32), name=value.name)
    assert ir.to_onnx_text(written) == ir.to_onnx_text(model)
    assert written.metadata_props == {"author": "someone"}


def test_untrained_weights_come_back_exactly():
    model = network()
    read = read_weights(to_torch(model), model)
    for name, expected in values(model).items():
        np.testing.assert_array_equal(read[name], expected)


def test_channels_last_weights_come_back_in_their_own_layout():
    model = network()
    module = to_torch(model).to(memory_format=torch.channels_last)
    read = read_weights(module, model)["w"]
    np.testing.assert_array_equal(read, model.graph.initializers["w"].const_value.numpy())
    assert read.flags.c_contiguous


@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE])
def test_types_are_kept(dtype):
    weight = array(3).astype(dtype.numpy())
    model = parse("agraph (float[3] x, float[3] w) => (float[3] y) { y = Mul (x, w) }", w=weight)
    read = read_weights(to_torch(model), model)["w"]
    assert read.dtype == dtype.numpy()
    np.testing.assert_array_equal(read, weight)


def test_batch_norm_trains_as_pytorchs_does():
    model = network()
    module = to_torch(model)
    norm = next(m for m in module.modules() if isinstance(m, BatchNorm))
    assert norm.momentum == pytest.approx(0.2)
    reference = torch.nn.BatchNorm2d(4, momentum=0.2)
    reference.load_state_dict(norm.state_dict(), strict=False)
    scale, bias = (torch.from_numpy(values(model)[name]) for name in ("g", "b"))
    reference.weight.data, reference.bias.data = scale.clone(), bias.clone()
    for momentum in (0.2, None):
        norm.momentum = reference.momentum = momentum
        norm.reset_running_stats()
        reference.reset_running_stats()
        for seed in range(3):
            x = torch.from_numpy(array(4, 4, 5, 5, seed=seed))
            torch.testing.assert_close(norm.train()(x, scale, bias), reference.train()(x))
        torch.testing.assert_close(norm.running_var, reference.running_var)
        torch.testing.assert_close(norm.running_mean, reference.running_mean)


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_a_momentum_that_would_not_learn_is_replaced(momentum):
    model = network()
    node = next(n for n in model.graph if n.op_type == "BatchNormalization")
    node.attributes["momentum"] = ir.AttrFloat32("momentum", momentum)
    norm = next(m for m in to_torch(model).modules() if isinstance(m, BatchNorm))
    assert norm.momentum == 0.1


TWINS = """agraph (float[n, 4] x, float[4] g, float[4] b, float[4] m, float[4] v) => (float[n, 4] y) {
    one = BatchNormalization (x, g, b, m, v)
    r = Relu (one)
    y = BatchNormalization (r, g, SECOND, m, v)
}"""


def twins(second: str, **extra: np.ndarray) -> ir.Model:
    text = TWINS.replace("SECOND", second)
    text = text.replace("float[4] v)", f"float[4] v, float[4] {second})") if extra else text
    model = parse(text, g=array(4), b=array(4, seed=1), m=np.zeros(4, np.float32), v=np.ones(4, np.float32), **extra)
    for index, node in enumerate(model.graph):
        node.name = f"norm{index}"
    return model


def test_layers_that_share_all_share_their_statistics():
    model = twins("b")
    module = to_torch(model)
    assert len(module.statistics) == 2
    module.train()(torch.from_numpy(array(8, 4)))
    written = write_weights(module, model)
    assert set(written.graph.initializers) == {"g", "b", "m", "v"}
    assert compare(module, written, {"x": array(3, 4)}).relative < 1e-5


def test_statistics_stored_once_by_chance_part_when_they_differ():
    model = twins("b2", b2=array(4, seed=2))
    module = to_torch(model)
    module.train()(torch.from_numpy(array(8, 4)))
    written = write_weights(module, model)
    assert set(written.graph.initializers) == {"g", "b", "b2", "m", "v", "m.norm2", "v.norm2"}
    assert compare(module, written, {"x": array(3, 4)}).relative < 1e-5


def test_a_statistic_stored_with_a_weight_parts_from_it():
    model = parse(
        TWINS.replace("SECOND", "b"),
        g=array(4),
        b=array(4, seed=1),
        m=np.zeros(4, np.float32),
        v=np.ones(4, np.float32),
    )
    norm = next(iter(model.graph))
    norm.name, norm.graph[1].name = "norm0", "norm1"
    norm.replace_input_with(3, model.graph.initializers["b"])
    module = to_torch(model)
    module.train()(torch.from_numpy(array(8, 4)))
    written = write_weights(module, model)
    assert compare(module, written, {"x": array(3, 4)}).relative < 1e-5


def test_a_model_changed_since_conversion_is_refused():
    model, pruned = network(), network()
    module = to_torch(model)
    pruned.graph.initializers["fb"].const_value = ir.tensor(np.zeros(4, np.float32), name="fb")
    with pytest.raises(ConversionError, match=r"'fb' has shape \(4,\) in the model but \(5,\) in the module"):
        read_weights(module, pruned)
    del pruned.graph.initializers["fb"]
    with pytest.raises(ConversionError, match="no initializer 'fb'"):
        write_weights(module, pruned)
