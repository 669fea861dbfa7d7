"""The options that commands share, under the headings of the help text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from onnxprune.cli.parameters import (
    DeviceType,
    DurationType,
    InputShapeType,
    SearchBudgetType,
    StagesType,
    TargetType,
)
from onnxprune.cli.sections import SectionOption

VERBOSE = "onnxprune.verbose"
"""Where the context keeps whether `-v` was given."""

CRITERIA = ("l1", "l2", "reader_l1", "bn_scale", "fpgm", "taylor", "reconstruction", "random")
"""Names of the importance criteria; here too, since importing them would make `--help` slow."""

ALLOCATIONS = ("rl", "global", "uniform", "random", "rl-pruner")
"""Names of the allocations and agents; here for the same reason."""

Decorator = Callable[[Any], Any]


def _option(section: str, *names: str, **settings: Any) -> Decorator:
    return click.option(*names, cls=SectionOption, section=section, **settings)


def _together(*decorators: Decorator) -> Decorator:
    def decorate(function: Any) -> Any:
        # The last decorator applied comes first in the help text.
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _keep_verbose(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[VERBOSE] = value


ARGUMENTS = "onnxprune.arguments"
"""Where the context keeps the command line after `onnxprune`."""

RESUME = "onnxprune.resume"
"""Where the context keeps whether a run goes on."""


def is_verbose() -> bool:
    """Say whether the running command was given `-v`."""
    return bool(click.get_current_context().meta.get(VERBOSE))


model_argument = click.argument("model", type=click.Path())

target_options = _together(
    _option(
        "Target (give one)",
        "--target-latency",
        type=TargetType("latency"),
        help="Latency p50 on the device: 10ms, 500us, 0.01s, or a share of the original's: 60%, 0.5x.",
    ),
    _option(
        "Target (give one)",
        "--target-macs",
        type=TargetType("macs"),
        help="Multiply-accumulates: 500M, 1.2G, or a share: 60%, 0.5x.",
    ),
    _option(
        "Target (give one)",
        "--target-params",
        type=TargetType("params"),
        help="Number of weights: 500k, 12M, or a share: 60%, 0.5x.",
    ),
    _option(
        "Target (give one)",
        "--target-size",
        type=TargetType("size"),
        help="Size of the weights: 500kB, 3MB, or a share: 60%, 0.5x.",
    ),
)

ratio_option = _option(
    "Target (give one)",
    "--ratio",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of the channels to remove: 0.3.",
)

output_options = _together(
    _option(
        "Output",
        "-o",
        "--output",
        type=click.Path(),
        show_default="MODEL with the ending .pruned.onnx",
        help="Where the result goes.",
    ),
    _option(
        "Output",
        "--report",
        type=click.Path(),
        show_default="the output with the ending .report.json",
        help="Where the record of the run goes, as JSON.",
    ),
)

run_dir_option = _option(
    "Output",
    "--run-dir",
    type=click.Path(),
    metavar="DIR",
    show_default="none",
    help="Keep here what is needed to go on after a kill (onnxprune resume DIR) and to plot the run.",
)

heal_option = _option(
    "Pruning",
    "--heal",
    is_flag=True,
    help="Correct the remaining weights in closed form on samples of --data, without training; no labels needed.",
)

max_drop_option = _option(
    "Output",
    "--max-drop",
    type=click.FloatRange(min=0),
    metavar="POINTS",
    show_default="no limit",
    help="Most points of accuracy or agreement that may be lost; beyond it the exit code is 4.",
)

data_options = _together(
    _option(
        "Data",
        "--data",
        metavar="SOURCE",
        show_default="random inputs",
        help="A folder of pictures (subfolders are labels), an .npz file, or package.module:function.",
    ),
    _option(
        "Data",
        "--val",
        metavar="SOURCE",
        show_default="a tenth of --data",
        help="Validation part, used to choose the best epoch.",
    ),
    _option(
        "Data",
        "--test",
        metavar="SOURCE",
        show_default="a tenth of --data",
        help="Test part, used once, for the figures of the report.",
    ),
    _option(
        "Data",
        "--preprocess",
        metavar="SPEC",
        show_default="none",
        help="A preset (imagenet, tf, unit, none) or a JSON file with scale, mean, std, size, layout, color.",
    ),
    _option(
        "Data",
        "--metric",
        metavar="FUNCTION",
        show_default="top-1 with labels, agreement with the original without",
        help="package.module:function of (outputs, labels) that returns points, higher for better; labels may then be "
        "anything with one row a sample.",
    ),
)

input_shape_option = _option(
    "Data",
    "--input-shape",
    "input_shapes",
    type=InputShapeType(),
    multiple=True,
    metavar="NAME:SIZES",
    help="Sizes of an input with dynamic axes, such as image:1x3x224x224; may be repeated. "
    "The name may be left out where the model has one input.",
)

pruning_options = _together(
    _option(
        "Pruning",
        "--importance",
        type=click.Choice(CRITERIA),
        show_default="reconstruction with --data, reader_l1 without",
        help="What a channel is judged by; reconstruction and taylor need --data.",
    ),
    _option(
        "Pruning",
        "--allocation",
        type=click.Choice(ALLOCATIONS),
        show_default="rl with --data and training, else global",
        help="How the pruning is spread: learned on candidates that are pruned, healed and judged (rl); where it "
        "costs least (global); the same share everywhere (uniform); candidates at random (random); "
        "as published, a per cent of the filters at a time, each distilled (rl-pruner).",
    ),
    _option(
        "Pruning",
        "--rl-pruner",
        multiple=True,
        metavar="NAME=VALUE",
        show_default="the paper's",
        help="A hyper-parameter of rl-pruner, such as share=0.02; may be repeated. docs/search.md lists them.",
    ),
    _option(
        "Pruning",
        "--search-budget",
        type=SearchBudgetType(),
        show_default="40 to 160 structures, by the network's size",
        help="How long rl and random search: a number of structures (200), or a time (10m).",
    ),
    _option(
        "Pruning",
        "--branches/--no-branches",
        default=True,
        show_default=True,
        help="Let whole residual blocks and branches of concatenations go, where the data says what they are worth.",
    ),
    _option(
        "Pruning",
        "--round-to",
        type=click.IntRange(min=1),
        metavar="N",
        show_default="what the device's measured layers ask for",
        help="Keep multiples of N channels; 1 for any number.",
    ),
)

device_options = _together(
    _option(
        "Device",
        "--device",
        type=DeviceType(),
        default="local",
        show_default=True,
        help="Where latency is measured: local, ssh://user@host?python=PATH, either with ?provider=NAME&threads=N, "
        "or a name from onnxprune.toml.",
    ),
    _option(
        "Device",
        "--provider",
        metavar="NAME",
        show_default="the device's, else cpu",
        help="onnxruntime's execution provider: cpu, cuda, tensorrt, openvino, coreml, dml, xnnpack, qnn, ...",
    ),
    _option(
        "Device",
        "--threads",
        type=click.IntRange(min=1),
        show_default="the device's, else 1",
        help="Threads inside an operator.",
    ),
    _option(
        "Device",
        "--batch",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Samples per run, where the model's batch is dynamic.",
    ),
)

training_options = _together(
    _option(
        "Training",
        "--epochs",
        type=click.IntRange(min=1),
        metavar="N",
        show_default="what 2000 steps need, 10 to 60",
        help="Passes over the training data.",
    ),
    _option(
        "Training",
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        show_default="64",
        help="Samples per training step.",
    ),
    _option(
        "Training",
        "--learning-rate",
        type=click.FloatRange(min=0, min_open=True),
        metavar="RATE",
        show_default="0.02 for sgd, 0.001 for adamw",
        help="Highest learning rate; it warms up and then falls along a cosine.",
    ),
    _option(
        "Training",
        "--optimizer",
        type=click.Choice(["sgd", "adamw"]),
        default="sgd",
        show_default=True,
        help="Which optimizer.",
    ),
    _option(
        "Training",
        "--time-budget",
        type=DurationType(),
        show_default="no limit",
        help="Longest training time: 90s, 5m, 1h.",
    ),
)

stage_options = _together(
    _option(
        "Training",
        "--features",
        type=click.FloatRange(min=0),
        default=0.0,
        show_default=True,
        metavar="WEIGHT",
        help="Weight of the error of what layers inside give, beside the outputs'; 0: outputs only.",
    ),
    _option(
        "Training",
        "--heal/--no-heal",
        default=True,
        show_default=True,
        help="Correct weights in closed form before candidates are judged and before training.",
    ),
    _option(
        "Training",
        "--stages",
        type=StagesType(),
        default="auto",
        show_default=True,
        help="Steps that the target is reached in, each pruned, healed and trained: a number, or auto (by the gap).",
    ),
    _option(
        "Training",
        "--teacher",
        type=click.Choice(["original", "previous", "better"]),
        default="original",
        show_default=True,
        help="Whom stages after the first learn from: the original, the stage before, or the better of the two.",
    ),
)

seed_option = _option("Other", "--seed", type=int, default=0, show_default=True, help="Seed of everything random.")

json_option = _option("Other", "--json", "as_json", is_flag=True, help="Print JSON instead of tables.")

verbosity_options = _together(
    _option("Other", "-q", "--quiet", is_flag=True, help="No progress, no tables: warnings and errors only."),
    _option(
        "Other",
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_keep_verbose,
        help="Show more: each group's channels; the traceback of an unexpected error.",
    ),
)
