"""Memory in a process of its own, and I/O binding, which the CPU's provider takes too."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from onnxprune.errors import DeviceError, InputsError
from onnxprune.latency import LocalDevice, MeasureOptions
from onnxprune.latency.on_device.binding import Bound, memory_of
from onnxprune.latency.on_device.memory import peak_memory
from tests.latency.models import FEEDS, endless, one_op

SHORT = MeasureOptions(sessions=2, warmup=1, min_runs=3, session_ms=0.0)


def weighted(path: Path, megabytes: int) -> Path:
    """Save x (1, n) @ weight."""
    weight = np.ones((megabytes << 8, 1024), np.float32)
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[1, {len(weight)}] x) => (float[1, 1024] y) {{ y = MatMul(x, w) }}
    """)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(model, path)
    return path


def test_the_memory_of_a_model_grows_with_its_weights(tmp_path: Path) -> None:
    found = {}
    for megabytes in (1, 40):
        path = weighted(tmp_path / f"{megabytes}.onnx", megabytes)
        feeds = {"x": np.ones((1, megabytes << 8), np.float32)}
        found[megabytes] = LocalDevice().peak_memory("m", path, feeds, SHORT)
    small, large = found[1], found[40]
    assert small.peak_bytes is not None
    assert large.peak_bytes is not None
    assert large.peak_bytes - small.peak_bytes > 39 << 20
    # This process holds far more than the fresh one had at its start.
    assert small.base_bytes is not None
    assert 1 << 20 < small.base_bytes < small.peak_bytes


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(one_op("NoSuchOp"))
    with pytest.raises(DeviceError, match=r"the memory of model 'odd' cannot be measured: .*NoSuchOp"):
        LocalDevice().peak_memory("odd", tmp_path / "bad.onnx", FEEDS, SHORT)


ON_CUDA = """
loaded = False
class SessionOptions:
    pass
def preload_dlls():
    global loaded
    loaded = True
    raise OSError("libcudnn.so.9")
class InferenceSession:
    def __init__(self, *_, **__):
        assert loaded, "the libraries are missing"
    def run(self, *_):
        pass
"""


def test_the_process_loads_the_libraries_of_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text(ON_CUDA)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    providers = [["CUDAExecutionProvider", {}], ["CPUExecutionProvider", {}]]
    assert set(peak_memory("m.onnx", FEEDS, SHORT, providers)) == {"peak_bytes", "base_bytes"}


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are looked for in /proc")
def test_the_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "endless.onnx").write_bytes(endless())
    script = """
        from onnxprune.latency import LocalDevice, MeasureOptions
        from tests.latency.models import FEEDS
        LocalDevice().peak_memory("m", Path("endless.onnx"), FEEDS, MeasureOptions())
    """
    starter = subprocess.Popen(
        [sys.executable, "-c", "from pathlib import Path" + textwrap.dedent(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)},
    )
    child = eventually(lambda: Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split())[0]
    starter.kill()
    starter.wait()
    assert eventually(lambda: not runs(child))


def runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


T = TypeVar("T")


def eventually(look: Callable[[], T]) -> T:
    """Look until something is there."""
    end = time.monotonic() + 60
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_providers_with_memory_of_their_own_are_bound() -> None:
    assert memory_of("CUDAExecutionProvider") == memory_of("TensorrtExecutionProvider") == "cuda"
    assert not MeasureOptions().binds
    assert MeasureOptions(io_binding=True).binds
    assert MeasureOptions(provider="cuda").binds
    assert MeasureOptions(provider="tensorrt").binds
    assert not MeasureOptions(provider="cuda", io_binding=False).binds


def test_a_bound_session_computes_what_a_plain_one_does() -> None:
    session = ort.InferenceSession(one_op("Neg"), providers=["CPUExecutionProvider"])
    feeds = {"x": np.array([[1, -2, 3, -4]], np.float32)}
    bound = Bound(session, feeds, "CPUExecutionProvider")
    bound.run()
    np.testing.assert_array_equal(bound._binding.copy_outputs_to_cpu()[0], -feeds["x"])
    there, back = bound.copies_ms()
    assert there > 0
    assert back > 0
    assert bound.feeds is feeds


def test_copies_are_reported_where_they_are_not_timed() -> None:
    models, feeds = {"a": one_op(), "b": one_op("Neg")}, {"a": FEEDS, "b": FEEDS}
    bound = LocalDevice().measure(models, feeds, MeasureOptions(io_binding=True, sessions=2, min_runs=3, session_ms=0))
    plain = LocalDevice().measure(models, feeds, SHORT)
    assert all(stats.copies_ms is not None and min(stats.copies_ms) > 0 for stats in bound.values())
    assert all(stats.copies_ms is None for stats in plain.values())
    assert all(len(stats.load_ms) == 2 and min(stats.load_ms) > 0 for stats in (*bound.values(), *plain.values()))


def test_a_bound_model_that_does_not_run_is_named() -> None:
    options = MeasureOptions(io_binding=True)
    with pytest.raises(DeviceError, match="cannot run model 'small'"):
        LocalDevice().measure({"small": one_op()}, {"small": {"x": np.ones((1, 5), np.float32)}}, options)


def test_the_memory_of_a_model_that_reads_text(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Identity", ["x"], ["y"])]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.STRING, [2]) for name in "xy"]
    graph = onnx.helper.make_graph(nodes, "text", ends[:1], ends[1:])
    onnx.save(
        onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 17)]),
        tmp_path / "m.onnx",
    )
    found = LocalDevice().peak_memory("m", tmp_path / "m.onnx", {"x": np.array(["a", "bc"], dtype=object)}, SHORT)
    assert found.peak_bytes is not None


def test_types_that_onnxruntime_takes_no_arrays_of_are_named() -> None:
    nodes = [onnx.helper.make_node("Cast", ["x"], ["y"], to=onnx.TensorProto.FLOAT)]
    ends = [("x", onnx.TensorProto.BFLOAT16), ("y", onnx.TensorProto.FLOAT)]
    infos = [onnx.helper.make_tensor_value_info(name, kind, [2]) for name, kind in ends]
    graph = onnx.helper.make_graph(nodes, "cast", infos[:1], infos[1:])
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 17)])
    feeds = {"x": np.ones(2, ml_dtypes.bfloat16)}
    with pytest.raises(
        InputsError, match=r"takes no arrays of such types from Python: 'x' \(bfloat16\); let the model"
    ):
        LocalDevice().measure({"m": model.SerializeToString()}, {"m": feeds}, SHORT)
