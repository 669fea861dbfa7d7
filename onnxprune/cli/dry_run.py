"""`--dry-run`: what a run would do, and how long it would take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from onnxprune.cli.ci import ci_paths
from onnxprune.cli.options import option
from onnxprune.cli.overwriting import refuse_overwriting
from onnxprune.cli.printing import print_lines
from onnxprune.cli.running import completed
from onnxprune.cli.shapes import named_shapes

if TYPE_CHECKING:
    from onnxprune.report import Operation

dry_run_option = option(
    "Output",
    "--dry-run",
    is_flag=True,
    help="Say what would be done and how long it should take, and write nothing.",
)


def show_plan(
    operation: Operation,
    model: str,
    *,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Look at everything a run needs, and print what it would do.

    Args:
        operation: The pipeline's function.
        model: The model file.
        quiet: Print warnings only.
        as_json: Print JSON instead of lines.
        **options: Keyword arguments of the pipeline and files for CI, as the command line named them.
    """
    paths, options = ci_paths(options), completed(model, options)
    refuse_overwriting(model=model, **paths, **options)
    from onnxprune import pipeline
    from onnxprune.cli.observer import make_observer

    options["input_shapes"] = named_shapes([model], options["input_shapes"])
    with make_observer(quiet=quiet) as observer:
        preview = pipeline.preview(operation, model, **options, observer=observer)
    files = [str(path) for path in paths.values() if path is not None]
    preview = preview.model_copy(update={"outputs": (*preview.outputs, *files)})
    if as_json:
        click.echo(preview.to_json(), nl=False)
    elif not quiet:
        from onnxprune.report.preview import preview_lines

        print_lines(preview_lines(preview))
