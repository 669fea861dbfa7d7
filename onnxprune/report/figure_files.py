"""Figures of matplotlib into files: whole or not at all, and the same bytes for the same content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnxprune.graph import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path, kind: str) -> None:
    """Write a figure.

    Args:
        figure: The figure.
        path: The file.
        kind: "svg" or "png".

    Raises:
        OutputError: It cannot be written.
    """
    import matplotlib as mpl

    # Dates and random ids would make each file of the same figure another one.
    metadata = {"Date": None} if kind == "svg" else None
    with mpl.rc_context({"svg.hashsalt": "onnxprune"}):
        write_atomically(path, lambda t: figure.savefig(t, format=kind, dpi=120, metadata=metadata))
