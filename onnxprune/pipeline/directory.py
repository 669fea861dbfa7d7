"""The run directory: what a run was told, what it observed, and how far its training is.

run.json             what was asked, of which model, with which versions
report.json          the record of the run, once it has ended
history.jsonl        every observation, in order (`journal`; docs/search.md defines the figures)
stage-N/             scores, the healed network and the training's checkpoint of each stage
int8.onnx            the result in int8, where it is quantised; int8-original.onnx: the original in int8
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from onnxprune.errors import OnnxPruneError, RunDirectoryError, TargetOutOfReachError
from onnxprune.graph import path_kind, write_atomically, write_text
from onnxprune.journal import Journal
from onnxprune.pipeline.run_record import RunRecord, check_same
from onnxprune.report.baseline import changes

HISTORY = "history.jsonl"
REPORT = "report.json"
_RUN, _LOCK = "run.json", "lock"
_SCORES, _STAGES = "scores.safetensors", "stage-[0-9]*"
# What is observed within seconds, or kept in the cache of layers' costs too.
_MADE_AGAIN = frozenset({"layer", "known", "latency", "network"})
# What depends on the device.
_MEASURED = frozenset({"layer", "known", "latency"})


@dataclass(frozen=True)
class StageFiles:
    """Where one stage keeps what it must not compute twice.

    Attributes:
        scores: Importance of every unit.
        healed: The pruned network with its weights solved again.
        matched: The same with the original's statistics matched, as training begins with it.
        checkpoint: The training's state after its last epoch.
    """

    scores: Path
    healed: Path
    matched: Path
    checkpoint: Path


@dataclass(frozen=True)
class RunDirectory:
    """A run's directory; without a path nothing is kept.

    Attributes:
        path: The folder, or None.
        journal: What the run observes.
    """

    path: Path | None = None
    journal: Journal = field(default_factory=Journal)

    @property
    def report(self) -> Path | None:
        """Where the record of the run goes; None where nothing is kept."""
        return None if self.path is None else self.path / REPORT

    def quantised(self, name: str) -> Path | None:
        """Return where a quantised network is kept; None where nothing is."""
        return None if self.path is None else self.path / f"{name}.onnx"

    def stage(self, number: int) -> StageFiles | None:
        """Return the files of a stage, its folder made; None where nothing is kept."""
        if self.path is None:
            return None
        folder = self.path / f"stage-{number}"
        folder.mkdir(exist_ok=True)
        return StageFiles(
            scores=folder / _SCORES,
            healed=folder / "healed.onnx",
            matched=folder / "matched.onnx",
            checkpoint=folder / "training.safetensors",
        )


def check_free(path: Path) -> None:
    """Refuse a folder that holds a run, or files that are none, or that cannot be written.

    Raises:
        RunDirectoryError: It is such a folder.
    """
    if holds_run(path):
        raise RunDirectoryError(
            f"'{path}' holds a run already: go on with it (onnxprune resume {path}), or give another --run-dir"
        )
    _check_own(path)
    # Of a folder that is not there yet, what counts is the one it will be made in.
    nearest = next(folder for folder in (path.absolute(), *path.absolute().parents) if path_kind(folder))
    if path_kind(nearest) != "folder":
        raise RunDirectoryError(f"cannot make the run directory '{path}': '{nearest}' is no folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise RunDirectoryError(f"cannot use the run directory '{path}': no permission to write in '{nearest}'")


def _check_own(path: Path) -> None:
    """Refuse a folder of something else; hidden files, and what a run killed at its very start left, do not count."""
    with _usable(path):
        names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    others = [name for name in names if name != _LOCK and not name.startswith(".")]
    if others and not holds_run(path):
        listed = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise RunDirectoryError(
            f"'{path}' holds other files, and no run ({listed}): give a new or an empty folder as --run-dir"
        )


@contextlib.contextmanager
def open_directory(path: Path | None, asks: Callable[[], RunRecord], *, resume: bool) -> Iterator[RunDirectory]:
    """Begin a run in a directory, or go on with the one it holds; no other process can meanwhile.

    A run that fails before it did anything worth going on with leaves nothing behind, so that it can be corrected and
    started again in the same folder.

    Args:
        path: The folder, made if it is missing; None: nothing is kept.
        asks: Describes what the run is told now; called where something is kept.
        resume: Whether to go on.

    Raises:
        RunDirectoryError: The directory cannot be used, holds a run already (or none, to go on with), or one that was
            told something else or measured on another device, or another process works in it.
    """
    if path is None:
        yield RunDirectory()
        return
    if not resume:
        _check_own(path)
    elif not holds_run(path):
        raise RunDirectoryError(f"'{path}' holds no run to go on with; start one with --run-dir {path}")
    asked = asks()
    made = _make(path)
    with _locked(path):
        if resume:
            before = read_run(path)
            check_same(before, asked, path)
            _heed_device(before, asked, path)
        else:
            check_free(path)
            write_text(asked.to_json(), path / _RUN)
        directory = RunDirectory(path, Journal(path / HISTORY))
        try:
            yield directory
        except OnnxPruneError as error:
            if not resume and not _is_worth_going_on_with(path, directory.journal, error):
                _clear(path, made)
            raise


def _make(path: Path) -> list[Path]:
    """Make a folder; return those that were missing, the deepest first."""
    with _usable(path):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
    return missing


@contextlib.contextmanager
def _usable(path: Path) -> Iterator[None]:
    """Say of a folder that the system does not let be read, made or written that it is the user's to change."""
    try:
        yield
    except OSError as error:
        where = "" if error.filename is None or Path(error.filename) == path else f" ('{error.filename}')"
        raise RunDirectoryError(
            f"cannot use the run directory '{path}': {error.strerror or error}{where}; give another --run-dir"
        ) from error


def _is_worth_going_on_with(path: Path, journal: Journal, error: OnnxPruneError) -> bool:
    """Whether a run that failed did anything that would be lost with its directory."""
    done = [*path.glob(f"{_STAGES}/*"), *path.glob("int8*.onnx"), *path.glob(REPORT)]
    observed = journal.kinds
    if isinstance(error, TargetOutOfReachError):
        # But for what was measured, which other work may have disturbed, such a run can only end so again.
        done = [file for file in done if file.name != _SCORES]
        observed -= _MADE_AGAIN
    return bool(done or observed)


def _clear(path: Path, made: Sequence[Path]) -> None:
    """Remove what a run wrote, and the folders that it made."""
    # What failed is told, not that its traces stayed. The record goes late: killed in between, it is a run still.
    with contextlib.suppress(OSError):
        for stage in path.glob(_STAGES):
            shutil.rmtree(stage)
        for name in (HISTORY, _RUN, _LOCK):
            (path / name).unlink(missing_ok=True)
        for folder in made:
            folder.rmdir()


def holds_run(path: Path) -> bool:
    """Return whether a run was begun in this folder."""
    return path_kind(path / _RUN) is not None


def read_run(path: Path) -> RunRecord:
    """Read what a directory's run was told.

    Raises:
        RunDirectoryError: There is no run, or it cannot be read.
    """
    try:
        return RunRecord.model_validate_json((path / _RUN).read_bytes())
    except OSError as error:
        raise RunDirectoryError(
            f"'{path}' holds no run: '{_RUN}' cannot be read ({error.strerror or error})"
        ) from error
    except ValidationError as error:
        raise RunDirectoryError(f"'{path / _RUN}' is no record of a run: {error.errors()[0]['msg']}") from error


def other_structure(path: Path | None, stage: int) -> RunDirectoryError:
    """Return the refusal of a run that finds another structure in a stage than it healed and trained before."""
    return RunDirectoryError(
        f"the run in '{path}' took another structure in stage {stage} than it finds now (with another version of "
        "onnxprune?): what was healed and trained of it cannot be gone on with; start a new run with another --run-dir"
    )


def keep_scores(path: Path, scores: np.ndarray) -> None:
    """Write scores, shape (units,), whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    write_atomically(path, lambda temporary: save_file({"scores": scores}, temporary), failures=(SafetensorError,))


def kept_scores(path: Path) -> np.ndarray:
    """Read scores."""
    from safetensors.numpy import load_file

    return load_file(path)["scores"]


def _heed_device(before: RunRecord, asked: RunRecord, path: Path) -> None:
    """Refuse to mix what two devices measured; what has measured nothing yet goes on with the one of now."""
    if before.device is None or before.device == asked.device:
        return
    if not Journal(path / HISTORY).kinds & _MEASURED:
        write_text(before.model_copy(update={"device": asked.device}).to_json(), path / _RUN)
        return
    found = "; ".join(changes(before.device, asked.device or {}))
    raise RunDirectoryError(
        f"the run in '{path}' measured on another device: {found}. What two devices measured cannot be "
        "mixed: go on there, or start a new run with another --run-dir"
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the directory; the system lets go of it when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        yield
        return
    with _usable(path):
        file = (path / _LOCK).open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunDirectoryError(f"another process works in '{path}'; wait for it, or stop it first") from error
        yield
