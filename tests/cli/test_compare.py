"""`onnxprune compare` on small networks in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from PIL import Image

from onnxprune.report import Comparison
from tests.cli.conftest import Run
from tests.pipeline.test_opening import two_layers
from tests.report.conftest import small_cnn

QUICK = ("--sessions", "1")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The network with a few weights of its classifier changed."""
    network = small_cnn()
    weight = next(w for w in network.graph.initializer if w.name == "w4")
    values = onnx.numpy_helper.to_array(weight).copy()
    values[3] += 0.5
    weight.CopyFrom(onnx.numpy_helper.from_array(values, "w4"))
    onnx.save(network, tmp_path / "other.onnx")
    return tmp_path / "other.onnx"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(40) % 10)
    return tmp_path / "data.npz"


def compared(run: Run, *arguments: str | Path) -> Comparison:
    result = run("compare", *arguments, *QUICK, "--json")
    assert result.exit_code == 0, result.output
    return Comparison.model_validate_json(result.stdout)


def test_a_model_and_itself(run: Run, model: Path, data: Path) -> None:
    found = compared(run, model, model, "--data", data, "--preprocess", "none")
    assert (found.agreement, found.kl, found.samples) == (100.0, 0.0, 40)
    assert found.outputs[0].relative_error == 0
    assert found.top1 is not None
    assert found.top1[0] == found.top1[1]
    assert found.latency_ratio == 1.0
    assert [m.path for m in found.models] == [str(model)] * 2


def test_two_models(run: Run, model: Path, other: Path, data: Path) -> None:
    found = compared(run, model, other, "--data", data, "--preprocess", "none", "--worst", "3")
    outputs = [ReferenceEvaluator(str(path)).run(None, {"image": np.load(data)["x"]})[0] for path in (model, other)]
    tops = [o.argmax(axis=1) for o in outputs]
    labels = np.load(data)["y"]
    assert found.agreement == pytest.approx(100 * (tops[0] == tops[1]).mean())
    assert found.top1 == tuple(pytest.approx(100 * (top == labels).mean()) for top in tops)
    assert found.outputs[0].name == "scores"
    error = np.linalg.norm(outputs[0] - outputs[1]) / np.linalg.norm(outputs[0])
    assert found.outputs[0].relative_error == pytest.approx(error, rel=1e-4)
    assert found.outputs[0].max_abs == pytest.approx(np.abs(outputs[0] - outputs[1]).max(), rel=1e-4)
    assert len(found.worst) == 3
    worst = found.worst[0]
    assert (worst.label, worst.first, worst.second) == (
        labels[worst.index],
        tops[0][worst.index],
        tops[1][worst.index],
    )
    divergences = [sample.divergence or 0 for sample in found.worst]
    assert divergences == sorted(divergences, reverse=True)
    assert not found.synthetic


def test_without_data_it_says_so(run: Run, model: Path, other: Path) -> None:
    result = run("compare", model, other, *QUICK)
    assert result.exit_code == 0, result.output
    assert "compared on 256 random inputs" in result.stdout
    assert "random inputs stand in" in result.stderr
    assert "top-1" not in result.stdout
    assert compared(run, model, other, "--samples", "7").samples == 7


def test_the_tables(run: Run, model: Path, other: Path, data: Path) -> None:
    result = run("compare", model, other, "--data", data, "--preprocess", "none", *QUICK)
    for text in ("top-1", "latency p50", "MACs", "parameters", "file size", "worst samples", "KL (nats)", "scores"):
        assert text in result.stdout
    assert "compared on 40 samples" in result.stdout
    assert "latency ratio" in result.stdout


def test_pictures_are_named(run: Run, model: Path, other: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(5):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
    found = compared(run, model, other, "--data", tmp_path / "pictures", "--preprocess", "unit")
    assert found.data == f"folder '{tmp_path / 'pictures'}'"
    assert {Path(sample.name or "").name for sample in found.worst} == {f"{n}.png" for n in range(5)}
    assert all(Path(s.name or "").stem == str(s.index) for s in found.worst)


def test_a_fixed_and_a_dynamic_size_fit(run: Run, model: Path, tmp_path: Path) -> None:
    onnx.save(small_cnn("4"), tmp_path / "fixed.onnx")
    found = compared(run, model, tmp_path / "fixed.onnx", "--samples", "6")
    assert (found.agreement, found.device.batch) == (100.0, 4)
    assert found.models[0].macs == found.models[1].macs


def _renamed(network: onnx.ModelProto) -> None:
    network.graph.input[0].name = "picture"
    network.graph.node[0].input[0] = "picture"


def _wider(network: onnx.ModelProto) -> None:
    network.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 16


def _fewer_classes(network: onnx.ModelProto) -> None:
    network.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 9
    weight = next(w for w in network.graph.initializer if w.name == "w4")
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight)[:9].copy(), "w4"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_renamed, "the inputs are image in the one and picture in the other"),
        (_wider, "input 'image' is float32 [N, 3, 8, 8] in the one and float32 [N, 3, 8, 16] in the other"),
        (_fewer_classes, "output 'scores' is float32 [N, 10] in the one and float32 [N, 9] in the other"),
    ],
)
def test_models_that_do_not_fit(
    run: Run, model: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    network = small_cnn()
    change(network)
    onnx.save(network, tmp_path / "changed.onnx")
    result = run("compare", model, tmp_path / "changed.onnx", *QUICK)
    assert result.exit_code == 1
    assert message in result.stderr


def test_missing_files(run: Run, model: Path, tmp_path: Path) -> None:
    result = run("compare", model, tmp_path / "none.onnx")
    assert result.exit_code == 1
    assert "none.onnx" in result.stderr
    assert "there is no file or folder 'nowhere'" in run("compare", model, model, "--data", "nowhere").stderr


def test_an_output_without_rows_is_left_out(run: Run, tmp_path: Path) -> None:
    last = "Identity(b) z = ReduceMean <keepdims = 0> (b)"
    path = two_layers(tmp_path / "m.onnx", "float[n, 16] x", last, "float z, float[n, 10] y")
    found = compared(run, path, path)
    assert ([output.name for output in found.outputs], found.agreement) == (["y"], 100.0)
    message = "output 'z' has no row for each sample (shape () of 2 samples, () of 4 samples): it was not compared"
    assert message in found.warnings


def test_without_any_rows_nothing_is_compared(run: Run, tmp_path: Path) -> None:
    path = two_layers(tmp_path / "m.onnx", "float[n, 3, 16] x", "Reshape(b, rows)", "float[m, 10] y")
    result = run("compare", path, path, *QUICK)
    assert result.exit_code == 1
    assert "output 'y' has no row for each sample (shape (6, 10) of 2 samples" in result.stderr
    assert "comparing outputs" not in result.stderr


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            ("float[n, 16] x, float s", "Mul(b, s)", "float[n, 10] y"),
            "input 's' has no batch axis: it is a single number",
        ),
        (("float[10] s, float[n, 16] x", "Mul(b, s)", "float[n, 10] y"), "input 's' has no batch axis: it is of 10"),
        (("float[16] x", "Identity(b)", "float[10] y"), "input 'x' has no batch axis: it is of 16 numbers"),
        (("float[3, 16] x", "ReduceMean <keepdims = 0> (b)", "float y"), "input 'x' seems to have no batch axis"),
        (("float[n, 16] x, string[n, 1] s", "Identity(b)", "float[n, 10] y"), "input 's' takes text"),
    ],
)
def test_inputs_that_no_samples_can_be_given_to(
    run: Run, tmp_path: Path, network: tuple[str, str, str], message
) -> None:
    path = two_layers(tmp_path / "m.onnx", *network)
    result = run("compare", path, path, *QUICK)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "this is a bug" not in result.stderr


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_worst_samples_are_drawn(run: Run, model: Path, other: Path, data: Path, ending: str) -> None:
    drawn = data.with_name(f"worst.{ending}")
    plain = compared(run, model, other, "--data", data, "--worst", "7")
    assert compared(run, model, other, "--data", data, "--worst", "7", "--pictures", drawn).worst == plain.worst
    if ending == "svg":
        assert drawn.read_text().count("<image") == 7
        before = drawn.read_bytes()
        compared(run, model, other, "--data", data, "--worst", "7", "--pictures", drawn)
        assert drawn.read_bytes() == before
        return
    with Image.open(drawn) as picture:
        assert picture.width > picture.height > 300


@pytest.mark.parametrize(
    ("pictures", "shape", "words"),
    [
        ("worst.jpg", (3, 8, 8), "ends in .svg or .png"),
        ("worst.png", (2, 8, 8), "sizes [2, 8, 8], which are not those of a picture"),
        ("data.npz", (3, 8, 8), "--pictures"),
    ],
)
def test_pictures_that_cannot_be_drawn_are_refused_at_the_start(
    run: Run, tmp_path: Path, pictures: str, shape: tuple[int, ...], words: str
) -> None:
    sizes = ", ".join(map(str, shape))
    network = f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, {sizes}] x) => (float[N, {sizes}] y) {{ y = Relu(x) }}
    """
    onnx.save(onnx.parser.parse_model(network), tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=np.ones((20, *shape), np.float32))
    before = (tmp_path / "data.npz").read_bytes()
    net, data = tmp_path / "net.onnx", tmp_path / "data.npz"
    result = run("compare", net, net, "--data", data, "--pictures", tmp_path / pictures, *QUICK)
    assert result.exit_code == 1
    assert words in " ".join(result.stderr.split())
    assert data.read_bytes() == before


def test_names_of_pictures_are_no_formulas(run: Run, model: Path, other: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(20):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"$a_{{${index}.png")
    compared(run, model, other, "--data", folder, "--preprocess", "unit", "--pictures", tmp_path / "worst.png")
    assert (tmp_path / "worst.png").exists()
