"""The PyTorch module that stands for an ONNX model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Statistic:
    """A running statistic of a BatchNorm.

    Attributes:
        buffer: The buffer's name in the module.
        node: Name of the BatchNormalization node that reads it.
        position: The node's input that it is: 3 for the mean, 4 for the variance.
        initializer: The initializer it comes from and goes back to.
    """

    buffer: str
    node: str
    position: int
    initializer: str


class OnnxModule(nn.Module):
    """An ONNX model as a PyTorch module: same inputs, same outputs in order, its weights as parameters.

    Attributes:
        network: The converted graph.
        input_names: What the positional arguments of `forward` are.
        output_names: What the entries of its result are.
        weight_names: The ONNX initializer of each parameter, by the parameter's name in the module; one
            parameter for each trained initializer, in the initializer's own shape.
        statistics: The BatchNorms' running statistics, which are buffers.
        fixed_names: Float initializers that are not trained, each with the reason.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        input_names: tuple[str, ...],
        output_names: tuple[str, ...],
        weight_names: dict[str, str],
        statistics: tuple[Statistic, ...],
        fixed_names: dict[str, str],
    ) -> None:
        super().__init__()
        self.network = network
        self.input_names = input_names
        self.output_names = output_names
        self.weight_names = weight_names
        self.statistics = statistics
        self.fixed_names = fixed_names

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the network.

        Args:
            inputs: One tensor for each of `input_names`, in their order.

        Returns:
            One tensor for each of `output_names`, in their order.
        """
        outputs: tuple[torch.Tensor, ...] = self.network(*inputs)
        return outputs
