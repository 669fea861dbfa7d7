"""Resize and Upsample in all their opsets; every mode is separable, so axes are resampled one by one.

Where PyTorch has the very same interpolation, `F.interpolate` does it. Everything else is, for each axis, a
choice of indices (nearest) or a product with a matrix of weights, shape (output size, input size).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, floor, isclose

import torch
import torch.nn.functional as F  # noqa: N812
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult

from onnxprune.torch_bridge.registry import apply, converter, ints
from onnxprune.torch_bridge.settings import as_floats, as_ints, settings_of

_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


@dataclass(frozen=True)
class Sampling:
    """How Resize samples; the fields are ONNX's attributes.

    Attributes:
        mode: `nearest`, `linear` or `cubic`.
        coordinates: How an output index becomes an input coordinate (coordinate_transformation_mode).
        nearest: How a coordinate is rounded; `simple` is what opset 10 and before did.
        cubic_a: The cubic kernel's coefficient.
        exclude_outside: Whether taps outside the input count nothing instead of repeating the border.
        extrapolation: What `tf_crop_and_resize` gives outside the input.
        antialias: Whether the kernel widens when downsampling.
        axes: The axes that sizes, scales and regions speak of; None for all.
        keep_ratio: `stretch`, `not_larger` or `not_smaller`.
    """

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    extrapolation: float = 0.0
    antialias: bool = False
    axes: tuple[int, ...] | None = None
    keep_ratio: str = "stretch"


@dataclass(frozen=True)
class Axis:
    """One axis to resample: its index, sizes, scale, and region of interest as fractions of the input."""

    index: int
    size: int
    wanted: int
    scale: float
    region: tuple[float, float] = (0.0, 1.0)


@converter("Upsample", until=9)
@converter("Resize", since=10, until=10)
def _upsample(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    mode = node.attributes.get("mode", "nearest").removeprefix("bi")
    sampling = Sampling(mode=mode, coordinates="asymmetric", nearest="simple")
    function = partial(upsample, attribute=node.attributes.get("scales"), sampling=sampling)
    return apply(node, graph, function, (1,))


@converter("Resize", since=11)
def _resize(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    sampling = Sampling(
        mode=node.attributes.get("mode", "nearest"),
        coordinates=node.attributes.get("coordinate_transformation_mode", "half_pixel"),
        nearest=node.attributes.get("nearest_mode", "round_prefer_floor"),
        cubic_a=node.attributes.get("cubic_coeff_a", -0.75),
        exclude_outside=bool(node.attributes.get("exclude_outside", 0)),
        extrapolation=node.attributes.get("extrapolation_value", 0.0),
        antialias=bool(node.attributes.get("antialias", 0)),
        axes=ints(node, "axes"),
        keep_ratio=node.attributes.get("keep_aspect_ratio_policy", "stretch"),
    )
    return apply(node, graph, partial(resize, sampling=sampling), settings_of("Resize"))


def upsample(
    x: torch.Tensor, scales: object = None, *, attribute: list[float] | None, sampling: Sampling
) -> torch.Tensor:
    """Resample by `scales`, one for each axis."""
    return resize(x, None, attribute if scales is None else scales, None, sampling=sampling)


def resize(
    x: torch.Tensor, roi: object = None, scales: object = None, sizes: object = None, *, sampling: Sampling
) -> torch.Tensor:
    """Resample `x` to `sizes` or by `scales`."""
    axes = [axis % x.ndim for axis in sampling.axes] if sampling.axes is not None else list(range(x.ndim))
    factors = as_floats(scales) if scales is not None else []
    if factors:
        wanted = [floor(x.shape[axis] * factor) for axis, factor in zip(axes, factors, strict=True)]
    else:
        factors, wanted = _fit([x.shape[axis] for axis in axes], as_ints(sizes), sampling.keep_ratio)
    regions = [(0.0, 1.0)] * len(axes)
    if sampling.coordinates == "tf_crop_and_resize" and roi is not None:
        numbers = as_floats(roi)
        regions = list(zip(numbers[: len(axes)], numbers[len(axes) :], strict=True))
    resampled = [
        Axis(axis, x.shape[axis], size, factor, region)
        for axis, size, factor, region in zip(axes, wanted, factors, regions, strict=True)
        if size != x.shape[axis] or factor != 1.0 or region != (0.0, 1.0)
    ]
    if not resampled:
        return x
    mode = _native_mode(x, resampled, sampling)
    if mode is not None:
        target = {axis.index: axis.wanted for axis in resampled}
        shape = [target.get(axis, x.shape[axis]) for axis in range(2, x.ndim)]
        corners = None if mode == "nearest" else sampling.coordinates == "align_corners"
        return F.interpolate(x, shape, mode=mode, align_corners=corners)
    for axis in resampled:
        x = _resample(x, axis, sampling)
    return x


def _fit(shape: Sequence[int], sizes: Sequence[int], keep_ratio: str) -> tuple[list[float], list[int]]:
    factors = [size / have for size, have in zip(sizes, shape, strict=True)]
    if keep_ratio == "stretch":
        return factors, list(sizes)
    factor = min(factors) if keep_ratio == "not_larger" else max(factors)
    return [factor] * len(shape), [floor(factor * have + 0.5) for have in shape]


def _native_mode(x: torch.Tensor, axes: Sequence[Axis], sampling: Sampling) -> str | None:
    exact = all(axis.index >= 2 and isclose(axis.scale * axis.size, axis.wanted, rel_tol=1e-6) for axis in axes)
    if not exact or not 3 <= x.ndim <= 5 or sampling.antialias or not x.is_floating_point():
        return None
    if sampling.mode == "nearest":
        grows = all(axis.scale >= 1 for axis in axes)
        rounds_down = sampling.nearest == "floor" or (sampling.nearest == "simple" and grows)
        return "nearest" if sampling.coordinates == "asymmetric" and rounds_down else None
    aligned = sampling.coordinates == "align_corners" or (
        sampling.coordinates in ("half_pixel", "pytorch_half_pixel") and all(axis.wanted > 1 for axis in axes)
    )
    if not aligned:
        return None
    if sampling.mode == "linear":
        return _LINEAR[x.ndim]
    native_cubic = x.ndim == 4 and sampling.cubic_a == -0.75 and not sampling.exclude_outside
    return "bicubic" if native_cubic else None


def _resample(x: torch.Tensor, axis: Axis, sampling: Sampling) -> torch.Tensor:
    coordinates = _coordinates(axis, sampling.coordinates)
    if sampling.mode == "nearest":
        indices = _round(coordinates, axis.scale, sampling.nearest).clamp(0, axis.size - 1)
        resampled = x.index_select(axis.index, indices.to(x.device))
    else:
        weights = _weights(coordinates, axis, sampling).to(x.device, x.dtype)
        resampled = torch.movedim(torch.movedim(x, axis.index, -1) @ weights.T, -1, axis.index)
    if sampling.coordinates != "tf_crop_and_resize":
        return resampled
    inside = (coordinates >= 0) & (coordinates <= axis.size - 1)
    inside = inside.to(x.device).reshape([-1] + [1] * (x.ndim - 1 - axis.index))
    return torch.where(inside, resampled, sampling.extrapolation)


def _coordinates(axis: Axis, kind: str) -> torch.Tensor:
    """Return the input coordinate of each output index, shape (wanted,)."""
    index = torch.arange(axis.wanted, dtype=torch.float32)
    last = axis.size - 1
    start, end = axis.region
    # The first and the last output fall on the first and the last input, or on the region's ends.
    aligned = start * last + index * (end - start) * last / max(axis.wanted - 1, 1)
    centred = (index + 0.5) / axis.scale - 0.5
    if kind == "asymmetric":
        return index / axis.scale
    if kind == "align_corners":
        return aligned
    if kind == "tf_crop_and_resize":
        return aligned if axis.wanted > 1 else aligned + 0.5 * (end - start) * last
    if kind == "half_pixel_symmetric":
        return centred + axis.size / 2 * (1 - axis.wanted / (axis.scale * axis.size))
    return torch.zeros(1) if kind == "pytorch_half_pixel" and axis.wanted == 1 else centred


def _round(coordinates: torch.Tensor, scale: float, kind: str) -> torch.Tensor:
    if kind == "floor" or (kind == "simple" and scale >= 1):
        rounded = coordinates.floor()
    elif kind in ("ceil", "simple"):
        rounded = coordinates.ceil()
    elif kind == "round_prefer_floor":
        rounded = (coordinates - 0.5).ceil()
    else:
        rounded = (coordinates + 0.5).floor()
    return rounded.to(torch.int64)


def _weights(coordinates: torch.Tensor, axis: Axis, sampling: Sampling) -> torch.Tensor:
    """Return what each output takes from each input, shape (wanted, size)."""
    shrink = min(axis.scale, 1.0) if sampling.antialias else 1.0
    radius = ceil((1 if sampling.mode == "linear" else 2) / shrink)
    taps = coordinates.floor().unsqueeze(1) + torch.arange(1 - radius, radius + 1)
    distance = (coordinates.unsqueeze(1) - taps).abs() * shrink
    values = (1 - distance).clamp(min=0) if sampling.mode == "linear" else _cubic(distance, sampling.cubic_a)
    if sampling.exclude_outside:
        values = torch.where((taps >= 0) & (taps < axis.size), values, 0.0)
    values = values / values.sum(dim=1, keepdim=True)
    matrix = torch.zeros(axis.wanted, axis.size)
    return matrix.scatter_add(1, taps.clamp(0, axis.size - 1).to(torch.int64), values)


def _cubic(distance: torch.Tensor, a: float) -> torch.Tensor:
    d = distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, 0.0))


@converter("GridSample", since=16)
def _grid_sample(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    mode = node.attributes.get("mode", "bilinear")
    function = partial(
        F.grid_sample,
        mode={"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode),
        padding_mode=node.attributes.get("padding_mode", "zeros"),
        align_corners=bool(node.attributes.get("align_corners", 0)),
    )
    return apply(node, graph, function)
