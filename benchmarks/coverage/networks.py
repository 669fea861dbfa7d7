"""The networks of the coverage benchmark: torchvision, timm, transformers, and files that are shipped as ONNX.

The first three build a PyTorch module in eval mode with random weights of seed 0, and its example inputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from benchmarks.coverage import language

SIDE = 128
TORCHVISION = {
    "alexnet": 224, "convnext_tiny": SIDE, "densenet121": SIDE, "efficientnet_b0": SIDE, "efficientnet_v2_s": SIDE,
    "googlenet": SIDE, "inception_v3": 299, "maxvit_t": 224, "mnasnet0_5": SIDE, "mobilenet_v2": SIDE,
    "mobilenet_v3_small": SIDE, "mobilenet_v3_large": SIDE, "regnet_x_400mf": SIDE, "regnet_y_400mf": SIDE,
    "resnet18": SIDE, "resnet50": SIDE, "resnext50_32x4d": SIDE, "wide_resnet50_2": SIDE, "shufflenet_v2_x1_0": SIDE,
    "squeezenet1_1": SIDE, "swin_t": 224, "swin_v2_t": 256, "vgg11": 224, "vgg11_bn": 224, "vit_b_16": 224,
    # The other sizes of the same families.
    "convnext_small": SIDE, "convnext_base": SIDE, "convnext_large": SIDE, "densenet161": SIDE, "densenet169": SIDE,
    "densenet201": SIDE, "efficientnet_b1": SIDE, "efficientnet_b2": SIDE, "efficientnet_b3": SIDE,
    "efficientnet_b4": SIDE, "efficientnet_b5": SIDE, "efficientnet_b6": SIDE, "efficientnet_b7": SIDE,
    "efficientnet_v2_m": SIDE, "efficientnet_v2_l": SIDE, "mnasnet0_75": SIDE, "mnasnet1_0": SIDE, "mnasnet1_3": SIDE,
    "regnet_x_800mf": SIDE, "regnet_x_1_6gf": SIDE, "regnet_x_3_2gf": SIDE, "regnet_x_8gf": SIDE,
    "regnet_x_16gf": SIDE, "regnet_x_32gf": SIDE, "regnet_y_800mf": SIDE, "regnet_y_1_6gf": SIDE,
    "regnet_y_3_2gf": SIDE, "regnet_y_8gf": SIDE, "regnet_y_16gf": SIDE, "regnet_y_32gf": SIDE,
    "regnet_y_128gf": SIDE, "resnet34": SIDE, "resnet101": SIDE, "resnet152": SIDE, "resnext101_32x8d": SIDE,
    "resnext101_64x4d": SIDE, "wide_resnet101_2": SIDE, "shufflenet_v2_x0_5": SIDE, "shufflenet_v2_x1_5": SIDE,
    "shufflenet_v2_x2_0": SIDE, "squeezenet1_0": SIDE, "swin_s": 224, "swin_b": 224, "swin_v2_s": 256,
    "swin_v2_b": 256, "vgg13": 224, "vgg13_bn": 224, "vgg16": 224, "vgg16_bn": 224, "vgg19": 224, "vgg19_bn": 224,
    "vit_b_32": 224, "vit_l_16": 224, "vit_l_32": 224, "vit_h_14": 224,
}  # fmt: skip
SEGMENTATION = ("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
BACKBONES = ("resnet50 fpn", "mobilenet_v3_large fpn", "ssd300_vgg16 backbone", "ssdlite320_mobilenet backbone")
TIMM = {
    "resnetv2_50": SIDE, "seresnet18": SIDE, "legacy_seresnet18": SIDE, "skresnet18": SIDE, "resnest14d": SIDE,
    "ecaresnet26t": SIDE, "gcresnet33ts": SIDE, "dpn48b": SIDE, "efficientnet_lite0": SIDE, "mixnet_s": SIDE,
    "mobilenetv4_conv_small": SIDE, "fbnetc_100": SIDE, "hardcorenas_a": SIDE, "lcnet_050": SIDE, "tinynet_e": SIDE,
    "ghostnet_100": SIDE, "rexnet_100": SIDE, "hrnet_w18_small": SIDE, "dla34": SIDE, "selecsls42": SIDE,
    "res2net50_26w_4s": SIDE, "inception_v4": 299, "xception41": SIDE, "nfnet_l0": SIDE, "repvgg_a0": SIDE,
    "ese_vovnet19b_dw": SIDE, "cspresnet50": SIDE, "cspdarknet53": SIDE, "darknet17": SIDE, "convnextv2_atto": SIDE,
    "edgenext_xx_small": SIDE, "mobilevit_xxs": SIDE, "mobilevitv2_050": SIDE, "fastvit_t8": SIDE, "repvit_m0_9": SIDE,
    "efficientformer_l1": 224, "efficientvit_b0": SIDE, "poolformer_s12": SIDE, "mobileone_s0": SIDE,
    "starnet_s1": SIDE, "inception_next_atto": SIDE, "vit_tiny_patch16_224": 224, "deit_tiny_patch16_224": 224,
    "cait_xxs24_224": 224, "coat_tiny": 224, "levit_128s": 224, "pit_ti_224": 224, "twins_svt_small": 224,
    "pvt_v2_b0": SIDE, "mixer_s32_224": 224, "resmlp_12_224": 224, "gmlp_ti16_224": 224, "convmixer_768_32": 224,
    "visformer_tiny": 224, "xcit_nano_12_p16_224": 224, "crossvit_tiny_240": 240, "eva02_tiny_patch14_224": 224,
    "focalnet_tiny_srf": SIDE, "davit_tiny": SIDE, "gcvit_xxtiny": 224, "mambaout_femto": SIDE, "hgnetv2_b0": SIDE,
    "sequencer2d_s": 224, "tresnet_m": SIDE, "regnetz_b16": SIDE,
}  # fmt: skip
# Sizes of the dynamic axes of what is shipped with such, in order, by a part of the file's name.
FILES: dict[str, tuple[int, ...]] = {
    "cls_": (2, 48, 192),
    "det_": (2, 320, 320),
    "rec_": (2, 48, 320),
    "PP-OCRv6_rec": (2, 320),
    "nmp": (2,),
    "common": (224,),
    "common_det": (),
    "320n": (2, 320, 320),
    "silero": (8,),
    "openvino": (),
    "magika": (2,),
    "embedding_model": (2,),
    "hey_mycroft": (2,),
    "tashkeel": (2, 128, 2, 128, 2),
    "orientation": (2,),
    "slanet": (2, 488, 488),
    "aecmos": (1, 120),
    "dnsmos": (2,),
    "plcmos": (2, 100, 2),
    "swift_f0": (16000,),
}
_TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64}
TEXT = ("bert", "distilbert", "roberta", "albert", "electra", "mpnet", "deberta")


@dataclass(frozen=True)
class Subject:
    """A network to prune.

    Attributes:
        name: Unique name, `source/network`.
        build: Makes the module and its example inputs, of batch 2.
    """

    name: str
    build: Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]


class Outputs(nn.Module):
    """Returns the tensors of a network's output as a tuple, whatever holds them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Any:
        """Run the network."""
        found = self.network(*inputs)
        tensors = list(found.values()) if isinstance(found, dict) else found
        return tuple(tensors) if isinstance(tensors, list | tuple) else tensors


def subjects() -> list[Subject]:
    """List every network."""
    named = [
        Subject(f"torchvision/{name}", lambda n=name, s=side: _torchvision(n, s)) for name, side in TORCHVISION.items()
    ]
    named += [Subject(f"torchvision/{name}", lambda n=name: _segmentation(n)) for name in SEGMENTATION]
    named += [Subject(f"torchvision/{name}", lambda n=name: _backbone(n)) for name in BACKBONES]
    named += [Subject(f"timm/{name}", lambda n=name, s=side: _timm(n, s)) for name, side in TIMM.items()]
    return named + [Subject(f"transformers/{name}", lambda n=name: _text(n)) for name in TEXT]


def free_subjects(exporter: str) -> list[Subject]:
    """List the networks that are exported with a free batch and, where they read text, a free length."""
    masked = exporter.startswith("torchscript")
    return [
        Subject(f"transformers/{name}", lambda n=name: language.model(n, masked=masked))
        for name in (*language.TEXTS, *language.IMAGES)
    ]


def build(subject: Subject) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Build a network with weights of seed 0; no statistics and no weight are what training starts with."""
    torch.manual_seed(0)
    warnings.filterwarnings("ignore")
    network, inputs = subject.build()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)  # type: ignore[arg-type]
    for parameter in network.parameters():
        # Layer scales, gates and heads that start at zero or nearly so would hide what is behind them.
        if parameter.detach().abs().max() < 1e-4:
            nn.init.normal_(parameter, 0.0, 0.1)
    return network.eval(), inputs


def _image(side: int) -> tuple[Tensor, ...]:
    return (torch.randn(2, 3, side, side),)


def _torchvision(name: str, side: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    import torchvision.models as tv

    extra = {"aux_logits": False, "init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    return tv.get_model(name, weights=None, **extra), _image(side)


def _segmentation(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    import torchvision.models as tv

    extra = {} if name.startswith("lraspp") else {"aux_loss": False}
    return Outputs(tv.get_model(name, weights=None, weights_backbone=None, **extra)), _image(SIDE)


def _backbone(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    import torchvision.models as tv
    from torchvision.models.detection import backbone_utils as fpn

    if name.startswith("ssd"):
        full = "ssd300_vgg16" if "vgg" in name else "ssdlite320_mobilenet_v3_large"
        return Outputs(tv.get_model(full, weights=None, weights_backbone=None).backbone), _image(300)
    if name.startswith("resnet50"):
        return Outputs(fpn.resnet_fpn_backbone(backbone_name="resnet50", weights=None)), _image(SIDE)
    return Outputs(fpn.mobilenet_backbone("mobilenet_v3_large", fpn=True, weights=None)), _image(SIDE)


def fixed_file(path: Path, fixed: Path) -> tuple[Tensor, ...]:
    """Write a shipped file with inputs of fixed sizes, which other tools need, and return such inputs."""
    model = onnx.load(path)
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = [value.type.tensor_type for value in model.graph.input if value.name not in weights]
    dims = [dim for kind in inputs for dim in kind.shape.dim]
    # The longest name that fits is the file's own. One name may stand for several sizes, so they are set one by one.
    named = sorted((part for part in FILES if part in path.stem), key=len)
    free = [dim for dim in dims if dim.dim_value <= 0]
    for dim, size in zip(free, FILES[named[-1]] if named else (), strict=True):
        dim.dim_value = size
    onnx.save(model, fixed)
    shapes = [(_TYPES[kind.elem_type], [dim.dim_value for dim in kind.shape.dim]) for kind in inputs]
    return tuple(
        torch.randn(shape) if dtype.is_floating_point else torch.ones(shape, dtype=dtype) for dtype, shape in shapes
    )


def _timm(name: str, side: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    import timm

    return timm.create_model(name, pretrained=False, exportable=True), _image(side)


def _text(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    import transformers

    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
    if name == "distilbert":
        sizes = {"dim": 128, "n_layers": 2, "n_heads": 4, "hidden_dim": 256}
    if name in {"albert", "electra"}:
        sizes["embedding_size"] = 64
    config = transformers.AutoConfig.for_model(
        name, vocab_size=1000, **sizes, attn_implementation="sdpa" if name in {"bert", "distilbert"} else "eager"
    )
    config.return_dict = False
    network = transformers.AutoModelForSequenceClassification.from_config(config)
    return Outputs(network), (torch.randint(5, 1000, (2, 32)),)
