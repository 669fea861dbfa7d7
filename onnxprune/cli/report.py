"""`onnxprune report`: a run's report as a page or as Markdown."""

from __future__ import annotations

from pathlib import Path

import click

from onnxprune.cli.options import verbosity_options
from onnxprune.cli.overwriting import refuse_overwriting
from onnxprune.cli.parameters import PATH
from onnxprune.cli.printing import print_lines
from onnxprune.cli.sections import EXIT_CODES, SectionCommand, SectionOption


@click.command(cls=SectionCommand, epilog=EXIT_CODES, short_help="Show a run's report as a page that opens offline.")
@click.argument("source", metavar="DIR|REPORT.json", type=PATH)
@click.option(
    "-o",
    "--output",
    cls=SectionOption,
    section="Output",
    type=PATH,
    show_default="the report with the ending .html; for Markdown the standard output",
    help="Where the page goes.",
)
@click.option(
    "--markdown",
    "as_markdown",
    cls=SectionOption,
    section="Output",
    is_flag=True,
    help="Write a short Markdown text instead, for the summary of a CI job.",
)
@verbosity_options
def report(source: Path, output: Path | None, as_markdown: bool, quiet: bool) -> None:
    """Show what a run did: figures before and after, latency, channels, layers, search, training, environment.

    Takes a report, or the folder that holds one: a --run-dir, or where a result was written. The page is one file that
    loads nothing, for the screen (light or dark), a phone, or paper.
    """
    from onnxprune.graph import write_text
    from onnxprune.report import page, read_report

    file = page.find_report(source)
    if output is None and not as_markdown:
        output = file.with_suffix(".html")
    refuse_overwriting(source=(source, file), output=output)
    record = read_report(file)
    text = page.markdown_summary(record) if as_markdown else page.html_page(record)
    if output is None:
        click.echo(text, nl=False)
        return
    write_text(text, output)
    if not quiet:
        print_lines([f"wrote {output}"])
