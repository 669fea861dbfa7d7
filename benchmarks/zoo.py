"""Export torchvision networks with random weights, three ways each: the files the benchmarks run on.

`python benchmarks/zoo.py OUT_DIR [--only NAME ...]` writes for each network

- `NAME.op17.onnx`    the older exporter, opset 17, BatchNorm folded,
- `NAME.op17bn.onnx`  the older exporter, opset 17, BatchNorm kept, nothing folded,
- `NAME.dynamo.onnx`  the default exporter, opset 20.

The batch is dynamic; images are 3 x 224 x 224. Weights are those of seed 0; BatchNorm statistics are
perturbed so that no BatchNorm is the identity. Files that are there already are left alone.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
import torchvision.models as tv
from torch import nn

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "squeezenet1_1": lambda: tv.squeezenet1_1(weights=None),
    "mobilenet_v2": lambda: tv.mobilenet_v2(weights=None),
    "shufflenet_v2_x1_0": lambda: tv.shufflenet_v2_x1_0(weights=None),
    "mobilenet_v3_large": lambda: tv.mobilenet_v3_large(weights=None),
    "regnet_y_400mf": lambda: tv.regnet_y_400mf(weights=None),
    "efficientnet_b0": lambda: tv.efficientnet_b0(weights=None),
    "lraspp_mobilenet_v3_large": lambda: tv.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None),
    "deeplabv3_mobilenet_v3_large": lambda: tv.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, aux_loss=False
    ),
    "resnet18": lambda: tv.resnet18(weights=None),
    "googlenet": lambda: tv.googlenet(weights=None, aux_logits=False, init_weights=True),
    "resnet50": lambda: tv.resnet50(weights=None),
    "densenet121": lambda: tv.densenet121(weights=None),
    "convnext_tiny": lambda: tv.convnext_tiny(weights=None),
    "vit_b_16": lambda: tv.vit_b_16(weights=None),
    "vgg11_bn": lambda: tv.vgg11_bn(weights=None),
}
VARIANTS = ("op17", "op17bn", "dynamo")


class FirstOutput(nn.Module):
    """A segmentation network that returns its `out` map instead of a dictionary."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The class scores of each pixel, shape (N, classes, H, W)."""
        scores: torch.Tensor = self.network(image)["out"]
        return scores


def build(name: str) -> nn.Module:
    """Build the network `name` in eval mode, weights of seed 0, BatchNorm statistics perturbed."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)  # type: ignore[arg-type]
        if isinstance(module, nn.Linear) and not module.weight.any():
            # ViT's head starts at zero, which would make every output zero.
            nn.init.trunc_normal_(module.weight, std=0.02)
    if name.startswith(("lraspp", "deeplabv3")):
        network = FirstOutput(network)
    return network.eval()


def export(network: nn.Module, variant: str, path: Path) -> None:
    """Write `network` to `path` as the exporter of `variant` does."""
    image = torch.randn(2, 3, 224, 224)
    names: dict[str, object] = {"input_names": ["input"], "output_names": ["output"]}
    if variant == "dynamo":
        batch = torch.export.Dim("batch", min=1, max=1024)
        program = torch.onnx.export(
            network,
            (image,),
            dynamo=True,
            opset_version=20,
            dynamic_shapes=({0: batch},),
            verbose=False,
            **names,
        )
        assert program is not None
        program.save(str(path))
        return
    axes = {"input": {0: "batch"}, "output": {0: "batch"}}
    kept: dict[str, object] = {}
    if variant == "op17bn":
        kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    torch.onnx.export(network, (image,), str(path), dynamo=False, opset_version=17, dynamic_axes=axes, **names, **kept)


def main() -> None:
    """Export what is missing in the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    arguments.out_dir.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        for variant in VARIANTS:
            path = arguments.out_dir / f"{name}.{variant}.onnx"
            if path.exists():
                continue
            start = time.perf_counter()
            export(build(name), variant, path)
            onnx.checker.check_model(str(path))
            print(f"{path.name}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
