"""The operators that `prepare` writes into a graph: weights, CPU constants, moves to the device, outputs."""

from __future__ import annotations

import torch
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import nn

from onnxprune.torch_bridge.registry import converter, result


class Weight(nn.Module):
    """Gives one initializer, as a parameter, to every node that reads it.

    Attributes:
        initializer: The initializer's name in the ONNX graph.
        value: The weight, in the initializer's own shape; filled in after conversion.
    """

    def __init__(self, initializer: str) -> None:
        super().__init__()
        self.initializer = initializer
        self.value = nn.Parameter(torch.empty(0))

    def forward(self) -> torch.Tensor:
        """Return the parameter."""
        return self.value


class HostConstant(nn.Module):
    """A constant of shape arithmetic, which stays in the CPU's memory wherever the network goes."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self) -> torch.Tensor:
        """Return the constant."""
        return self.value


class ToDevice(nn.Module):
    """Moves a result of shape arithmetic to where the network's data is."""

    anchor: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("anchor", torch.empty(0), persistent=False)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Return `value` on the network's device."""
        return value.to(self.anchor.device)


class Outputs(nn.Module):
    """Collects the graph's outputs, in their order."""

    def forward(self, *outputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs as a tuple."""
        return outputs


@converter("Weight")
def _weight(node: OnnxNode, _graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Weight(node.attributes["initializer"]), ())


@converter("HostConstant")
def _host_constant(node: OnnxNode, _graph: OnnxGraph) -> OperationConverterResult:
    return result(node, HostConstant(node.attributes["value"].to_torch()), ())


@converter("ToDevice")
def _to_device(node: OnnxNode, _graph: OnnxGraph) -> OperationConverterResult:
    return result(node, ToDevice(), node.input_values)


@converter("Outputs")
def _outputs(node: OnnxNode, _graph: OnnxGraph) -> OperationConverterResult:
    return result(node, Outputs(), node.input_values)
