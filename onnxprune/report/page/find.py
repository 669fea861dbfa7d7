"""Find the report that a path means: the file itself, or the one in a folder."""

from __future__ import annotations

from pathlib import Path

from onnxprune.errors import ReportError
from onnxprune.graph import path_kind

_NAME = "report.json"
_RUN = "run.json"


def find_report(path: str | Path) -> Path:
    """Return the report's file.

    Args:
        path: A report, or a folder that holds one: a run directory, or where a result was written.

    Raises:
        ReportError: There is no such path, or the folder holds no report, or several.
    """
    path = Path(path)
    kind = path_kind(path)
    if kind is None:
        raise ReportError(f"there is no file or folder '{path}'; give a report (.json), or the folder that holds it")
    if kind != "folder":
        return path
    if path_kind(path / _NAME) == "file":
        return path / _NAME
    found = sorted(path.glob(f"*.{_NAME}"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise ReportError(f"the folder '{path}' holds {len(found)} reports ({names}): give the one to show")
    if path_kind(path / _RUN) == "file":
        raise ReportError(
            f"the run in '{path}' has no report yet: it is still running, or was stopped; "
            f"go on with it (onnxprune resume {path})"
        )
    raise ReportError(f"the folder '{path}' holds no report ('{_NAME}' or '*.{_NAME}'); give the file")
