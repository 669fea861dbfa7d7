"""int8 networks: pruned with their scales and zero points, proved right, and still int8 afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onnxprune
from onnxprune.channels import ChannelMap, analyse, find_branches, prune, verify
from onnxprune.errors import QuantisedModelError, VerificationError
from onnxprune.graph import (
    concrete_shapes,
    graph_cost,
    is_quantised,
    load,
    quantised_by,
    real_values,
    save,
    store_real_values,
    to_bytes,
    twin_of,
)
from onnxprune.graph.quantised import spread
from onnxprune.healing import requantised
from onnxprune.importance import score_units
from onnxprune.latency import LayerSpec, MeasureOptions, ProfilingTimer
from onnxprune.search.problem import layer_spec
from onnxprune.training import Batch
from tests.channels.network_strategy import networks
from tests.formats.conversion import quantise, wrap
from tests.residual import residual_cnn

SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def some_units(channels: ChannelMap, seed: int, share: float = 0.6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    keep = rng.random(channels.unit_count) < share
    for group in channels.groups:
        keep[rng.choice(group.units)] = True
    return keep


@pytest.fixture(scope="module", params=["per tensor", "per channel", "asymmetric"])
def quantised(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8")
    onnx.save(residual_cnn(), folder / "float.onnx")
    samples = np.random.default_rng(0).standard_normal((32, 3, 8, 8)).astype(np.float32)
    quantise(
        folder / "float.onnx",
        folder / "int8.onnx",
        samples,
        per_channel=request.param == "per channel",
        symmetric=request.param != "asymmetric",
    )
    return folder / "int8.onnx"


def test_everything_prunable_in_float_is_so_in_int8(quantised: Path) -> None:
    whole, small = analyse(load(quantised.with_name("float.onnx"))), analyse(load(quantised))
    assert [g.size for g in small.groups] == [g.size for g in whole.groups]


def test_the_domain_of_onnxruntime_says_the_same(quantised: Path, tmp_path: Path) -> None:
    theirs = onnx.load(quantised)
    for node in theirs.graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            node.domain = "com.microsoft"
    theirs.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(theirs, tmp_path / "theirs.onnx")
    ours, moved = load(quantised), load(tmp_path / "theirs.onnx")
    assert is_quantised(moved)
    assert to_bytes(moved) == to_bytes(ours)


def test_costs_are_those_of_the_float_network(quantised: Path) -> None:
    whole, small = graph_cost(load(quantised.with_name("float.onnx"))), graph_cost(load(quantised))
    assert (small.macs, small.parameters) == (whole.macs, whole.parameters)
    assert small.weight_bytes < 0.4 * whole.weight_bytes


@pytest.mark.parametrize("seed", range(3))
def test_removal_equals_silencing(quantised: Path, seed: int, tmp_path: Path) -> None:
    model = load(quantised)
    channels = analyse(model)
    keep = some_units(channels, seed)
    save(prune(model, channels, keep), tmp_path / "pruned.onnx")
    pruned = load(tmp_path / "pruned.onnx")
    assert verify(model, channels, keep, pruned, seed=seed).passed
    assert types(pruned) == types(model)


def types(model: ir.Model) -> dict[str, object]:
    return {name: value.const_value.dtype for name, value in model.graph.initializers.items()}


def test_a_wrong_removal_is_noticed(quantised: Path) -> None:
    model = load(quantised)
    channels = analyse(model)
    keep, other = np.ones((2, channels.unit_count), dtype=bool)
    units = channels.groups[0].units
    keep[units[0]] = other[units[1]] = False
    with pytest.raises(VerificationError):
        verify(model, channels, keep, prune(model, channels, other))


def test_scores_are_those_of_the_real_weights(quantised: Path) -> None:
    whole, small = load(quantised.with_name("float.onnx")), load(quantised)
    for criterion in ("l1", "l2", "reader_l1", "fpgm", "variance"):
        expected = score_units(criterion, whole, analyse(whole))
        np.testing.assert_allclose(score_units(criterion, small, analyse(small)), expected, rtol=0.03)


def test_weights_keep_their_scale_when_they_are_stored(quantised: Path) -> None:
    value = load(quantised).graph.initializers["w1_quantized"]
    before, real = value.const_value.numpy().copy(), real_values(value)
    store_real_values(value, real)
    np.testing.assert_array_equal(value.const_value.numpy(), before)
    store_real_values(value, real * 100)
    assert value.const_value.numpy().dtype == before.dtype
    assert np.abs(value.const_value.numpy().astype(int)).max() >= 127


def test_healing_an_int8_network_brings_outputs_back(quantised: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    # Channels that depend on each other, as those of trained networks do.
    x = np.repeat(rng.standard_normal((192, 1, 8, 8)), 3, axis=1) + 0.1 * rng.standard_normal((192, 3, 8, 8))
    np.savez(tmp_path / "data.npz", x=x.astype(np.float32))
    errors = {}
    for heal in (False, True):
        output = tmp_path / f"{heal}.onnx"
        onnxprune.prune(
            quantised, output=output, ratio=0.3, data=tmp_path / "data.npz", heal=heal, round_to=1, importance="l1"
        )

        assert types(load(output)) == types(load(quantised))
        errors[heal] = output_error(quantised, output, x[:64].astype(np.float32))
    assert errors[True] < errors[False]


def output_error(before: Path, after: Path, x: np.ndarray, *, zero: bool = False) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # As the files say it: sums of int8 products saturate in the kernels of processors without VNNI.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    want, got = (
        onnxruntime.InferenceSession(str(path), options).run(None, {"image": x})[0] for path in (before, after)
    )
    return float(np.square(want - (0 if zero else got)).mean())


@pytest.fixture(scope="module", params=["tools", "wrapped"])
def any_int8(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Int8 networks as onnxruntime's tools make them, without their Relus, and as PyTorch writes them."""
    folder = tmp_path_factory.mktemp("twins")
    onnx.save(residual_cnn(), folder / "float.onnx")
    if request.param == "wrapped":
        onnx.save(wrap(residual_cnn(), per_channel=True, zero_points=True), folder / "int8.onnx")
        return folder / "int8.onnx"
    samples = np.random.default_rng(0).standard_normal((32, 3, 8, 8)).astype(np.float32)
    quantise(folder / "float.onnx", folder / "int8.onnx", samples, per_channel=True)
    return folder / "int8.onnx"


def test_the_twin_computes_what_the_float_network_did(any_int8: Path, tmp_path: Path) -> None:
    twin = twin_of(load(any_int8))
    assert twin is not None
    assert not is_quantised(twin.model)
    save(twin.model, tmp_path / "twin.onnx")
    x = np.random.default_rng(2).standard_normal((16, 3, 8, 8)).astype(np.float32)
    scale = output_error(any_int8.with_name("float.onnx"), any_int8.with_name("float.onnx"), x, zero=True)
    assert output_error(any_int8.with_name("float.onnx"), tmp_path / "twin.onnx", x) < 1e-3 * scale


def test_scales_follow_the_weights_that_change(any_int8: Path, tmp_path: Path) -> None:
    model = load(any_int8)
    twin = twin_of(model)
    assert twin is not None
    names = [name for name, value in twin.model.graph.initializers.items() if len(value.shape or ()) == 4]
    for name in names[:2]:
        value = twin.model.graph.initializers[name]
        value.const_value = ir.tensor(value.const_value.numpy() * np.float32(3), name=name)
    x = np.random.default_rng(2).standard_normal((32, 3, 8, 8)).astype(np.float32)
    result = requantised(model, twin, [Batch((x,), None, np.arange(32))])
    save(twin.model, tmp_path / "twin.onnx")
    save(result, tmp_path / "int8.onnx")
    scale = output_error(tmp_path / "twin.onnx", tmp_path / "twin.onnx", x, zero=True)
    assert output_error(tmp_path / "twin.onnx", tmp_path / "int8.onnx", x) < 0.01 * scale
    assert types(result) == types(model)


@pytest.mark.parametrize("tiny", [0.0, 1e-12, 1e-6])
@pytest.mark.parametrize("per_channel", [True, False])
def test_biases_of_dead_filters_outlive_healing(tmp_path: Path, tiny: float, per_channel: bool) -> None:
    network = """
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y) {
            a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w1)
            r = Relu(a)
            b = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(r, w2, b2)
            y = Conv<kernel_shape = [1, 1]>(b, w3)
        }
    """
    model, rng = onnx.parser.parse_model(network), np.random.default_rng(0)
    weights = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in {"w1": (8, 3, 3, 3), "w2": (6, 8, 3, 3), "w3": (4, 6, 1, 1)}.items()
    }
    dead = slice(4) if per_channel else slice(None)
    weights["w2"][dead] *= tiny
    weights["b2"] = np.linspace(-2, 2, 6).astype(np.float32)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    for node in model.graph.node:
        node.name = node.output[0]
    onnx.save(model, tmp_path / "net.onnx")
    x = rng.standard_normal((128, 3, 8, 8)).astype(np.float32)
    quantise(tmp_path / "net.onnx", tmp_path / "int8.onnx", x, per_channel=per_channel)
    onnxprune.prune(tmp_path / "int8.onnx", ratios={"a": 0.25}, data=x, heal=True)
    healed = load(tmp_path / "int8.pruned.onnx").graph.initializers
    (bias,) = (value for name, value in healed.items() if name.startswith("b2") and quantised_by(value) is not None)
    assert real_values(bias)[dead] == pytest.approx(weights["b2"][dead], abs=0.05)


def test_blocks_that_can_go_whole_in_float_can_in_int8(any_int8: Path) -> None:
    model, whole = load(any_int8), load(any_int8.with_name("float.onnx"))
    channels = analyse(model)
    branches = find_branches(model, channels)
    assert list(branches) == list(find_branches(whole, analyse(whole))) != []
    for branch in branches.values():
        keep = some_units(channels, 0)
        for index in branch.groups:
            keep[channels.groups[index].units] = False
        pruned = prune(model, channels, keep)
        assert verify(model, channels, keep, pruned).passed
        assert len(pruned.graph) < len(model.graph)


def test_an_int8_network_without_a_block_is_healed(tmp_path: Path) -> None:
    onnx.save(residual_cnn(second=0.05), tmp_path / "float.onnx")
    x = np.random.default_rng(0).standard_normal((200, 3, 8, 8)).astype(np.float32)
    quantise(tmp_path / "float.onnx", tmp_path / "int8.onnx", x, per_channel=True)
    result = onnxprune.prune(tmp_path / "int8.onnx", target_macs="45%", data=x, round_to=4, heal=True)
    assert {group.name: group.channels_after for group in result.report.groups}["up2"] == 0
    assert result.report.after.metric is not None
    assert result.report.after.metric.value > 80
    biases = [load(path).graph.initializers["b4_quantized"] for path in (tmp_path / "int8.onnx", result.output)]
    assert [value.const_value.dtype for value in biases] == [ir.DataType.INT32, ir.DataType.FLOAT]


def test_training_an_int8_network_is_refused_with_what_to_do(quantised: Path, tmp_path: Path) -> None:
    with pytest.raises(QuantisedModelError, match="Compress the float model"):
        onnxprune.compress(quantised, output=tmp_path / "out.onnx", target_macs="70%")
    assert not (tmp_path / "out.onnx").exists()


def test_layers_are_timed_on_integers(quantised: Path) -> None:
    model = load(quantised)
    network = {str(node.name): node for node in model.graph}
    shapes = concrete_shapes(model, {"image": (1, 3, 8, 8)})
    spec = layer_spec(network["up1"], shapes, analyse(model))
    assert spec == LayerSpec(
        "Conv", 8, 16, size=(8, 8), kernel=(3, 3), strides=spec.strides, pads=(1,) * 4, dtype="int8"
    )


@pytest.mark.parametrize("dtype", ["int8", "float16"])
@pytest.mark.parametrize(
    "layer",
    [
        LayerSpec("Conv", 8, 16, size=(8, 8), kernel=(3, 3)),
        LayerSpec("ConvTranspose", 8, 4, size=(8, 8), kernel=(2, 2)),
        LayerSpec("MatMul", 32, 16, batch=4),
    ],
)
def test_any_layer_has_a_time_in_any_format(layer: LayerSpec, dtype: str) -> None:
    spec = LayerSpec(**{**vars(layer), "dtype": dtype})
    assert ProfilingTimer(MeasureOptions()).time_ms(spec) > 0


@given(
    proto=networks(), seed=st.integers(0, 9), share=st.floats(0.1, 0.9), form=st.tuples(st.booleans(), st.booleans())
)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=SLOW_IS_FINE)
def test_any_quantised_network(
    proto: onnx.ModelProto,
    seed: int,
    share: float,
    form: tuple[bool, bool],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("generated")
    onnx.save(wrap(proto, per_channel=form[0], zero_points=form[1]), folder / "model.onnx")
    model = load(folder / "model.onnx")
    analysed = analyse(model)
    keep = some_units(analysed, seed, share)
    for branch in list(find_branches(model, analysed).values())[seed % 2 :: 2]:
        for index in branch.groups:
            keep[analysed.groups[index].units] = False
    save(prune(model, analysed, keep), folder / "pruned.onnx")
    pruned = load(folder / "pruned.onnx")
    verify(model, analysed, keep, pruned, seed=seed)
    # What is left of a branch that is gone is a bias as real numbers.
    before, after = types(model), types(pruned)
    unlike = {name for name, dtype in after.items() if dtype != before.get(name)}
    assert all(after[name] == ir.DataType.FLOAT for name in unlike)


def test_what_rounding_hides_of_an_int8_network_is_noticed(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[2, 3, 4, 4] x) => (float[2, 3, 4, 4] y)
        <float step = {0.01}, float coarse = {0.1}, uint8 zero = {0}, int8 middle = {0}> {
            c = Conv(x, w)
            h = Relu(c)
            hq = QuantizeLinear(h, step, zero)
            hd = DequantizeLinear(hq, step, zero)
            z = Conv(hd, v)
            s = Add(x, z)
            sq = QuantizeLinear(s, coarse, middle)
            y = DequantizeLinear(sq, coarse, middle)
        }""")
    rng = np.random.default_rng(0)
    for name, shape, scale in (("w", (8, 3, 1, 1), 1.0), ("v", (3, 8, 1, 1), 1e-7)):
        array = (scale * rng.standard_normal(shape)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, tmp_path / "m.onnx")
    network = load(tmp_path / "m.onnx")
    channels = analyse(network)
    keep = np.arange(channels.unit_count) % 3 > 0
    proof = verify(network, channels, keep, prune(network, channels, keep))
    assert (proof.relative_error, proof.compared) == (0.0, "as they are")
    with pytest.raises(VerificationError, match="the inner value 'z'"):
        verify(network, channels, keep, prune(network, channels, np.roll(keep, 1)))


def test_scales_of_blocks_that_do_not_divide_an_axis() -> None:
    scales = np.array([[1.0, 2.0]])
    np.testing.assert_array_equal(spread(scales, (1, 7), 1, block=5), [[1, 1, 1, 1, 1, 2, 2]])
    np.testing.assert_array_equal(spread(scales[0], (7,), 0, block=4), [1, 1, 1, 1, 2, 2, 2])
