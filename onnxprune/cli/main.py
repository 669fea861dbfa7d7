"""The entry point: the commands, and what becomes of their errors."""

from __future__ import annotations

import errno
from typing import Any, NoReturn

import click

from onnxprune.cli.bench import bench
from onnxprune.cli.compare import compare
from onnxprune.cli.compress import compress
from onnxprune.cli.configuration import configurable
from onnxprune.cli.demo import demo
from onnxprune.cli.ending import Stopped, stoppable
from onnxprune.cli.inspect import inspect
from onnxprune.cli.options import ARGUMENTS, VERBOSE
from onnxprune.cli.plot import plot
from onnxprune.cli.profile import profile
from onnxprune.cli.prune import prune
from onnxprune.cli.report import report
from onnxprune.cli.resume import resume
from onnxprune.cli.sections import EXIT_CODES
from onnxprune.cores import heed_quota
from onnxprune.errors import OnnxPruneError

_INTERRUPTED = 130


class Commands(click.Group):
    """Turns the library's errors into messages and exit codes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the command line, for the record of a run."""
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        heed_quota()
        try:
            with stoppable():
                return super().invoke(ctx)
        except OnnxPruneError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except Stopped as stopped:
            click.echo(str(stopped), err=True)
            ctx.exit(stopped.exit_code)
        except KeyboardInterrupt:
            click.echo("Interrupted", err=True)
            ctx.exit(_INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            _unexpected(ctx, error)
        except Exception as error:
            _unexpected(ctx, error)


def _unexpected(ctx: click.Context, error: Exception) -> NoReturn:
    summary = f"Error: this is a bug in onnxprune: {type(error).__name__}: {error}"
    if ctx.meta.get(VERBOSE):
        import traceback

        click.echo("".join(traceback.format_exception(error)).rstrip(), err=True)
        click.echo(f"{summary}\nPlease report it with the lines above.", err=True)
    else:
        click.echo(f"{summary}\nRun the command again with -v for the traceback.", err=True)
    ctx.exit(1)


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from onnxprune import __version__

        click.echo(f"onnxprune {__version__}")
        ctx.exit()


@click.group(
    cls=Commands,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
def main() -> None:
    """Make a trained ONNX model smaller and faster on the hardware it runs on.

    Give it a model and a latency; it removes the channels that matter least, proves the removal, trains what
    is left to give the original's outputs, and measures the result:

    \b
        onnxprune inspect model.onnx
        onnxprune compress model.onnx --target-latency 10ms --data pictures/
    """


for _command in (compress, prune, resume, plot, report, inspect, bench, profile, compare, demo):
    main.add_command(configurable(_command))
