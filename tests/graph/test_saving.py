"""Writing models and texts: whole or not at all, and where they are meant to go."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxprune.errors import OutputError
from onnxprune.graph import load, save, write_text
from onnxprune.graph.save import is_device
from tests.graph.test_load_and_save import path

__all__ = ["path"]


def test_a_full_disk_leaves_nothing(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    model = load(path)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="the disk is full; nothing was written"):
        save(model, tmp_path / "out.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(("target", "message"), [("missing/out.onnx", "does not exist"), ("", "is a directory")])
def test_unwritable_outputs_are_refused(path: Path, tmp_path: Path, target: str, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        save(load(path), tmp_path / target)


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        write_text("x", tmp_path / "none" / "x.html")
    write_text("ü", tmp_path / "x.html")
    assert [p.name for p in tmp_path.iterdir()] == ["x.html"]
    assert (tmp_path / "x.html").read_text(encoding="utf-8") == "ü"


def test_a_link_leads_to_what_is_written_which_keeps_its_permissions(path: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    target, link = tmp_path / "kept" / "7.onnx", tmp_path / "latest.onnx"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    save(load(path), link)
    assert link.is_symlink()
    assert len(list(load(target).graph)) == len(list(load(path).graph))
    assert target.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in target.parent.iterdir()] == ["7.onnx"]


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no files in memory here")
def test_files_in_memory_are_files(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        with pytest.raises(OutputError, match="does not exist"):
            save(load(path), Path(folder) / "none" / "out.onnx")
        save(load(path), Path(folder) / "out.onnx")
        assert [file.name for file in Path(folder).iterdir()] == ["out.onnx"]
        assert not is_device(Path(folder) / "out.onnx")
    assert is_device(Path("/dev/stdout"))


def test_what_standard_output_leads_to_is_not_replaced(tmp_path: Path) -> None:
    with (tmp_path / "out.txt").open("w") as out:
        code = "from onnxprune.graph import write_text; write_text('written', '/dev/stdout')"
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out.txt").read_text() == "written"
    assert Path("/dev/stdout").is_symlink()


def test_weights_beside_a_model_are_written_whole_or_not_at_all(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["onnxprune.graph.save"], "_MAX_INLINE_BYTES", 100)
    model, out = load(path), tmp_path / "out.onnx"
    save(model, out)
    assert {file.name for file in tmp_path.iterdir()} == {"model.onnx", "out.onnx", "out.onnx.data"}
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    written, read = (one.graph.initializers["weight"].const_value for one in (load(out), model))
    np.testing.assert_array_equal(written.numpy(), read.numpy())
    writes = ir.save

    def full(model: ir.Model, place: Path, external_data: str) -> None:
        writes(model, place, external_data=external_data)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("onnx_ir.save", full)
    with pytest.raises(OutputError, match="the disk is full; nothing was written"):
        save(model, out)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
