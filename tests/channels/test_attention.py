"""Attention as PyTorch's two exporters write it: hidden units, entries of every head, and whole heads can go."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onnxprune.channels import analyse, permitted, prune, verify
from onnxprune.graph import load
from tests.channels.filled import filled

WIDTH, HEADS, HIDDEN = 32, 4, 48


class Joint(nn.Module):
    """A block as vision transformers have it: one projection for queries, keys and values, norms in front."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.expand, self.reduce = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(q, k, v)
        x = x + self.project(attended.transpose(1, 2).reshape(b, n, c))
        return x + self.reduce(F.gelu(self.expand(self.norm2(x))))


class Separate(nn.Module):
    """A block as BERT has it: three projections, a bias for each head and position, norms behind."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.q, self.k, self.v, self.project = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.bias = nn.Parameter(torch.randn(1, HEADS, 9, 9))
        self.expand, self.reduce = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = (layer(x).view(b, n, HEADS, c // HEADS).transpose(1, 2) for layer in (self.q, self.k, self.v))
        attention = (q @ k.transpose(-1, -2) / (c // HEADS) ** 0.5 + self.bias).softmax(-1)
        x = self.norm1(x + self.project((attention @ v).transpose(1, 2).reshape(b, n, c)))
        return self.norm2(x + self.reduce(F.gelu(self.expand(x))))


class Network(nn.Module):
    """Patches, two blocks, a head."""

    def __init__(self, block: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 2, 2)
        self.blocks = nn.Sequential(block(), block())
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


# The operator of opset 23, in both its forms.
OPERATOR = {
    "three axes": "a = Attention<q_num_heads = 4, kv_num_heads = 4>(q, k, v)\n y = MatMul(a, wo)",
    "a mask of each head": "a = Attention<q_num_heads = 4, kv_num_heads = 4>(q, k, v, mask)\n y = MatMul(a, wo)",
    "four axes": """
        q1 = Reshape(q, split)
        k1 = Reshape(k, split)
        v1 = Reshape(v, split)
        q2 = Transpose<perm = [0, 2, 1, 3]>(q1)
        k2 = Transpose<perm = [0, 2, 1, 3]>(k1)
        v2 = Transpose<perm = [0, 2, 1, 3]>(v1)
        a = Attention(q2, k2, v2)
        a1 = Transpose<perm = [0, 2, 1, 3]>(a)
        a2 = Reshape(a1, joined)
        y = MatMul(a2, wo)""",
}


@pytest.fixture(
    scope="module",
    params=[(block, dynamo) for block in (Joint, Separate) for dynamo in (False, True)],
    ids=lambda param: f"{param[0].__name__}-{'dynamo' if param[1] else 'torchscript'}",
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ir.Model:
    block, dynamo = request.param
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("attention") / "model.onnx"
    export(Network(block).eval(), path, dynamo=dynamo)
    return load(path)


def export(network: nn.Module, path: Path, *, dynamo: bool) -> None:
    image = torch.randn(2, 3, 6, 6)
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(
                network, (image,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False, **names
            )
            assert program is not None
            program.save(str(path))
        else:
            axes = {"x": {0: "batch"}, "y": {0: "batch"}}
            torch.onnx.export(network, (image,), str(path), dynamo=False, opset_version=17, dynamic_axes=axes, **names)


def test_heads_are_units(model: ir.Model) -> None:
    groups = analyse(model, "heads").groups
    assert Counter((group.kind, group.size) for group in groups) == {("heads", HEADS): 2, ("mlp", HIDDEN): 2}


def test_entries_of_every_head_are_units(model: ir.Model) -> None:
    groups = analyse(model, "head-dim").groups
    assert {(group.kind, group.size) for group in groups} == {("head-dim", WIDTH // HEADS), ("mlp", HIDDEN)}


@pytest.mark.parametrize("attention", ["heads", "head-dim"])
@pytest.mark.parametrize("seed", range(3))
def test_removal_equals_silencing(model: ir.Model, attention: Any, seed: int) -> None:
    channels = analyse(model, attention)
    rng = np.random.default_rng(seed)
    keep = rng.random(channels.unit_count) < 0.6
    for group in channels.groups:
        keep[rng.choice(group.units)] = True
    assert not keep.all()
    verify(model, channels, keep, prune(model, channels, keep), seed=seed)


@pytest.mark.parametrize("seed", range(3))
def test_a_narrower_embedding_is_normalised_among_itself(model: ir.Model, seed: int) -> None:
    channels = analyse(model, "heads", embedding=True)
    assert [(group.size, len(group.producers)) for group in channels.groups if group.kind == "embedding"] == [
        (WIDTH, 5)
    ]
    rng = np.random.default_rng(seed)
    keep = rng.random(channels.unit_count) < 0.6
    for group in channels.groups:
        keep[rng.choice(group.units)] = True
    pruned = prune(model, channels, keep)
    verify(model, channels, keep, pruned, seed=seed)
    assert pruned.graph.outputs[0].shape == model.graph.outputs[0].shape


def test_a_head_takes_its_queries_keys_values_and_its_part_of_the_projection(model: ir.Model) -> None:
    channels = analyse(model, "heads")
    heads = next(group for group in channels.groups if group.kind == "heads")
    keep = np.ones(channels.unit_count, dtype=bool)
    keep[heads.units[1]] = False
    pruned = prune(model, channels, keep)
    before, after = (sum(matrix.size for matrix in matrices(m)) for m in (model, pruned))
    assert before - after == 4 * WIDTH * WIDTH // HEADS


def matrices(model: ir.Model) -> list[np.ndarray]:
    """The weights of the linear layers."""
    arrays = [v.const_value.numpy() for v in model.graph.initializers.values() if v.const_value is not None]
    return [array for array in arrays if array.ndim == 2]


@pytest.mark.parametrize("attention", ["heads", "head-dim"])
@pytest.mark.parametrize("form", OPERATOR)
def test_the_operator(form: str, attention: Any, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 23]>
        net (float[2, 5, 16] x) => (float[2, 5, 7] y) {{
            q = MatMul(x, wq)
            k = MatMul(x, wk)
            v = MatMul(x, wv)
            {OPERATOR[form]}
        }}""")
    shapes = {"wq": (16, 24), "wk": (16, 24), "wv": (16, 32), "wo": (32, 7), "mask": (4, 5, 5)}
    network = filled(model, shapes, {"split": [0, 0, 4, -1], "joined": [0, 0, -1]}, tmp_path)
    channels = analyse(network, attention)
    sizes = [(group.kind, group.size) for group in channels.groups]
    assert sizes == ([("heads", 4)] if attention == "heads" else [("head-dim", 6), ("head-dim", 8)])
    keep = np.ones(channels.unit_count, dtype=bool)
    for group in channels.groups:
        keep[group.units[1:3]] = False
    verify(network, channels, keep, prune(network, channels, keep))


@pytest.mark.parametrize("attention", ["heads", "head-dim"])
@pytest.mark.parametrize("form", ["three axes", "four axes"])
def test_queries_that_are_weights(form: str, attention: Any, tmp_path: Path) -> None:
    body = "\n".join(line for line in OPERATOR[form].splitlines() if "q1" not in line)
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 23]>
        net (float[2, 5, 16] x) => (float[2, 3, 7] y) {{
            k = MatMul(x, wk)
            v = MatMul(x, wv)
            {body}
        }}""")
    queries = {"q": (2, 3, 24)} if form == "three axes" else {"q2": (2, 4, 3, 6)}
    shapes = queries | {"wk": (16, 24), "wv": (16, 32), "wo": (32, 7)}
    network = filled(model, shapes, {"split": [0, 0, 4, -1], "joined": [0, 0, -1]}, tmp_path)
    channels = analyse(network, attention)
    assert {group.kind for group in channels.groups} == {attention}
    keep = np.ones(channels.unit_count, dtype=bool)
    for group in channels.groups:
        keep[group.units[1:3]] = False
    verify(network, channels, keep, prune(network, channels, keep))


ROTATED = {
    "three axes": """
        q1 = RotaryEmbedding<num_heads = 4>(q, cos, sin)
        k1 = RotaryEmbedding<num_heads = 4>(k, cos, sin)
        a = Attention<q_num_heads = 4, kv_num_heads = 4>(q1, k1, v)
        y = MatMul(a, wo)""",
    "four axes": """
        q1 = Reshape(q, split)
        k1 = Reshape(k, split)
        v1 = Reshape(v, split)
        q2 = Transpose<perm = [0, 2, 1, 3]>(q1)
        k2 = Transpose<perm = [0, 2, 1, 3]>(k1)
        v2 = Transpose<perm = [0, 2, 1, 3]>(v1)
        q3 = RotaryEmbedding(q2, cos, sin)
        k3 = RotaryEmbedding(k2, cos, sin)
        a = Attention(q3, k3, v2)
        a1 = Transpose<perm = [0, 2, 1, 3]>(a)
        a2 = Reshape(a1, joined)
        y = MatMul(a2, wo)""",
}


@pytest.mark.parametrize("form", ROTATED)
def test_heads_go_and_pairs_of_entries_stay_where_queries_and_keys_are_rotated(form: str, tmp_path: Path) -> None:
    projections = "q = MatMul(x, wq)\n k = MatMul(x, wk)\n v = MatMul(x, wv)"
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 23]>
        net (float[2, 5, 16] x) => (float[2, 5, 7] y) {{ {projections} {ROTATED[form]} }}""")
    shapes = {"wq": (16, 24), "wk": (16, 24), "wv": (16, 24), "wo": (24, 7), "cos": (2, 5, 3), "sin": (2, 5, 3)}
    network = filled(model, shapes, {"split": [0, 0, 4, 6], "joined": [0, 0, -1]}, tmp_path)
    assert [(group.kind, group.size) for group in analyse(network, "heads").groups] == [("heads", 4)]
    assert [(group.kind, group.size) for group in analyse(network, "head-dim").groups] == [("head-dim", 6)]
    channels = analyse(network, "heads")
    keep = np.array([True, False, True, False])
    pruned = prune(network, channels, keep)
    verify(network, channels, keep, pruned)
    assert pruned.graph.initializers["wq"].shape == (16, 12)


class Normalised(nn.Module):
    """Attention whose queries and keys are normalised: centred, or only scaled, as Swin's second version has it."""

    def __init__(self, *, centred: bool) -> None:
        super().__init__()
        self.qkv, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.centred = centred

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = (F.layer_norm(t, (WIDTH // HEADS,)) if self.centred else F.normalize(t, dim=-1) for t in (q, k))
        attention = (q @ k.transpose(-1, -2) * 4).softmax(-1)
        return self.project((attention @ v).transpose(1, 2).reshape(b, n, c))


def normalised(folder: Path, *, centred: bool, dynamo: bool) -> ir.Model:
    torch.manual_seed(0)
    export(Network(partial(Normalised, centred=centred)).eval(), folder / "model.onnx", dynamo=dynamo)
    return load(folder / "model.onnx")


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
def test_heads_go_whole_where_their_entries_cannot(dynamo: bool, tmp_path: Path) -> None:
    network = normalised(tmp_path, centred=True, dynamo=dynamo)
    assert not any(group.kind == "head-dim" for group in analyse(network).groups)
    channels = permitted(network)
    assert [group.size for group in channels.groups if group.kind == "heads"] == [HEADS, HEADS]
    keep = np.ones(channels.unit_count, dtype=bool)
    for group in channels.groups:
        keep[group.units[1:]] = False
    verify(network, channels, keep, prune(network, channels, keep))


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
def test_entries_of_heads_go_where_a_norm_divides_them(dynamo: bool, tmp_path: Path) -> None:
    network = normalised(tmp_path, centred=False, dynamo=dynamo)
    channels = permitted(network)
    assert [group.size for group in channels.groups if group.kind == "head-dim"] == [WIDTH // HEADS] * 2
    keep = np.ones(channels.unit_count, dtype=bool)
    for group in channels.groups:
        keep[group.units[1::2]] = False
    verify(network, channels, keep, prune(network, channels, keep))
