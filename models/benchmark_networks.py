"""Train the networks that benchmarks/allocation.py compresses, and write their data as .npz.

    python models/benchmark_networks.py NAME --data DIR --out DIR

    vgg, mobilenet        CIFAR-10; --data holds train/<class>/*.jpg and test/<class>/*.jpg
    googlenet, densenet   Fashion-MNIST; --data holds the four gzipped IDX files (Debian: dataset-fashion-mnist)

One run writes `NAME.onnx`, and `train.npz`, `val.npz`, `test.npz` and `preprocess.json` of its data in a folder of the
data's name. The validation part (5,000 images, drawn with seed 0) is trained on by no network and chooses nothing here.
Each takes under an hour on two cores. For a network from elsewhere that has seen all training images, `--parts-only
--unseen` draws the validation part of the test images instead, and writes the folder DATA-unseen.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from fashion_resnet20 import read_idx
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

VALIDATION = 5_000
CIFAR = {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
FASHION = {"scale": 1 / 255, "mean": [0.2860], "std": [0.3530]}
DATASETS = {"vgg": "cifar10", "mobilenet": "cifar10", "googlenet": "fashion", "densenet": "fashion"}


def conv(channels_in: int, channels: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


def head(channels: int) -> list[nn.Module]:
    """Average over the picture, then classify."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


def vgg() -> nn.Sequential:
    """VGG with BatchNorm (Simonyan and Zisserman 2014), narrow: 31 M MACs at 32 x 32."""
    layers: list[nn.Module] = []
    channels_in = 3
    for item in (32, 0, 64, 64, 0, 128, 128, 0, 128):
        if item == 0:
            layers.append(nn.MaxPool2d(2))
        else:
            layers.append(conv(channels_in, item))
            channels_in = item
    return nn.Sequential(*layers, *head(channels_in))


class InvertedResidual(nn.Module):
    """1x1 up, depthwise 3x3, 1x1 down (Sandler et al. 2018, figure 3)."""

    def __init__(self, channels_in: int, channels: int, stride: int, expand: int = 4) -> None:
        super().__init__()
        inner = channels_in * expand
        self.shortcut = stride == 1 and channels_in == channels
        self.layers = nn.Sequential(
            conv(channels_in, inner, 1),
            conv(inner, inner, 3, stride, groups=inner),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the block's change to its input where the shapes agree."""
        return x + self.layers(x) if self.shortcut else self.layers(x)


def mobilenet() -> nn.Sequential:
    """MobileNetV2-like, for 32 x 32."""
    plan = [(32, 2), (32, 1), (48, 2), (48, 1), (48, 1), (96, 2), (96, 1), (96, 1)]
    layers: list[nn.Module] = [conv(3, 32)]
    channels_in = 32
    for channels, stride in plan:
        layers.append(InvertedResidual(channels_in, channels, stride))
        channels_in = channels
    return nn.Sequential(*layers, conv(channels_in, 256, 1), *head(256))


class Inception(nn.Module):
    """Four branches side by side (Szegedy et al. 2014, figure 2b)."""

    def __init__(self, channels_in: int, width: int) -> None:
        super().__init__()
        self.one = conv(channels_in, width, 1)
        self.three = nn.Sequential(conv(channels_in, width, 1), conv(width, 2 * width))
        self.five = nn.Sequential(conv(channels_in, width // 2, 1), conv(width // 2, width, 5))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(channels_in, width // 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the branches, 4.5 times the width."""
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


def googlenet() -> nn.Sequential:
    """GoogLeNet-like, for 28 x 28 grey pictures: four inception modules."""
    return nn.Sequential(
        conv(1, 32, 3, 2),
        conv(32, 64),
        Inception(64, 32),
        Inception(144, 32),
        nn.MaxPool2d(2),
        Inception(144, 64),
        Inception(288, 64),
        *head(288),
    )


class DenseLayer(nn.Module):
    """BatchNorm, ReLU, 1x1, BatchNorm, ReLU, 3x3, beside the input (Huang et al. 2016, DenseNet-BC)."""

    def __init__(self, channels_in: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(channels_in),
            nn.ReLU(),
            nn.Conv2d(channels_in, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the input and what is new."""
        return torch.cat([x, self.layers(x)], 1)


def densenet(growth: int = 16) -> nn.Sequential:
    """DenseNet-BC-like, for 28 x 28 grey pictures: three blocks of five layers."""
    channels = 32
    layers: list[nn.Module] = [nn.Conv2d(1, channels, 3, 2, 1, bias=False)]
    for block in range(3):
        for _ in range(5):
            layers.append(DenseLayer(channels, growth))
            channels += growth
        if block < 2:
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels // 2, 1, bias=False)]
            layers.append(nn.AvgPool2d(2))
            channels //= 2
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(), *head(channels))


NETWORKS = {"vgg": vgg, "mobilenet": mobilenet, "googlenet": googlenet, "densenet": densenet}


def read_folder(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures (N, 3, H, W) as bytes and labels (N,), the classes in alphabetical order."""
    images, labels = [], []
    for label, kind in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        for file in sorted(kind.iterdir()):
            images.append(np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1))
            labels.append(label)
    return np.stack(images), np.array(labels, dtype=np.int64)


def read_fashion(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures (N, 1, 28, 28) as bytes and labels (N,)."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")[:, None]
    return images, read_idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)


def write_parts(dataset: str, data: Path, out: Path, unseen: bool) -> None:
    """Write the data as .npz, its validation part drawn of the training images, or of the test images."""
    if dataset == "cifar10":
        train, test, settings = read_folder(data / "train"), read_folder(data / "test"), CIFAR
    else:
        train, test, settings = read_fashion(data, "train"), read_fashion(data, "t10k"), FASHION
    whole, rest = (test, "test") if unseen else (train, "train")
    order = np.random.default_rng(0).permutation(len(whole[1]))
    parts = {"train": train, "test": test}
    parts |= {name: (whole[0][i], whole[1][i]) for name, i in (("val", order[:VALIDATION]), (rest, order[VALIDATION:]))}
    for name, (x, y) in parts.items():
        np.savez_compressed(out / f"{name}.npz", x=x, y=y)
    (out / "preprocess.json").write_text(json.dumps(settings, indent=2) + "\n")


def read_part(out: Path, part: str) -> tuple[Tensor, Tensor]:
    """Return the normalised pictures and the labels of one part."""
    settings = json.loads((out / "preprocess.json").read_text())
    mean, std = (np.array(settings[key], np.float32)[:, None, None] for key in ("mean", "std"))
    with np.load(out / f"{part}.npz") as arrays:
        x = (arrays["x"] * np.float32(settings["scale"]) - mean) / std
        return torch.from_numpy(x), torch.from_numpy(arrays["y"])


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Flip half of the images, and shift the batch by up to four pixels."""
    flip = torch.rand(len(x), generator=generator) < 0.5
    x = torch.where(flip[:, None, None, None], x.flip(3), x)
    size = x.shape[-1]
    padded = F.pad(x, (4, 4, 4, 4), mode="reflect")
    dy, dx = torch.randint(0, 9, (2,), generator=generator).tolist()
    return padded[:, :, dy : dy + size, dx : dx + size]


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return top-1 in percent."""
    model.eval()
    with torch.inference_mode():
        hits = sum(
            int((model(a.contiguous(memory_format=torch.channels_last)).argmax(1) == b).sum())
            for a, b in zip(x.split(500), y.split(500), strict=True)
        )
    return 100 * hits / len(y)


def train(model: nn.Module, parts: Path, epochs: int, seed: int) -> None:
    """Train in place with SGD and a one-cycle schedule."""
    generator = torch.Generator().manual_seed(seed)
    x, y = read_part(parts, "train")
    x_val, y_val = read_part(parts, "val")
    batch = 128
    steps = len(x) // batch
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=epochs * steps)
    for epoch in range(epochs):
        model.train()
        start, total = time.time(), 0.0
        order = torch.randperm(len(x), generator=generator)
        for step in range(steps):
            index = order[step * batch : (step + 1) * batch]
            inputs = augment(x[index], generator).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(inputs), y[index], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        score, seconds = accuracy(model, x_val, y_val), time.time() - start
        print(f"epoch {epoch + 1}/{epochs} loss {total / steps:.4f} val {score:.2f} {seconds:.0f} s", flush=True)


def export(model: nn.Module, x: Tensor, path: Path) -> None:
    """Write ONNX at opset 17 with a dynamic batch; the exporter folds BatchNorm where it follows a convolution."""
    torch.onnx.export(
        model.eval().to(memory_format=torch.contiguous_format),
        (x[:1],),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )


def main() -> None:
    """Run a recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts-only", action="store_true", help="write the data, and train nothing")
    parser.add_argument("--unseen", action="store_true", help="with --parts-only: validate on test images")
    options = parser.parse_args()
    parts = options.out / (DATASETS[options.network] + "-unseen" * options.unseen)
    if not (parts / "preprocess.json").exists():
        parts.mkdir(parents=True, exist_ok=True)
        write_parts(DATASETS[options.network], options.data, parts, options.unseen)
    if options.parts_only:
        return
    torch.manual_seed(options.seed)
    model = NETWORKS[options.network]().to(memory_format=torch.channels_last)
    train(model, parts, options.epochs, options.seed)
    x, y = read_part(parts, "test")
    export(model, x, options.out / f"{options.network}.onnx")
    print(f"test top-1 {accuracy(model, x, y):.2f} %")


if __name__ == "__main__":
    main()
