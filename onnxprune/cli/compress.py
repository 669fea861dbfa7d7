"""`onnxprune compress`: prune to a target, train, check, measure."""

from __future__ import annotations

from typing import Any

import click

from onnxprune.cli.ci import ci_options, outputs_option
from onnxprune.cli.dry_run import dry_run_option, show_plan
from onnxprune.cli.options import (
    data_options,
    device_options,
    input_shape_option,
    json_option,
    limit_options,
    max_drop_option,
    model_argument,
    output_options,
    pruning_options,
    ratio_option,
    ratios_option,
    restriction_options,
    run_dir_option,
    seed_option,
    target_options,
    verbosity_options,
)
from onnxprune.cli.running import run
from onnxprune.cli.sections import EXIT_CODES, SectionCommand
from onnxprune.cli.training_options import quantisation_options, stage_options, training_options


@click.command(cls=SectionCommand, epilog=EXIT_CODES, short_help="Prune a model to a target, train it, measure it.")
@model_argument
@ratio_option
@target_options
@ratios_option
@output_options
@run_dir_option
@max_drop_option
@ci_options
@outputs_option
@dry_run_option
@data_options
@input_shape_option
@pruning_options
@restriction_options
@limit_options
@device_options
@training_options
@stage_options
@json_option
@quantisation_options
@seed_option
@verbosity_options
def compress(model: str, dry_run: bool, **options: Any) -> None:
    """Prune MODEL to a target, train it to give the original's outputs again, and measure the result.

    The result meets the target as measured on the device with the given provider, threads and batch.
    Without labels it learns from the original's outputs alone; without --data it is healed on random inputs,
    which says little about its accuracy.

    With --quantize int8 the result is an int8 network, and it is that network which meets the latency.

    \b
        onnxprune compress model.onnx --target-latency 10ms --data pictures/ --preprocess imagenet
        onnxprune compress model.onnx --target-macs 50% -o small.onnx --data train.npz --test test.npz
    """
    (show_plan if dry_run else run)("compress", model, **options)
