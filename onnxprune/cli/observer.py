"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol, Self

import click
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

# Logs of CI systems get a line at the start of a stage, and then at most one in this time.
_LINE_EVERY_S = 10.0


class RunObserver(Protocol):
    """An observer that is open for the time of a run."""

    warned: list[str]

    def __enter__(self) -> Self:
        """Begin to show progress."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing progress."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Steps of it are done."""

    def warn(self, message: str) -> None:
        """Something the user should know."""


class _NotedProgress(Progress):
    """Bars with a line below them for what a task notes, which has the whole width."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Draw the bars, and the notes there are."""
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if task.fields["note"]:
                yield Text(f"  {task.fields['note']}", no_wrap=True, overflow="ellipsis")


class BarObserver:
    """A bar for the running stage, pulsing where its length is unknown; a line for each that is done."""

    def __init__(self, console: Console) -> None:
        """Show progress on a console that is a terminal."""
        self.warned: list[str] = []
        self._progress = _NotedProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
            # Drawing runs beside what is measured: seldom enough not to show in p90.
            refresh_per_second=4,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        """Begin to show progress."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the last stage; one that failed leaves no line that says it is done."""
        if error is None:
            self._finish()
        elif self._task is not None:
            self._progress.remove_task(self._task)
        self._progress.stop()

    def stage(self, name: str, total: int | None = None) -> None:
        """End the stage before and begin a new bar."""
        self._finish()
        self._task = self._progress.add_task(name, total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, advance=steps, note=note)

    def warn(self, message: str) -> None:
        """Print a warning above the bar."""
        self.warned.append(message)
        self._progress.console.print(Text(f"Warning: {message}", style="yellow"))

    def _finish(self) -> None:
        if self._task is None:
            return
        task = next(task for task in self._progress.tasks if task.id == self._task)
        line = Text.assemble(("✓ ", "green"), task.description, (f"  {task.elapsed or 0.0:.1f} s", "cyan"))
        if task.fields["note"]:
            line.append(f"  {task.fields['note']}")
        self._progress.remove_task(self._task)
        self._task = None
        self._progress.console.print(line)


class LineObserver:
    """A line for each stage, and one now and then within a long one."""

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show progress as lines.

        Args:
            write: Takes a line.
            quiet: Write warnings only.
            clock: Seconds.
        """
        self.warned: list[str] = []
        self._write = write
        self._quiet = quiet
        self._clock = clock
        self._start = self._last = clock()
        self._name = ""
        self._done, self._total = 0, None

    _total: int | None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Write the name of the stage."""
        self._name, self._done, self._total = name, 0, total
        self._line("")

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Write how far the stage is, if the last line is long ago."""
        self._done += steps
        if self._clock() - self._last >= _LINE_EVERY_S:
            of = f"{self._done}/{self._total}" if self._total else ""
            self._line(" ".join(part for part in (of, note) if part))

    def warn(self, message: str) -> None:
        """Write a warning."""
        self.warned.append(message)
        self._write(f"Warning: {message}")

    def _line(self, detail: str) -> None:
        if self._quiet:
            return
        self._last = self._clock()
        self._write(f"[{self._last - self._start:6.1f} s] {self._name}{': ' if detail else ''}{detail}")


def make_observer(*, quiet: bool) -> RunObserver:
    """Choose how to show progress on stderr."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return LineObserver(lambda line: click.echo(line, err=True), quiet=quiet)
    return BarObserver(console)
