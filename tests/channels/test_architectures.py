"""Small networks with what makes pruning hard, as PyTorch's two exporters write them: all inner channels can go."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onnxprune.channels import Branch, ChannelMap, analyse, embed, find_branches, prune, verify
from onnxprune.errors import VerificationError
from onnxprune.graph import graph_cost, load, to_bytes
from onnxprune.latency import predictor


class OptionA(nn.Module):
    """A residual block with a parameter-free shortcut: every second pixel, zeros for the new channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        return self.head((self.conv2(F.relu(self.conv1(x))) + shortcut).mean((2, 3)))


class Squeeze(nn.Module):
    """A depthwise block with squeeze-and-excitation."""

    def __init__(self, channels: int = 3, outputs: int = 5) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 12, 1)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.reduce = nn.Conv2d(12, 4, 1)
        self.excite = nn.Conv2d(4, 12, 1)
        self.head = nn.Conv2d(12, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.depthwise(F.hardswish(self.expand(x))))
        gate = torch.sigmoid(self.excite(F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1)))))
        return self.head(x * gate)


class Shuffle(nn.Module):
    """ShuffleNet's unit: split, convolve one half, join, shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.branch = nn.Conv2d(8, 8, 3, padding=1)
        self.tail = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = self.stem(x).chunk(2, dim=1)
        x = torch.cat([kept, F.relu(self.branch(changed))], dim=1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(F.relu(self.tail(x)).flatten(1))


class Dense(nn.Module):
    """DenseNet's growing concatenation with BatchNorm before each convolution, and a grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm1, self.conv1 = nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3, padding=1)
        self.norm2, self.conv2 = nn.BatchNorm2d(12), nn.Conv2d(12, 8, 3, padding=1, groups=2)
        self.head = nn.Conv2d(20, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.conv1(F.relu(self.norm1(x)))], dim=1)
        x = torch.cat([x, self.conv2(F.relu(self.norm2(x)))], dim=1)
        return self.head(x)


class TwoGroupings(nn.Module):
    """Convolutions of three and of four groups in a row, whose groups cannot go whole."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.three, self.four = nn.Conv2d(12, 24, 3, groups=3), nn.Conv2d(24, 12, 3, groups=4)
        self.head = nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.four(F.relu(self.three(self.stem(x))))))


class Inverted(nn.Module):
    """A stem, two inverted residual blocks with squeeze-and-excitation, and a bottleneck with BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(Squeeze(8, 8) for _ in range(2))
        self.bottleneck = nn.Sequential(
            nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 1, bias=False)
        )
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(F.relu(x + self.norm(self.bottleneck(x))))


class Upsampling(nn.Module):
    """A U-Net in small: down, up by a transposed convolution and by resizing, joined with the skip."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(12, 8, 2, stride=2)
        self.head = nn.Conv2d(8 + 8 + 12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = F.relu(self.down1(x))
        deep = F.relu(self.down2(skip))
        resized = F.interpolate(deep, scale_factor=2.0, mode="nearest")
        return self.head(torch.cat([skip, self.up(deep), resized], dim=1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "option_a": OptionA,
    "squeeze": Squeeze,
    "shuffle": Shuffle,
    "dense": Dense,
    "inverted": Inverted,
    "upsampling": Upsampling,
    "groupings": TwoGroupings,
}


def export(network: nn.Module, path: Path, *, dynamo: bool) -> ir.Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = {"input_names": ["x"], "output_names": ["y"]}
        example = (torch.randn(2, 3, 6, 6),)
        if dynamo:
            shapes = ({0: torch.export.Dim("batch", min=1)},)
            torch.onnx.export(network, example, path, dynamo=True, dynamic_shapes=shapes, verbose=False, **names)
        else:
            axes = {"x": {0: "batch"}, "y": {0: "batch"}}
            torch.onnx.export(network, example, str(path), dynamo=False, opset_version=17, dynamic_axes=axes, **names)
    return load(path)


@pytest.fixture(scope="module", params=[False, True], ids=["torchscript", "dynamo"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ir.Model]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("exports")
    return {
        name: export(build().eval(), folder / f"{name}.onnx", dynamo=request.param) for name, build in NETWORKS.items()
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_every_channel_but_the_outputs_can_go(models: dict[str, ir.Model], name: str) -> None:
    channels = analyse(models[name])
    assert {fixed.reason for fixed in channels.fixed} == {"they are the model's output 'y'"}
    assert sum(fixed.channels for fixed in channels.fixed) == 5


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(4))
def test_removal_equals_silencing(models: dict[str, ir.Model], name: str, seed: int) -> None:
    model = models[name]
    before = to_bytes(model)
    channels = analyse(model)
    rng = np.random.default_rng(seed)
    keep = rng.random(channels.unit_count) < rng.uniform(0.2, 0.8)
    for group in channels.groups:
        keep[rng.choice(group.units)] = True
    pruned = prune(model, channels, keep)
    assert verify(model, channels, keep, pruned, seed=seed).relative_error <= 1e-4
    assert graph_cost(pruned).macs < graph_cost(model).macs
    assert to_bytes(model) == before


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pruned_network_can_be_put_back_and_pruned_further(models: dict[str, ir.Model], name: str) -> None:
    model, channels = models[name], analyse(models[name])
    rng = np.random.default_rng(0)
    first = rng.random(channels.unit_count) < 0.7
    for group in channels.groups:
        first[group.units[:2]] = True
    second = first & (rng.random(channels.unit_count) < 0.7)
    for group in channels.groups:
        second[group.units[0]] = True
    pruned = prune(model, channels, first)
    embedded = embed(model, channels, first, pruned)
    assert to_bytes(prune(embedded, channels, first)) == to_bytes(pruned)
    assert to_bytes(prune(embedded, channels, second)) == to_bytes(prune(model, channels, second))
    verify(embedded, channels, second, prune(embedded, channels, second))


def test_a_wrong_removal_is_noticed(models: dict[str, ir.Model]) -> None:
    channels = analyse(models["dense"])
    keep, other = np.ones((2, channels.unit_count), dtype=bool)
    keep[channels.groups[0].units[0]] = other[channels.groups[0].units[1]] = False
    wrong = prune(models["dense"], channels, other)
    with pytest.raises(VerificationError, match="differs from the silenced original"):
        verify(models["dense"], channels, keep, wrong)


def test_a_group_cannot_be_emptied(models: dict[str, ir.Model]) -> None:
    channels = analyse(models["squeeze"])
    keep = np.ones(channels.unit_count, dtype=bool)
    keep[channels.groups[0].units] = False
    with pytest.raises(ValueError, match="cannot go whole: nothing is left of the output 'y'"):
        prune(models["squeeze"], channels, keep)


def without(channels: ChannelMap, branches: Iterable[Branch]) -> np.ndarray:
    """Keep everything but some branches, and of the rest only a part."""
    keep = np.random.default_rng(0).random(channels.unit_count) < 0.7
    for group in channels.groups:
        keep[group.units[0]] = True
    for index in {index for branch in branches for index in branch.groups}:
        keep[channels.groups[index].units] = False
    return keep


@pytest.mark.parametrize(
    ("name", "blocks"), [("option_a", 2), ("squeeze", 0), ("shuffle", 0), ("dense", 2), ("inverted", 3)]
)
def test_blocks_can_go_whole(models: dict[str, ir.Model], name: str, blocks: int) -> None:
    model, channels = models[name], analyse(models[name])
    branches = find_branches(model, channels)
    assert len(branches) == blocks
    for some in ([branch] for branch in branches.values()):
        keep = without(channels, some)
        verify(model, channels, keep, prune(model, channels, keep))
    if branches:
        keep = without(channels, branches.values())
        pruned = prune(model, channels, keep)
        verify(model, channels, keep, pruned)
        assert len(pruned.graph) < len(model.graph) - blocks
        embedded = embed(model, channels, keep, pruned)
        assert to_bytes(prune(embedded, channels, keep)) == to_bytes(pruned)
        x = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
        wanted, got = (predictor(to_bytes(m))((x,))[0] for m in (pruned, embedded))
        assert np.allclose(wanted, got, atol=1e-4)
