"""An append-only file of observations, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune.errors import RunDirectoryError

Fields = Mapping[str, Any]
"""Fields of an observation, as JSON takes them."""


_VOID = "void"
"""Kind of a line that says which others, by number, do not count any more."""


@dataclass(frozen=True)
class _Line:
    """A line of the file.

    Attributes:
        number: From 1.
        entry: What it says.
    """

    number: int
    entry: dict[str, Any]


class Journal:
    """Observations by kind and key, in the order they were made.

    A line is written whole before the run goes on. A line that a kill cut short is dropped: it was not observed.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open a journal, with what it holds.

        Args:
            path: The file, made if it is missing; None: nothing is kept.

        Raises:
            RunDirectoryError: The file cannot be read or written, or is no journal.
        """
        self._path = path
        self._pending: dict[str, list[_Line]] = {}
        self._kinds: dict[int, str] = {}
        """Kinds of the lines that count, by number."""
        self._written = 0
        self._asked: list[int] = []
        """Numbers of what was asked for, in order."""
        if path is not None:
            self._take_up(_complete_lines(path))

    @property
    def kept(self) -> bool:
        """Whether observations are kept on disk."""
        return self._path is not None

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of all that it holds."""
        return frozenset(self._kinds.values())

    @contextmanager
    def listed(self) -> Iterator[list[int]]:
        """List the numbers of the observations that are asked for meanwhile; the list is complete afterwards."""
        before, numbers = len(self._asked), list[int]()
        try:
            yield numbers
        finally:
            numbers += self._asked[before:]

    def void(self, numbers: Sequence[int]) -> None:
        """Let observations not count any more: a run that goes on makes them again."""
        if numbers:
            self._write({"kind": _VOID, "lines": list(numbers)})
            self._forget(numbers)

    def observe(self, kind: str, key: Fields, make: Callable[[], Fields]) -> dict[str, Any]:
        """Return an observation: from an earlier attempt at this run, or made now and written down.

        Args:
            kind: What was observed, such as "judgement".
            key: What of; the oldest observation of this kind and key that was not asked for yet is taken.
            make: Observes; called only where there is none.

        Returns:
            The fields that `make` gave.
        """
        found = self._recall(kind, key)
        if found is not None:
            return found
        made = dict(make())
        self._write({"kind": kind, **key, **made})
        return made

    def note(self, kind: str, fields: Fields) -> None:
        """Write down something for the reader that the run does not ask for again; once, however often repeated."""
        if self._recall(kind, fields) is None:
            self._write({"kind": kind, **fields})

    def _take_up(self, entries: Sequence[dict[str, Any]]) -> None:
        self._written = len(entries)
        self._kinds = {number: entry["kind"] for number, entry in enumerate(entries, start=1)}
        for entry in entries:
            if entry["kind"] == _VOID:
                self._forget(entry.get("lines", ()))
        for number, entry in enumerate(entries, start=1):
            if number in self._kinds:
                self._pending.setdefault(entry["kind"], []).append(_Line(number, entry))

    def _forget(self, numbers: Sequence[int]) -> None:
        self._kinds = {n: kind for n, kind in self._kinds.items() if n not in numbers and kind != _VOID}

    def _recall(self, kind: str, key: Fields) -> dict[str, Any] | None:
        # Compared as JSON: a tuple comes back as a list.
        wanted = json.loads(json.dumps(dict(key)))
        lines = self._pending.get(kind, [])
        for position, line in enumerate(lines):
            entry = line.entry
            if all(name in entry and entry[name] == value for name, value in wanted.items()):
                del lines[position]
                self._asked.append(line.number)
                return {name: value for name, value in entry.items() if name != "kind" and name not in wanted}
        return None

    def _write(self, entry: Fields) -> None:
        self._written += 1
        self._kinds[self._written] = entry["kind"]
        self._asked.append(self._written)
        if self._path is None:
            return
        try:
            with self._path.open("ab") as file:
                file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        except OSError as error:
            raise RunDirectoryError(f"cannot write '{self._path}': {error.strerror or error}") from error


def _complete_lines(path: Path) -> list[dict[str, Any]]:
    try:
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with path.open("r+b") as file:
                file.truncate(len(whole))
    except OSError as error:
        raise RunDirectoryError(f"'{path}' cannot be read: {error.strerror or error}") from error
    return [_entry(line, f"line {number} of '{path}'") for number, line in enumerate(whole.splitlines(), start=1)]


def _entry(line: bytes, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise RunDirectoryError(f"{where} is damaged: {error}; start again with another --run-dir") from error
    if not isinstance(entry, dict) or "kind" not in entry:
        raise RunDirectoryError(f"{where} is no observation of a run; give another --run-dir")
    return entry
