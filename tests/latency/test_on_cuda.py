"""What only a machine with a GPU can tell; skipped elsewhere."""

import numpy as np
import onnx
import pytest

from onnxprune.errors import DeviceError
from onnxprune.latency import LocalDevice, MeasureOptions
from onnxprune.latency.providers import require_provider
from tests.latency.models import FEEDS, one_op

ON_CUDA = MeasureOptions(provider="cuda", sessions=2, min_runs=5, session_ms=0.0)


@pytest.fixture(autouse=True)
def gpu() -> None:
    try:
        require_provider("cuda")
    except DeviceError as error:
        pytest.skip(f"no GPU: {error}")


def test_copies_are_told_apart_unless_they_are_part_of_a_run() -> None:
    device = LocalDevice()
    bound = device.measure({"a": one_op()}, {"a": FEEDS}, ON_CUDA)["a"]
    assert bound.copies_ms is not None
    assert min(bound.copies_ms) > 0
    options = MeasureOptions(provider="cuda", sessions=2, min_runs=5, session_ms=0.0, io_binding=False)
    assert device.measure({"a": one_op()}, {"a": FEEDS}, options)["a"].copies_ms is None
    assert device.take_notes() == ()


def test_nodes_that_cuda_leaves_to_the_cpu_are_named() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[2, 3, 3] x) => (float[2] y) { a = Relu(x) y = Det(a) }
    """)
    device = LocalDevice()
    device.measure({"a": model.SerializeToString()}, {"a": {"x": np.ones((2, 3, 3), np.float32)}}, ON_CUDA)
    (note,) = device.take_notes()
    assert "1 of 2 nodes do not run on CUDAExecutionProvider but fall back to the CPU: 1 Det" in note


def test_the_gpu_is_part_of_the_fingerprint() -> None:
    assert "NVIDIA" in str(LocalDevice().fingerprint(ON_CUDA)["gpu"])
    assert "gpu" not in LocalDevice().fingerprint(MeasureOptions())


def test_options_reach_the_provider() -> None:
    options = MeasureOptions(provider="cuda", provider_options=(("device_id", "99"),), sessions=1, min_runs=1)
    with pytest.raises(DeviceError, match="device"):
        LocalDevice().measure({"a": one_op()}, {"a": FEEDS}, options)
