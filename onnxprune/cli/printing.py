"""What a command prints on stdout in the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from onnxprune.report import Report

# Without a terminal there is no width to fit; tables in logs are not to be cut at 80 columns.
_PIPE_WIDTH = 160


def print_tables(*tables: RenderableType) -> None:
    """Print tables with an empty line between them."""
    console = _console()
    for table in tables:
        console.print()
        console.print(table)


def print_lines(lines: Sequence[str]) -> None:
    """Print lines as they are, without breaking them."""
    for line in lines:
        click.echo(line)


def print_report(report: Report, *, verbose: bool) -> None:
    """Print the final table and what was reached and proven."""
    from onnxprune.report import changes_table, outcome_lines, summary_table, versions_table

    if verbose:
        print_tables(changes_table(report))
    print_tables(summary_table(report))
    if report.quantisation is not None:
        print_tables(versions_table(report.quantisation))
    print_lines(["", *outcome_lines(report)])


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    return console
