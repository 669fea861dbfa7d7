"""How an array of samples is laid out beside what a model reads, and turning the one into the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from onnxprune.errors import DataError
from onnxprune.training.dataset import AnyArray
from onnxprune.training.preprocess import Layout, Preprocess

if TYPE_CHECKING:
    from onnxprune.graph import InputSpec

_CHANNEL_COUNTS = (1, 3, 4)


@dataclass(frozen=True)
class ModelInputs:
    """What samples are made for.

    Attributes:
        specs: The model's inputs, in order.
        shapes: Concrete size of every input, batch included.
        preprocess: What the user says is done to raw values; None: nothing said.
        any_labels: Whether labels may be something else than class numbers, for a user's own metric.
    """

    specs: tuple[InputSpec, ...]
    shapes: Mapping[str, Sequence[int]]
    preprocess: Preprocess | None
    any_labels: bool = False

    def sample(self, spec: InputSpec) -> tuple[int, ...]:
        """Return an input's shape without the batch axis."""
        return tuple(self.shapes[spec.name][1:])


class PictureShape(NamedTuple):
    """What a model's picture input takes."""

    height: int
    width: int
    channels: int
    layout: Layout


def shown(shape: Sequence[int | str | None]) -> str:
    """Write a shape as messages do: (N, 3, 224, 224)."""
    return "(" + ", ".join(str(d) if d is not None else "?" for d in shape) + ")"


def is_float(spec: InputSpec) -> bool:
    """Whether an input takes floating point numbers (bfloat16 included)."""
    return spec.dtype.kind == "f" or spec.dtype.name == "bfloat16"


def no_arithmetic(spec: InputSpec) -> str:
    """Say that values for an integer input cannot be scaled."""
    return (
        f"preprocess changes the values, but input '{spec.name}' takes {spec.dtype.name}: the model "
        "preprocesses them itself; use --preprocess none"
    )


def picture_shape(sample: Sequence[int], layout: Layout | None) -> PictureShape:
    """Tell height, width and channels of a picture input.

    Args:
        sample: The input's shape without the batch axis, three entries.
        layout: What the user says; None: the axis of size 1, 3 or 4 holds the channels, the first before the
            last.
    """
    if layout is None:
        last = sample[2] in _CHANNEL_COUNTS and sample[0] not in _CHANNEL_COUNTS
        layout = "nhwc" if last else "nchw"
    if layout == "nhwc":
        return PictureShape(sample[0], sample[1], sample[2], layout)
    return PictureShape(sample[1], sample[2], sample[0], layout)


def channel_axis(sample: Sequence[int], layout: Layout | None) -> int:
    """Return the axis of a batch that per-channel means run along: a picture's channels, else the last."""
    if len(sample) == 3 and picture_shape(sample, layout).layout == "nchw":
        return 1
    return len(sample)


def check_channel_counts(preprocess: Preprocess, channels: int, name: str) -> None:
    """Refuse a mean or deviation whose length is not the input's number of channels.

    Raises:
        DataError: It says both.
    """
    for field, values in (("mean", preprocess.mean), ("std", preprocess.std)):
        if len(values) not in (1, channels):
            raise DataError(
                f"preprocess: {field} has {len(values)} values, but input '{name}' has {channels} "
                "channel(s); give one value, or one a channel"
            )


def fit_samples(array: AnyArray, sample: Sequence[int], name: str, origin: str) -> AnyArray:
    """View an array of samples in the shape that an input reads, where there is only one way to.

    Channels-first and channels-last are told apart by the sizes, a grey picture may lack its channel axis,
    and one value a pixel may come flat.

    Args:
        array: Samples along the first axis.
        sample: The input's shape without the batch axis.
        name: The input's name.
        origin: Where the array comes from.

    Returns:
        The array, or a view of it, of shape (n, *sample).

    Raises:
        DataError: No way, or more than one; it says both shapes.
    """
    have, want = tuple(array.shape[1:]), tuple(sample)
    if have == want:
        return array
    if len(have) == len(want) == 3:
        if (have[2], have[0], have[1]) == want:
            return array.transpose(0, 3, 1, 2)
        if (have[1], have[2], have[0]) == want:
            return array.transpose(0, 2, 3, 1)
    if _without_ones(have) == _without_ones(want) or (_is_flat(have, want) and array.ndim > 1):
        return array.reshape(len(array), *want)
    raise DataError(
        f"{origin}: samples of shape {shown(('N', *have))} do not fit input '{name}', which takes "
        f"{shown(('N', *want))}; reshape or resize the data, or give the input's size with --input-shape"
    )


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _is_flat(have: Sequence[int], want: Sequence[int]) -> bool:
    """Whether one shape is the other with its axes flattened, and no channels make the order unclear."""
    one_channel = len(want) < 3 or 1 in (want[0], want[-1])
    return prod(have) == prod(want) and one_channel and 1 in (len(_without_ones(have)), len(_without_ones(want)))


def check_dtype(array: AnyArray, spec: InputSpec, origin: str) -> None:
    """Refuse an array whose type an input cannot take.

    Raises:
        DataError: It says both types.
    """
    kinds = "fiub" if is_float(spec) else ("iub" if spec.dtype.kind in "iu" else spec.dtype.kind)
    if array.dtype.kind not in kinds and array.dtype.name != spec.dtype.name:
        raise DataError(
            f"{origin}: values of type {array.dtype.name} do not fit input '{spec.name}', which takes {spec.dtype.name}"
        )
    if spec.dtype.kind in "iu" and array.dtype != spec.dtype and array.size:
        info = np.iinfo(spec.dtype)
        low, high = int(array.min()), int(array.max())
        if low < info.min or high > info.max:
            raise DataError(
                f"{origin}: values from {low} to {high} do not fit input '{spec.name}', which takes {spec.dtype.name}"
            )
