"""Weights beyond the 2 GiB that a protobuf message can hold, and weights that are not copied."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxprune.channels import analyse, prune, surgery
from onnxprune.graph import load, save, to_bytes

_WIDTH = 13_312
# Runs a command and says how much memory it took, what it mapped of files included.
_MEASURED = """
import json, resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "onnxprune", *sys.argv[1:]], capture_output=True, text=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(json.dumps({"code": done.returncode, "text": done.stdout + done.stderr, "peak": peak}))
"""


def large_network(folder: Path, sizes: list[int]) -> Path:
    """Write a chain of matrix products with external data, a few rows at a time."""
    rng = np.random.default_rng(0)
    nodes, weights, value, offset = [], [], "x", 0
    with (folder / "weights.bin").open("wb") as file:
        for index, (read, made) in enumerate(pairwise(sizes)):
            tensor = TensorProto(name=f"w{index}", data_type=1, dims=[made, read], data_location=TensorProto.EXTERNAL)
            for start in range(0, made, 512):
                rows = rng.standard_normal((min(512, made - start), read), np.float32)
                file.write((rows / np.float32(np.sqrt(read))).tobytes())
            size = 4 * made * read
            for key, entry in (("location", "weights.bin"), ("offset", offset), ("length", size)):
                tensor.external_data.add(key=key, value=str(entry))
            offset += size
            weights.append(tensor)
            nodes.append(helper.make_node("Gemm", [value, f"w{index}"], [f"h{index}"], f"gemm{index}", transB=1))
            nodes.append(helper.make_node("Relu", [f"h{index}"], [f"r{index}"]))
            value = f"r{index}"
    x = helper.make_tensor_value_info("x", 1, ["batch", sizes[0]])
    y = helper.make_tensor_value_info(value, 1, ["batch", sizes[-1]])
    graph = helper.make_graph(nodes, "large", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    return folder / "m.onnx"


def measured(*arguments: object) -> dict[str, object]:
    command = [sys.executable, "-c", _MEASURED, *map(str, arguments)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def available_bytes() -> int:
    """Read how much memory is free or can be freed; 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")), 0)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    sizes = [1024, *[_WIDTH] * 4, 100]
    weight_bytes = 4 * sum(a * b for a, b in pairwise(sizes))
    assert weight_bytes > 2**31
    if shutil.disk_usage(tmp_path).free < 6 * weight_bytes or available_bytes() < 3 * weight_bytes:
        pytest.skip("needs 14 GB of disk and 7 GB of memory")
    return large_network(tmp_path, sizes)


@pytest.mark.nightly
def test_more_than_two_gigabytes(large: Path) -> None:
    weight_bytes = (large.parent / "weights.bin").stat().st_size
    seen = measured("inspect", large)
    assert seen["code"] == 0, seen["text"]
    assert seen["peak"] < 0.6 * weight_bytes
    pruned = measured("prune", large, "--ratio", "0.3", "--round-to", "64", "--output", large.parent / "out.onnx")
    assert pruned["code"] == 0, pruned["text"]
    # onnxruntime holds the weights once, and a second time the one that it is packing.
    assert pruned["peak"] < 1.7 * weight_bytes
    assert load(large.parent / "out.onnx").graph.initializers["w1"].shape[0] < _WIDTH


@pytest.mark.nightly
def test_more_than_two_gigabytes_on_data(large: Path) -> None:
    folder, rng = large.parent, np.random.default_rng(0)
    weight_bytes = (folder / "weights.bin").stat().st_size
    np.savez(folder / "d.npz", x=rng.standard_normal((64, 1024), np.float32), y=rng.integers(0, 100, 64))
    options = ("--ratio", "0.3", "--round-to", "64", "--data", folder / "d.npz", "--output", folder / "out.onnx")
    pruned = measured("prune", large, *options)
    assert pruned["code"] == 0, pruned["text"]
    assert "reconstruction" in str(pruned["text"])
    # The original and the result are open together, to be judged.
    assert pruned["peak"] < 2 * weight_bytes
    assert load(folder / "out.onnx").graph.initializers["w1"].shape[0] < _WIDTH


def test_large_weights_are_cut_when_they_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = large_network(tmp_path, [32, 96, 96, 10])
    model = load(path)
    channels = analyse(model)
    keep = np.random.default_rng(0).random(channels.unit_count) < 0.7
    whole = prune(model, channels, keep)
    monkeypatch.setattr(surgery, "_LAZY_BYTES", 1)
    lazy = prune(model, channels, keep)
    assert isinstance(lazy.graph.initializers["w1"].const_value, ir.LazyTensor)
    assert to_bytes(lazy) == to_bytes(whole)


def test_weights_written_one_by_one_are_a_plain_file(tmp_path: Path) -> None:
    path = large_network(tmp_path, [512, 700, 600, 10])
    save(load(path), tmp_path / "copy.onnx")
    assert not (tmp_path / "copy.onnx.data").exists()
    before, after = onnx.load(path), onnx.load(tmp_path / "copy.onnx")
    onnx.checker.check_model(after, full_check=True)
    for old, new in zip(before.graph.initializer, after.graph.initializer, strict=True):
        assert old.name == new.name
        np.testing.assert_array_equal(numpy_helper.to_array(old), numpy_helper.to_array(new))
