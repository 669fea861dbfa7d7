"""onnxprune: make a trained ONNX network meet a latency on the hardware it runs on.

`compress` does the whole of it; `prune` removes channels without training; `bench` compares latencies, `compare`
outputs too; `profile` measures what layers cost; `inspect_model` says what can be removed. Importing this package loads
neither PyTorch nor onnxruntime.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxprune.errors import OnnxPruneError
    from onnxprune.pipeline import CompressResult, bench, compare, compress, profile, prune
    from onnxprune.report import Inspection, Report, inspect_model

__version__ = "0.1.0"

_HOME = {
    "OnnxPruneError": "errors",
    "CompressResult": "pipeline",
    "bench": "pipeline",
    "compare": "pipeline",
    "compress": "pipeline",
    "profile": "pipeline",
    "prune": "pipeline",
    "Inspection": "report",
    "Report": "report",
    "inspect_model": "report",
}

__all__ = [
    "CompressResult",
    "Inspection",
    "OnnxPruneError",
    "Report",
    "bench",
    "compare",
    "compress",
    "inspect_model",
    "profile",
    "prune",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'onnxprune' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"onnxprune.{_HOME[name]}"), name)
