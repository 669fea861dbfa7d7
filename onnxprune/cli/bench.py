"""`onnxprune bench`: the latency of models, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from onnxprune.cli.ci import CiFiles, ci_options, ci_paths
from onnxprune.cli.options import device_options, input_shape_option, json_option, sessions_option, verbosity_options
from onnxprune.cli.printing import print_tables
from onnxprune.cli.sections import EXIT_CODES, SectionCommand
from onnxprune.cli.shapes import Sizes, named_shapes

if TYPE_CHECKING:
    from onnxprune.report.junit import Case


@click.command(cls=SectionCommand, epilog=EXIT_CODES, short_help="Measure the latency of models side by side.")
@click.argument("models", nargs=-1, required=True, type=click.Path(), metavar="MODEL...")
@device_options
@sessions_option
@input_shape_option
@ci_options
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
    from onnxprune.report.page import bench_markdown
    from onnxprune.report.verdicts import bench_cases, bench_figures

    shapes = named_shapes(models, input_shapes)
    with CiFiles("bench", ", ".join(models), _failed, **ci_paths(device)) as files:
        with make_observer(quiet=quiet) as observer:
            result = pipeline.bench(models, input_shapes=shapes, observer=observer, **device)
        files.found(bench_markdown(result), bench_cases(result), bench_figures(result))
    if as_json:
        click.echo(result.to_json(), nl=False)
    else:
        print_tables(bench_table(result))


def _failed(error: BaseException) -> Sequence[Case]:
    from onnxprune.report.verdicts import failed_case

    return [failed_case("measured", error)]
