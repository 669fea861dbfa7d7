"""Reading and writing models: what is kept, what is refused, and with which words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxprune.channels import analyse
from onnxprune.errors import InputShapeError, ModelFileError, UnsupportedModelError, WeightError
from onnxprune.graph import (
    external_files,
    graph_cost,
    load,
    random_inputs,
    resolve_input_shapes,
    save,
    to_bytes,
)
from onnxprune.latency import predictor


def convolution(channels: int = 64) -> onnx.ModelProto:
    """A convolution large enough for its weight to be mapped from the file, and a bias."""
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.standard_normal((channels, 64, 3, 3)).astype(np.float32), "weight")
    bias = numpy_helper.from_array(rng.standard_normal(channels).astype(np.float32), "bias")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "weight", "bias"], ["y"], pads=[1, 1, 1, 1])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", channels, 8, 8])],
        [weight, bias],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"trained": "yesterday"})
    return model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "model.onnx"
    onnx.save(convolution(), file)
    return file


def test_what_a_file_holds_is_kept(path: Path, tmp_path: Path) -> None:
    save(load(path), tmp_path / "copy.onnx")
    before, after = onnx.load(path), onnx.load(tmp_path / "copy.onnx")
    assert (after.ir_version, after.opset_import[0].version) == (8, 17)
    assert [(p.key, p.value) for p in after.metadata_props] == [("trained", "yesterday")]
    assert [d.dim_param or d.dim_value for d in after.graph.input[0].type.tensor_type.shape.dim] == ["batch", 64, 8, 8]
    assert [i.name for i in after.graph.initializer] == ["weight", "bias"]
    for old, new in zip(before.graph.initializer, after.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(old), numpy_helper.to_array(new))
    onnx.checker.check_model(after, full_check=True)


def test_weights_of_the_oldest_format_are_inputs_and_what_is_written_is_valid(tmp_path: Path) -> None:
    old = convolution()
    old.ir_version = 3
    for tensor in old.graph.initializer:
        old.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, list(tensor.dims)))
    onnx.checker.check_model(old)
    onnx.save(old, tmp_path / "old.onnx")
    model = load(tmp_path / "old.onnx")
    save(model, tmp_path / "copy.onnx")
    for written in (onnx.load(tmp_path / "copy.onnx"), onnx.load_from_string(to_bytes(model))):
        onnx.checker.check_model(written, full_check=True)
        assert (written.ir_version, [value.name for value in written.graph.input]) == (4, ["x"])


def test_large_weights_stay_in_the_file(path: Path) -> None:
    model = load(path)
    weight = model.graph.initializers["weight"].const_value
    assert type(weight).__name__ == "ExternalTensor"
    np.testing.assert_array_equal(weight.numpy(), numpy_helper.to_array(convolution().graph.initializer[0]))
    assert onnx.load_from_string(to_bytes(model)).graph.initializer[0].raw_data


def test_external_data_is_read(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    onnx.save(convolution(), file, save_as_external_data=True, location="model.data", size_threshold=0)
    array = load(file).graph.initializers["weight"].const_value.numpy()
    np.testing.assert_array_equal(array, numpy_helper.to_array(convolution().graph.initializer[0]))


def test_external_data_inside_branches_is_written_too(tmp_path: Path) -> None:
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Mul", ["x", name], [f"{name}.y"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}.y", 1, [64, 64])],
            [numpy_helper.from_array(np.full((64, 64), scale, np.float32), name)],
        )
        for name, scale in (("then", 2), ("else", 3))
    }
    x, chosen = helper.make_tensor_value_info("x", 1, [64, 64]), helper.make_tensor_value_info("c", 9, [])
    y = helper.make_tensor_value_info("y", 1, [64, 64])
    graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], **branches)], "branches", [x, chosen], [y])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "read").mkdir()
    file = tmp_path / "read" / "model.onnx"
    onnx.save(network, file, save_as_external_data=True, location="model.data", size_threshold=0)
    model = load(file)
    assert [path.name for path in external_files(file)] == ["model.data"]
    save(model, tmp_path / "copy.onnx")
    feeds = (np.ones((64, 64), np.float32), np.array(False))
    for source in (tmp_path / "copy.onnx", to_bytes(model), to_bytes(ir.load(file))):
        assert (predictor(source)(feeds)[0] == 3).all()
    (file.parent / "model.data").write_bytes(b"short")
    with pytest.raises(ModelFileError, match="truncated"):
        load(file)


def test_costs_are_counted_by_hand(path: Path) -> None:
    cost = graph_cost(load(path))
    assert cost.macs == 64 * 8 * 8 * 64 * 9
    assert cost.parameters == 64 * 64 * 9 + 64
    assert cost.peak_activation_bytes == 4 * (64 * 64 + 64 * 64)


def spoil(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        model = convolution()
        change(model)
        onnx.save(model, file)

    return write


def external(location: str) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        onnx.save(convolution(), file, save_as_external_data=True, location="model.data", size_threshold=0)
        model = onnx.load(file, load_external_data=False)
        for tensor in model.graph.initializer:
            next(e for e in tensor.external_data if e.key == "location").value = location
        file.write_bytes(model.SerializeToString())

    return write


def truncated_data(file: Path) -> None:
    onnx.save(convolution(), file, save_as_external_data=True, location="model.data", size_threshold=0)
    (file.parent / "model.data").write_bytes(b"short")


def with_nan(model: onnx.ModelProto) -> None:
    bias = numpy_helper.to_array(model.graph.initializer[1]).copy()
    bias[3] = np.nan
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(bias, "bias"))


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (lambda _: None, ModelFileError, "does not exist"),
        (lambda file: file.mkdir(), ModelFileError, "is a directory"),
        (lambda file: file.write_text("hello"), ModelFileError, "not an ONNX model"),
        (lambda file: file.write_bytes(b""), ModelFileError, "holds no graph"),
        (lambda file: file.write_bytes(convolution().SerializeToString()[:40_000]), ModelFileError, "truncated"),
        (spoil(lambda m: setattr(m.opset_import[0], "version", 99)), UnsupportedModelError, "opset 99"),
        (spoil(lambda m: setattr(m, "ir_version", 99)), UnsupportedModelError, "IR version 99"),
        (
            spoil(lambda m: m.graph.node.append(m.graph.node[0])),
            ModelFileError,
            "not a valid ONNX model: Output 'y' is",
        ),
        (spoil(with_nan), WeightError, "'bias' .* 1 NaN or infinite"),
        (external("gone.data"), ModelFileError, "'weight' .* is missing"),
        (external("../model.data"), ModelFileError, "outside the model's folder"),
        (external("/etc/passwd"), ModelFileError, "outside the model's folder"),
        (truncated_data, ModelFileError, "is truncated"),
    ],
)
def test_bad_files_are_refused(
    tmp_path: Path, write: Callable[[Path], None], error: type[Exception], message: str
) -> None:
    file = tmp_path / "sub" / "model.onnx"
    file.parent.mkdir()
    write(file)
    with pytest.raises(error, match=message):
        load(file)


@pytest.mark.parametrize("fill", [-np.inf, np.nan])
@pytest.mark.parametrize("shape", [(), (1, 1), (1, 5), (2, 5)])
def test_what_masks_fill_in_is_no_weight(tmp_path: Path, fill: float, shape: tuple[int, ...]) -> None:
    proto = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[2, 8] x, bool[2, 5] m) => (float[2, 5] y) { l = MatMul(x, w)  y = Where(m, l, fill) }""")
    arrays = {"w": np.ones((8, 5), np.float32), "fill": np.full(shape, fill, np.float32)}
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.save(proto, tmp_path / "masked.onnx")
    assert len(list(load(tmp_path / "masked.onnx").graph)) == 2
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((5, 8), fill, np.float32), "turned"))
    proto.graph.node.insert(0, onnx.helper.make_node("Transpose", ["turned"], ["w"]))
    onnx.save(proto, tmp_path / "broken.onnx")
    with pytest.raises(WeightError, match=r"'turned' .* 40 NaN or infinite"):
        load(tmp_path / "broken.onnx")


def test_dynamic_sizes_must_be_given(tmp_path: Path) -> None:
    model = convolution()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, tmp_path / "model.onnx")
    loaded = load(tmp_path / "model.onnx")
    with pytest.raises(InputShapeError, match=r"'height'.*--input-shape x:1x64x224x8"):
        resolve_input_shapes(loaded)
    assert resolve_input_shapes(loaded, {"x": (1, 64, 4, 8)}) == {"x": (1, 64, 4, 8)}


def test_wrong_sizes_are_refused(path: Path) -> None:
    with pytest.raises(InputShapeError, match="declared as"):
        load(path, input_shapes={"x": (1, 3, 8, 8)})
    with pytest.raises(InputShapeError, match="has no input 'z'"):
        load(path, input_shapes={"z": (1, 64, 8, 8)})


def test_random_inputs_follow_the_seed(path: Path) -> None:
    model = load(path)
    shapes = resolve_input_shapes(model, batch=2)
    first, again, other = (random_inputs(model, shapes, seed)["x"] for seed in (0, 0, 1))
    assert first.shape == (2, 64, 8, 8)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("steps", ["6", "steps"])
def test_lengths_of_sequences_are_lengths(tmp_path: Path, steps: str) -> None:
    proto = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[{steps}, 40, 4] x, int64[40] long, int64[40] ids) => (float[] y, int64[40] same) {{
            lengths = Cast<to = 6>(long)
            y = GRU<hidden_size = 3>(x, w, r, , lengths)
            same = Identity(ids)
        }}""")
    for name, shape in {"w": (1, 9, 4), "r": (1, 9, 3)}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name))
    onnx.save(proto, tmp_path / "m.onnx")
    model = load(tmp_path / "m.onnx")
    feeds = random_inputs(model, resolve_input_shapes(model, {"x": (6, 40, 4)}), 0)
    assert set(feeds["long"].tolist()) == {1, 2, 3, 4, 5, 6}
    assert feeds["long"][0] == 6
    assert set(feeds["ids"].tolist()) == {0, 1}


def test_weights_are_believed_before_their_declarations(path: Path, tmp_path: Path) -> None:
    proto = onnx.load(path)
    proto.graph.value_info.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, [128, 64, 3, 3]))
    onnx.save(proto, tmp_path / "stale.onnx")
    assert graph_cost(load(tmp_path / "stale.onnx")).macs == graph_cost(load(path)).macs


def test_scatters_into_constants_are_constants(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[2, 4] x) => (float[2, 4] y)
        <float[4] bias = {1, 2, 3, 4}, int64[2, 1] where = {1, 2}, float[2] zeros = {0, 0}> {
            b = ScatterND(bias, where, zeros)
            y = Add(x, b)
        }""")
    onnx.save(model, tmp_path / "model.onnx")
    network = load(tmp_path / "model.onnx")
    (add,) = network.graph
    assert add.inputs[1] is not None
    assert add.inputs[1].const_value is not None
    assert add.inputs[1].const_value.numpy().tolist() == [1, 0, 0, 4]


def test_what_a_scatter_reads_may_be_computed_of_constants(tmp_path: Path) -> None:
    """Swin v2 as PyTorch exports it: a third of the bias of queries, keys and values is zero."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[2, 900] x) => (float[2, 900] y)
        <float[1] zero = {0}, int64[1] count = {300}> {
            zeros = Expand(zero, count)
            flat = Reshape(zeros, count)
            b = ScatterND(bias, where, flat)
            y = Add(x, b)
        }""")
    weights = {"bias": np.ones(900, np.float32), "where": np.arange(300, 600).reshape(300, 1)}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    onnx.save(model, tmp_path / "model.onnx")
    (add,) = load(tmp_path / "model.onnx").graph
    assert add.inputs[1] is not None
    assert add.inputs[1].const_value is not None
    assert add.inputs[1].const_value.numpy().tolist() == [1] * 300 + [0] * 300 + [1] * 300


def test_weights_that_are_standardised_in_every_run_are_weights(tmp_path: Path) -> None:
    """NFNet and ResNetV2 as PyTorch exports them: a BatchNormalization in training mode, over a weight."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[2, 3, 8, 8] x) => (float[2, 6, 8, 8] y)
        <int64[3] flat = {1, 6, -1}, int64[4] box = {6, 3, 1, 1}> {
            f = Reshape(w, flat)
            m = ReduceMean<axes = [0, 2], keepdims = 0>(f)
            d = Sub(m, m)
            n, p, q = BatchNormalization<training_mode = 1, epsilon = 0.000001>(f, gain, d, m, gain)
            s = Reshape(n, box)
            a = Conv(x, s)
            r = Relu(a)
            y = Conv(r, v)
        }""")
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((6, 3, 1, 1)), "v": rng.standard_normal((6, 6, 1, 1)), "gain": np.full(6, 0.5)}
    model.graph.initializer.extend(
        numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()
    )
    onnx.save(model, tmp_path / "model.onnx")
    network = load(tmp_path / "model.onnx")
    assert analyse(network).unit_count == 6
    x = (rng.standard_normal((2, 3, 8, 8)).astype(np.float32),)
    (wanted,), (got,) = predictor(tmp_path / "model.onnx")(x), predictor(to_bytes(network))(x)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_sizes_fit_what_is_declared_as_minus_one(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[N, 3, H, W] x) => (float[N, 3, H, W] y) { y = Relu(x) }""")
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        if dim.dim_param:
            dim.dim_value = -1
    onnx.save(model, tmp_path / "net.onnx")
    assert load(tmp_path / "net.onnx", input_shapes={"x": (1, 3, 8, 8)}).graph.inputs[0].name == "x"
    with pytest.raises(InputShapeError, match="declared as"):
        load(tmp_path / "net.onnx", input_shapes={"x": (1, 4, 8, 8)})


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ("y = Relu(nothing)", "Relu 'y' reads 'nothing', which no node, input or weight gives"),
        ("b = Relu(x) y = Add(b, missing)", "Add 'y' reads 'missing', which"),
        ("a = Add(x, b) b = Relu(a) y = Relu(b)", "its nodes wait for each other"),
        ("a = Relu(x)", "no node gives its output 'y'"),
        ("y = other.Half(x)", "it uses Half 'y', but imports no version of the domain 'other'"),
    ],
)
def test_graphs_that_are_none_are_refused_with_what_is_wrong(tmp_path: Path, nodes: str, message: str) -> None:
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[2, 3] x) => (float[2, 3] y) {{ {nodes} }}
    """)
    for node in model.graph.node:
        node.name = node.output[0]
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(ModelFileError, match=re.escape(message)):
        load(tmp_path / "net.onnx")


def test_a_graph_without_a_version_of_the_default_operators_is_refused(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[2, 3] x) => (float[2, 3] y) { y = Relu(x) }
    """)
    del model.opset_import[:]
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(ModelFileError, match="imports no version of the default operators"):
        load(tmp_path / "net.onnx")


def test_functions_of_another_opset_are_refused(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 13, "local": 1]>
        net (float[2, 4] x) => (float[2, 4] y) { y = local.F(x) }
        <domain: "local", opset_import: ["": 11]> F (a) => (b) { b = Softmax(a) }""")
    onnx.save(proto, tmp_path / "odd.onnx")
    with pytest.raises(UnsupportedModelError, match="has a function of another opset than the model"):
        load(tmp_path / "odd.onnx")
