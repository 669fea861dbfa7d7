"""From an ONNX model to a PyTorch module that trains, and its weights back into the same ONNX graph.

onnx2torch converts the graph. This package adds the converters it lacks, through its registry, and rewrites a
copy of the graph first, so that every float weight becomes exactly one parameter, in the initializer's own
shape, shared where the initializer is shared; BatchNorm statistics are buffers; outputs come in the model's
order; and shape arithmetic stays on the CPU. Trained values return by initializer name, so everything else in
the file stays as it was.
"""

from onnxprune.torch_bridge.any_batch import runs_any_batch
from onnxprune.torch_bridge.comparison import Comparison, compare
from onnxprune.torch_bridge.conversion import to_torch
from onnxprune.torch_bridge.converters.normalization import BatchNorm
from onnxprune.torch_bridge.module import OnnxModule, Statistic
from onnxprune.torch_bridge.weights import read_weights, write_weights

__all__ = [
    "BatchNorm",
    "Comparison",
    "OnnxModule",
    "Statistic",
    "compare",
    "read_weights",
    "runs_any_batch",
    "to_torch",
    "write_weights",
]
