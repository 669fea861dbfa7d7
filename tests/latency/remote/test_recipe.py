"""What is sent of a model, and what is made of it there."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnxprune.errors import DeviceError
from onnxprune.latency.on_device.content import write_segment
from onnxprune.latency.remote.recipe import MODEL_FILE, feeds_recipe, recipe

RNG = np.random.default_rng(0)


def made(model: bytes | Path, folder: Path) -> onnx.ModelProto:
    """Describe a model, make it from its description, and load that."""
    for request in recipe("m", model).requests():
        with (folder / request["file"]).open("wb" if request["first"] else "ab") as file:
            for segment in request["segments"]:
                write_segment(file, segment)
    return onnx.load(folder / MODEL_FILE)


def holding(**arrays: np.ndarray) -> onnx.ModelProto:
    """A model with these initializers, which it does not read."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [output], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def arrays_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def test_inputs_of_text_are_refused() -> None:
    feeds = {"x": normal(1, 4), "words": np.array([["a"]], dtype=object)}
    with pytest.raises(DeviceError, match="input 'words' takes text, which is not sent to a device over SSH"):
        feeds_recipe(feeds)


def test_weights_are_made_there_and_all_else_is_sent(tmp_path: Path) -> None:
    mask = np.triu(np.full((200, 200), -np.inf, np.float32))
    broken = normal(100, 100)
    broken[3, 4] = np.inf
    kept = {
        "indices": RNG.integers(0, 1 << 40, (100, 100)),
        "bias": normal(20000),
        "small": normal(8, 8),
        "constant": np.full((100, 100), 0.5, np.float32),
        "mask": mask,
        "broken": broken,
    }
    weights = {"w": normal(64, 32, 3, 3) * 0.05, "half": normal(128, 128, dtype="float16")}
    model = holding(**kept, **weights)
    result = made(model.SerializeToString(), tmp_path)
    after = arrays_of(result)
    for name, array in kept.items():
        np.testing.assert_array_equal(after[name], array)
    for name, array in weights.items():
        assert after[name].shape == array.shape
        assert not np.array_equal(after[name], array)
        assert after[name].std() == pytest.approx(array.std(), rel=0.05)
        assert array.min() <= after[name].min()
        assert after[name].max() <= array.max()
    for tensor, before in zip(result.graph.initializer, model.graph.initializer, strict=True):
        tensor.raw_data = before.raw_data
    assert result == model


def test_weights_in_constant_nodes_are_made_too(tmp_path: Path) -> None:
    model = holding()
    weight = numpy_helper.from_array(normal(100, 100), "w")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=weight))
    model.graph.node.append(helper.make_node("Constant", [], ["f"], value_float=0.5))
    result = made(model.SerializeToString(), tmp_path)
    assert result != model
    result.graph.node[1].attribute[0].t.raw_data = weight.raw_data
    assert result == model


def test_inputs_travel_in_requests_of_a_megabyte_and_large_floats_are_made_there() -> None:
    sent = {
        "ids": RNG.integers(0, 1 << 60, (64, 10_000)),
        "zeros": np.zeros((64, 3, 50, 50), np.float32),
        "small": normal(3, 4),
        "scalar": np.array(2.0),
        "empty": np.zeros((0, 4), np.float32),
    }
    feeds = {**sent, "image": normal(64, 3, 224, 224) + 1, "half": normal(64, 1000, dtype="float16")}
    made_there: dict[str, np.ndarray] = {}
    sizes, file = [], io.BytesIO()
    for request in feeds_recipe(feeds).requests():
        sizes.append(len(json.dumps(request)))
        file = io.BytesIO() if request["first"] else file
        for segment in request["segments"]:
            write_segment(file, segment)
        if request["last"]:
            array = np.frombuffer(file.getvalue(), request["dtype"])
            made_there[request["name"]] = array.reshape(request["shape"])
    assert list(made_there) == list(feeds)
    # Random integers do not compress.
    assert max(sizes) < 2 << 20
    assert sum(sizes) < 2 * sent["ids"].nbytes
    for name, array in feeds.items():
        after = made_there[name]
        assert (after.shape, after.dtype) == (array.shape, array.dtype)
        if name in sent:
            np.testing.assert_array_equal(after, array)
        else:
            assert (after.mean(), after.std()) == pytest.approx((array.mean(), array.std()), abs=0.02)
            assert array.min() <= after.min() <= after.max() <= array.max()
    exact = [request["segments"] for request in feeds_recipe({"x": normal(99, 99)}, send_values=True).requests()]
    assert all("data" in segment for segments in exact for segment in segments)


def test_little_is_sent_of_a_large_model() -> None:
    model = holding(w=normal(1000, 1000)).SerializeToString()
    assert len(repr(recipe("m", model).files)) < len(model) / 1000


@settings(deadline=None, max_examples=30)
@given(
    shape=st.lists(st.integers(1, 90), min_size=1, max_size=4).filter(lambda s: 5000 < np.prod(s) < 200_000),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
    scale=st.sampled_from([1e-6, 1e-3, 1.0, 100.0]),
    positive=st.booleans(),
)
def test_made_weights_are_harmless(
    tmp_path_factory: pytest.TempPathFactory, shape: list[int], dtype: str, scale: float, positive: bool
) -> None:
    array = (normal(*shape) * scale).astype(dtype)
    array = np.abs(array) + np.finfo(dtype).tiny if positive else array
    result = arrays_of(made(holding(w=array).SerializeToString(), tmp_path_factory.mktemp("m")))["w"]
    assert (result.shape, result.dtype) == (array.shape, array.dtype)
    assert np.isfinite(result).all()
    if not np.array_equal(result, array):
        assert not ((result != 0) & (np.abs(result) < np.finfo(array.dtype).tiny)).any()
    tiny = np.finfo(array.dtype).tiny
    assert min(array.min(), -tiny if array.min() < 0 else tiny) <= result.min()
    assert result.max() <= max(array.max(), tiny)
    assert result.min() > 0 or not positive


def test_weights_of_brain_floats(tmp_path: Path) -> None:
    words = (normal(100, 100).view(np.uint32) >> 16).astype(np.uint16)
    tensor = TensorProto(name="w", data_type=TensorProto.BFLOAT16, dims=[100, 100], raw_data=words.tobytes())
    model = holding()
    model.graph.initializer.append(tensor)
    values = numpy_helper.to_array(made(model.SerializeToString(), tmp_path).graph.initializer[0]).astype(np.float32)
    assert values.std() == pytest.approx(1, rel=0.1)


def test_weights_beside_the_model(tmp_path: Path) -> None:
    kept, weight = RNG.integers(0, 1 << 40, (100, 100)), normal(100, 300)
    path = tmp_path / "big.onnx"
    onnx.save(holding(kept=kept, w=weight), path, save_as_external_data=True, location="big.data", size_threshold=0)
    there = tmp_path / "there"
    there.mkdir()
    after = arrays_of(made(path, there))
    np.testing.assert_array_equal(after["kept"], kept)
    assert not np.array_equal(after["w"], weight)
    assert after["w"].std() == pytest.approx(1, rel=0.05)
    assert sorted(file.name for file in there.iterdir()) == ["big.data", MODEL_FILE]


def beside(file: str, name: str, kind: int, dims: list[int], where: tuple[int, int]) -> TensorProto:
    """A tensor whose values lie in a file beside the model, from an offset on for so many bytes."""
    tensor = TensorProto(name=name, data_type=kind, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", file), ("offset", where[0]), ("length", where[1])):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def test_tied_weights_lie_in_one_place_there_too(tmp_path: Path) -> None:
    weight, indices, last = normal(100, 100), np.arange(100, dtype=np.int64), normal(100, 100)
    (tmp_path / "m.data").write_bytes(weight.tobytes() + indices.tobytes() + last.tobytes())
    size, behind = weight.nbytes, weight.nbytes + indices.nbytes
    model = holding()
    model.graph.initializer.extend(
        [
            beside("m.data", "a", TensorProto.FLOAT, [100, 100], (0, size)),
            beside("m.data", "tied", TensorProto.FLOAT, [100, 100], (0, size)),
            beside("m.data", "rows", TensorProto.FLOAT, [50, 100], (size // 2, size // 2)),
            # It begins within the first and ends behind it: what is behind is not made again.
            beside("m.data", "over", TensorProto.FLOAT, [52, 100], (size // 2, size // 2 + indices.nbytes)),
            beside("m.data", "indices", TensorProto.INT64, [100], (size, indices.nbytes)),
            beside("m.data", "last", TensorProto.FLOAT, [100, 100], (behind, size)),
        ]
    )
    path, there = tmp_path / "m.onnx", tmp_path / "there"
    path.write_bytes(model.SerializeToString())
    there.mkdir()
    after = arrays_of(made(path, there))
    assert (there / "m.data").stat().st_size == (tmp_path / "m.data").stat().st_size
    np.testing.assert_array_equal(after["indices"], indices)
    np.testing.assert_array_equal(after["a"], after["tied"])
    np.testing.assert_array_equal(after["a"][50:], after["rows"])
    for name, before in (("a", weight), ("last", last)):
        assert not np.array_equal(after[name], before)
        assert after[name].std() == pytest.approx(1, rel=0.05)


def test_the_sample_network_runs_with_made_weights(tmp_path: Path) -> None:
    path = Path(__file__).parents[3] / "models" / "fashion-resnet20.onnx"
    made(path, tmp_path)
    session = ort.InferenceSession(str(tmp_path / MODEL_FILE), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: normal(1, 1, 28, 28)})
    assert np.isfinite(logits).all()
    assert 1e-3 < np.abs(logits).max() < 1e4


@pytest.mark.parametrize("source", [b"\xff\xff\xff", Path("none.onnx")])
def test_a_file_that_is_no_model(source: bytes | Path) -> None:
    with pytest.raises(DeviceError, match="model 'm' cannot be measured"):
        recipe("m", source)
