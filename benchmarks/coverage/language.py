"""Language models and networks for pictures of transformers, small, exported with a free batch and length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
LENGTHS: dict[str, Any] = {"vocab_size": 1000, "max_position_embeddings": 64}
SHARED: dict[str, Any] = SIZES | LENGTHS | {"num_key_value_heads": 2, "use_cache": False, "pad_token_id": 0}
PICTURES: dict[str, Any] = SIZES | {"image_size": 64, "patch_size": 8}
TEXTS: dict[str, dict[str, Any]] = {
    "albert": SIZES | LENGTHS | {"embedding_size": 64},
    "bert": SIZES | LENGTHS,
    "deberta-v2": SIZES | LENGTHS,
    "distilbert": LENGTHS | {"dim": 128, "hidden_dim": 256, "n_layers": 2, "n_heads": 4},
    "electra": SIZES | LENGTHS | {"embedding_size": 64},
    "esm": SIZES | LENGTHS | {"position_embedding_type": "rotary", "pad_token_id": 1},
    "fnet": SIZES | LENGTHS,
    "gemma": SHARED | {"head_dim": 32},
    "gemma2": SHARED | {"head_dim": 32},
    "gpt2": LENGTHS | {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": 64, "use_cache": False},
    "gpt_bigcode": LENGTHS | {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": 64, "use_cache": False},
    "gpt_neox": SIZES | LENGTHS | {"use_cache": False},
    "granite": SHARED,
    "ibert": SIZES | LENGTHS,
    "llama": SHARED,
    "mobilebert": SIZES | LENGTHS | {"embedding_size": 64, "intra_bottleneck_size": 64},
    "mistral": SHARED,
    "modernbert": SIZES
    | LENGTHS
    | {f"{kind}_token_id": i for i, kind in enumerate(("pad", "bos", "eos", "cls", "sep"))},
    "mpnet": SIZES | LENGTHS,
    "olmo2": SHARED,
    "opt": SIZES | LENGTHS | {"ffn_dim": 256, "word_embed_proj_dim": 128, "use_cache": False},
    "phi": SIZES | LENGTHS | {"use_cache": False},
    "phi3": SHARED,
    "qwen2": SHARED,
    "qwen3": SHARED | {"head_dim": 32},
    "roberta": SIZES | LENGTHS,
    "smollm3": SHARED,
    "stablelm": SHARED,
    "xlm-roberta": SIZES | LENGTHS,
}
SIDE = {"image_size": 64}
IMAGES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("beit", "clip_vision_model", "deit", "dinov2", "siglip_vision_model", "vit"), PICTURES),
    "convnextv2": SIDE | {"hidden_sizes": [32, 64, 96, 128], "depths": [1, 1, 2, 1]},
    "levit": SIDE
    | {"hidden_sizes": [64, 96, 128], "num_attention_heads": [2, 3, 4], "depths": [1, 1, 1], "key_dim": [16, 16, 16]},
    "mobilevit": SIDE | {"hidden_sizes": [48, 64, 80], "num_attention_heads": 4},
    "mobilevitv2": SIDE | {"width_multiplier": 0.5},
    "pvt_v2": SIDE | {"hidden_sizes": [32, 64, 96, 128], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 3, 4]},
    "segformer": {"num_encoder_blocks": 2, "depths": [2, 2], "sr_ratios": [4, 2], "hidden_sizes": [64, 128]}
    | {"patch_sizes": [7, 3], "strides": [4, 2], "num_attention_heads": [2, 4], "mlp_ratios": [4, 4]},
    "swinv2": SIDE | {"embed_dim": 48, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
}


class LastStates(nn.Module):
    """Returns the states of a network's last layer."""

    def __init__(self, network: nn.Module, given: str, *, masked: bool) -> None:
        super().__init__()
        self.network, self.given, self.masked = network, given, masked

    def forward(self, x: Tensor) -> Any:
        """Run the network."""
        mask = {"attention_mask": torch.ones_like(x)} if self.masked else {}
        return self.network(**{self.given: x}, **mask).last_hidden_state


def model(name: str, *, masked: bool = False) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Build a network and its example input, a batch of 2.

    Args:
        name: Its type in transformers.
        masked: Whether a text is given with a mask; without one, decoders look for several texts in a row by an
            operator that the torchscript exporter does not have.
    """
    import transformers

    config = transformers.AutoConfig.for_model(name, **(IMAGES.get(name) or TEXTS[name]))
    network = transformers.AutoModel.from_config(config)
    if name in IMAGES:
        return LastStates(network, "pixel_values", masked=False), (torch.randn(2, 3, 64, 64),)
    return LastStates(network, "input_ids", masked=masked), (torch.randint(5, 1000, (2, 32)),)
