"""Dynamic sizes in opsets whose operators ONNX infers less of: every channel but the output's can go all the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onnxprune.channels import analyse, prune, verify
from onnxprune.graph import load
from tests.channels.test_dynamic_sizes import Attention


class Upsampled(nn.Module):
    """A U-Net's way up: to the size of what is joined with it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        up = F.interpolate(F.relu(self.down(x)), size=x.shape[2:])
        output: Tensor = self.head(torch.cat([x, up], dim=1))
        return output


class Shuffled(nn.Module):
    """ShuffleNet's shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, groups=2)
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.grouped(F.relu(self.stem(x))))
        n, c, h, w = x.shape
        output: Tensor = self.head(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))
        return output


class Normalised(nn.Module):
    """A GroupNorm, which these opsets write as a Reshape, InstanceNormalization and a Reshape."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(F.relu(self.norm(self.stem(x))))
        return output


PICTURES: list[Callable[[], nn.Module]] = [Upsampled, Shuffled, Normalised]


def export(network: nn.Module, example: Tensor, axes: dict[int, str], opset: int, path: Path) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (example,),
            path,
            input_names=["x"],
            dynamic_axes={"x": axes},
            dynamo=False,
            opset_version=opset,
        )


@pytest.mark.parametrize("opset", [9, 11, 13])
@pytest.mark.parametrize("build", PICTURES)
def test_pictures_of_any_size(build: Callable[[], nn.Module], opset: int, tmp_path: Path) -> None:
    export(build(), torch.randn(1, 3, 8, 8), {0: "n", 2: "h", 3: "w"}, opset, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model)
    assert {fixed.channels for fixed in channels.fixed} == {5}
    keep = np.arange(channels.unit_count) % 3 > 0
    pruned = prune(model, channels, keep)
    for sizes in [(1, 3, 8, 8), (2, 3, 6, 10)]:
        verify(model, channels, keep, pruned, input_shapes={"x": sizes})


@pytest.mark.parametrize("opset", [9, 11, 13])
def test_heads_of_any_batch_and_length(opset: int, tmp_path: Path) -> None:
    export(Attention(), torch.randn(2, 5, 12), {0: "n", 1: "l"}, opset, tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    channels = analyse(model, "heads")
    assert [(group.kind, group.size) for group in channels.groups] == [("heads", 3)]
    keep = np.arange(channels.unit_count) > 0
    pruned = prune(model, channels, keep)
    for sizes in [(2, 5, 12), (1, 3, 12)]:
        verify(model, channels, keep, pruned, input_shapes={"x": sizes})
