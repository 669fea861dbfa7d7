"""How the library tells what it is doing: it calls an observer, and prints nothing itself."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Receives what a long run is doing; the command line renders it as progress bars."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A new stage begins; `total` is its number of steps where that is known."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Steps of the current stage are done; `note` is a short figure to show beside the bar."""

    def warn(self, message: str) -> None:
        """Something the user should know, such as what a result without data is worth."""


class SilentObserver:
    """Ignores everything; the default of library calls."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignore."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Ignore."""

    def warn(self, message: str) -> None:
        """Ignore."""
