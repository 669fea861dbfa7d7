"""The sliding window that convolutions and poolings share: strides, dilations and padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from onnx2torch.onnx_node import OnnxNode

from onnxprune.torch_bridge.registry import ints


@dataclass(frozen=True)
class Window:
    """How a window moves over the spatial axes.

    Attributes:
        strides: Step along each axis; None for 1.
        dilations: Distance of a window's elements along each axis; None for 1.
        pads: Padding at the begin of all axes, then at their ends; None for 0.
        auto_pad: `NOTSET`, `VALID`, `SAME_UPPER` or `SAME_LOWER`.
    """

    strides: tuple[int, ...] | None
    dilations: tuple[int, ...] | None
    pads: tuple[int, ...] | None
    auto_pad: str

    @classmethod
    def of(cls, node: OnnxNode) -> Window:
        """Read the window of a convolution or pooling node."""
        auto_pad = node.attributes.get("auto_pad", "NOTSET") or "NOTSET"
        return cls(ints(node, "strides"), ints(node, "dilations"), ints(node, "pads"), auto_pad)

    def steps(self, rank: int) -> tuple[int, ...]:
        """Return the stride along each of `rank` axes."""
        return self.strides or (1,) * rank

    def spacing(self, rank: int) -> tuple[int, ...]:
        """Return the dilation along each of `rank` axes."""
        return self.dilations or (1,) * rank

    def padding(self, sizes: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
        """Return the padding before and after each axis for an input of spatial `sizes`."""
        rank = len(sizes)
        if self.auto_pad == "NOTSET":
            pads = self.pads or (0,) * (2 * rank)
            return list(zip(pads[:rank], pads[rank:], strict=True))
        if self.auto_pad == "VALID":
            return [(0, 0)] * rank
        steps, spacing = self.steps(rank), self.spacing(rank)
        totals = [
            max((-(-size // step) - 1) * step + (k - 1) * space + 1 - size, 0)
            for size, k, step, space in zip(sizes, kernel, steps, spacing, strict=True)
        ]
        return split_evenly(totals, self.auto_pad == "SAME_UPPER")


def split_evenly(totals: Sequence[int], more_at_end: bool) -> list[tuple[int, int]]:
    """Split padding into begin and end, an odd remainder going to the end or to the begin."""
    halves = [(total // 2, total - total // 2) for total in totals]
    return halves if more_at_end else [(end, begin) for begin, end in halves]


def is_symmetric(padding: Sequence[tuple[int, int]]) -> bool:
    """Say whether each axis is padded alike at both ends."""
    return all(begin == end for begin, end in padding)


def pad_spatial(x: torch.Tensor, padding: Sequence[tuple[int, int]], value: float = 0.0) -> torch.Tensor:
    """Pad the last axes of `x`; negative amounts crop."""
    amounts = [amount for pair in reversed(padding) for amount in pair]
    return F.pad(x, amounts, value=value) if any(amounts) else x
