"""Normalisations: batch, instance, group, layer, local response, p-norm, root mean square and mean-variance."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult
from torch import nn

from onnxprune.torch_bridge.registry import apply, converter, ints, result

# Momentum in PyTorch's sense. A file may say anything here, since inference never uses it.
_DEFAULT_MOMENTUM = 0.1
_SENSIBLE_MOMENTUM = (0.005, 0.5)


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """A BatchNorm of any rank whose scale and bias come from outside, as they may be shared or computed.

    In train mode it normalises with the batch's statistics and updates the running ones; all that PyTorch
    does to BatchNorm layers (`momentum = None`, `reset_running_stats`) works on it.

    Attributes:
        mean_name: The initializer that holds the running mean.
        variance_name: The initializer that holds the running variance.
        source: The ONNX node it stands for.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, mean_name: str, variance_name: str, source: str, eps: float, momentum: float) -> None:
        super().__init__(0, eps=eps, momentum=momentum, affine=False)
        self.mean_name = mean_name
        self.variance_name = variance_name
        self.source = source

    def forward(  # type: ignore[override]
        self, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """Normalise each channel of `x`, shape (N, C, ...), then scale and shift, each of shape (C,)."""
        momentum = self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        return F.batch_norm(
            x, self.running_mean, self.running_var, scale, bias, self.training, momentum or 0.0, self.eps
        )

    def extra_repr(self) -> str:
        """Show what is configured."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


@converter("BatchNormalization")
def _batch_norm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    if node.attributes.get("training_mode", 0) or len(node.output_values) > 1:
        raise NotImplementedError("it was exported in training mode; export the network in eval mode")
    if not node.attributes.get("spatial", 1):
        raise NotImplementedError("spatial=0 is not supported")
    eps = node.attributes.get("epsilon", 1e-5)
    if "mean" not in node.attributes:
        return apply(node, graph, partial(normalise_with, eps=eps))
    momentum = 1.0 - node.attributes.get("momentum", 0.9)
    if not _SENSIBLE_MOMENTUM[0] <= momentum <= _SENSIBLE_MOMENTUM[1]:
        momentum = _DEFAULT_MOMENTUM
    mean, variance, source = (str(node.attributes[key]) for key in ("mean", "variance", "source"))
    module = BatchNorm(mean, variance, source, eps, momentum)
    return result(node, module, node.input_values)


def normalise_with(
    x: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    *,
    eps: float,
) -> torch.Tensor:
    """Apply a BatchNorm whose statistics are computed in the graph and so cannot be re-estimated."""
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, eps)


@converter("InstanceNormalization")
def _instance_norm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(instance_norm, eps=node.attributes.get("epsilon", 1e-5)))


def instance_norm(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, *, eps: float) -> torch.Tensor:
    """Normalise each channel of each sample of `x`, shape (N, C, ...)."""
    return F.instance_norm(x, weight=scale, bias=bias, eps=eps)


@converter("GroupNormalization", since=18, until=20)
def _group_norm_18(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return _group_norm(node, graph, per_group=True)


@converter("GroupNormalization", since=21)
def _group_norm_21(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return _group_norm(node, graph, per_group=False)


def _group_norm(node: OnnxNode, graph: OnnxGraph, per_group: bool) -> OperationConverterResult:
    eps = node.attributes.get("epsilon", 1e-5)
    groups = node.attributes["num_groups"]
    return apply(node, graph, partial(group_norm, groups=groups, eps=eps, per_group=per_group))


def group_norm(
    x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, *, groups: int, eps: float, per_group: bool
) -> torch.Tensor:
    """Normalise groups of channels; scale and bias have one entry a group (until opset 20) or a channel."""
    if per_group:
        repeats = x.shape[1] // groups
        scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
    return F.group_norm(x, groups, scale, bias, eps)


@converter("LayerNormalization", since=17)
def _layer_norm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    if len(node.output_values) > 1:
        raise NotImplementedError("LayerNormalization whose mean or deviation is used is not supported")
    axis, eps = node.attributes.get("axis", -1), node.attributes.get("epsilon", 1e-5)
    return apply(node, graph, partial(layer_norm, axis=axis, eps=eps))


def layer_norm(
    x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None = None, *, axis: int, eps: float
) -> torch.Tensor:
    """Normalise over the axes from `axis` on."""
    shape = x.shape[axis:]
    if scale.shape == shape and (bias is None or bias.shape == shape):
        return F.layer_norm(x, shape, scale, bias, eps)
    normalised = F.layer_norm(x, shape, None, None, eps) * scale
    return normalised if bias is None else normalised + bias


@converter("RMSNormalization", since=23)
def _rms_norm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    axis, eps = node.attributes.get("axis", -1), node.attributes.get("epsilon", 1e-5)
    return apply(node, graph, partial(rms_norm, axis=axis, eps=eps))


def rms_norm(x: torch.Tensor, scale: torch.Tensor, *, axis: int, eps: float) -> torch.Tensor:
    """Divide by the root of the mean square over the axes from `axis` on."""
    shape = x.shape[axis:]
    if scale.shape == shape:
        return F.rms_norm(x, shape, scale, eps)
    return F.rms_norm(x, shape, None, eps) * scale


@converter("LRN")
def _local_response_norm(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    function = partial(
        local_response_norm,
        size=node.attributes["size"],
        alpha=node.attributes.get("alpha", 1e-4),
        beta=node.attributes.get("beta", 0.75),
        k=node.attributes.get("bias", 1.0),
    )
    return apply(node, graph, function)


def local_response_norm(x: torch.Tensor, *, size: int, alpha: float, beta: float, k: float) -> torch.Tensor:
    """Divide by the energy of neighbouring channels; of an even number, one more follows than precedes."""
    channels = x.shape[1]
    planes = x.square().reshape(x.shape[0], 1, channels, -1)
    padded = F.pad(planes, (0, 0, (size - 1) // 2, size // 2))
    energy = F.avg_pool2d(padded, (size, 1), stride=1).reshape(x.shape)
    return x / (k + alpha * energy) ** beta


@converter("LpNormalization")
def _lp_normalization(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    axis, p = node.attributes.get("axis", -1), node.attributes.get("p", 2)
    return apply(node, graph, partial(lp_normalise, axis=axis, p=p))


def lp_normalise(x: torch.Tensor, *, axis: int, p: int) -> torch.Tensor:
    """Divide by the p-norm along an axis."""
    return F.normalize(x, p=float(p), dim=axis, eps=1e-30)


@converter("MeanVarianceNormalization", since=9)
def _mean_variance(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return apply(node, graph, partial(standardise, axes=ints(node, "axes") or (0, 2, 3)))


def standardise(x: torch.Tensor, *, axes: tuple[int, ...]) -> torch.Tensor:
    """Subtract the mean and divide by the standard deviation over `axes`."""
    centred = x - x.mean(dim=axes, keepdim=True)
    return centred / (centred.square().mean(dim=axes, keepdim=True).sqrt() + 1e-9)
