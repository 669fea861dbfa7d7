"""Train the sample network of the demo: ResNet-20 on Fashion-MNIST, exported to ONNX.

    python models/fashion_resnet20.py --data /usr/share/datasets/fashion-mnist --out models

writes `fashion-resnet20.onnx`, `fashion-train.npz`, `fashion-test.npz` and `fashion-preprocess.json`. The data is the
Debian package dataset-fashion-mnist. One run takes about sixteen minutes on two cores.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

MEAN, STD = 0.2860, 0.3530
VALIDATION = 5_000
SUBSET_TRAIN, SUBSET_TEST = 11_000, 2_000


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2015, figure 2)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Add the block's change to its input."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet20(classes: int = 10) -> nn.Sequential:
    """Build a ResNet-20 for grey images: 32, 64 and 64 channels at 14, 7 and 4 pixels, three blocks each.

    The original's 16 channels at full resolution leave nothing to remove on hardware that works in blocks of 16.
    """
    layers: list[nn.Module] = [nn.Conv2d(1, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    channels_in = 32
    for channels in (32, 64, 64):
        for index in range(3):
            layers.append(Block(channels_in, channels, 2 if index == 0 else 1))
            channels_in = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of bytes."""
    with gzip.open(path) as file:
        data = file.read()
    rank = data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank))
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def load(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 1, 28, 28) as bytes and labels (N,)."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")[:, None]
    return images, read_idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)


def normalised(images: np.ndarray) -> Tensor:
    """Scale bytes to the network's input."""
    return (torch.from_numpy(images.astype(np.float32)) / 255 - MEAN) / STD


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Flip half of the images, and shift each by up to two pixels."""
    flip = torch.rand(len(x), generator=generator) < 0.5
    x = torch.where(flip[:, None, None, None], x.flip(3), x)
    padded = F.pad(x, (2, 2, 2, 2), value=-MEAN / STD)
    dy, dx = torch.randint(0, 5, (2,), generator=generator).tolist()
    return padded[:, :, dy : dy + 28, dx : dx + 28]


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return top-1 in percent."""
    model.eval()
    with torch.inference_mode():
        hits = sum(
            int((model(a.contiguous(memory_format=torch.channels_last)).argmax(1) == b).sum())
            for a, b in zip(x.split(500), y.split(500), strict=True)
        )
    return 100 * hits / len(y)


def train(x: Tensor, y: Tensor, epochs: int, seed: int, checkpoint: Path) -> nn.Module:
    """Train with SGD and a one-cycle schedule; the last 5,000 images only validate."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = resnet20().to(memory_format=torch.channels_last)
    x_val, y_val = x[-VALIDATION:], y[-VALIDATION:]
    x, y = x[:-VALIDATION], y[:-VALIDATION]
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
        print(
            f"epoch {epoch + 1}/{epochs} loss {total / steps:.4f} "
            f"val {accuracy(model, x_val, y_val):.2f} {time.time() - start:.0f} s",
            flush=True,
        )
        torch.save(model.state_dict(), checkpoint)
    return model


def export(model: nn.Module, path: Path) -> None:
    """Write ONNX at opset 17 with a dynamic batch; the exporter folds BatchNorm into the convolutions."""
    torch.onnx.export(
        model.eval().to(memory_format=torch.contiguous_format),
        (torch.zeros(1, 1, 28, 28),),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )


def write_subsets(data: Path, out: Path, seed: int) -> None:
    """Write the part of the data that is shipped, drawn without looking at it, and its preprocessing."""
    rng = np.random.default_rng(seed)
    for part, name, size in (("train", "fashion-train", SUBSET_TRAIN), ("t10k", "fashion-test", SUBSET_TEST)):
        x, y = load(data, part)
        chosen = np.sort(rng.choice(len(x), size, replace=False))
        np.savez_compressed(out / f"{name}.npz", x=x[chosen], y=y[chosen])
    settings = {"scale": 1 / 255, "mean": [MEAN], "std": [STD]}
    (out / "fashion-preprocess.json").write_text(json.dumps(settings, indent=2) + "\n")


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--checkpoint", type=Path, default=Path("fashion-resnet20.pt"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_subsets(options.data, options.out, options.seed)
    images, labels = load(options.data, "train")
    model = train(normalised(images), torch.from_numpy(labels), options.epochs, options.seed, options.checkpoint)
    export(model, options.out / "fashion-resnet20.onnx")
    images, labels = load(options.data, "t10k")
    print(f"test top-1 {accuracy(model, normalised(images), torch.from_numpy(labels)):.2f} %")


if __name__ == "__main__":
    main()
