"""What a command tells a CI system: a summary, checks in JUnit XML (both also where it fails), and its outputs."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from onnxprune.cli.options import option, together
from onnxprune.cli.parameters import PATH
from onnxprune.errors import OutputError

if TYPE_CHECKING:
    from onnxprune.report.junit import Case

ci_options = together(
    option(
        "Output",
        "--summary",
        type=PATH,
        metavar="FILE",
        help='Append the result as Markdown, such as to "$GITHUB_STEP_SUMMARY".',
    ),
    option(
        "Output",
        "--junit",
        type=PATH,
        metavar="FILE",
        help="Write what was checked as JUnit XML, also where it fails.",
    ),
)

outputs_option = option(
    "Output",
    "--outputs",
    type=PATH,
    metavar="FILE",
    help='Append the result\'s files and figures as NAME=VALUE lines, such as to "$GITHUB_OUTPUT".',
)


def ci_paths(options: dict[str, Any]) -> dict[str, Path | None]:
    """Take what these options say out of a command's."""
    return {name: options.pop(name, None) for name in ("summary", "junit", "outputs")}


class CiFiles:
    """Writes the files at the end of a command, whatever became of it.

    A command says with `found` what came of it; where it ends with an error, `on_error` says what that means.
    """

    def __init__(
        self,
        operation: str,
        subject: str,
        on_error: Callable[[BaseException], Sequence[Case]],
        *,
        summary: Path | None,
        junit: Path | None,
        outputs: Path | None = None,
    ) -> None:
        """Prepare.

        Args:
            operation: The command.
            subject: What it works on.
            on_error: Makes cases of the error that ended it.
            summary: Where Markdown is appended.
            junit: Where XML goes.
            outputs: Where NAME=VALUE lines are appended.

        Raises:
            OutputError: One of them cannot be written.
        """
        for path in (summary, junit, outputs):
            if path is not None:
                _check(path)
        self._operation, self._subject, self._on_error = operation, subject, on_error
        self._summary, self._junit, self._outputs = summary, junit, outputs
        self._started, self._since_s = dt.datetime.now(dt.UTC), time.monotonic()
        self._markdown = ""
        self._cases: list[Case] = []
        self._figures: dict[str, str] = {}
        self._results: dict[str, str] = {}

    @property
    def wanted(self) -> bool:
        """Whether any of them is."""
        return (self._summary, self._junit, self._outputs) != (None, None, None)

    def found(
        self, markdown: str, cases: Sequence[Case], figures: Mapping[str, str], results: Mapping[str, str] | None = None
    ) -> None:
        """Keep what came of the command."""
        self._markdown, self._cases, self._figures = markdown, list(cases), dict(figures)
        self._results = dict(results or {})

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the files; where they cannot be written after an error, that error is the one that counts."""
        if not self.wanted:
            return
        if error is None:
            self._write()
            return
        self._fail(error)
        try:
            self._write()
        except OutputError as second:
            click.echo(f"Warning: {second}", err=True)

    def _fail(self, error: BaseException) -> None:
        from onnxprune.report.page import failure_markdown
        from onnxprune.report.verdicts import said

        why = error.format_message() if isinstance(error, click.ClickException) else said(error)
        failure = failure_markdown(self._operation, self._subject, why)
        self._markdown = f"{failure}\n{self._markdown}" if self._markdown else failure
        self._cases += self._on_error(error)

    def _write(self) -> None:
        from onnxprune.graph import write_text
        from onnxprune.report.junit import Suite, junit_xml

        if self._junit is not None:
            seconds = time.monotonic() - self._since_s
            suite = Suite(self._operation, self._cases, self._started, seconds, self._figures)
            write_text(junit_xml(suite), self._junit)
        if self._summary is not None:
            _append(self._summary, self._markdown)
        # Where there is no result, nothing is said of it: a later step finds its outputs empty.
        if self._outputs is not None and self._results:
            _append(self._outputs, "\n".join(f"{name}={value}" for name, value in self._results.items()))


def _check(path: Path) -> None:
    # Only now: importing it takes a while.
    from onnxprune.graph import check_writable

    check_writable(path)


def _append(path: Path, text: str) -> None:
    """Append: GitHub's summary and outputs are files that every step adds to."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror or error}") from error
