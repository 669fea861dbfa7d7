"""Execution providers: their short names, and which of them work here.

What onnxruntime lists as available is what it was built with: the GPU build lists CUDA and TensorRT on
machines that have neither, and silently runs on the CPU instead. So a provider counts as working only once a
session has kept it.
"""

from __future__ import annotations

import difflib
import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import onnx_ir as ir

from onnxprune.errors import DeviceError
from onnxprune.latency.on_device.libraries import load_libraries

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "dml": "DmlExecutionProvider",
    "directml": "DmlExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
    "acl": "ACLExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
}
"""onnxruntime's name for each short name."""

_DEFAULT_SEVERITY, _FATAL = 2, 4
# Closer than difflib's own 0.6, at which 'gpu' would be taken for 'webgpu'.
_CLOSE = 0.7
# Operators that a note names.
_NAMED = 5


def provider_name(provider: str) -> str:
    """Return onnxruntime's name of a provider given by its short or full name.

    Raises:
        DeviceError: No provider is called so.
    """
    if provider.endswith("ExecutionProvider"):
        return provider
    if provider.lower() not in PROVIDERS:
        near = difflib.get_close_matches(provider.lower(), PROVIDERS, 1, _CLOSE)
        meant = f"did you mean '{near[0]}'? " if near else ""
        raise DeviceError(
            f"unknown provider '{provider}'; {meant}known are {', '.join(PROVIDERS)}; working here: {_working_text()}"
        )
    return PROVIDERS[provider.lower()]


def require_provider(provider: str) -> str:
    """Return onnxruntime's name of a provider that works on this machine.

    Raises:
        DeviceError: The name is unknown, this onnxruntime lacks it, or it does not start here.
    """
    import onnxruntime as ort

    full = provider_name(provider)
    if full not in ort.get_available_providers():
        raise DeviceError(
            f"this onnxruntime ({ort.__version__}) has no provider '{provider}'; working here: {_working_text()}"
        )
    # Asked of this one alone: others may load gigabytes of libraries only to say that they work.
    if not _starts(full):
        raise DeviceError(
            f"this onnxruntime ({ort.__version__}) was built with the provider '{provider}', but it does not "
            "start on this machine (its libraries or its hardware are missing); "
            f"working here: {_working_text()}"
        )
    return full


def fallback_note(provider: str, nodes: Mapping[str, Mapping[str, int]]) -> str | None:
    """Say which nodes of a model ran elsewhere than on the provider asked for; None where all ran there.

    Args:
        provider: onnxruntime's name of the provider.
        nodes: Number of nodes by provider and operator.
    """
    elsewhere = Counter({op: n for other, ops in nodes.items() if other != provider for op, n in ops.items()})
    if provider == PROVIDERS["cpu"] or not elsewhere:
        return None
    total = sum(sum(operators.values()) for operators in nodes.values())
    listed = ", ".join(f"{count} {operator}" for operator, count in elsewhere.most_common(_NAMED))
    more = f" and {len(elsewhere) - _NAMED} other operators" if len(elsewhere) > _NAMED else ""
    return (
        f"{elsewhere.total()} of {total} nodes do not run on {provider} but fall back to the CPU: {listed}{more}; "
        "the latency holds for this mix"
    )


@functools.cache
def working_providers() -> tuple[str, ...]:
    """Return onnxruntime's names of the providers that start on this machine."""
    import onnxruntime as ort

    return tuple(name for name in ort.get_available_providers() if _starts(name))


@functools.cache
def _starts(name: str) -> bool:
    import onnxruntime as ort

    if name == PROVIDERS["cpu"]:
        return True
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    load_libraries(name)
    try:
        # Without enable_fallback=0 onnxruntime prints its failure and retries on the CPU.
        with _quiet():
            session = ort.InferenceSession(_smallest_model(), options, providers=[name], enable_fallback=0)
    except Exception:
        return False
    return name in session.get_providers()


def _smallest_model() -> bytes:
    x = ir.Value(name="x", shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node("Relu", [x])
    y = node.outputs[0]
    y.name, y.shape, y.dtype = "y", ir.Shape([1]), ir.DataType.FLOAT
    graph = ir.Graph([x], [y], nodes=[node], opset_imports={"": 17}, name="probe")
    data: bytes = ir.serde.serialize_model(ir.Model(graph, ir_version=8)).SerializeToString()
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime from writing to stderr what it does when a provider's library is missing."""
    import onnxruntime as ort

    ort.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        ort.set_default_logger_severity(_DEFAULT_SEVERITY)


def _working_text() -> str:
    short = {full: name for name, full in reversed(PROVIDERS.items())}
    return ", ".join(short.get(full, full) for full in working_providers())
