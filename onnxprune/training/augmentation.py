"""Random changes to pictures that leave what they show as it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onnxprune.training.config import Augmentation
from onnxprune.training.layout import picture_shape
from onnxprune.training.preprocess import Layout


def augmented(
    inputs: Sequence[Tensor],
    kinds: Sequence[Augmentation],
    generator: torch.Generator,
    layout: Layout | None = None,
) -> tuple[Tensor, ...]:
    """Change the picture inputs (floating point, four axes) at random; others stay as they are.

    Args:
        inputs: The batch.
        kinds: "flip": left to right, half of them. "shift": by up to an eighth of the size, edges repeated.
        generator: Where the random numbers come from, on the CPU.
        layout: Where the channels are; None: seen from the shape, see `picture_shape`.
    """
    if not kinds:
        return tuple(inputs)
    return tuple(_changed(t, kinds, generator, layout) if t.ndim == 4 and t.is_floating_point() else t for t in inputs)


def _changed(batch: Tensor, kinds: Sequence[Augmentation], generator: torch.Generator, layout: Layout | None) -> Tensor:
    picture = picture_shape(tuple(batch.shape[1:]), layout)
    last = picture.layout == "nhwc"
    pixels = batch.permute(0, 3, 1, 2) if last else batch  # (n, C, H, W)
    count, _, height, width = pixels.shape
    rows = torch.arange(height).expand(count, -1)
    columns = torch.arange(width).expand(count, -1)
    if "shift" in kinds:
        rows = (rows + _offsets(count, height, generator)).clamp(0, height - 1)
        columns = (columns + _offsets(count, width, generator)).clamp(0, width - 1)
    if "flip" in kinds:
        flip = torch.rand((count, 1), generator=generator) < 0.5
        columns = torch.where(flip, columns.flip(1), columns)
    samples = torch.arange(count)[:, None, None]
    place = [index.to(batch.device) for index in (samples, rows[:, :, None], columns[:, None, :])]
    changed = pixels.permute(0, 2, 3, 1)[place[0], place[1], place[2]]  # (n, H, W, C)
    return changed if last else changed.permute(0, 3, 1, 2)


def _offsets(count: int, size: int, generator: torch.Generator) -> Tensor:
    reach = size // 8
    return torch.randint(-reach, reach + 1, (count, 1), generator=generator)
