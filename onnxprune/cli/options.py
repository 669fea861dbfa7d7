"""The options that commands share, under the headings of the help text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from onnxprune.cli.parameters import (
    TYPED_PATH,
    DeviceType,
    FiniteRange,
    InputShapeType,
    ProviderType,
    SearchBudgetType,
    TargetType,
)
from onnxprune.cli.sections import SectionOption

VERBOSE = "onnxprune.verbose"
"""Where the context keeps whether `-v` was given."""

CRITERIA = ("l1", "l2", "reader_l1", "bn_scale", "fpgm", "variance", "taylor", "reconstruction", "random")
"""Names of the importance criteria; here too, since importing them would make `--help` slow."""

UNITS = ("channels", "mlp", "head-dim", "heads", "embedding")
"""Names of what may go; here for the same reason."""

ALLOCATIONS = ("rl", "global", "uniform", "random", "rl-pruner")
"""Names of the allocations and agents; here for the same reason."""

Decorator = Callable[[Any], Any]


def option(section: str, *names: str, **settings: Any) -> Decorator:
    """Make an option that stands under a heading of the help text."""
    return click.option(*names, cls=SectionOption, section=section, **settings)


def together(*decorators: Decorator) -> Decorator:
    """Make one decorator of several options, in the order given."""

    def decorate(function: Any) -> Any:
        # The last decorator applied comes first in the help text.
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _keep_verbose(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    # `resume` runs another command, which was told nothing of its -v.
    ctx.meta[VERBOSE] = value or ctx.meta.get(VERBOSE, False)


ARGUMENTS = "onnxprune.arguments"
"""Where the context keeps the command line after `onnxprune`."""

RESUME = "onnxprune.resume"
"""Where the context keeps whether a run goes on."""


def is_verbose() -> bool:
    """Say whether the running command was given `-v`."""
    return bool(click.get_current_context().meta.get(VERBOSE))


model_argument = click.argument("model", type=TYPED_PATH)

target_options = together(
    option(
        "Target (give one)",
        "--target-latency",
        type=TargetType("latency"),
        help="Latency p50 on the device: 10ms, 500us, 0.01s, or a share of the original's: 60%, 0.5x.",
    ),
    option(
        "Target (give one)",
        "--target-macs",
        type=TargetType("macs"),
        help="Multiply-accumulates: 500M, 1.2G, or a share: 60%, 0.5x.",
    ),
    option(
        "Target (give one)",
        "--target-params",
        type=TargetType("params"),
        help="Number of weights: 500k, 12M, or a share: 60%, 0.5x.",
    ),
    option(
        "Target (give one)",
        "--target-size",
        type=TargetType("size"),
        help="Size of the file: 500kB, 3MB, or a share: 60%, 0.5x.",
    ),
)

ratio_option = option(
    "Target (give one)",
    "--ratio",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of the channels to remove: 0.3.",
)

ratios_option = option(
    "Target (give one)",
    "--ratios",
    type=TYPED_PATH,
    metavar="FILE",
    help='Share to remove of each group, by patterns of names: a JSON file such as {"layer3*": 0.5}.',
)

restriction_options = together(
    option(
        "Pruning",
        "--keep",
        multiple=True,
        metavar="PATTERN",
        show_default="none",
        help="Leave the channels of these nodes alone, such as 'layer1*', and all that share channels with them; "
        "may be repeated.",
    ),
    option(
        "Pruning",
        "--only",
        multiple=True,
        metavar="PATTERN",
        show_default="all",
        help="Let channels of these nodes go only; may be repeated.",
    ),
    option(
        "Pruning",
        "--unit",
        "units",
        type=click.Choice(UNITS),
        multiple=True,
        show_default="channels, mlp, head-dim; heads where their entries cannot go",
        help="What may go: channels of convolutions, hidden units (mlp), of attention the same entries of every head "
        "(head-dim) or whole heads (heads), and the width that LayerNormalizations see (embedding: approximate, it "
        "has to be trained); may be repeated.",
    ),
)

limit_options = together(
    option(
        "Pruning",
        "--max-ratio",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="RATIO",
        show_default="0.9, or whole branches",
        help="Most that may go of any one group, such as 0.5; no branch goes whole then.",
    ),
    option(
        "Pruning",
        "--min-channels",
        type=click.IntRange(min=1),
        metavar="N",
        show_default="a tenth",
        help="Channels of any one group that always stay; no branch goes whole then.",
    ),
)

picture_options = together(
    option(
        "Output",
        "--svg",
        type=TYPED_PATH,
        metavar="FILE",
        help="Draw the graph: groups coloured, fixed channels grey with the reason on hover.",
    ),
    option("Output", "--html", type=TYPED_PATH, metavar="FILE", help="The same as a page, with the tables; one file."),
)

output_options = together(
    option(
        "Output",
        "-o",
        "--output",
        type=TYPED_PATH,
        show_default="MODEL with the ending .pruned.onnx",
        help="Where the result goes.",
    ),
    option(
        "Output",
        "--report",
        type=TYPED_PATH,
        show_default="the output with the ending .report.json",
        help="Where the record of the run goes, as JSON.",
    ),
)

run_dir_option = option(
    "Output",
    "--run-dir",
    type=TYPED_PATH,
    metavar="DIR",
    show_default="none",
    help="Keep here what is needed to go on after a kill (onnxprune resume DIR) and to plot the run.",
)

heal_option = option(
    "Pruning",
    "--heal",
    is_flag=True,
    help="Correct the remaining weights in closed form on samples of --data, without training; no labels needed.",
)

max_drop_option = option(
    "Output",
    "--max-drop",
    type=FiniteRange(min=0),
    metavar="POINTS",
    show_default="no limit",
    help="Most points of accuracy or agreement that may be lost, as judged on --data; beyond it the exit code is 4.",
)

data_options = together(
    option(
        "Data",
        "--data",
        metavar="SOURCE",
        show_default="random inputs",
        help="A folder of pictures (subfolders are labels), an .npz file, or package.module:function.",
    ),
    option(
        "Data",
        "--val",
        metavar="SOURCE",
        show_default="a tenth of --data",
        help="Validation part, which candidates and the best epoch are chosen on; best of data that the network has "
        "not been trained on.",
    ),
    option(
        "Data",
        "--test",
        metavar="SOURCE",
        show_default="a tenth of --data",
        help="Test part, used once, for the figures of the report.",
    ),
    option(
        "Data",
        "--preprocess",
        metavar="SPEC",
        show_default="unit for pixels, else none",
        help="A preset (imagenet, tf, unit, none) or a JSON file with preset, scale, mean, std, size, crop, layout, "
        "color.",
    ),
    option(
        "Data",
        "--metric",
        metavar="FUNCTION",
        show_default="top-1 with labels, agreement with the original without",
        help="package.module:function of (outputs, labels) that returns points, higher for better; outputs is the "
        "array of all samples, or a tuple of such arrays where the model has several outputs, and labels may be "
        "anything with one row a sample.",
    ),
)

input_shape_option = option(
    "Data",
    "--input-shape",
    "input_shapes",
    type=InputShapeType(),
    multiple=True,
    metavar="NAME:SIZES",
    help="Sizes of an input with dynamic axes, such as image:1x3x224x224; may be repeated. "
    "The name may be left out where the model has one input.",
)

pruning_options = together(
    option(
        "Pruning",
        "--importance",
        type=click.Choice(CRITERIA),
        show_default="reconstruction with --data, reader_l1 without; taylor for rl-pruner",
        help="What a channel is judged by: the error that is left once others have made up for it (reconstruction), "
        "the loss's change (taylor), both by --data; the weights that read it (reader_l1), those and its own (l1, l2), "
        "BatchNormalization's scale (bn_scale), the distance to the other filters (fpgm), the variance of its filter "
        "(variance). docs/importance.md compares.",
    ),
    option(
        "Pruning",
        "--allocation",
        type=click.Choice(ALLOCATIONS),
        show_default="rl with --data and training, else global",
        help="How the pruning is spread: learned on candidates that are pruned, healed and judged (rl); where it "
        "costs least (global); the same share everywhere (uniform); candidates at random (random); "
        "as published, a per cent of the filters at a time, each distilled (rl-pruner).",
    ),
    option(
        "Pruning",
        "--rl-pruner",
        multiple=True,
        metavar="NAME=VALUE",
        show_default="the paper's",
        help="A hyper-parameter of rl-pruner, such as share=0.02; may be repeated. docs/search.md lists them.",
    ),
    option(
        "Pruning",
        "--search-budget",
        type=SearchBudgetType(),
        show_default="40 to 160 structures, by the network's size",
        help="How long rl and random search: a number of structures (200) in each stage, or a time (10m) for all.",
    ),
    option(
        "Pruning",
        "--branches/--no-branches",
        default=True,
        show_default=True,
        help="Let whole residual blocks and branches of concatenations go, where the data says what they are worth.",
    ),
    option(
        "Pruning",
        "--round-to",
        type=click.IntRange(min=1),
        metavar="N",
        show_default="what the device's measured layers ask for",
        help="Keep multiples of N channels; 1 for any number.",
    ),
)

sessions_option = option(
    "Device",
    "--sessions",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Fresh sessions of each model.",
)

device_options = together(
    option(
        "Device",
        "--device",
        type=DeviceType(),
        default="local",
        show_default=True,
        help="Where latency is measured: local, ssh://user@host?python=PATH, either with ?provider=NAME&threads=N, "
        "or a name from onnxprune.toml.",
    ),
    option(
        "Device",
        "--provider",
        type=ProviderType(),
        metavar="NAME",
        show_default="the device's, else cpu",
        help="onnxruntime's execution provider: cpu, cuda, tensorrt, openvino, coreml, dml, xnnpack, qnn, ...",
    ),
    option(
        "Device",
        "--threads",
        type=click.IntRange(min=1),
        show_default="the device's, else 1",
        help="Threads inside an operator.",
    ),
    option(
        "Device",
        "--batch",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Samples per run, where the model's batch is dynamic.",
    ),
)

seed_option = option("Other", "--seed", type=int, default=0, show_default=True, help="Seed of everything random.")

json_option = option("Other", "--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


def _verbose_option(shown: str) -> Decorator:
    settings = {"is_flag": True, "expose_value": False, "callback": _keep_verbose}
    return option("Other", "-v", "--verbose", help=f"Show more: {shown}.", **settings)


traceback_option = _verbose_option("the traceback of an unexpected error")

verbose_option = _verbose_option(
    "each group's channels, what would free fixed ones; the traceback of an unexpected error"
)

verbosity_options = together(
    option("Other", "-q", "--quiet", is_flag=True, help="No progress, no tables: warnings and errors only."),
    verbose_option,
)
