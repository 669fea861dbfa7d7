"""A run goes on with the data that it began with, and with no other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onnxprune
from onnxprune.errors import RunDirectoryError
from onnxprune.pipeline.digests import data_digest
from tests.pipeline.test_run import model, pictures

__all__ = ["model"]

GoOn = Callable[..., None]


@pytest.fixture
def go_on(model: Path, tmp_path: Path) -> GoOn:
    """Begins a run with some data, and afterwards goes on with it."""

    def prune(data: Any, **more: Any) -> None:
        folder = tmp_path / "run"
        told = {"target_macs": "60%", "round_to": 1, "importance": "l1", "run_dir": folder}
        onnxprune.prune(model, data=data, **told, **more, resume=folder.exists())

    return prune


def test_other_arrays_are_seen_wherever_they_differ(go_on: GoOn) -> None:
    x, y = pictures(400)
    other = x.copy()
    # Where numpy leaves values out of what it prints.
    other[200, 1, 4, 4] += 1
    go_on((x, y))
    go_on((x.copy(), y.copy()))
    with pytest.raises(RunDirectoryError, match=r"of other data: the arrays given as 'data' changed since it began"):
        go_on((other, y))


def test_another_validation_part_is_named(go_on: GoOn) -> None:
    x, _ = pictures(64)
    go_on(x, val={"x": x[:16]})
    go_on(x, val={"x": x[:16]})
    with pytest.raises(RunDirectoryError, match="the arrays given as 'val' changed"):
        go_on(x, val={"x": x[16:32]})


@pytest.mark.parametrize("read_bytes", [1 << 20, 0])
def test_a_file_with_other_content_is_another(
    go_on: GoOn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_bytes: int
) -> None:
    monkeypatch.setattr("onnxprune.pipeline.digests._READ_BYTES", read_bytes)
    x, y = pictures(64)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    go_on(tmp_path / "d.npz")
    go_on(str(tmp_path / "d.npz"))
    np.savez(tmp_path / "d.npz", x=x + 1, y=y)
    with pytest.raises(RunDirectoryError, match=r"the file '.*d\.npz' given as 'data' changed since"):
        go_on(tmp_path / "d.npz")


def test_a_folder_with_another_picture_is_another(go_on: GoOn, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 8, 8, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{number}.png")
    go_on(folder)
    (folder / "notes.txt").touch()
    go_on(folder)
    (folder / "0.png").unlink()
    with pytest.raises(RunDirectoryError, match=r"the folder '.*pictures' given as 'data' changed since"):
        go_on(folder)


LOADER = """
import sys
from functools import partial
import numpy as np
import onnxprune

class Loader:
    def __call__(self):
        return [np.random.default_rng(0).standard_normal((64, 3, 8, 8)).astype(np.float32)]

def load(count, changes, loader):
    for change in changes:
        return change(loader()[0][:count])

def same(x):
    return [x]

loader = Loader() if sys.argv[3] == "object" else partial(load, 48, [same], loader=Loader())
told = {"target_macs": "60%", "round_to": 1, "importance": "l1", "run_dir": sys.argv[2]}
onnxprune.prune(sys.argv[1], data=loader, **told, resume=sys.argv[4:] == ["again"])
"""


@pytest.mark.parametrize("kind", ["object", "partial"])
def test_what_is_called_is_the_same_in_another_process(model: Path, tmp_path: Path, kind: str) -> None:
    for more in ((), ("again",)):
        command = [sys.executable, "-c", LOADER, str(model), str(tmp_path / "run"), kind, *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_function_given_other_arrays_is_another(go_on: GoOn) -> None:
    x, _ = pictures(400)
    other = x.copy()
    other[200, 1, 4, 4] += 1

    def halves(samples: np.ndarray) -> list[np.ndarray]:
        return [samples[:200], samples[200:]]

    go_on(partial(halves, x))
    go_on(partial(halves, x.copy()))
    with pytest.raises(RunDirectoryError, match="the arrays given as 'data' changed"):
        go_on(partial(halves, other))


def test_what_arrays_hold_counts_however_it_lies_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxprune.pipeline.digests._BLOCK_BYTES", 100)
    x = np.arange(240.0).reshape(5, 4, 4, 3)
    moved = np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    assert data_digest(x) == data_digest(moved) != data_digest(x[::-1])
    monkeypatch.setattr("onnxprune.pipeline.digests._READ_BYTES", 100)
    assert data_digest(x) == data_digest(moved) != data_digest(x[::-1])


def test_objects_without_a_text_of_their_own_are_not_told_apart() -> None:
    first, second = (np.array([object(), object()]) for _ in range(2))
    assert data_digest({"x": np.zeros(2), "y": first}) == data_digest({"x": np.zeros(2), "y": second})
