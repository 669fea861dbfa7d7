"""`onnxprune bench`: the latency of models, side by side and beside a baseline."""

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
    sessions_option,
    verbosity_options,
)
from onnxprune.cli.overwriting import refuse_overwriting
from onnxprune.cli.parameters import TYPED_PATH, ShareType
from onnxprune.cli.printing import print_lines, print_tables
from onnxprune.cli.sections import EXIT_CODES, SectionCommand
from onnxprune.cli.shapes import Sizes, named_shapes
from onnxprune.errors import RegressionError

if TYPE_CHECKING:
    from onnxprune.report.junit import Case


@click.command(cls=SectionCommand, epilog=EXIT_CODES, short_help="Measure the latency of models side by side.")
@click.argument("models", nargs=-1, required=True, type=TYPED_PATH, metavar="MODEL...")
@option(
    "Baseline",
    "--compare",
    type=TYPED_PATH,
    metavar="REPORT",
    show_default="none",
    help="Compare with what bench, compress or prune reported before, on the same device.",
)
@option(
    "Baseline",
    "--max-regression",
    type=ShareType(),
    default="5%",
    show_default=True,
    help="How much slower than there a model may be; the exit code is 5 where it is slower than that, with statistical "
    "significance.",
)
@option(
    "Baseline", "--force", is_flag=True, help="Compare with a report of another device or of other input sizes too."
)
@option(
    "Output",
    "--report",
    type=TYPED_PATH,
    metavar="FILE",
    show_default="none",
    help="Write the result there as JSON, as a baseline for later.",
)
@option("Output", "--per-layer", is_flag=True, help="Say too where the time goes, by onnxruntime's profiler.")
@option(
    "Output",
    "--top",
    type=click.IntRange(min=1),
    default=15,
    show_default=True,
    metavar="N",
    help="How many layers are shown; --json has all.",
)
@option(
    "Output",
    "--memory/--no-memory",
    default=True,
    show_default=True,
    help="Say how much memory each model takes, in a process of its own on the device.",
)
@device_options
@option(
    "Device",
    "--io-binding/--no-io-binding",
    default=None,
    show_default="on with cuda and tensorrt",
    help="Keep inputs and outputs in the provider's memory: copies are not timed, but reported apart.",
)
@sessions_option
@input_shape_option
@ci_options
@json_option
@verbosity_options
def bench(
    models: tuple[str, ...],
    input_shapes: tuple[tuple[str, Sizes], ...],
    top: int,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Measure the latency of one or more models, interleaved.

    A whole session can be off, so p50 is the median over sessions, and the spread between them is shown. The
    ratio is to the first model. docs/bench.md says how to read it all, and how to use it in CI:

    \b
        onnxprune bench model.onnx --report baseline.json
        onnxprune bench model.onnx --compare baseline.json --max-regression 5%
    """
    _check_baseline(options)
    refuse_overwriting(models=models, **options)
    from onnxprune import pipeline
    from onnxprune.cli.observer import make_observer
    from onnxprune.report import bench_lines, bench_table, layer_tables, runs_table, sizes_table
    from onnxprune.report.page import bench_markdown
    from onnxprune.report.verdicts import bench_cases, bench_figures

    with CiFiles("bench", ", ".join(models), _failed, **ci_paths(options)) as files:
        # Inside: it reads the models, and where it cannot, the files say so.
        shapes = named_shapes(models, input_shapes)
        with make_observer(quiet=quiet) as observer:
            if _typed("top") and not options["per_layer"]:
                observer.warn("--top has no effect: it is for --per-layer, which is not given here")
            result = pipeline.bench(models, input_shapes=shapes, observer=observer, **options)
        files.found(bench_markdown(result), bench_cases(result), bench_figures(result))
        if as_json:
            click.echo(result.to_json(), nl=False)
        elif not quiet:
            tables = [bench_table(result), runs_table(result), sizes_table(result), *layer_tables(result, top)]
            print_tables(*tables)
            print_lines(["", *lines] if (lines := bench_lines(result)) else [])
        pipeline.raise_on_regression(result)


def _failed(error: BaseException) -> Sequence[Case]:
    from onnxprune.report.verdicts import failed_case

    # A regression is a case already.
    return [] if isinstance(error, RegressionError) else [failed_case("measured", error)]


def _check_baseline(options: dict[str, Any]) -> None:
    """Refuse what means nothing without a baseline.

    Raises:
        click.UsageError: It was given without `--compare`.
    """
    for name in ("max_regression", "force"):
        if _typed(name) and options["compare"] is None:
            raise click.UsageError(f"--{name.replace('_', '-')} needs --compare REPORT")


def _typed(name: str) -> bool:
    """Say whether an option was given on the command line, rather than by onnxprune.toml for whatever comes."""
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
