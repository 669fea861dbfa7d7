"""What a run refuses, or doubts, of its data before it computes anything."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import onnxprune
from onnxprune.errors import DataError, DeviceError
from onnxprune.latency.providers import PROVIDERS
from onnxprune.pipeline import preview
from tests.pipeline.test_run import Listening, pictures
from tests.report.conftest import small_cnn


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "cnn.onnx"
    onnx.save(small_cnn(), path)
    return path


def mislabelled(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of ten classes, the fourth with the number of an eleventh."""
    x, y = pictures(count)
    y[3] = 10
    return x, y


@pytest.mark.parametrize("operation", [onnxprune.prune, onnxprune.compress])
@pytest.mark.parametrize("part", ["val", "test"])
def test_labels_of_every_part_are_held_against_the_class_scores(model: Path, part: str, operation) -> None:
    observer = Listening()
    message = rf"data \({part} part\) has the label 10, but the model has 10 class scores .* first at index 3"
    with pytest.raises(DataError, match=message):
        operation(model, target_macs="60%", data=pictures(), **{part: mislabelled(9)}, observer=observer)
    assert observer.stages == ["reading the model", "reading data"]


def test_labels_of_one_file_too(model: Path, tmp_path: Path) -> None:
    x, y = mislabelled(64)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    with pytest.raises(DataError, match=r"d\.npz' \((train|val|test) part\) has the label 10, .* first at index 3"):
        onnxprune.prune(model, ratio=0.3, data=tmp_path / "d.npz")


def test_a_model_without_class_scores_takes_any_class_number(tmp_path: Path) -> None:
    net = small_cnn()
    wider = onnx.helper.make_node("Unsqueeze", [net.graph.output[0].name, "axes"], ["map"])
    net.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2], np.int64), "axes"))
    net.graph.node.append(wider)
    net.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("map", 1, ["n", 10, 1]))
    onnx.save(net, tmp_path / "map.onnx")
    report = onnxprune.prune(tmp_path / "map.onnx", ratio=0.3, data=mislabelled(64), importance="l1").report
    assert report.after.metric is not None
    assert report.after.metric.name == "normalised agreement"


@pytest.mark.parametrize(("count", "told"), [(1, "1 sample only, so one of them is 100 points"), (64, "1.56 points")])
def test_few_test_samples_are_warned_of(model: Path, count: int, told: str) -> None:
    report = onnxprune.prune(model, ratio=0.3, data=pictures(), test=pictures(count), importance="l1").report
    (warning,) = [warning for warning in report.warnings if "the test part" in warning]
    assert told in warning


def test_enough_test_samples_are_not(model: Path) -> None:
    report = onnxprune.prune(model, ratio=0.3, data=pictures(), test=pictures(100), importance="l1").report
    assert not [warning for warning in report.warnings if "the test part" in warning]


def two_layers(path: Path, inputs: str, last: str = "Identity(b)", outputs: str = "float[1, 10] y") -> Path:
    """A network of two matrix products of `x`, with whatever else it takes."""
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        net ({inputs}) => ({outputs}) {{ a = MatMul(x, up)
            r = Relu(a)
            b = MatMul(r, down)
            y = {last} }}""")
    rng = np.random.default_rng(0)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 10]), "rows"))
    for name, shape in {"up": (16, 32), "down": (32, 10)}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(rng.standard_normal(shape, np.float32), name))
    onnx.save(proto, path)
    return path


ODD_INPUTS = pytest.mark.parametrize(
    ("network", "message"),
    [
        (("float[16] x", "Identity(b)", "float[10] y"), "input 'x' has no batch axis: it is of 16 numbers"),
        (("float[1, 16] x, float s", "Mul(b, s)"), "input 's' has no batch axis: it is a single number"),
        (("float[n, 16] x, float[10] s", "Mul(b, s)", "float[n, 10] y"), "input 's' has no batch axis"),
        (("float[1, 16] x, string[1, 1] s",), "input 's' takes text, of which no samples can be made"),
    ],
)


@ODD_INPUTS
def test_inputs_that_no_samples_can_be_given_to(tmp_path: Path, network: tuple[str, ...], message: str) -> None:
    path = two_layers(tmp_path / "m.onnx", *network)
    with pytest.raises(DataError, match=f"{message}.*'onnxprune prune' without --data needs no samples"):
        onnxprune.compress(path, target_macs="60%", round_to=1)
    with pytest.raises(DataError, match=message):
        onnxprune.prune(path, ratio=0.3, data={"x": np.zeros((40, 16), np.float32)})


@ODD_INPUTS
def test_such_models_are_pruned_without_samples(tmp_path: Path, network: tuple[str, ...], message: str) -> None:
    result = onnxprune.prune(two_layers(tmp_path / "m.onnx", *network), ratio=0.3, round_to=1)
    assert result.report.after.macs < result.report.before.macs, message


@pytest.mark.parametrize("inputs", ["float[4, 16] x, float[4] s", "float[n, 16] x, float[n] s"])
def test_one_number_a_sample_has_a_batch_axis(tmp_path: Path, inputs: str) -> None:
    rows = "4" if "[4]" in inputs else "n"
    path = two_layers(tmp_path / "m.onnx", f"{inputs}, float[{rows}, 1] z", "Mul(b, z)", f"float[{rows}, 10] y")
    data = {
        "x": pictures(40)[0].reshape(40, -1)[:, :16],
        "s": np.ones(40, np.float32),
        "z": np.ones((40, 1), np.float32),
    }
    assert onnxprune.prune(path, ratio=0.3, round_to=1, data=data, importance="l1").report.after.metric is not None


OUTPUTS_WITHOUT_ROWS = pytest.mark.parametrize(
    ("network", "message"),
    [
        # Tokens of all samples in one axis.
        (
            ("float[n, 3, 16] x", "Reshape(b, rows)", "float[m, 10] y"),
            r"output 'y' .* \(6, 10\) of 2 .*, \(12, 10\) of 4",
        ),
        (
            ("float[2, 3, 16] x", "Reshape(b, rows)", "float[6, 10] y"),
            r"output 'y' .* \(shape \(6, 10\) of 2 samples\)",
        ),
        (("float[1, 3, 16] x", "Reshape(b, rows)", "float[3, 10] y"), r"output 'y' .* \(shape \(3, 10\) of 1 sample\)"),
        (("float[n, 16] x", "ReduceMean <axes = [0]> (b)", "float[1, 10] y"), r"output 'y' .* \(1, 10\) of 4"),
        (
            ("float[n, 16] x", "Identity(b) z = ReduceMean <keepdims = 0> (b)", "float[n, 10] y, float z"),
            "output 'z' .*",
        ),
        (
            ("float[n, 16] x", "Identity(b) z = Identity(rows)", "float[n, 10] y, int64[2] z"),
            r"output 'z' .* \(2,\) of 4 .*, or leave that output out",
        ),
    ],
)


@OUTPUTS_WITHOUT_ROWS
def test_outputs_without_a_row_for_each_sample(tmp_path: Path, network: tuple[str, ...], message: str) -> None:
    path = two_layers(tmp_path / "m.onnx", *network)
    data = np.zeros((40, 3, 16) if ", 3, " in network[0] else (40, 16), np.float32)
    for look in (onnxprune.prune, partial(preview, "prune")):
        observer = Listening()
        with pytest.raises(DataError, match=f"{message}.*; 'onnxprune prune' without --data needs no samples"):
            look(path, ratio=0.3, round_to=1, data={"x": data}, importance="taylor", max_drop=1.0, observer=observer)
        assert observer.stages == ["reading the model"]
    with pytest.raises(DataError, match=message):
        onnxprune.compress(path, target_macs="60%", round_to=1)
    assert onnxprune.prune(path, ratio=0.3, round_to=1).report.after.macs


@pytest.mark.parametrize("allocation", ["global", "random"])
@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        ("Identity(b) z = ReduceMean <keepdims = 0> (b)", "float[n, 10] y, float z"),
        ("Identity(b) z = Identity(rows)", "float[n, 10] y, int64[2] z"),
    ],
)
def test_outputs_beside_those_with_rows_are_not_judged_by(
    tmp_path: Path, body: str, outputs: str, allocation: str
) -> None:
    data = {"x": np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)}
    told = {"target_macs": "60%", "round_to": 1, "importance": "l1", "data": data, "allocation": allocation}
    alone = two_layers(tmp_path / "alone.onnx", "float[n, 16] x", "Identity(b)", "float[n, 10] y")
    beside = two_layers(tmp_path / "beside.onnx", "float[n, 16] x", body, outputs)
    wanted, found = (onnxprune.prune(path, search_budget=4, **told).report for path in (alone, beside))
    assert found.after.metric == wanted.after.metric
    assert any("output 'z' has no row for each sample" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    "network",
    [
        ("float[3, 16] x", "ReduceMean <axes = [0], keepdims = 0> (b)", "float[10] y"),
        ("float[3, 16] x", "ReduceMean <keepdims = 0> (b)", "float y"),
    ],
)
def test_several_axes_of_which_none_counts_samples(tmp_path: Path, network: tuple[str, ...]) -> None:
    path = two_layers(tmp_path / "m.onnx", *network)
    message = "input 'x' seems to have no batch axis: its first size is 3, but output 'y' has no row for each sample"
    with pytest.raises(DataError, match=message):
        onnxprune.compress(path, target_macs="60%", round_to=1)
    with pytest.raises(DataError, match=message):
        onnxprune.prune(path, ratio=0.3, data={"x": np.zeros((40, 16), np.float32)})


def test_outputs_without_a_gradient_are_not_trained(tmp_path: Path) -> None:
    path = two_layers(tmp_path / "m.onnx", "float[n, 16] x", "ArgMax <axis = 1> (b)", "int64[n, 1] y")
    message = r"no output of the model is floating point \('y' is int64\).*'onnxprune prune' does not train"
    for look in (onnxprune.compress, partial(preview, "compress")):
        observer = Listening()
        with pytest.raises(DataError, match=message):
            look(path, target_macs="60%", round_to=1, observer=observer)
        assert observer.stages == ["reading the model"]
    data = {"x": pictures(40)[0].reshape(40, -1)[:, :16]}
    assert onnxprune.prune(path, ratio=0.3, round_to=1, data=data, importance="l1").report.after.metric is not None


def test_sizes_that_the_network_does_not_take_are_named_before_data_is_read(tmp_path: Path) -> None:
    path = two_layers(tmp_path / "m.onnx", "float[n, k] x", "Identity(b)", "float[n, 10] y")
    with pytest.raises(DeviceError, match="the sizes x:2x9; if it takes others, say which by --input-shape"):
        onnxprune.prune(path, ratio=0.5, input_shapes={"x": (1, 9)}, data={"x": np.zeros((40, 9), np.float32)})


def test_sizes_that_the_network_does_not_take_are_named(tmp_path: Path) -> None:
    net = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[N, 3, H, 6] x) => (float[N, 5, H, 6] y) {
            c = Conv(x, w)
            p = Add(c, table)
            y = Conv(p, v)
        }""")
    for name, shape in {"w": (8, 3, 1, 1), "v": (5, 8, 1, 1), "table": (8, 6, 6)}.items():
        net.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    onnx.save(net, tmp_path / "m.onnx")
    assert onnxprune.prune(tmp_path / "m.onnx", ratio=0.5, input_shapes={"x": (1, 3, 6, 6)}).report.after.macs
    with pytest.raises(DeviceError, match="the sizes x:1x3x4x6; if it takes others, say which by --input-shape"):
        onnxprune.prune(tmp_path / "m.onnx", ratio=0.5, input_shapes={"x": (1, 3, 4, 6)})


@pytest.mark.parametrize("look", [onnxprune.prune, partial(preview, "prune")])
def test_a_provider_that_this_machine_lacks_is_refused_before_anything_else(model: Path, look) -> None:
    lacking = next(name for name, full in PROVIDERS.items() if full not in ort.get_available_providers())
    observer = Listening()
    with pytest.raises(DeviceError, match=f"has no provider '{lacking}'; working here: "):
        look(model, ratio=0.3, provider=lacking, observer=observer)
    assert observer.stages == []
