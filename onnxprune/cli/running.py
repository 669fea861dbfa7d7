"""Run the pipeline as the command line said, and show the result: shared by compress, prune and demo."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from onnxprune.cli.options import ARGUMENTS, RESUME, is_verbose
from onnxprune.cli.printing import print_lines, print_report
from onnxprune.cli.shapes import named_shapes

if TYPE_CHECKING:
    from onnxprune.pipeline import CompressResult

TARGETS = ("target_latency", "target_macs", "target_params", "target_size", "ratio", "ratios")


def run(operation: Literal["compress", "prune"], model: str, *, quiet: bool, **options: Any) -> CompressResult:
    """Compress or prune a model and print what came of it.

    Args:
        operation: The pipeline's function.
        model: The model file.
        quiet: Print warnings only.
        **options: Keyword arguments of the pipeline, as the command line named them.
    """
    require_one_target(options)
    # Only now: importing them takes a second, which a usage error should not.
    from onnxprune import pipeline
    from onnxprune.cli.observer import make_observer

    options["input_shapes"] = named_shapes([model], options["input_shapes"])
    options["output"] = options["output"] or default_output(model)
    options["report"] = options["report"] or default_report(options["output"])
    with make_observer(quiet=quiet) as observer:
        function = getattr(pipeline, operation)
        resume = bool(click.get_current_context().meta.get(RESUME))
        result: CompressResult = function(model, **options, resume=resume, command=command_line(), observer=observer)
        for message in result.report.warnings:
            if message not in observer.warned:
                observer.warn(message)
    if not quiet:
        print_report(result.report, verbose=is_verbose())
        print_lines([f"wrote {result.output} and {options['report']}"])
    return result


def require_one_target(options: dict[str, Any]) -> None:
    """Refuse no target and several.

    Raises:
        click.UsageError: There is not exactly one.
    """
    names = [f"--{name.replace('_', '-')}" for name in TARGETS if name in options]
    given = [name for name in names if options[name.strip("-").replace("-", "_")] is not None]
    if not given:
        raise click.UsageError(f"give a target, one of {', '.join(names)}; for example {names[0]} 60%")
    if len(given) > 1:
        raise click.UsageError(f"give one target only, not {' and '.join(given)}")


def default_output(model: str) -> str:
    """Return `model.pruned.onnx` beside `model.onnx`."""
    path = Path(model)
    return str(path.with_name(f"{path.stem}.pruned.onnx"))


def default_report(output: str) -> str:
    """Return `out.report.json` beside `out.onnx`."""
    path = Path(output)
    return str(path.with_name(f"{path.stem}.report.json"))


def command_line() -> str:
    """Return the command as it was typed, quoted for a shell."""
    return shlex.join(["onnxprune", *click.get_current_context().meta[ARGUMENTS]])
