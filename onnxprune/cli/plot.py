"""`onnxprune plot`: pictures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from onnxprune.cli.options import traceback_option
from onnxprune.cli.overwriting import refuse_overwriting
from onnxprune.cli.parameters import PATH
from onnxprune.cli.printing import print_lines
from onnxprune.cli.sections import EXIT_CODES, SectionCommand, SectionOption


@click.command(cls=SectionCommand, epilog=EXIT_CODES, short_help="Draw how a run learned, and what accuracy costs.")
@click.argument("directory", metavar="DIR", type=PATH)
@click.option(
    "-o",
    "--output-dir",
    cls=SectionOption,
    section="Output",
    type=PATH,
    show_default="DIR/plots",
    help="Folder for the pictures.",
)
@click.option(
    "--format",
    "image_format",
    cls=SectionOption,
    section="Output",
    type=click.Choice(["svg", "png"]),
    default="svg",
    show_default=True,
    help="Their format.",
)
@traceback_option
def plot(directory: Path, output_dir: Path | None, image_format: Literal["svg", "png"]) -> None:
    """Draw the run in DIR, which was started with --run-dir DIR and may still be running.

    Pictures are the learning curve, the channels that each group keeps over time, the front of latency (or whatever is
    limited) and accuracy, and the training. For what the run has no figures of, a line says why it is left out.
    """
    output_dir = output_dir or directory / "plots"
    # Pictures beside a run's files overwrite none of them.
    if output_dir.resolve() != directory.resolve():
        refuse_overwriting(directory=directory, output_dir=output_dir)
    from onnxprune.report.plots import plot_run

    pictures = plot_run(directory, output_dir, image_format)
    print_lines([*(f"wrote {file}" for file in pictures.files), *pictures.left_out])
