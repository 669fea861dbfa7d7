"""Pictures of a run, from its history alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from onnxprune.errors import RunDirectoryError
from onnxprune.report.history import read_history
from onnxprune.report.plots import plot_run
from onnxprune.report.seen import structures_seen, unbeaten


def judgement(index: int, stage: int, source: str, units: list[int]) -> dict[str, Any]:
    figures = {"reward": 80.0 + index, "metric": 85.0 + index, "samples": 64, "predicted_cost": 1.0 + 0.1 * index}
    return {"kind": "judgement", "stage": stage, "index": index, "source": source, "units": units, **figures}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    groups = [{"name": name, "units": 8, "channels": 8} for name in ("stem", "block/conv1")]
    lines = [
        {"kind": "network", "groups": groups, "cost": 2.0, "unit": "ms"},
        judgement(0, 1, "global", [8, 4]),
        judgement(1, 1, "rl", [6, 6]),
        {"kind": "structure", "stage": 1, "units": [6, 6], "cost": 1.1},
        {"kind": "epoch", "stage": 1, "epoch": 0, "train_loss": None, "val_metric": 70.0, "elapsed_s": 0.0},
        {"kind": "epoch", "stage": 1, "epoch": 1, "train_loss": 0.5, "val_metric": 81.0, "elapsed_s": 1.0},
        judgement(0, 2, "uniform", [4, 4]),
        {"kind": "structure", "stage": 2, "units": [4, 4], "cost": 0.9},
    ]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


@pytest.mark.slow
def test_a_run_is_drawn(folder: Path) -> None:
    files = plot_run(folder, folder / "plots").files
    assert [file.name for file in files] == ["learning.svg", "channels.svg", "front.svg", "training.svg"]
    for file in files:
        assert ElementTree.parse(file).getroot().tag.endswith("svg")
    again = plot_run(folder, folder / "again").files
    assert [len(file.read_bytes()) for file in again] == [len(file.read_bytes()) for file in files]


@pytest.mark.slow
@pytest.mark.parametrize(("own", "labels"), [({}, 2), ({"metric": "mine:minus_error"}, 0)])
def test_a_metric_of_the_users_is_no_percentage(
    folder: Path, monkeypatch: pytest.MonkeyPatch, own: dict[str, str], labels: int
) -> None:
    history = folder / "history.jsonl"
    first, *others = history.read_text().splitlines(keepends=True)
    history.write_text("".join([json.dumps({**json.loads(first), **own}) + "\n", *others]))
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
    files = plot_run(folder, folder / "plots").files
    assert sum("(%)" in file.read_text() for file in files) == labels


@pytest.mark.slow
def test_pictures_are_not_blank(folder: Path) -> None:
    for file in plot_run(folder, folder, "png").files:
        pixels = np.asarray(Image.open(file).convert("L"))
        assert pixels.std() > 5


@pytest.mark.slow
def test_a_run_without_a_search_has_fewer_pictures(folder: Path) -> None:
    lines = (folder / "history.jsonl").read_text().splitlines(keepends=True)
    (folder / "history.jsonl").write_text("".join(line for line in lines if "judgement" not in line))
    pictures = plot_run(folder, folder)
    assert [file.name for file in pictures.files] == ["channels.svg", "training.svg"]
    reason = "no structure was judged"
    assert pictures.left_out == (f"no learning.svg: {reason}", f"no front.svg: {reason}")


@pytest.mark.slow
def test_epochs_without_a_metric_are_no_picture(folder: Path) -> None:
    lines = (folder / "history.jsonl").read_text().replace('"val_metric": 70.0', '"val_metric": null')
    (folder / "history.jsonl").write_text(lines.replace('"val_metric": 81.0', '"val_metric": null'))
    pictures = plot_run(folder, folder)
    assert "training.svg" not in [file.name for file in pictures.files]
    assert pictures.left_out == ("no training.svg: the epochs have no metric on a validation part",)


@pytest.mark.parametrize(
    ("unit", "front"), [("ms", [(1.0, 85.0), (1.1, 86.0)]), ("share of channels removed", [(1.1, 86.0)])]
)
def test_of_a_ratio_more_removed_is_smaller(folder: Path, unit: str, front: list[tuple[float, float]]) -> None:
    lines = (folder / "history.jsonl").read_text().replace('"ms"', f'"{unit}"')
    (folder / "history.jsonl").write_text(lines)
    assert unbeaten(structures_seen(read_history(folder)), unit) == front


def test_a_line_that_is_still_being_written_is_left_out(folder: Path) -> None:
    with (folder / "history.jsonl").open("a") as file:
        file.write('{"kind": "judg')
    assert len(read_history(folder).judged) == 3


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="--run-dir"):
        read_history(tmp_path)
    (tmp_path / "history.jsonl").write_text('{"kind": "layer"}\n')
    with pytest.raises(RunDirectoryError, match="nothing to draw"):
        read_history(tmp_path)


@pytest.mark.parametrize(
    ("number", "line", "message"),
    [
        (2, "hello", "is damaged: Expecting value"),
        (2, "[1]", "is none of a run's history"),
        (2, '{"stage": 1}', "is none of a run's history"),
        (
            1,
            '{"kind": "network", "cost": 2.0, "unit": "ms"}',
            "damaged: key 'groups' of kind 'network': Field required",
        ),
        (1, '{"kind": "network", "groups": [3], "cost": 2.0, "unit": "ms"}', r"damaged: key 'groups\.0'"),
        (3, '{"kind": "judgement", "stage": 1}', "damaged: key 'units' of kind 'judgement': Field required"),
        (4, '{"kind": "structure", "stage": "1", "units": [6, 6]}', "damaged: key 'stage' of kind 'structure'"),
        (4, '{"kind": "structure", "stage": 1, "units": [6]}', "it has units of 1 groups, and the network 2 groups"),
        (5, '{"kind": "epoch", "stage": 1, "epoch": 0}', "damaged: key 'val_metric' of kind 'epoch': Field required"),
        (
            5,
            '{"kind": "epoch", "stage": 1, "epoch": 0, "val_metric": NaN}',
            "damaged: key 'val_metric' of kind 'epoch'",
        ),
    ],
)
def test_a_damaged_line_is_named(folder: Path, number: int, line: str, message: str) -> None:
    path = folder / "history.jsonl"
    lines = path.read_text().splitlines()
    lines[number - 1] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunDirectoryError, match=rf"history\.jsonl', line {number} .*{message}"):
        plot_run(folder, folder / "plots")
    assert not (folder / "plots").exists()


def test_names_that_look_like_formulas_are_names(folder: Path) -> None:
    path = folder / "history.jsonl"
    path.write_text(path.read_text().replace("block/conv1", r"block/$\\conv$/x"))
    assert len(plot_run(folder, folder / "plots").files) == 4
