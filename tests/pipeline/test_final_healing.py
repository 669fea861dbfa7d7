"""The last form of healing: layers solved again in order, of networks of all kinds and batch sizes."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.channels import prune
from onnxprune.graph import to_bytes
from onnxprune.healing import collect_moments, heal_weights
from onnxprune.latency import predictor
from onnxprune.pipeline.prepare import Network, read_network
from onnxprune.pipeline.training import final_healer
from onnxprune.training import open_data


def perceptron(path: Path, batch: str) -> Path:
    """Four matrix products with what is added to them, as exporters write Linear layers of sequences."""
    layers = "\n".join(
        f"a{n} = MatMul (x{n}, w{n})\n b{n} = Add (a{n}, c{n})\n x{n + 1} = Relu (b{n})" for n in range(4)
    )
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[{batch}, 6, 16] x0) => (float[{batch}, 192] y) {{ {layers} y = Reshape (x4, flat) }}"""
    )
    rng = np.random.default_rng(0)
    sizes = (16, 32, 32, 32, 32)
    for n, shape in enumerate(itertools.pairwise(sizes)):
        arrays = {f"w{n}": rng.normal(0, 1.4 * shape[0] ** -0.5, shape), f"c{n}": rng.normal(0, 0.1, shape[1])}
        for name, array in arrays.items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    flat = [1, 192] if batch == "1" else [0, 192]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(flat), "flat"))
    onnx.save(model, path)
    return path


def errors(network: Network) -> tuple[float, float]:
    """Remove half of every group; return the error after healing from moments, and after solving in order too."""
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((300, 6, 4)) @ rng.standard_normal((4, 16))).astype(np.float32) + 0.5
    data = open_data(x, network.inputs, network.input_shapes, None, 0)
    keep = np.ones(network.channels.unit_count, dtype=bool)
    for group in network.channels.groups:
        keep[group.units[::2]] = False
    moments = collect_moments(network.model, list(data.train.batches(network.fixed_batch or 100)), seed=0)
    light = heal_weights(prune(network.model, network.channels, keep), network.channels, keep, moments)
    finish = final_healer(network, data.train, 0)
    assert finish is not None
    runs = [predictor(to_bytes(model)) for model in (network.model, light, finish(light, keep))]
    size = network.fixed_batch or 50
    first, *others = (
        np.concatenate([run((x[at : at + size],))[0] for at in range(0, 50, size)]) for run in runs
    )  # fmt: skip
    return tuple(float(np.linalg.norm(other - first) / np.linalg.norm(first)) for other in others)  # type: ignore[return-value]


@pytest.mark.parametrize("batch", ["n", "1"])
def test_matrix_products_make_up_for_those_before_them(tmp_path: Path, batch: str) -> None:
    network = read_network(perceptron(tmp_path / "net.onnx", batch), None, 1)
    assert network.module_batch is None
    light, whole = errors(network)
    assert whole < 0.9 * light


@pytest.fixture
def tied(tmp_path: Path) -> Path:
    """A network whose samples would mix in a larger batch."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[1, 8] x) => (float[1, 4] y) {
            a = Gemm <transB = 1> (x, w1, b1)
            b = Relu (a)
            m = ReduceMean <axes = [0]> (b)
            c = Sub (b, m)
            d = Add (c, b)
            y = Gemm <transB = 1> (d, w2, b2)
        }"""
    )
    rng = np.random.default_rng(0)
    for name, shape in {"w1": (32, 8), "b1": (32,), "w2": (4, 32), "b2": (4,)}.items():
        array = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_a_network_tied_to_its_batch_is_not_solved_in_order(tied: Path) -> None:
    network = read_network(tied, None, 1)
    assert network.module_batch == 1
    x = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    data = open_data(x, network.inputs, network.input_shapes, None, 0)
    assert final_healer(network, data.train, 0) is None


@pytest.mark.slow
def test_a_network_tied_to_its_batch_is_trained_by_it(tied: Path) -> None:
    x = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    report = onnxprune.compress(tied, target_macs="60%", data=x, epochs=1, round_to=1).report
    assert report.training is not None
    assert report.training.steps >= 20


@pytest.mark.parametrize("batch", [64, 8])
def test_a_network_of_one_batch_size_takes_fewer_samples(tmp_path: Path, batch: int) -> None:
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[{batch}, 3, 8, 8] x) => (float[{batch}, 10] y) {{
            a = Conv (x, w)
            b = Relu (a)
            c = Conv (b, v)
            d = GlobalAveragePool (c)
            e = Reshape (d, flat)
            f = Gemm (e, k)
            y = Add (f, rows)
        }}""")
    rng = np.random.default_rng(0)
    shapes = {"w": (16, 3, 1, 1), "v": (16, 16, 1, 1), "k": (16, 10), "rows": (batch, 10)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    arrays["flat"] = np.array([batch, 16])
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.save(model, tmp_path / "net.onnx")
    told = {"target_macs": "60%", "data": rng.standard_normal((batch - 2, 3, 8, 8)).astype(np.float32), "round_to": 1}
    report = onnxprune.prune(tmp_path / "net.onnx", heal=True, **told).report
    assert report.after.macs <= 0.6 * report.before.macs
    report = onnxprune.compress(tmp_path / "net.onnx", epochs=1, allocation="global", **told).report
    assert report.training is not None
