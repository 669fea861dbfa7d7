from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from onnxprune.channels import analyse, prune
from onnxprune.errors import DataError
from onnxprune.graph import load
from onnxprune.torch_bridge import to_torch
from onnxprune.training import Matcher, kept_rows, open_data, shared_biases


@pytest.fixture
def data(grey):
    x = np.random.default_rng(0).normal(3.0, 2.0, (400, 1, 8, 8)).astype(np.float32)
    return open_data(x, *grey, None, 0).train


def inputs(data):
    return torch.from_numpy(next(data.batches(len(data))).inputs[0])


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3))


def pruned_pair():
    """A network, a copy without half of its first layer's channels, and the channels kept by layer."""
    original, pruned = network(), network()
    kept = np.array([0, 2, 5])
    pruned[0] = nn.Conv2d(1, 3, 3)
    pruned[0].load_state_dict({k: v[kept] for k, v in original[0].state_dict().items()})
    pruned[2] = nn.Conv2d(3, 5, 3)
    pruned[2].load_state_dict({"weight": original[2].weight[:, kept], "bias": original[2].bias})
    return (
        original,
        pruned,
        {"0.weight": kept, "2.weight": np.arange(5), "absent": kept},
    )


@pytest.mark.parametrize("end", [1, 3])
def test_layers_get_the_original_statistics_again(data, end):
    original, pruned, kept = pruned_pair()
    assert Matcher(original, kept, data, batch_size=len(data)).correct(pruned, kept) == 2
    x = inputs(data)
    ours, theirs = pruned[:end](x), original[:end](x)
    theirs = theirs[:, kept["0.weight"]] if end == 1 else theirs
    dims = (0, 2, 3) if ours.ndim == 4 else (0,)
    assert torch.allclose(ours.mean(dims), theirs.mean(dims), atol=1e-4)
    assert torch.allclose(ours.std(dims), theirs.std(dims), rtol=1e-3)


def test_samples_whose_activations_overflow_are_refused(grey):
    original, pruned, kept = pruned_pair()
    huge = open_data(np.full((20, 1, 8, 8), 1e38, np.float32), *grey, None, 0).train
    with pytest.raises(DataError, match=r"data: on these samples .* overflow, .* check the scale of the data"):
        Matcher(original, kept, huge).correct(pruned, kept)


def test_the_original_is_not_changed_and_no_hook_stays(data):
    original, pruned, kept = pruned_pair()
    before = {name: value.clone() for name, value in original.state_dict().items()}
    Matcher(original, kept, data).correct(pruned, kept)
    assert all(torch.equal(value, before[name]) for name, value in original.state_dict().items())
    assert not any(part._forward_hooks for model in (original, pruned) for part in model.modules())


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_parameter_read_twice_is_left_alone(data, name):
    def pair():
        torch.manual_seed(0)
        first, second = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1)
        setattr(second, name, getattr(first, name))
        return nn.Sequential(first, second, nn.Conv2d(1, 1, 3))

    original, pruned = pair(), pair()
    with torch.no_grad():
        pruned[0].weight *= 2
    names = {f"{i}.weight": np.arange(1) for i in range(3)}
    assert Matcher(original, names, data).correct(pruned, names) == 1


def test_a_layer_without_bias_is_skipped(data):
    original, pruned = nn.Conv2d(1, 2, 3, bias=False), nn.Conv2d(1, 2, 3, bias=False)
    assert (
        Matcher(nn.Sequential(original), {"0.weight": np.arange(2)}, data).correct(
            nn.Sequential(pruned), {"0.weight": np.arange(2)}
        )
        == 0
    )


def onnx_model(path, *, after=""):
    """Two convolutions of six and four channels, their biases, and a classifier; `after` runs behind the first."""
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[n, 1, 8, 8] image) => (float[n, 3] scores) {{
            a = Conv <kernel_shape = [3, 3]> (image, w1, b1)
            {after or "b = Relu (a)"}
            c = Conv <kernel_shape = [3, 3]> (b, w2, b2)
            d = Relu (c)
            e = Flatten (d)
            scores = Gemm (e, w3, b3)
        }}"""
    )
    shapes = {"w1": (6, 1, 3, 3), "b1": (6,), "w2": (4, 6, 3, 3), "b2": (4,), "w3": (64, 3), "b3": (3,)}
    shapes |= {"s": (6,), "m": (6,), "v": (6,)} if "Batch" in after else {}
    for name, shape in shapes.items():
        array = 0.3 * rng.standard_normal(shape).astype(np.float32)
        array = np.abs(array) if name == "v" else array
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, path)
    return load(path)


def test_on_an_onnx_model(tmp_path, data):
    model = onnx_model(tmp_path / "net.onnx")
    channels = analyse(model)
    keep = np.ones(channels.unit_count, bool)
    keep[channels.groups[0].units[[1, 3]]] = False
    original, pruned = to_torch(model), to_torch(prune(model, channels, keep))
    rows = kept_rows(model, channels, keep, original)
    assert {original.weight_names[n]: r.tolist() for n, r in rows.items()} == {
        "w1": [0, 2, 4, 5],
        "w2": [0, 1, 2, 3],
        "w3": [0, 1, 2],
    }
    x = inputs(data)
    before = (pruned(x)[0] - original(x)[0]).square().mean()
    assert Matcher(original, rows, data, batch_size=len(data)).correct(pruned, rows) == 2
    assert (pruned(x)[0] - original(x)[0]).square().mean() < before


def test_batchnorm_gets_the_original_statistics_whatever_the_data(data):
    torch.manual_seed(0)
    original = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 3))
    original[1].running_mean.normal_()
    original[1].running_var.uniform_(0.5, 2.0)
    kept = np.array([0, 2, 5])
    pruned = nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3))
    pruned[0].weight.data = 2 * original[0].weight.data[kept]
    names = {"1.running_mean": kept, "3.weight": np.arange(2)}
    assert Matcher(original, names, data, batch_size=len(data)).correct(pruned, names) == 2
    original.eval(), pruned.eval()
    x = inputs(data)
    assert torch.allclose(pruned[1].running_mean, 2 * original[1].running_mean[kept], atol=1e-4)
    assert torch.allclose(pruned[:2](x), original[:2](x)[:, kept], atol=1e-4)
    ours, theirs = pruned(x), original(x)
    assert torch.allclose(ours.mean((0, 2, 3)), theirs.mean((0, 2, 3)), atol=1e-4)


def test_a_bias_that_another_node_reads_is_known(tmp_path):
    alone = onnx_model(tmp_path / "alone.onnx")
    assert shared_biases(alone, to_torch(alone)) == frozenset()
    twice = onnx_model(tmp_path / "twice.onnx", after="p = BatchNormalization (a, s, b1, m, v) b = Relu (p)")
    module = to_torch(twice)
    assert {module.weight_names[name] for name in shared_biases(twice, module)} == {"w1"}
