"""PyTorch modules of the networks of a run, which take batches of any size where the graph lets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from onnxprune.graph import for_any_batch, in_float32
from onnxprune.pipeline.prepare import Network

if TYPE_CHECKING:
    from onnxprune.torch_bridge import OnnxModule


def module_of(network: Network, model: ir.Model) -> OnnxModule:
    """Convert a network, or what was made of it by pruning, to a module in float32.

    Args:
        network: Whose batch size decides: most models that were exported for one picture only say so in their sizes.
        model: What is converted.
    """
    from onnxprune.torch_bridge import to_torch

    wide, batch = in_float32(model), network.fixed_batch
    return to_torch(wide if batch is None or network.module_batch is not None else for_any_batch(wide, batch))
