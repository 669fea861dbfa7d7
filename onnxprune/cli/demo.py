"""`onnxprune demo`: the sample network made half as slow, with its accuracy before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from onnxprune.cli.options import seed_option, verbosity_options
from onnxprune.cli.parameters import PATH
from onnxprune.cli.printing import print_lines
from onnxprune.cli.running import run
from onnxprune.cli.sections import EXIT_CODES, SectionCommand, SectionOption

MODELS = (Path(__file__).resolve().parents[2] / "models", Path("models"))
"""Where a checkout has the sample network: the one that this file is in, or the one that the command is called in."""

FILES = {
    "model": "fashion-resnet20.onnx",
    "data": "fashion-train.npz",
    "test": "fashion-test.npz",
    "preprocess": "fashion-preprocess.json",
}
"""The sample network and its data."""

_TARGET = "50%"


@click.command(cls=SectionCommand, epilog=EXIT_CODES, short_help="Make the sample network half as slow.")
@click.option(
    "-o",
    "--output-dir",
    cls=SectionOption,
    section="Output",
    type=PATH,
    default=Path("out"),
    show_default=True,
    help="Folder for the result and its report.",
)
@seed_option
@verbosity_options
def demo(output_dir: Path, seed: int, quiet: bool) -> None:
    """Compress the sample network of a checkout, in its folder models/, to half its latency.

    It is a ResNet-20 that tells ten kinds of clothes apart (Fashion-MNIST); the pictures are in the checkout
    too.
    """
    files = sample_files(MODELS)
    output, report = output_dir / "fashion-resnet20.pruned.onnx", output_dir / "report.json"
    if not quiet:
        print_lines(_introduction(files, output))
    _make_folder(output_dir)
    result = run(
        "compress",
        str(files["model"]),
        quiet=quiet,
        target_latency=_TARGET,
        data=str(files["data"]),
        test=str(files["test"]),
        preprocess=str(files["preprocess"]),
        input_shapes=(),
        output=str(output),
        report=str(report),
        seed=seed,
    )
    if not quiet:
        print_lines(_conclusion(files["model"], result.output))


def sample_files(folders: Sequence[Path]) -> dict[str, Path]:
    """Find the sample network and its data in the first of several folders that has all of it.

    Raises:
        click.ClickException: One of them is missing.
    """
    for folder in folders:
        files = {what: folder / name for what, name in FILES.items()}
        if all(path.is_file() for path in files.values()):
            return files
    looked = " nor in ".join(f"'{folder}'" for folder in folders)
    raise click.ClickException(
        f"the demo's files ({', '.join(FILES.values())}) are neither in {looked}: the sample network and its data are "
        "in a git checkout of onnxprune, not in the package. Run 'onnxprune demo' in the folder of a checkout, where "
        "models/ is (or 'make demo'), or compress a model of your own: onnxprune compress model.onnx "
        "--target-latency 50%"
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"cannot make the folder '{folder}': {error.strerror or error}") from error


def _introduction(files: dict[str, Path], output: Path) -> list[str]:
    return [
        "This compresses a trained network to half its latency on this machine:",
        f"  network   {files['model']} (ResNet-20, Fashion-MNIST, 28 x 28 grey pictures)",
        f"  training  {files['data']}",
        f"  test      {files['test']}, used once at the end",
        f"  result    {output}",
        "It measures what the layers cost here, learns how to spread the pruning over them, proves the",
        "removal, heals what is left and trains it to give the original's outputs, and measures again.",
        "",
    ]


def _conclusion(model: Path, output: Path) -> list[str]:
    return [
        "",
        "Compare the two yourself:",
        f"  onnxprune bench {model} {output}",
        "Look at a network of your own, and compress it:",
        "  onnxprune inspect model.onnx",
        "  onnxprune compress model.onnx --target-latency 50% --data pictures/ --preprocess imagenet",
    ]
