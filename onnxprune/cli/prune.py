"""`onnxprune prune`: remove channels and prove it, without training."""

from __future__ import annotations

from typing import Any

import click

from onnxprune.cli.ci import ci_options, outputs_option
from onnxprune.cli.dry_run import dry_run_option, show_plan
from onnxprune.cli.options import (
    data_options,
    device_options,
    heal_option,
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


@click.command(cls=SectionCommand, epilog=EXIT_CODES, short_help="Remove channels and prove the removal; no training.")
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
@heal_option
@device_options
@json_option
@seed_option
@verbosity_options
def prune(model: str, dry_run: bool, **options: Any) -> None:
    """Remove channels of MODEL, without training.

    The removal is always verified: the smaller network must compute what the original computes with the
    removed channels silenced. Train the result where you trained the original, or use compress instead.

    \b
        onnxprune prune model.onnx --ratio 0.3 --round-to 16
        onnxprune prune model.onnx --target-latency 60% --importance taylor --data train.npz
    """
    (show_plan if dry_run else run)("prune", model, **options)
