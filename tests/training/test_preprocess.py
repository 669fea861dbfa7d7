from __future__ import annotations

import json

import pytest

from onnxprune.errors import DataError
from onnxprune.training import PRESETS, Preprocess, load_preprocess


def test_nothing_said_is_nothing():
    assert load_preprocess(None) is None


@pytest.mark.parametrize(("name", "low", "high"), [("unit", 0, 1), ("tf", -1, 1), ("none", 0, 255)])
def test_presets_map_the_range_of_bytes(name, low, high):
    p = load_preprocess(name)
    ends = [(v * p.scale - p.mean[0]) / p.std[0] for v in (0, 255)]
    assert ends == pytest.approx([low, high])


def test_a_file(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"scale": 0.00392156862745098, "mean": [0.286], "std": [0.353]}))
    assert load_preprocess(path) == Preprocess(scale=0.00392156862745098, mean=(0.286,), std=(0.353,))


def test_a_file_may_start_from_a_preset(tmp_path):
    path = tmp_path / "p.json"
    path.write_text('{"preset": "imagenet", "size": 232}')
    assert load_preprocess(path) == PRESETS["imagenet"].model_copy(update={"size": 232})


def test_options_go_before_the_file():
    got = load_preprocess("imagenet", mean="0.5,0.4,0.3", size="240x320", std=None)
    assert got == PRESETS["imagenet"].model_copy(update={"mean": (0.5, 0.4, 0.3), "size": (240, 320)})


def test_options_alone_start_from_unit():
    assert load_preprocess(None, mean=0.5) == Preprocess(scale=1 / 255, mean=(0.5,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"maen": 1}', "unknown field 'maen'; did you mean 'mean'"),
        ('{"std": [0.2, 0]}', "std must not be 0"),
        ('{"scale": "big"}', "scale: .*number.*'big'"),
        ('{"color": "cmyk"}', "color: .*'rgb', 'bgr' or 'grey'.*'cmyk'"),
        ('{"size": 0}', "size must be at least 1"),
        ('{"crop": 2}', "crop: "),
        ('{"preset": "imagnet"}', "did you mean 'imagenet'"),
        ("[1]", "must hold a JSON object"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_errors_say_where_and_what(tmp_path, content, message):
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        load_preprocess(path)
    assert "p.json" in str(caught.value)


def test_an_unknown_preset():
    with pytest.raises(DataError, match=r"did you mean 'imagenet'.*presets are imagenet, tf, unit, none"):
        load_preprocess("imagenett")
