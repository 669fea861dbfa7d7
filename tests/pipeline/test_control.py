"""Whole runs that a user restricts: what is kept stays, limits hold, given ratios are what goes."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

import onnxprune
from onnxprune.errors import NothingToPruneError, PatternError, RunDirectoryError, TargetError, TargetOutOfReachError
from onnxprune.report import Report
from tests.pipeline.test_run import pictures
from tests.residual import residual_cnn


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "residual.onnx"
    onnx.save(residual_cnn(second=0.05), path)
    return path


def after(report: Report) -> dict[str, int]:
    return {group.name: group.channels_after for group in report.groups}


@pytest.mark.parametrize("allocation", ["global", "uniform", "rl", "rl-pruner"])
def test_every_allocation_leaves_alone_what_is_kept(model: Path, allocation: str) -> None:
    report = onnxprune.prune(
        model,
        target_macs="70%",
        data=pictures(100)[0],
        allocation=allocation,
        search_budget=4,
        rl_pruner=["share=0.2", "rounds=1", "samples=2"],
        importance="l1",
        round_to=1,
        keep=["down2"],
        max_ratio=0.6,
        min_channels=7,
    ).report
    assert set(after(report)) == {"up1", "up2"}
    assert min(after(report).values()) >= 7
    assert {fixed.producer: fixed.reason for fixed in report.fixed}["down2"] == "--keep 'down2' names it"
    assert report.settings["keep"] == ["down2"]
    assert (report.settings["max_ratio"], report.settings["min_channels"]) == (0.6, 7)
    assert report.coverage is not None
    assert 0.5 < report.coverage < 1
    assert report.target.achieved <= report.target.value


@pytest.mark.parametrize("allocation", ["global", "rl", "rl-pruner"])
def test_what_is_recorded_repeats_a_run_that_the_library_made(model: Path, allocation: str) -> None:
    told = {"rl_pruner": ["share=0.2", "rounds=1", "samples=2", "least=1e-05"]} if allocation == "rl-pruner" else {}
    first = onnxprune.prune(model, target_macs="70%", data=pictures(64)[0], allocation=allocation, **told).report
    settings = first.settings
    assert settings["importance"] == ("taylor" if allocation == "rl-pruner" else "reconstruction")
    assert settings["units"] == ["channels", "mlp", "head-dim", "heads"]
    assert settings["search_budget"] == (160 if allocation == "rl" else None)
    assert (settings["rl_pruner"] is not None) == (allocation == "rl-pruner")
    said = {name: settings[name] or () for name in ("units", "rl_pruner")}
    said |= {name: settings[name] for name in ("importance", "allocation", "search_budget", "heal")}
    again = onnxprune.prune(model, target_macs="70%", data=pictures(64)[0], seed=first.seed, **said).report
    assert again.settings == settings
    assert again.output.sha256 == first.output.sha256


def test_with_limits_no_branch_goes_whole(model: Path) -> None:
    options = {"target_macs": "45%", "data": pictures(200)[0], "round_to": 4, "heal": True, "importance": "l1"}
    assert after(onnxprune.prune(model, **options).report)["up2"] == 0
    assert after(onnxprune.prune(model, min_channels=2, **options).report)["up2"] >= 2
    assert after(onnxprune.prune(model, keep="down2", **options).report)["up2"] > 0


@pytest.mark.parametrize(
    ("limits", "held", "free"),
    [
        (
            {"max_ratio": 0.3},
            r"\(57%\).* with --max-ratio 0.3, 57% of the MACs are left; without --max-ratio 0.3, 2% of",
            None,
        ),
        (
            {"min_channels": 6, "keep": "up1"},
            "without --keep 'up1', .*; without --min-channels 6, .* any of that",
            None,
        ),
        (
            {"only": "up1", "min_channels": 1},
            "--only 'up1', 2% of the MACs are left$",
            "without --min-channels",
        ),
        ({"round_to": 64}, r"with --round-to 64, .*; without --round-to 64, 2% of the MACs are left$", None),
        ({}, "Ask for that much, or start from a smaller network$", "holds it back"),
    ],
)
def test_limits_put_targets_out_of_reach(model: Path, limits: dict, held: str, free: str | None) -> None:
    with pytest.raises(TargetOutOfReachError, match=held) as caught:
        onnxprune.prune(model, target_macs="1%", **({"round_to": 1} | limits))
    assert free is None or free not in str(caught.value)


def test_nothing_left_to_prune(model: Path) -> None:
    with pytest.raises(NothingToPruneError, match=r"--keep '\*' names it"):
        onnxprune.prune(model, target_macs="50%", keep="*")
    with pytest.raises(PatternError, match="the nearest are"):
        onnxprune.prune(model, target_macs="50%", only=["nowhere"])


def test_given_ratios_are_what_goes(model: Path, tmp_path: Path) -> None:
    (tmp_path / "shares.json").write_text(json.dumps({"up*": 0.5, "up2": 0.25}))
    report = onnxprune.prune(model, ratios=tmp_path / "shares.json").report
    assert after(report) == {"stem": 8, "up1": 8, "up2": 12}
    assert report.target.kind == "ratio"
    assert report.target.requested.endswith("shares.json")
    assert report.target.achieved == pytest.approx(12 / 40) == report.target.value
    assert report.settings["allocation"] == "ratios"
    assert report.settings["ratios"] == {"up*": 0.5, "up2": 0.25}
    assert report.search == ()


@pytest.mark.slow
def test_given_ratios_are_trained(model: Path) -> None:
    report = onnxprune.compress(model, ratios={"up1": 0.9}, data=pictures(64)[0], epochs=1, batch_size=16).report
    assert after(report) == {"stem": 8, "up1": 2, "up2": 16}
    assert report.training is not None
    assert report.stages == ()


@pytest.mark.slow
def test_a_share_of_the_channels_is_a_budget_of_training_too(model: Path) -> None:
    told = {"data": pictures(), "round_to": 1, "epochs": 1, "search_budget": 4}
    report = onnxprune.compress(model, ratio=0.5, allocation="random", **told).report
    assert (report.target.kind, report.target.value) == ("ratio", 0.5)
    before, after = (sum(getattr(group, f"channels_{when}") for group in report.groups) for when in ("before", "after"))
    assert after <= 0.5 * before + 1
    assert report.training is not None
    with pytest.raises(TargetError, match="not macs and ratio"):
        onnxprune.compress(model, ratio=0.5, target_macs="50%")


def test_ratios_are_a_target_and_say_everything(model: Path) -> None:
    with pytest.raises(TargetError, match="exactly one target, not ratio and ratios"):
        onnxprune.prune(model, ratio=0.3, ratios={"up1": 0.5})
    with pytest.raises(TargetError, match="leave out --allocation and --round-to"):
        onnxprune.prune(model, ratios={"up1": 0.5}, allocation="global", round_to=8)
    with pytest.raises(TargetError, match="leave out --stages"):
        onnxprune.compress(model, ratios={"up1": 0.5}, stages=2)


def test_a_run_goes_on_as_it_was_told_only(model: Path, tmp_path: Path) -> None:
    told = {"ratios": {"up1": 0.5}, "keep": "up2", "run_dir": tmp_path / "run"}
    first = onnxprune.prune(model, **told)
    content = first.output.read_bytes()
    assert onnxprune.prune(model, **told, resume=True).output.read_bytes() == content
    with pytest.raises(RunDirectoryError, match="was told restriction = "):
        onnxprune.prune(model, **{**told, "keep": ()}, resume=True)
    with pytest.raises(RunDirectoryError, match="was told target = "):
        onnxprune.prune(model, **{**told, "ratios": {"up1": 0.25}}, resume=True)
    with pytest.raises(RunDirectoryError, match="was told limits = "):
        onnxprune.prune(model, **told, max_ratio=0.9, resume=True)
