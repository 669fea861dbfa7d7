"""Healing without gradients: layers are solved again, and channels get the original's mean and deviation.

Calibration inputs run through both networks. Layers are corrected in the order they run, each on inputs that are
corrected already: first its weights are solved (`refit`), then, with m and d the mean and deviation of a channel in the
pruned network, and M and D those in the original, a convolution's weights become w D / d and its biases (b - m) D / d +
M, since what a regression cannot explain is missing in the deviation. A BatchNorm's running statistics become such that
what it gives before its scale and bias has the original's mean and deviation; on the data it was trained on, those are
0 and 1, and this is re-estimation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onnxprune.channels import ChannelMap
from onnxprune.errors import DataError
from onnxprune.healing import solvable_layers
from onnxprune.torch_bridge import OnnxModule
from onnxprune.training.dataset import Dataset
from onnxprune.training.devices import as_tensor, evaluating, forward
from onnxprune.training.refit import Refit

Rows = Mapping[str, NDArray[np.int64]]
Moments = tuple[Tensor, Tensor]
_BatchNorm = nn.modules.batchnorm._BatchNorm
_STILL = 1e-6


def kept_rows(
    model: ir.Model, channels: ChannelMap, keep: NDArray[np.bool_], original: OnnxModule
) -> dict[str, NDArray[np.int64]]:
    """Say which output channels stay of every layer that can be corrected.

    Args:
        model: The original model.
        channels: Its analysis.
        keep: Whether each unit stays, shape (units,).
        original: The original model as a module.

    Returns:
        The rows that stay, ascending, by the name of the weight (of a convolution, or of a matrix product that can be
        solved again), or of the BatchNorm's running mean, in the module.
    """
    statistics = (statistic for statistic in original.statistics if statistic.position == 3)
    sources = {statistic.buffer: (statistic.initializer, 0) for statistic in statistics}
    parameters = {initializer: name for name, initializer in original.weight_names.items()}
    for layer in solvable_layers(model):
        if layer.weight in parameters:
            sources[parameters[layer.weight]] = layer.weight, layer.out_axis
    for node in model.graph:
        if node.op_type == "Conv" and len(node.inputs) > 2 and node.inputs[1] is not None:
            weight = str(node.inputs[1].name)
            if weight in parameters:
                sources[parameters[weight]] = weight, 0
    return {name: _kept(model, channels, keep, *source) for name, source in sources.items()}


def shared_biases(model: ir.Model, original: OnnxModule) -> frozenset[str]:
    """Return the names in the module of the weights of convolutions whose bias another node reads, too.

    Args:
        model: The original model.
        original: It as a module.
    """
    parameters = {initializer: name for name, initializer in original.weight_names.items()}
    return frozenset(
        parameters[str(weight.name)]
        for node in model.graph
        if node.op_type == "Conv" and len(node.inputs) > 2
        for weight, bias in [(node.inputs[1], node.inputs[2])]
        if weight is not None and bias is not None and len(bias.uses()) > 1 and str(weight.name) in parameters
    )


def _kept(
    model: ir.Model, channels: ChannelMap, keep: NDArray[np.bool_], initializer: str, axis: int
) -> NDArray[np.int64]:
    shape = model.graph.initializers[initializer].shape
    units = channels.axis(initializer, axis)
    if units is None:
        return np.arange(int(shape[axis]) if shape is not None else 0)  # type: ignore[arg-type]
    return np.flatnonzero((units < 0) | keep[units])


class Matcher:
    """Gives each channel of pruned networks the original's mean and deviation, which are taken once."""

    def __init__(
        self,
        teacher: nn.Module,
        layers: Collection[str],
        data: Dataset,
        *,
        batch_size: int = 256,
        refit: Refit | None = None,
    ) -> None:
        """Run the original.

        Args:
            teacher: The original.
            layers: The layers to correct, by the names that `kept_rows` gives, without those of `shared_biases`.
            data: Calibration samples; one batch is read.
            batch_size: Its size.
            refit: Solves the weights of layers first, where it can; None: none.

        Raises:
            DataError: What a layer gives on the samples is too large to have a deviation.
        """
        self._inputs = next(data.batches(batch_size)).inputs
        self._refit = refit
        self._wanted: dict[str, Moments] = {}
        self._uses: Counter[str] = Counter()

        def note(layer: Layer, arguments: tuple[Any, ...], output: Tensor) -> None:
            self._uses.update(layer.parts)
            if layer.name not in layers:
                return
            if isinstance(layer, _Norm):
                mean, deviation = _moments(arguments[0])
                running_mean, width = _running(layer.norm)
                self._wanted[layer.name] = ((mean - running_mean) / width, deviation / width)
                return
            if isinstance(layer, _Convolution):
                self._wanted[layer.name] = _moments(output)
            if refit is not None:
                refit.note(layer.name, layer.weight, output, teacher)

        _run(teacher, self._tensors(teacher), note)
        if not all(torch.isfinite(moment).all() for moments in self._wanted.values() for moment in moments):
            raise DataError(
                f"{data.origin}: on these samples the network's activations are so large that their squares overflow, "
                "and weights cannot be healed; check the scale of the data (--preprocess)"
            )

    def correct(self, student: nn.Module, kept: Rows) -> int:
        """Correct a pruned network in place.

        Args:
            student: The pruned network; its layers and parameters have the original's names.
            kept: The original's output channels that it has, by layer.

        Returns:
            The number of layers corrected. One that runs twice in the original, or shares weight or bias there, is
            left as it is.
        """
        corrected = 0

        def correct(layer: Layer, arguments: tuple[Any, ...], output: Tensor) -> Tensor | None:
            nonlocal corrected
            if layer.name not in kept or any(self._uses[part] > 1 for part in layer.parts):
                return None
            changed = self._corrected(student, layer, kept[layer.name], arguments, output)
            corrected += changed is not None
            return changed

        _run(student, self._tensors(student), correct)
        return corrected

    def _corrected(
        self,
        student: nn.Module,
        layer: Layer,
        kept: NDArray[np.int64],
        arguments: tuple[Any, ...],
        output: Tensor,
    ) -> Tensor | None:
        """Correct one layer; return its output as it is now, or None where it stays as it was."""
        if isinstance(layer, _Product):
            return self._solved(student, layer, kept, arguments)
        if layer.name not in self._wanted:
            return None
        rows = torch.as_tensor(kept, device=output.device)
        mean, deviation = (moment[rows] for moment in self._wanted[layer.name])
        if isinstance(layer, _Norm):
            return _correct_norm(layer.norm, arguments, mean, deviation)
        solved = self._solved(student, layer, kept, arguments)
        return _correct_convolution(layer, output if solved is None else solved, mean, deviation)

    def _solved(
        self, student: nn.Module, layer: _Convolution | _Product, kept: NDArray[np.int64], arguments: tuple[Any, ...]
    ) -> Tensor | None:
        """Solve a layer's weights again; return its output then, or None where it cannot be solved."""
        if self._refit is None or not self._refit.solve(layer.name, layer.weight, student, arguments[0], kept):
            return None
        output: Tensor = layer.part.forward(*arguments)
        return output

    def _tensors(self, module: nn.Module) -> list[Tensor]:
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        return [as_tensor(array, device) for array in self._inputs]


@dataclass(frozen=True)
class _Convolution:
    """A convolution with a bias: `name` is its weight's."""

    name: str
    bias_name: str
    part: nn.Module
    weight: nn.Parameter
    bias: nn.Parameter

    @property
    def parts(self) -> tuple[str, ...]:
        return self.name, self.bias_name


@dataclass(frozen=True)
class _Norm:
    """A BatchNorm: `name` is its running mean's."""

    name: str
    norm: _BatchNorm

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.name,)


@dataclass(frozen=True)
class _Product:
    """A layer that is only solved, its channels' moments not matched: a matrix product, a convolution without bias."""

    name: str
    part: nn.Module
    weight: nn.Parameter

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.name,)


Layer = _Convolution | _Norm | _Product
_Act = Callable[[Layer, tuple[Any, ...], Tensor], Tensor | None]


def _correct_convolution(layer: _Convolution, output: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Correct weight and bias; return the output as it is now."""
    own_mean, own_deviation = _moments(output)
    scale = _ratio(deviation, own_deviation)
    shift = mean - own_mean * scale
    layer.weight.data *= scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    layer.bias.data.mul_(scale).add_(shift)
    return output.mul_(_along_channels(scale, output)).add_(_along_channels(shift, output))


def _correct_norm(norm: _BatchNorm, arguments: tuple[Any, ...], mean: Tensor, deviation: Tensor) -> Tensor:
    """Set the statistics such that (x - running mean) / sqrt(running variance + eps) has these moments."""
    own_mean, own_deviation = _moments(arguments[0])
    running_mean, width = _running(norm)
    width = width / _ratio(deviation, own_deviation / width)
    running_mean.copy_(own_mean - mean * width)
    norm.get_buffer("running_var").copy_((width.square() - norm.eps).clamp(min=0.0))
    output: Tensor = norm.forward(*arguments)
    return output


def _running(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return the running mean and sqrt(running variance + eps)."""
    return norm.get_buffer("running_mean"), (norm.get_buffer("running_var") + norm.eps).sqrt()


def _ratio(wanted: Tensor, got: Tensor) -> Tensor:
    """Return wanted / got, within a factor of ten; 1 for channels that do not vary."""
    varies = (got > _STILL) & (wanted > _STILL)
    return torch.where(varies, wanted / got.clamp(min=_STILL), torch.ones_like(got)).clamp(0.1, 10.0)


def _along_channels(values: Tensor, output: Tensor) -> Tensor:
    return values.reshape(1, -1, *[1] * (output.ndim - 2))


def _moments(output: Tensor) -> Moments:
    """Return mean and deviation over samples and positions: (n, C, ...) -> (C,), (C,)."""
    axes = [axis for axis in range(output.ndim) if axis != 1]
    mean = output.mean(dim=axes)
    # Several times as fast as torch.std over axes that do not lie together.
    deviation = (output - _along_channels(mean, output)).square_().mean(dim=axes).sqrt()
    return mean, deviation


def channel_axes(module: nn.Module, inputs: Sequence[Tensor], names: Collection[str]) -> dict[str, int]:
    """Say along which axis of a layer's output its channels lie, by its name, in the order layers run.

    Args:
        module: A network.
        inputs: A batch.
        names: The layers that are asked for: convolutions' and products' by their weights, BatchNorms by their means.
    """
    axes: dict[str, int] = {}

    def note(layer: Layer, _: tuple[Any, ...], __: Tensor) -> None:
        if layer.name in names:
            axes.setdefault(layer.name, -1 if isinstance(layer, _Product) and layer.weight.ndim == 2 else 1)

    _run(module, inputs, note)
    return axes


def _run(module: nn.Module, inputs: Sequence[Tensor], act: _Act) -> None:
    with evaluating(module), torch.no_grad(), hooked(module, act):
        forward(module, inputs)


@contextmanager
def hooked(module: nn.Module, act: _Act) -> Iterator[None]:
    """Call `act` after each layer with its arguments and output; what it returns replaces the output."""
    names = {id(p): name for name, p in module.named_parameters()}

    def hook_of(path: str) -> Callable[[nn.Module, tuple[Any, ...], Any], Tensor | None]:
        def hook(part: nn.Module, arguments: tuple[Any, ...], output: Any) -> Tensor | None:
            layer = _layer(path, part, arguments, output, names)
            return None if layer is None else act(layer, arguments, output)

        return hook

    handles = [part.register_forward_hook(hook_of(path)) for path, part in module.named_modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layer(
    path: str, part: nn.Module, arguments: tuple[Any, ...], output: Any, names: Mapping[int, str]
) -> Layer | None:
    """Recognise a layer that has just run, whether it owns its parameters or gets them as arguments."""
    if not isinstance(output, Tensor) or not arguments or isinstance(arguments[0], nn.Parameter):
        return None
    if isinstance(part, _BatchNorm):
        return _Norm(f"{path}.running_mean", part) if part.track_running_stats else None
    given = [p for p in (*arguments, *part.parameters(recurse=False)) if isinstance(p, nn.Parameter)]
    weight = next((p for p in given if p.ndim > 1), None)
    if weight is None:
        return None
    bias = next((p for p in given if p.shape == output.shape[1:2]), None)
    if weight.ndim == 2 or bias is None or len(weight) != len(bias):
        return _Product(names[id(weight)], part, weight)
    return _Convolution(names[id(weight)], names[id(bias)], part, weight, bias)
