"""Removal of what runners left whose connection was lost.

It needs neither numpy nor onnxruntime, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FOLDER_PREFIX = "onnxprune-"
"""How the name of a runner's folder begins."""
SWEPT = "onnxprune swept"
"""What `main` prints in the end."""

_ATTEMPTS = 3


def sweep(left: Iterable[Mapping[str, Any]], parent: Path) -> None:
    """End runners and remove their folders.

    Args:
        left: `pid` and `folder` of each.
        parent: The folder that the folders lie in; what lies elsewhere stays.
    """
    for one in left:
        if b"onnxprune runner" in _command(one["pid"]):
            with contextlib.suppress(OSError):
                os.kill(one["pid"], signal.SIGKILL)
        folder = Path(one["folder"])
        if folder.parent == parent and folder.name.startswith(FOLDER_PREFIX):
            remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder that something may still be written to."""
    for _ in range(_ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def main(told: Mapping[str, Any]) -> None:
    """Sweep what the other side tells of."""
    sweep(told["left"], Path(told["folder"] or tempfile.gettempdir()).expanduser().resolve())
    os.write(1, SWEPT.encode())


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
