"""`onnxprune inspect`: which channels can be removed, and what fixes the rest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from onnxprune.cli.options import (
    input_shape_option,
    is_verbose,
    json_option,
    model_argument,
    picture_options,
    restriction_options,
    verbosity_options,
)
from onnxprune.cli.overwriting import refuse_overwriting
from onnxprune.cli.printing import print_lines, print_tables
from onnxprune.cli.sections import EXIT_CODES, SectionCommand
from onnxprune.cli.shapes import Sizes, named_shapes
from onnxprune.errors import NothingToPruneError

if TYPE_CHECKING:
    from onnxprune.report import Inspection


@click.command(cls=SectionCommand, epilog=EXIT_CODES, short_help="Show what can be pruned, and what cannot and why.")
@model_argument
@input_shape_option
@restriction_options
@picture_options
@json_option
@verbosity_options
def inspect(
    model: str,
    *,
    input_shapes: tuple[tuple[str, Sizes], ...],
    keep: tuple[str, ...],
    only: tuple[str, ...],
    units: tuple[str, ...],
    svg: str | None,
    html: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show which channels of MODEL can be removed, and what fixes the others.

    Channels that must go together form a group. For each group: the nodes whose weights bring its channels
    forth, how many channels they have, how many go at a time, and the multiply-accumulates and weights that
    the channels take part in, which is what would go if all of them went. With -v all nodes of each group, and
    what would free the others. Where no channel can go, the exit code is 3.

    \b
        onnxprune inspect model.onnx --html model.html
        onnxprune inspect model.onnx --keep 'layer1*' --keep fc
    """
    refuse_overwriting(model=model, svg=svg, html=html)
    from onnxprune.channels import nothing_left
    from onnxprune.graph import write_text
    from onnxprune.pipeline.arguments import restriction
    from onnxprune.report import inspect_model, picture_page
    from onnxprune.report import svg as draw_svg

    inspection = inspect_model(model, named_shapes([model], input_shapes), restriction(keep, only, units))
    if as_json:
        click.echo(json.dumps(inspection.to_dict(), indent=2))
    else:
        _print(inspection, quiet=quiet)
    for path, draw in ((svg, draw_svg), (html, picture_page)):
        if path is not None:
            write_text(draw(inspection), path)
    if not inspection.groups:
        raise NothingToPruneError(nothing_left(model, inspection.fixed, inspection.unreached))


def _print(inspection: Inspection, *, quiet: bool) -> None:
    if quiet:
        return
    from onnxprune.report import fixed_table, groups_table, inspection_lines

    print_lines(inspection_lines(inspection))
    if inspection.groups:
        print_tables(groups_table(inspection, members=is_verbose()))
    if inspection.fixed:
        print_tables(fixed_table(inspection, hints=is_verbose()))
