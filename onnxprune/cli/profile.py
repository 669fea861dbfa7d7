"""`onnxprune profile`: what layers cost over their channel counts, measured once."""

from __future__ import annotations

from typing import Any

import click

from onnxprune.cli.options import (
    device_options,
    input_shape_option,
    json_option,
    model_argument,
    option,
    verbosity_options,
)
from onnxprune.cli.overwriting import refuse_overwriting
from onnxprune.cli.parameters import TYPED_PATH, DurationType
from onnxprune.cli.printing import print_lines, print_tables
from onnxprune.cli.sections import EXIT_CODES, SectionCommand
from onnxprune.cli.shapes import Sizes, named_shapes


@click.command(cls=SectionCommand, epilog=EXIT_CODES, short_help="Measure what layers cost over their channel counts.")
@model_argument
@device_options
@option(
    "Device",
    "--budget",
    type=DurationType(),
    metavar="TIME",
    show_default="as long as it takes",
    help="Device time, at most, such as 90s or 5m; what was measured is kept, and the next profile goes on.",
)
@input_shape_option
@option(
    "Output",
    "--plot",
    type=TYPED_PATH,
    metavar="FILE",
    help="Draw each layer's cost over its channel counts: .svg or .png.",
)
@json_option
@verbosity_options
def profile(
    model: str,
    input_shapes: tuple[tuple[str, Sizes], ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Measure what each layer of MODEL costs on a device over its channel counts.

    Counts are measured where the cost bends, and kept for each device, onnxruntime version, provider, threads and
    batch. compress and prune read them, whatever the target; a second profile takes seconds.

    \b
        onnxprune profile model.onnx --device pi --plot stairs.svg
        onnxprune compress model.onnx --device pi --target-latency 60%
    """
    refuse_overwriting(model=model, **options)
    from onnxprune import pipeline
    from onnxprune.cli.observer import make_observer
    from onnxprune.report.profile import profile_lines, profile_table

    shapes = named_shapes([model], input_shapes)
    with make_observer(quiet=quiet) as observer:
        result = pipeline.profile(model, input_shapes=shapes, observer=observer, **options)
    if as_json:
        click.echo(result.to_json(), nl=False)
    elif not quiet:
        print_tables(profile_table(result))
        print_lines(["", *profile_lines(result)])
