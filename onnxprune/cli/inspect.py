"""`onnxprune inspect`: which channels can be removed, and what fixes the rest."""

from __future__ import annotations

import json

import click

from onnxprune.cli.options import input_shape_option, json_option, model_argument, verbosity_options
from onnxprune.cli.printing import print_lines, print_tables
from onnxprune.cli.sections import EXIT_CODES, SectionCommand
from onnxprune.cli.shapes import Sizes, named_shapes


@click.command(cls=SectionCommand, epilog=EXIT_CODES, short_help="Show what can be pruned, and what cannot and why.")
@model_argument
@input_shape_option
@json_option
@verbosity_options
def inspect(model: str, input_shapes: tuple[tuple[str, Sizes], ...], as_json: bool, quiet: bool) -> None:
    """Show which channels of MODEL can be removed, and what fixes the others.

    Channels that must go together form a group. For each group: the nodes whose weights bring its channels
    forth, how many channels they have, how many go at a time, and the multiply-accumulates and weights that
    the channels take part in, which is what would go if all of them went.
    """
    from onnxprune.report import fixed_table, groups_table, inspect_model, inspection_lines

    inspection = inspect_model(model, named_shapes([model], input_shapes))
    if as_json:
        click.echo(json.dumps(inspection.to_dict(), indent=2))
        return
    print_lines(inspection_lines(inspection))
    if quiet:
        return
    if inspection.groups:
        print_tables(groups_table(inspection))
    if inspection.fixed:
        print_tables(fixed_table(inspection))
