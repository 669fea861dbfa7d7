"""Closed-form healing: what can be made up for is, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxprune.channels import analyse, prune
from onnxprune.graph import input_specs, load, resolve_input_shapes, to_bytes
from onnxprune.healing import collect_moments, heal_weights, solvable_layers
from onnxprune.latency import predictor
from onnxprune.training import open_data
from onnxprune.training.dataset import Batch
from tests.residual import residual_cnn

RNG = np.random.default_rng(0)


def network(body: str, weights: dict[str, np.ndarray], folder: Path) -> ir.Model:
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[n, 3, 8, 8] x) => (float[] y) {{ {body} }}""")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    for name, array in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    onnx.save(model, folder / "net.onnx")
    return load(folder / "net.onnx")


def calibration(model: ir.Model, count: int = 200) -> list[Batch]:
    x = np.random.default_rng(1).standard_normal((count, 3, 8, 8)).astype(np.float32)
    return list(open_data(x, input_specs(model), resolve_input_shapes(model), None, 0).train.batches(64))


def weight(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))


def redundant(channels: int, independent: int) -> np.ndarray:
    """A weight whose last rows are combinations of the first ones."""
    first = weight(independent, 3, 3, 3)
    mixed = np.tensordot(RNG.standard_normal((channels - independent, independent)), first, axes=1)
    return np.concatenate([first, mixed])


def norm(channels: int, prefix: str) -> dict[str, np.ndarray]:
    return {
        f"{prefix}g": RNG.uniform(0.5, 2, channels),
        f"{prefix}b": RNG.standard_normal(channels),
        f"{prefix}m": RNG.standard_normal(channels),
        f"{prefix}v": RNG.uniform(0.5, 2, channels),
    }


CASES: dict[str, tuple[str, dict[str, np.ndarray]]] = {
    "convolution": (
        "a = Conv<pads = [1, 1, 1, 1]>(x, w, wb)\ny = Conv(a, v, vb)",
        {"w": redundant(12, 6), "wb": RNG.standard_normal(12), "v": weight(5, 12, 1, 1), "vb": weight(5, 1)[:, 0]},
    ),
    "strides and dilations": (
        "a = Conv<pads = [1, 1, 1, 1]>(x, w)\ny = Conv<strides = [2, 2], dilations = [2, 2]>(a, v, vb)",
        {"w": redundant(12, 6), "v": weight(5, 12, 3, 3), "vb": weight(5, 1)[:, 0]},
    ),
    "batch norm behind": (
        "a = Conv<pads = [1, 1, 1, 1]>(x, w, wb)\nb = Conv(a, v)\ny = BatchNormalization(b, ng, nb, nm, nv)",
        {"w": redundant(12, 6), "wb": RNG.standard_normal(12), "v": weight(5, 12, 1, 1), **norm(5, "n")},
    ),
    "batch norm with a computed scale": (
        "a = Conv<pads = [1, 1, 1, 1]>(x, w)\nb = Conv(a, v)\ng = Exp(ng)\ny = BatchNormalization(b, g, nb, nm, nv)",
        {"w": redundant(12, 6), "v": weight(5, 12, 1, 1), **norm(5, "n")},
    ),
    "gemm": (
        "a = Conv<pads = [1, 1, 1, 1]>(x, w, wb)\np = GlobalAveragePool(a)\nf = Flatten(p)\n"
        "y = Gemm<transB = 1>(f, v, vb)",
        {"w": redundant(12, 6), "wb": RNG.standard_normal(12), "v": weight(5, 12), "vb": weight(5, 1)[:, 0]},
    ),
    "channels last": (
        "a = Conv<pads = [1, 1, 1, 1]>(x, w)\nt = Transpose<perm = [0, 2, 3, 1]>(a)\ny = MatMul(t, v)",
        {"w": redundant(12, 6), "v": weight(12, 5)},
    ),
}


def outputs(model: ir.Model) -> np.ndarray:
    x = np.random.default_rng(2).standard_normal((4, 3, 8, 8)).astype(np.float32)
    return predictor(to_bytes(model))((x,))[0]


def difference(model: ir.Model, other: ir.Model) -> float:
    wanted, got = outputs(model), outputs(other)
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("name", CASES)
def test_redundant_channels_go_without_a_trace(name: str, tmp_path: Path) -> None:
    model = network(*CASES[name], tmp_path)
    channels = analyse(model)
    keep = np.ones(channels.unit_count, dtype=bool)
    keep[6:12] = False
    pruned = prune(model, channels, keep)
    before = to_bytes(pruned)
    healed = heal_weights(pruned, channels, keep, collect_moments(model, calibration(model)), ridge=1e-7)
    assert difference(model, pruned) > 0.1

    assert difference(model, healed) < 1e-3
    assert to_bytes(pruned) == before


def test_what_cannot_be_made_up_for_gets_closer(tmp_path: Path) -> None:
    model = network(
        "a = Conv<pads = [1, 1, 1, 1]>(x, w, wb)\nr = Relu(a)\ny = Conv<pads = [1, 1, 1, 1]>(r, v, vb)",
        {"w": weight(16, 3, 3, 3), "wb": RNG.standard_normal(16), "v": weight(5, 16, 3, 3), "vb": weight(5, 1)[:, 0]},
        tmp_path,
    )
    channels = analyse(model)
    keep = np.arange(channels.unit_count) % 2 == 0
    pruned = prune(model, channels, keep)
    healed = heal_weights(pruned, channels, keep, collect_moments(model, calibration(model)))
    assert difference(model, healed) < 0.6 * difference(model, pruned)


def test_layers_that_lost_nothing_stay_as_they_are(tmp_path: Path) -> None:
    model = network(*CASES["convolution"], tmp_path)
    channels = analyse(model)
    keep = np.ones(channels.unit_count, dtype=bool)
    pruned = prune(model, channels, keep)
    healed = heal_weights(pruned, channels, keep, collect_moments(model, calibration(model)))
    assert to_bytes(healed) == to_bytes(pruned)


def test_shared_weights_are_left_alone(tmp_path: Path) -> None:
    body = "a = Conv(x, w)\nb = Conv(a, v)\nc = Conv(b, v)\ny = Conv(c, u)"
    weights = {"w": weight(8, 3, 1, 1), "v": weight(8, 8, 1, 1), "u": weight(5, 8, 1, 1)}
    model = network(body, weights, tmp_path)
    assert {moment.layer.weight for moment in collect_moments(model, calibration(model)).values()} == {"w", "u"}


def test_dead_inputs_do_no_harm(tmp_path: Path) -> None:
    body, weights = CASES["convolution"]
    dead = {**weights, "w": np.zeros((12, 3, 3, 3)), "wb": np.zeros(12)}
    model = network(body, dead, tmp_path)
    channels = analyse(model)
    keep = np.arange(channels.unit_count) < 4
    pruned = prune(model, channels, keep)
    healed = heal_weights(pruned, channels, keep, collect_moments(model, calibration(model)))
    assert to_bytes(healed) == to_bytes(pruned)


def test_moments_follow_the_seed(tmp_path: Path) -> None:
    model = network(*CASES["convolution"], tmp_path)
    data = calibration(model)
    first, again, other = (collect_moments(model, data, seed=seed) for seed in (3, 3, 4))
    name = list(first)[-1]
    np.testing.assert_array_equal(first[name].covariance, again[name].covariance)
    assert not np.array_equal(first[name].covariance, other[name].covariance)


def test_what_a_branch_gave_on_average_stays(tmp_path: Path) -> None:
    onnx.save(residual_cnn(), tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model)
    keep = np.ones(channels.unit_count, dtype=bool)
    keep[channels.groups[2].units] = False
    pruned = prune(model, channels, keep)
    healed = heal_weights(pruned, channels, keep, collect_moments(model, calibration(model)))
    assert "w4" not in healed.graph.initializers
    x = np.random.default_rng(2).standard_normal((64, 3, 8, 8)).astype(np.float32)
    means = [predictor(to_bytes(m))((x,))[0].mean(axis=0) for m in (model, pruned, healed)]
    assert np.linalg.norm(means[2] - means[0]) < 0.2 * np.linalg.norm(means[1] - means[0])


def test_a_gone_branch_with_batch_norm_keeps_its_mean(tmp_path: Path) -> None:
    body = (
        "a = Conv(x, w, wb)\nu = Conv(a, v, vb)\nr = Relu(u)\nc = Conv(r, z)\n"
        "d = BatchNormalization(c, ng, nb, nm, nv)\ns = Add(a, d)\ny = Conv(s, t)"
    )
    weights = {"w": weight(8, 3, 1, 1), "wb": RNG.standard_normal(8), "v": weight(12, 8, 1, 1), "t": weight(5, 8, 1, 1)}
    weights |= {"vb": RNG.standard_normal(12), "z": weight(8, 12, 1, 1), **norm(8, "n")}
    model = network(body, weights, tmp_path)
    channels = analyse(model)
    keep = np.ones(channels.unit_count, dtype=bool)
    keep[channels.groups[1].units] = False
    pruned = prune(model, channels, keep)
    healed = heal_weights(pruned, channels, keep, collect_moments(model, calibration(model)))
    x = np.random.default_rng(2).standard_normal((64, 3, 8, 8)).astype(np.float32)
    means = [predictor(to_bytes(m))((x,))[0].mean(axis=(0, 2, 3)) for m in (model, pruned, healed)]
    assert np.linalg.norm(means[2] - means[0]) < 0.1 * np.linalg.norm(means[1] - means[0])


def test_a_layer_that_goes_with_a_branch_is_not_missed(tmp_path: Path) -> None:
    body = (
        "a = Conv(x, w, wb)\nu = Conv(a, v)\nk = Softmax<axis = 1>(u)\nm = Conv(k, z)\nr = Relu(m)\n"
        "c = Conv(r, q)\ns = Add(a, c)\ny = Conv(s, t)"
    )
    weights = {"w": weight(8, 3, 1, 1), "wb": RNG.standard_normal(8), "v": weight(8, 8, 1, 1), "t": weight(5, 8, 1, 1)}
    model = network(body, {**weights, "z": weight(6, 8, 1, 1), "q": weight(8, 6, 1, 1)}, tmp_path)
    channels = analyse(model)
    keep = np.arange(channels.unit_count) % 2 == 0
    keep[channels.groups[1].units] = False
    pruned = prune(model, channels, keep)
    assert "v" not in pruned.graph.initializers
    healed = heal_weights(pruned, channels, keep, collect_moments(model, calibration(model)))
    assert np.isfinite(outputs(healed)).all()


def small(body: str, outputs: str, folder: Path) -> ir.Model:
    """Two matrix products of a sample."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[1, 8] x) => ({outputs}) {{ {body} }}""")
    arrays = {"w": weight(8, 6), "v": weight(6, 4), "b": RNG.standard_normal(4)}
    for name, array in arrays.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    onnx.save(model, folder / "net.onnx")
    return load(folder / "net.onnx")


def test_products_of_a_vector_are_left_alone(tmp_path: Path) -> None:
    body = "s = Squeeze(x) h = MatMul(s, w) r = Relu(h) m = MatMul(r, v) y = Add(m, b)"
    assert solvable_layers(small(body, "float[4] y", tmp_path)) == []


def test_a_shift_is_not_put_behind_what_is_an_output(tmp_path: Path) -> None:
    body = "h = MatMul(x, w) r = Relu(h) m = MatMul(r, v) y = Add(m, b)"
    assert [layer.offset for layer in solvable_layers(small(body, "float[1, 4] y", tmp_path))] == [None, "b"]
    both = small(body, "float[1, 4] y, float[1, 4] m", tmp_path)
    assert [layer.offset for layer in solvable_layers(both)] == [None, None]
