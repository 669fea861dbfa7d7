"""`onnxprune resume`: go on with a run that was killed."""

from __future__ import annotations

import os
from pathlib import Path

import click

from onnxprune.cli.options import ARGUMENTS, RESUME, verbose_option
from onnxprune.cli.parameters import PATH
from onnxprune.cli.sections import EXIT_CODES, SectionCommand
from onnxprune.errors import RunDirectoryError


@click.command(cls=SectionCommand, epilog=EXIT_CODES, short_help="Go on with a run that was killed.")
@click.argument("directory", metavar="DIR", type=PATH)
@verbose_option
@click.pass_context
def resume(ctx: click.Context, directory: Path) -> None:
    """Go on with the run in DIR, which was started with --run-dir, as it was told then; DIR may have been moved since.

    What was measured, judged and trained is not done again; the result is the one that an unbroken run would have
    given.

    \b
        onnxprune compress model.onnx --target-latency 10ms --data pictures/ --run-dir runs/a
        onnxprune resume runs/a
    """
    from onnxprune.pipeline.directory import REPORT, read_run

    record = read_run(directory)
    if record.arguments is None:
        raise RunDirectoryError(
            f"the run in '{directory}' was started from Python: call onnxprune.{record.operation} with the same "
            "arguments and resume=True"
        )
    if (directory / REPORT).exists():
        click.echo(f"the run in '{directory}' had ended: its results are written again", err=True)
    # Where it was started it may lie no longer, or another run may.
    here = directory.absolute()
    try:
        # Its paths are relative to the folder it was started in.
        os.chdir(record.folder)
    except OSError as error:
        raise RunDirectoryError(
            f"the run in '{directory}' was started in '{record.folder}': {error.strerror}"
        ) from error
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)
    root.meta[ARGUMENTS], root.meta[RESUME] = record.arguments, True
    name, *arguments = record.arguments
    command = root.command.commands[name]
    with command.make_context(name, arguments, parent=root) as context:
        context.params["run_dir"] = str(here)
        command.invoke(context)
