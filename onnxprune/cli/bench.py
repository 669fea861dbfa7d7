"""`onnxprune bench`: the latency of models, side by side."""

from __future__ import annotations

from typing import Any

import click

from onnxprune.cli.options import device_options, input_shape_option, json_option, sessions_option, verbosity_options
from onnxprune.cli.printing import print_tables
from onnxprune.cli.sections import EXIT_CODES, SectionCommand
from onnxprune.cli.shapes import Sizes, named_shapes


@click.command(cls=SectionCommand, epilog=EXIT_CODES, short_help="Measure the latency of models side by side.")
@click.argument("models", nargs=-1, required=True, type=click.Path(), metavar="MODEL...")
@device_options
@sessions_option
@input_shape_option
@json_option
@verbosity_options
def bench(
    models: tuple[str, ...],
    input_shapes: tuple[tuple[str, Sizes], ...],
    as_json: bool,
    quiet: bool,
    **device: Any,
) -> None:
    """Measure the latency of one or more models, interleaved.

    A whole session can be off, so p50 is the median over sessions, and the spread between them is shown. The
    ratio is to the first model.
    """
    from onnxprune import pipeline
    from onnxprune.cli.observer import make_observer
    from onnxprune.report import bench_table

    shapes = named_shapes(models, input_shapes)
    with make_observer(quiet=quiet) as observer:
        result = pipeline.bench(models, input_shapes=shapes, observer=observer, **device)
    if as_json:
        click.echo(result.to_json(), nl=False)
    else:
        print_tables(bench_table(result))
