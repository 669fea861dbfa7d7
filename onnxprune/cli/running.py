"""Run the pipeline as the command line said, and show the result: shared by compress, prune and demo."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxprune.cli.ci import CiFiles, ci_paths
from onnxprune.cli.options import ARGUMENTS, RESUME, is_verbose
from onnxprune.cli.overwriting import refuse_overwriting
from onnxprune.cli.parameters import CONFIG_FILE
from onnxprune.cli.printing import print_lines, print_report
from onnxprune.cli.shapes import named_shapes
from onnxprune.errors import MaxDropExceededError

if TYPE_CHECKING:
    from onnxprune.pipeline import CompressResult
    from onnxprune.report import Operation, Report
    from onnxprune.report.junit import Case

_FROM_FILE = click.core.ParameterSource.DEFAULT_MAP

TARGETS = ("target_latency", "target_macs", "target_params", "target_size", "ratio", "ratios")


def run(
    operation: Operation,
    model: str,
    *,
    quiet: bool,
    as_json: bool = False,
    **options: Any,
) -> CompressResult:
    """Compress or prune a model, print what came of it, and tell the CI system.

    Args:
        operation: The pipeline's function.
        model: The model file.
        quiet: Print warnings only.
        as_json: Print the report instead of tables.
        **options: Keyword arguments of the pipeline and files for CI, as the command line named them.
    """
    paths, options = ci_paths(options), completed(model, options)
    refuse_overwriting(model=model, **paths, **options)
    with CiFiles(operation, model, partial(_cases, options), **paths) as files:
        try:
            result = _run(operation, model, quiet=quiet, options=options)
        except MaxDropExceededError as error:
            record = _record(error)
            if record is not None and files.wanted:
                _tell(files, record, [], options)
            if record is not None and as_json:
                click.echo(record.to_json(), nl=False)
            raise
        except KeyboardInterrupt:
            _say_how_to_go_on(options.get("run_dir"))
            raise
        if files.wanted:
            _tell(files, result.report, _passed(result.report, options), options)
    if as_json:
        click.echo(result.report.to_json(), nl=False)
    elif not quiet:
        print_report(result.report, verbose=is_verbose())
        print_lines([f"wrote {result.output} and {options['report']}"])
    return result


def _run(operation: Operation, model: str, *, quiet: bool, options: dict[str, Any]) -> CompressResult:
    # Only now: importing them takes a second, which a usage error should not.
    from onnxprune import pipeline
    from onnxprune.cli.observer import make_observer

    options = {**options, "input_shapes": named_shapes([model], options["input_shapes"])}
    with make_observer(quiet=quiet) as observer:
        function = getattr(pipeline, operation)
        resume = bool(click.get_current_context().meta.get(RESUME))
        result: CompressResult = function(model, **options, resume=resume, command=command_line(), observer=observer)
        for message in result.report.warnings:
            if message not in observer.warned:
                observer.warn(message)
    return result


def _say_how_to_go_on(run_dir: str | Path | None) -> None:
    from onnxprune.pipeline.directory import holds_run

    if run_dir is not None and holds_run(Path(run_dir)):
        click.echo(f"Go on with: {shlex.join(['onnxprune', 'resume', str(run_dir)])}", err=True)


def _tell(files: CiFiles, report: Report, cases: list[Case], options: dict[str, Any]) -> None:
    from onnxprune.report.page import markdown_summary
    from onnxprune.report.verdicts import run_figures, run_outputs

    files.found(markdown_summary(report), cases, run_figures(report), run_outputs(report, options["report"]))


def _passed(report: Report, options: dict[str, Any]) -> list[Case]:
    from onnxprune.report.verdicts import run_cases

    return run_cases(report, options.get("max_drop"))


def _cases(options: dict[str, Any], error: BaseException) -> list[Case]:
    from onnxprune.report.verdicts import failed_cases, run_cases

    record = _record(error)
    return failed_cases(error) if record is None else run_cases(record, options["max_drop"], str(error))


def _record(error: BaseException) -> Report | None:
    """Return the record of a run whose result was refused; None: the error is another one."""
    from onnxprune.report import Report

    if isinstance(error, MaxDropExceededError) and isinstance(error.report, Report):
        return error.report
    return None


def completed(model: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a run with one target, and with the files that it writes.

    Raises:
        click.UsageError: There is not exactly one target.
    """
    options = with_one_target(options)
    # Only now: importing it takes a second, which a usage error should not.
    from onnxprune.pipeline.files import default_output, default_report

    output = options["output"] or str(default_output(Path(model)))
    return {**options, "output": output, "report": options["report"] or str(default_report(Path(output)))}


def with_one_target(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the only target: of those typed, before those of `onnxprune.toml`.

    Raises:
        click.UsageError: There is not exactly one.
    """
    possible = [name for name in TARGETS if name in options]
    given = [name for name in possible if options[name] is not None]
    typed = [name for name in given if click.get_current_context().get_parameter_source(name) != _FROM_FILE]
    if not given:
        names = [_as_typed(name) for name in possible]
        raise click.UsageError(f"give a target, one of {', '.join(names)}; for example {names[0]} 60%")
    chosen = typed or given
    if len(chosen) > 1:
        path = click.get_current_context().meta.get(CONFIG_FILE)
        where = "" if typed or path is None else f" in '{path}'"
        raise click.UsageError(f"give one target only{where}, not {' and '.join(map(_as_typed, chosen))}")
    return {**options, **{name: None for name in given if name not in chosen}}


def _as_typed(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def command_line() -> str:
    """Return the command as it was typed, quoted for a shell."""
    return shlex.join(["onnxprune", *click.get_current_context().meta[ARGUMENTS]])
