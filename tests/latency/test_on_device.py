"""What travels must run on an old Python with numpy and onnxruntime only."""

from __future__ import annotations

import ast
import errno
import sys
from importlib import resources
from pathlib import Path

import pytest

from onnxprune.latency.on_device import runner
from onnxprune.latency.remote.process import _MODULES

FOLDER = resources.files("onnxprune.latency.on_device")
FILES = [name for name in _MODULES]


def test_every_file_travels() -> None:
    assert {*FILES, "__init__"} == {Path(str(file)).stem for file in FOLDER.iterdir() if str(file).endswith(".py")}


@pytest.mark.parametrize("name", FILES)
def test_it_is_python_3_8_and_imports_little(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text(), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    sent_before = {f"onnxprune.latency.on_device.{other}" for other in FILES[: FILES.index(name)]}
    allowed = sys.stdlib_module_names | {"numpy", "onnxruntime"}
    assert {module for module in imported if module not in sent_before and module.split(".")[0] not in allowed} == set()


PUT = {"do": "put", "model": "key", "file": "model.onnx", "first": True, "segments": [{"data": "eJwDAAAAAAE="}]}


def test_a_full_disk_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    service = runner.Service(tmp_path)
    assert service.answer(PUT) == {}
    monkeypatch.setattr(runner, "write_segment", full)
    with pytest.raises(runner.RefusedError) as refused:
        service.answer(PUT)
    assert (refused.value.kind, str(refused.value)) == ("space", str(tmp_path.parent))


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside"])
def test_nothing_is_written_outside_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(runner.RefusedError, match="lies outside"):
        runner.Service(tmp_path).answer({**PUT, "file": name})


def test_what_was_put_there_is_removed_when_it_is_not_kept(tmp_path: Path) -> None:
    service = runner.Service(tmp_path)
    service.answer(PUT)
    service.answer({**PUT, "model": "other"})
    service.answer({"do": "keep", "keys": ["other"]})
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
