"""Limits on what goes of any one group, and shares that a user gives group by group."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxprune.channels import ChannelMap, analyse, restrict
from onnxprune.errors import PatternError, TargetError
from onnxprune.graph import concrete_shapes, load, resolve_input_shapes
from onnxprune.search import Limits, Problem, Subject, paper_problem, read_ratios
from onnxprune.search.admissible import Admissible
from onnxprune.search.allocation import global_path, uniform_path
from tests.residual import residual_cnn


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    onnx.save(residual_cnn(), path)
    model = load(path)
    channels = analyse(model)
    shapes = concrete_shapes(model, resolve_input_shapes(model))
    return paper_problem(Subject(model, channels, shapes, np.ones(channels.unit_count)), 1)


@pytest.fixture
def channels(problem: Problem) -> ChannelMap:
    return problem.channels


@pytest.mark.parametrize(
    ("limits", "least"),
    [
        (Limits(), [1, 1, 1]),
        (Limits(max_ratio=0.5), [4, 8, 8]),
        (Limits(max_ratio=0.7), [3, 5, 5]),
        (Limits(min_channels=12), [8, 12, 12]),
        (Limits(max_ratio=0.25, min_channels=7), [7, 12, 12]),
    ],
)
def test_what_stays_at_least(channels: ChannelMap, limits: Limits, least: list[int]) -> None:
    assert limits.least(channels).tolist() == least


def test_tenths_of_ten_are_whole(channels: ChannelMap) -> None:
    ten = replace(channels.groups[0], units=np.arange(10))
    assert Limits(max_ratio=0.7).least(replace(channels, groups=(ten,))).tolist() == [3]


def test_channels_that_go_together_count_as_channels(channels: ChannelMap) -> None:
    wide = replace(channels.groups[0], channels_per_unit=4)
    assert Limits(min_channels=9).least(replace(channels, groups=(wide,))).tolist() == [3]


@pytest.mark.parametrize("walk", [global_path, uniform_path])
def test_no_walk_goes_below_the_limits(problem: Problem, walk: object) -> None:
    path = walk(Limits(max_ratio=0.3).on(problem))  # type: ignore[operator]
    assert path[-1].tolist() == [6, 12, 12]
    assert walk(problem)[-1].min() < 6  # type: ignore[operator]


def test_the_largest_count_stays_allowed() -> None:
    assert Admissible(((16, 8), (4, 3))).at_least(np.array([12, 9])).counts == ((16,), (4,))


@pytest.mark.parametrize("figures", [{"max_ratio": 0.0}, {"max_ratio": 1.0}, {"min_channels": 0}])
def test_limits_that_make_no_sense(figures: dict[str, float]) -> None:
    with pytest.raises(TargetError, match="must be"):
        Limits(**figures)  # type: ignore[arg-type]


def file(folder: Path, content: object) -> Path:
    path = folder / "ratios.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_exactly_the_given_shares_go(channels: ChannelMap, tmp_path: Path) -> None:
    ratios = read_ratios(file(tmp_path, {"up*": 0.5, "up2": 0.1}))
    assert ratios.counts(channels).tolist() == [8, 8, 14]
    assert ratios.text == str(tmp_path / "ratios.json")


def test_a_node_that_shares_the_channels_names_the_group_and_one_stays(channels: ChannelMap) -> None:
    assert read_ratios({"down1": 0.99}).counts(channels).tolist() == [1, 16, 16]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense", "is no JSON"),
        ([0.5], "holds no JSON object"),
        ({}, "names no group"),
        ('{"up1": 0.5, "up1": 0.4}', "has 'up1' twice"),
        ({"up1": "0.5"}, "'up1' must be a number, the share to remove, not \"0.5\""),
        ({"up1": True}, "'up1' must be a number"),
        ({"up1": {"ratio": 1}}, "'up1' must be a number"),
        ({"up1": 1}, "'up1' must be from 0 and below 1, not 1"),
        ({"up1": -0.1}, "'up1' must be from 0 and below 1"),
        ('{"up1": NaN}', "'up1' must be from 0 and below 1"),
    ],
)
def test_bad_files_name_the_key(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        read_ratios(file(tmp_path, content))
    assert message in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"none\.json' cannot be read: No such file"):
        read_ratios(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ({"up3": 0.5}, "--ratios 'up3' names no node that makes channels; the nearest are 'up1', 'up2'"),
        ({"classifier": 0.5}, "'classifier': they are the model's output 'scores'"),
        ({"stem": 0.5, "down2": 0.4}, "'stem' (0.5) and 'down2' (0.4) contradict each other"),
    ],
)
def test_patterns_that_do_not_fit(channels: ChannelMap, ratios: dict[str, float], message: str) -> None:
    with pytest.raises(PatternError) as caught:
        read_ratios(ratios).counts(channels)
    assert message in str(caught.value)


def test_what_is_kept_cannot_be_given_a_ratio(channels: ChannelMap) -> None:
    with pytest.raises(PatternError, match="--keep 'up1' names it"):
        read_ratios({"up1": 0.5}).counts(restrict(channels, keep=["up1"]))


def test_ratios_within_limits(channels: ChannelMap) -> None:
    with pytest.raises(TargetError, match=r"leaves 4 of 16: at least 8 stay by --max-ratio 0\.5"):
        read_ratios({"up1": 0.75}).counts(channels, Limits(max_ratio=0.5))
    with pytest.raises(TargetError, match="takes nothing from any group; give a share above 0"):
        read_ratios({"*": 0.0}).counts(channels)


def test_shares_that_round_to_nothing_say_what_would_take_one(channels: ChannelMap) -> None:
    with pytest.raises(TargetError, match=r"any group: 0\.01 of the 16 of group '.*' rounds to none; 0\.062 takes"):
        read_ratios({"*": 0.01, "stem": 0.02}).counts(channels)
    counts = read_ratios({"*": 0.062}).counts(channels)
    assert counts.tolist() == [8, 15, 15]
