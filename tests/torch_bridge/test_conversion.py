"""Whole graphs: outputs in order, shared and computed weights, shape arithmetic, errors."""

from __future__ import annotations

import copy

import numpy as np
import onnx_ir as ir
import pytest
import torch
from bridge_models import array, parse
from onnx2torch.node_converters.registry import add_converter
from torch import nn

from onnxprune.errors import ConversionError
from onnxprune.graph import load, save
from onnxprune.torch_bridge import compare, read_weights, to_torch


def test_outputs_come_in_the_graphs_order_with_duplicates_and_indices():
    model = parse(
        """agraph (float[2, 6] x) => (float[2, 2] c, float[2, 6] x2, float[2, 2] a, float[2, 2] s) {
            a, b, c = Split <axis = 1> (x)
            x2 = Identity (x)
            s = Sub (b, a)
        }"""
    )
    model.graph.outputs.append(model.graph.outputs[0])
    module = to_torch(model)
    x = torch.from_numpy(array(2, 6))
    c, same, a, s, again = module(x)
    assert module.output_names == ("c", "x2", "a", "s", "c")
    torch.testing.assert_close((c, same, a), (x[:, 4:], x, x[:, :2]))
    torch.testing.assert_close((s, again), (x[:, 2:4] - x[:, :2], c))


def test_an_input_or_a_weight_can_be_an_output():
    body = "agraph (float[3] x, float[3] w) => (float[3] x, float[3] w, float[3] y) { y = Add (x, w) }"
    weight = array(3)
    model = parse(body, w=weight)
    x = torch.ones(3)
    outputs = to_torch(model)(x)
    torch.testing.assert_close(outputs, (x, torch.from_numpy(weight), x + torch.from_numpy(weight)))


def test_outputs_that_are_weights_are_compared():
    body = "agraph (float[3] x, float[3] w) => (float[3] w, float[3] y) { y = Add (x, w) }"
    model = parse(body, w=array(3))
    assert compare(to_torch(model), model, {"x": array(3, seed=1)}).relative == 0


def test_entries_are_picked_by_a_mask():
    model = parse(
        """agraph (float[2, 5] x) => (float[n] y) {
            m = Greater (x, z)
            i = NonZero (m)
            t = Transpose <perm = [1, 0]> (i)
            y = GatherND (x, t)
        }""",
        z=np.float32(0),
    )
    assert compare(to_torch(model), model, {"x": array(2, 5)}).relative == 0


def test_inputs_keep_their_order():
    module = to_torch(parse("agraph (float[2] b, float[2] a) => (float[2] y) { y = Sub (a, b) }"))
    assert module.input_names == ("b", "a")
    torch.testing.assert_close(module(torch.ones(2), 3 * torch.ones(2))[0], 2 * torch.ones(2))


def test_a_shared_initializer_is_one_parameter():
    model = parse(
        """agraph (float[1, 3, 5, 5] x, float[3, 3, 3, 3] w) => (float[1, 3, 5, 5] y) {
            h = Conv <pads = [1, 1, 1, 1]> (x, w)
            r = Relu (h)
            y = Conv <pads = [1, 1, 1, 1]> (r, w)
        }""",
        w=array(3, 3, 3, 3),
    )
    module = to_torch(model)
    assert list(module.weight_names.values()) == ["w"]
    assert len(list(module.parameters())) == 1
    assert compare(module, model, {"x": array(1, 3, 5, 5)}).relative < 1e-5


def test_a_large_table_of_integers_is_read_from_the_models_file(tmp_path):
    table = np.random.default_rng(0).integers(1, 17, 5000)
    model = parse(
        """agraph (float[2, 16] x, int64[5000] table, int64[1] one) => (float[2, 5000] y) {
            i = Sub (table, one)
            y = Gather <axis = 1> (x, i)
        }""",
        table=table,
        one=np.array([1]),
    )
    save(model, tmp_path / "model.onnx")
    loaded = load(tmp_path / "model.onnx")
    assert compare(to_torch(loaded), loaded, {"x": array(2, 16)}).relative == 0


def test_an_initializer_that_is_computed_with_first_is_trained_itself():
    model = parse(
        """agraph (float[2, 4] x, float16[3, 4] w, float[3] b) => (float[2, 3] y) {
            f = Cast <to = 1> (w)
            t = Transpose <perm = [1, 0]> (f)
            i = Identity (b)
            y = Gemm (x, t, i)
        }""",
        w=array(3, 4).astype(np.float16),
        b=array(3),
    )
    module = to_torch(model)
    module(torch.from_numpy(array(2, 4)))[0].sum().backward()
    parameters = dict(module.named_parameters())
    by_initializer = {initializer: parameters[name] for name, initializer in module.weight_names.items()}
    assert by_initializer["w"].shape == (3, 4)
    assert by_initializer["w"].dtype == torch.float16
    assert all(parameter.grad.abs().sum() > 0 for parameter in by_initializer.values())


def test_constants_of_a_formula_are_no_weights_and_say_why():
    model = parse(
        """agraph (float[2, 4] x, float[4, 1] w, float[1] b, float[] half, float[] low, float[2, 1] mask)
            => (float[2, 1] y) {
            m = MatMul (x, w)
            a = Add (m, b)
            h = Mul (a, half)
            c = Clip (h, low)
            y = Add (c, mask)
        }""",
        w=array(4, 1),
        b=array(1),
        half=np.float32(0.5),
        low=np.float32(-9),
        mask=np.array([[0], [-np.inf]], np.float32),
    )
    module = to_torch(model)
    assert sorted(module.weight_names.values()) == ["b", "w"]
    assert set(module.fixed_names) == {"half", "low", "mask"}
    assert "single number" in module.fixed_names["half"]
    assert "bound" in module.fixed_names["low"]
    assert "mask" in module.fixed_names["mask"]


SHUFFLE = """agraph (float[n, 4, 6, 6] x, float[4, 1, 3, 3] w) => (float[n, 4, 6, 6] y, float[n, k] flat) {
    c = Conv <group = 4, pads = [1, 1, 1, 1]> (x, w)
    s = Shape (c)
    zero = Constant <value_int = 0> ()
    b = Gather (s, zero)
    two = Constant <value_int = 2> ()
    axes = Constant <value_ints = [0]> ()
    b1 = Unsqueeze (b, axes)
    rest = Constant <value_ints = [2, 2, 6, 6]> ()
    shape = Concat <axis = 0> (b1, rest)
    g = Reshape (c, shape)
    t = Transpose <perm = [0, 2, 1, 3, 4]> (g)
    y = Reshape (t, s)
    ones = ConstantOfShape <value = float[1] {1.0}> (s)
    plus = Add (y, ones)
    scale = Cast <to = 1> (b)
    scaled = Mul (plus, scale)
    last = Constant <value_ints = [-1]> ()
    flat_shape = Concat <axis = 0> (b1, last)
    flat = Reshape (scaled, flat_shape)
}"""


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_shape_arithmetic_follows_the_batch(batch):
    model = parse(SHUFFLE, w=array(4, 1, 3, 3))
    assert compare(to_torch(model), model, {"x": array(batch, 4, 6, 6)}).relative < 1e-5


def test_shape_arithmetic_stays_on_the_cpu():
    # Tensors on the meta device have no values: reading a size from one would fail.
    module = to_torch(parse(SHUFFLE, w=array(4, 1, 3, 3))).to("meta")
    y, flat = module(torch.empty(3, 4, 6, 6, device="meta"))
    assert (y.shape, flat.shape) == ((3, 4, 6, 6), (3, 144))
    assert flat.device.type == "meta"


def test_a_module_can_be_copied():
    model = parse(SHUFFLE, w=array(4, 1, 3, 3))
    module = to_torch(model)
    twin = copy.deepcopy(module)
    next(twin.parameters()).data.zero_()
    assert next(module.parameters()).abs().sum() > 0
    assert compare(module, model, {"x": array(1, 4, 6, 6)}).relative < 1e-5


def test_the_model_is_not_changed():
    model = parse(SHUFFLE, w=array(4, 1, 3, 3))
    before = ir.to_onnx_text(model)
    to_torch(model)
    assert ir.to_onnx_text(model) == before


def test_names_may_be_anything():
    model = parse(
        """agraph (float[2] x, float[2] w) => (float[2] y) {
            a = Add (x, w)
            b = Relu (a)
            y = Relu (b)
        }""",
        w=array(2),
    )
    for node, name in zip(model.graph, ["type", "a.b", "a/b"], strict=True):
        node.name = name
    model.graph.initializers["w"].name = "forward"
    module = to_torch(model)
    assert list(module.weight_names.values()) == ["forward"]
    assert compare(module, model, {"x": array(2)}).relative < 1e-6


def test_a_quantised_network_runs_and_trains():
    model = parse(
        """agraph (float[2, 4] x, float[4, 3] w, float s, uint8 z, float[3] ws, int8[3] wz)
            => (float[2, 3] y) {
            q = QuantizeLinear (x, s, z)
            d = DequantizeLinear (q, s, z)
            wq = QuantizeLinear <axis = 1> (w, ws, wz)
            wd = DequantizeLinear <axis = 1> (wq, ws, wz)
            y = MatMul (d, wd)
        }""",
        w=array(4, 3),
        s=np.float32(0.03),
        z=np.uint8(128),
        ws=np.array([0.02, 0.03, 0.04], np.float32),
        wz=np.zeros(3, np.int8),
    )
    module = to_torch(model)
    assert list(module.weight_names.values()) == ["w"]
    assert compare(module, model, {"x": array(2, 4)}).relative < 1e-5
    module(torch.from_numpy(array(2, 4)))[0].sum().backward()
    assert next(module.parameters()).grad.abs().sum() > 0


def test_an_operator_without_converter_is_named_with_what_to_do():
    model = parse("agraph (float[2, 3, 3] x) => (float[2] y) { y = Det (x) }")
    next(iter(model.graph)).name = "determinant"
    with pytest.raises(ConversionError, match=r"Det \(node 'determinant', opset 17\).*add_converter"):
        to_torch(model)


def test_a_node_that_cannot_be_converted_is_named():
    body = """agraph (float[1, 1, 4, 4] x) => (float[1, 1, 2, 2] y, int64[1, 1, 2, 2] i) {
        y, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
    }"""
    model = parse(body)
    next(iter(model.graph)).name = "pool"
    with pytest.raises(ConversionError, match=r"MaxPool \(node 'pool', opset 17\).*indices"):
        to_torch(model)


def test_an_old_opset_is_refused():
    with pytest.raises(ConversionError, match=r"opset 6 .*7 to 26"):
        to_torch(parse("agraph (float[2] x) => (float[2] y) { y = Relu (x) }", opset=6))


def test_a_users_own_converter_is_used():
    from onnx2torch.utils.common import OperationConverterResult, onnx_mapping_from_node

    @add_converter(operation_type="Twice", version=3, domain="test.bridge")
    def _(node, graph):
        class Twice(nn.Module):
            def forward(self, x):
                return 2 * x

        return OperationConverterResult(Twice(), onnx_mapping_from_node(node))

    text = '<ir_version: 10, opset_import: ["" : 17, "test.bridge" : 3]>'
    model = ir.from_onnx_text(text + "agraph (float[2] x) => (float[2] y) { y = test.bridge.Twice (x) }")
    torch.testing.assert_close(to_torch(model)(torch.ones(2))[0], 2 * torch.ones(2))


class TinyNet(nn.Module):
    """Blocks of today's networks in small: depthwise, squeeze and excitation, attention, upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.BatchNorm2d(8), nn.ReLU6())
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.position = nn.Parameter(torch.randn(1, 16, 8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.stem(x)
        x = self.depthwise(x)
        x = x * self.gate(x)
        left, right = x.chunk(2, dim=1)
        x = torch.cat([right, left], dim=1)
        small = nn.functional.max_pool2d(x, 2)
        tokens = small.flatten(2).transpose(1, 2) + self.position
        tokens = tokens + self.attention(self.norm(tokens), tokens, tokens, need_weights=False)[0]
        large = nn.functional.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.head(tokens.mean(1)), large


def export(tmp_path, variant: str) -> ir.Model:
    torch.manual_seed(0)
    net, path = TinyNet().eval(), tmp_path / f"{variant}.onnx"
    if variant == "dynamo":
        dims = ({0: torch.export.Dim("batch", min=1, max=64)},)
        torch.onnx.export(net, (torch.randn(2, 3, 16, 16),), path, dynamo=True, dynamic_shapes=dims, verbose=False)
    else:
        kept = {} if variant == "folded" else {"training": torch.onnx.TrainingMode.PRESERVE}
        torch.onnx.export(
            net,
            (torch.randn(2, 3, 16, 16),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
            do_constant_folding=variant == "folded",
            **kept,
        )
    return load(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("variant", ["folded", "batchnorm", "dynamo"])
def test_what_both_exporters_write_converts_and_every_weight_gets_a_gradient(tmp_path, variant):
    model = export(tmp_path, variant)
    module = to_torch(model)
    for batch in (1, 3):
        feeds = {module.input_names[0]: array(batch, 3, 16, 16)}
        assert compare(module, model, feeds).relative < 1e-4
    outputs = module.train()(torch.from_numpy(array(2, 3, 16, 16)))
    sum((output**2).mean() for output in outputs).backward()
    assert [name for name, parameter in module.named_parameters() if parameter.grad is None] == []
    held = sum(a.size for a in read_weights(module, model).values())
    floats = sum(v.const_value.size for v in model.graph.initializers.values() if v.dtype.is_floating_point())
    fixed = sum(model.graph.initializers[name].const_value.size for name in module.fixed_names)
    assert held + fixed == floats
    assert fixed < 20


def test_comparison_sees_other_shapes_and_values_but_not_noise():
    text = "agraph (float[n, 2] x, float[2] w) => (float[n, 2] y) { y = Mul (x, w) }"
    model, other = (parse(text, w=np.array(w, np.float32)) for w in ([1e-6, 0], [3, 0]))
    module, feeds = to_torch(model), {"x": np.ones((1, 2), np.float32)}
    assert compare(module, model, feeds).relative == 0
    assert compare(module, other, feeds).relative == pytest.approx(1, rel=1e-4)
    assert compare(module, parse(text, w=np.zeros(2, np.float32)), feeds).relative == pytest.approx(1e-4)
    broken = parse(text, w=np.array([np.nan, 0], np.float32))
    assert compare(module, broken, feeds).relative == np.inf


def test_comparison_restores_the_modules_mode():
    model = parse("agraph (float[2] x) => (float[2] y) { y = Dropout (x) }")
    module = to_torch(model).train()
    assert compare(module, model, {"x": array(2)}).max_abs == 0
    assert module.training


def test_a_single_number_is_a_weight_where_it_is_a_bias():
    model = parse(
        """agraph (float[1, 2, 4, 4] x, float[1, 2, 1, 1] w, float[1, 1, 1, 1] b, float[1] three)
            => (float[1, 1, 4, 4] y) {
            c = Conv (x, w)
            d = Add (c, b)
            e = Conv (x, w)
            f = Add (e, three)
            y = Mul (d, f)
        }""",
        w=array(1, 2, 1, 1),
        b=array(1, 1, 1, 1),
        three=np.array([3], np.float32),
    )
    module = to_torch(model)
    assert sorted(module.weight_names.values()) == ["b", "w"]
    assert list(module.fixed_names) == ["three"]
