"""`units`: what may go, through the public functions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import onnxprune
from onnxprune.channels import Restriction
from onnxprune.errors import NothingToPruneError, PatternError
from onnxprune.report import inspect_model
from tests.channels.test_attention import HEADS, HIDDEN, WIDTH, Joint, Network, export


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("transformer") / "model.onnx"
    export(Network(Joint).eval(), path, dynamo=False)
    return path


def test_whole_heads_go_and_nothing_else(transformer: Path) -> None:
    report = onnxprune.prune(transformer, ratio=0.4, units="heads", importance="l2", round_to=1).report
    assert [group.channels_before for group in report.groups] == [3 * WIDTH] * 2
    left = [group.channels_after for group in report.groups]
    assert sum(left) < 6 * WIDTH
    assert all(channels % (3 * WIDTH // HEADS) == 0 for channels in left)
    assert report.settings["units"] == ["heads"]


def test_the_embedding_goes_where_it_is_asked_for(transformer: Path) -> None:
    usual = inspect_model(transformer)
    narrow = inspect_model(transformer, restriction=Restriction(units=("embedding", "mlp")))
    assert [group.channels for group in usual.groups] == [3 * WIDTH, HIDDEN] * 2
    assert [group.channels for group in narrow.groups] == [WIDTH, HIDDEN, HIDDEN]
    assert {fixed.hint for fixed in narrow.fixed if "(head-dim)" in fixed.reason} == {"--unit head-dim"}
    report = onnxprune.prune(transformer, ratio=0.3, units=["embedding", "heads", "mlp"], round_to=1).report
    assert report.after.macs < 0.7 * report.before.macs


def test_the_default_can_be_asked_for(transformer: Path) -> None:
    usual, asked = Restriction(), Restriction(units=("mlp", "heads", "head-dim", "channels"))
    assert set(usual.kinds) == set(asked.kinds)
    groups = [inspect_model(transformer, restriction=restriction).groups for restriction in (usual, asked)]
    assert groups[0] == groups[1]


def test_wishes_that_contradict_each_other(transformer: Path) -> None:
    with pytest.raises(PatternError, match="--unit heads and --unit head-dim contradict each other"):
        onnxprune.prune(transformer, ratio=0.3, units=["heads", "head-dim"])
    with pytest.raises(PatternError, match="there is no unit 'filters'; units are channels, mlp"):
        onnxprune.prune(transformer, ratio=0.3, units="filters")
    with pytest.raises(NothingToPruneError, match="LayerNormalization"):
        onnxprune.prune(transformer, ratio=0.3, units="channels")
