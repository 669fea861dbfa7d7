"""`onnxprune compare`: what two models give for the same samples, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from onnxprune.cli.ci import CiFiles, ci_options, ci_paths
from onnxprune.cli.options import (
    device_options,
    input_shape_option,
    json_option,
    option,
    seed_option,
    sessions_option,
    verbosity_options,
)
from onnxprune.cli.overwriting import refuse_overwriting
from onnxprune.cli.parameters import TYPED_PATH
from onnxprune.cli.printing import print_lines, print_tables
from onnxprune.cli.sections import EXIT_CODES, SectionCommand
from onnxprune.cli.shapes import Sizes, named_shapes

if TYPE_CHECKING:
    from onnxprune.report.junit import Case


@click.command(cls=SectionCommand, epilog=EXIT_CODES, short_help="Compare the outputs and the cost of two models.")
@click.argument("first", type=TYPED_PATH)
@click.argument("second", type=TYPED_PATH)
@option(
    "Data",
    "--data",
    metavar="SOURCE",
    show_default="random inputs",
    help="A folder of pictures (subfolders are labels), an .npz file, or package.module:function; "
    "of data in parts the test part.",
)
@option(
    "Data",
    "--preprocess",
    metavar="SPEC",
    show_default="unit for pixels, else none",
    help="A preset (imagenet, tf, unit, none) or a JSON file.",
)
@option(
    "Data",
    "--samples",
    type=click.IntRange(min=1),
    metavar="N",
    show_default="all; 256 random inputs",
    help="Most samples to compare on.",
)
@input_shape_option
@device_options
@sessions_option
@option(
    "Output",
    "--worst",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="How many of the samples that differ the most are listed.",
)
@option(
    "Output",
    "--pictures",
    type=TYPED_PATH,
    metavar="FILE",
    show_default="none",
    help="Draw these samples into an .svg or .png file, where they are pictures.",
)
@ci_options
@json_option
@seed_option
@verbosity_options
def compare(
    first: str,
    second: str,
    input_shapes: tuple[tuple[str, Sizes], ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Compare SECOND with FIRST, which take and give the same: outputs on the same samples, sizes, and latency.

    Top-1 needs labels; agreement, divergence and errors do not. Latency is measured interleaved.
    """
    refuse_overwriting(first=first, second=second, **options)
    from onnxprune import pipeline
    from onnxprune.cli.observer import make_observer
    from onnxprune.report.comparison_tables import comparison_lines, comparison_tables
    from onnxprune.report.page import comparison_markdown
    from onnxprune.report.verdicts import comparison_cases, comparison_figures

    with CiFiles("compare", f"{first}, {second}", _failed, **ci_paths(options)) as files:
        # Inside: it reads the models, and where it cannot, the files say so.
        shapes = named_shapes([first, second], input_shapes)
        with make_observer(quiet=quiet) as observer:
            result = pipeline.compare(first, second, input_shapes=shapes, observer=observer, **options)
        files.found(comparison_markdown(result), comparison_cases(result), comparison_figures(result))
    if as_json:
        click.echo(result.to_json(), nl=False)
    elif not quiet:
        print_tables(*comparison_tables(result))
        drawn = [] if options["pictures"] is None else [f"wrote {options['pictures']}"]
        print_lines(["", *comparison_lines(result), *drawn])


def _failed(error: BaseException) -> Sequence[Case]:
    from onnxprune.report.verdicts import failed_case

    return [failed_case("compared", error)]
