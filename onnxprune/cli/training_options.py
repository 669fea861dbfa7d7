"""The options of training, which `compress` has."""

from __future__ import annotations

import click

from onnxprune.cli.options import option, together
from onnxprune.cli.parameters import DurationType, FiniteRange, StagesType

training_options = together(
    option(
        "Training",
        "--epochs",
        type=click.IntRange(min=1),
        metavar="N",
        show_default="what 2000 steps need, 10 to 60",
        help="Passes over the training data.",
    ),
    option(
        "Training",
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        show_default="64",
        help="Samples per training step.",
    ),
    option(
        "Training",
        "--learning-rate",
        type=FiniteRange(min=0, min_open=True),
        metavar="RATE",
        show_default="0.0005 for adamw, 0.005 for sgd",
        help="Highest learning rate; it warms up and then falls along a cosine.",
    ),
    option(
        "Training",
        "--optimizer",
        type=click.Choice(["adamw", "sgd"]),
        show_default="adamw; of rl-pruner sgd",
        help="Which optimizer; rl-pruner has its own.",
    ),
    option(
        "Training",
        "--augment",
        type=click.Choice(["flip", "shift"]),
        multiple=True,
        show_default="none",
        help="Change training pictures at random: flip left to right, shift by up to an eighth. May be repeated.",
    ),
    option(
        "Training",
        "--time-budget",
        type=DurationType(),
        show_default="no limit",
        help="Longest training time, of all stages: 90s, 5m, 1h.",
    ),
)

quantisation_options = together(
    option(
        "Quantisation",
        "--quantize",
        type=click.Choice(["int8"]),
        show_default="none",
        help="Quantise the trained result, static QDQ; the target latency is that of the int8 network. Needs --data.",
    ),
    option(
        "Quantisation",
        "--calibration",
        type=click.Choice(["minmax", "percentile", "entropy"]),
        default="minmax",
        show_default=True,
        help="How ranges of activations follow from samples; the last two cut outliers off.",
    ),
)

stage_options = together(
    option(
        "Training",
        "--features",
        type=FiniteRange(min=0),
        default=0.0,
        show_default=True,
        metavar="WEIGHT",
        help="Weight of the error of what layers inside give, beside the outputs'; 0: outputs only.",
    ),
    option(
        "Training",
        "--heal/--no-heal",
        default=True,
        show_default=True,
        help="Correct weights in closed form before candidates are judged and before training.",
    ),
    option(
        "Training",
        "--stages",
        type=StagesType(),
        default="auto",
        show_default=True,
        help="Steps that the target is reached in, each pruned, healed and trained: a number, or auto (by the gap). "
        "rl-pruner takes as many as its share asks for.",
    ),
    option(
        "Training",
        "--teacher",
        type=click.Choice(["original", "previous", "better"]),
        default="original",
        show_default=True,
        help="Whom stages after the first learn from: the original, the stage before, or the better of the two.",
    ),
)
