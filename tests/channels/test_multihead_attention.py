"""Attention whose heads share an axis with the samples, as PyTorch's MultiheadAttention and older networks do it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from onnxprune.channels import Restriction, permitted, prune, verify, verify_reading
from onnxprune.graph import load

WIDTH, HEADS, LENGTH = 24, 4, 7
ENTRIES = WIDTH // HEADS


class Default(nn.Module):
    """MultiheadAttention as it is usually called; the weights that it gives are not used."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.attention(x, x, x, **self.options)[0]
        return result


class Causal(Default):
    """With a mask that all heads share."""

    def __init__(self) -> None:
        super().__init__(attn_mask=torch.full((LENGTH, LENGTH), -torch.inf).triu(1))


class Padded(Default):
    """With samples of different lengths: a mask of each sample and head."""

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.attention(x, x, x, key_padding_mask=x[:, :, 0] > 1)[0]
        return result


class Folded(nn.Module):
    """As older transformers multiply: (N, heads, L, d) -> (N heads, L, d)."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.project = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = (
            layer(x).view(n, -1, HEADS, ENTRIES).transpose(1, 2).reshape(n * HEADS, -1, ENTRIES)
            for layer in (self.q, self.k, self.v)
        )
        attended = torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)), -1), v)
        joined = attended.view(n, HEADS, length, ENTRIES).transpose(1, 2).reshape(n, length, WIDTH)
        result: Tensor = self.project(joined)
        return result


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "default": Default,
    "without weights": lambda: Default(need_weights=False),
    "causal": Causal,
    "padded": Padded,
    "folded": Folded,
}
CASES = [(block, batch, dynamo) for block in BLOCKS for batch in ("any", 1, 2) for dynamo in (False, True)]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}-{'dynamo' if case[2] else 'ts'}")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ir.Model:
    block, batch, dynamo = request.param
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(12, WIDTH), nn.ReLU(), BLOCKS[block](), nn.Linear(WIDTH, 5)).eval()
    path = tmp_path_factory.mktemp("attention") / "model.onnx"
    export(network, path, batch=batch, dynamo=dynamo)
    model = load(path)
    assert verify_reading(path, model)
    return model


def export(network: nn.Module, path: Path, *, batch: int | str, dynamo: bool) -> None:
    x = torch.randn(batch if isinstance(batch, int) else 2, LENGTH, 12)
    options: dict[str, Any] = {"input_names": ["x"], "dynamo": dynamo}
    if batch == "any":
        options |= {"dynamic_shapes": ({0: "n"},)} if dynamo else {"dynamic_axes": {"x": {0: "n"}}}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(network, (x,), None if dynamo else str(path), verbose=False, **options)
            if program is not None:
                program.save(str(path))
    finally:
        torch.backends.mha.set_fastpath_enabled(value=fast)


@pytest.mark.parametrize(("unit", "size"), [("heads", HEADS), ("head-dim", ENTRIES)])
def test_heads_and_their_entries_are_units(model: ir.Model, unit: Any, size: int) -> None:
    channels = permitted(model, Restriction(units=(unit,)))
    assert {(group.kind, group.size) for group in channels.groups} == {(unit, size)}
    for seed in range(2):
        keep = np.random.default_rng(seed).random(channels.unit_count) < 0.6
        for group in channels.groups:
            keep[group.units[[seed, seed + 1]]] = True, False
        assert verify(model, channels, keep, prune(model, channels, keep), seed=seed).passed
