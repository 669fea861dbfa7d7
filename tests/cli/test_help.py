"""Help texts, the version, mistyped commands, and that none of it loads anything heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

import onnxprune
from tests.cli.conftest import Run

COMMANDS = ("compress", "prune", "resume", "plot", "inspect", "bench", "profile", "demo")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_names_the_exit_codes(run: Run, command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    for line in (
        "0    done",
        "1    error",
        "2    usage",
        "3    the target is out of reach",
        "4    --max-drop exceeded",
        "5    bench --compare: slower",
    ):
        assert line in result.output


def test_help_lists_the_commands(run: Run) -> None:
    listed = run("--help").output
    assert all(f"  {command} " in listed for command in COMMANDS)


def test_options_stand_under_headings(run: Run) -> None:
    text = run("compress", "--help").output
    headings = ["Target (give one):", "Output:", "Data:", "Pruning:", "Device:", "Training:", "Other:"]
    positions = [text.index(f"\n{heading}\n") for heading in headings]
    assert positions == sorted(positions)
    assert positions[1] < text.index("--output") < positions[2]


def test_the_size_that_is_limited_is_the_files(run: Run) -> None:
    assert "Size of the file: 500kB, 3MB" in " ".join(run("prune", "--help").output.split())


@pytest.mark.parametrize("command", ["compress", "prune"])
def test_what_a_metric_is_given(run: Run, command: str) -> None:
    text = " ".join(run(command, "--help").output.split())
    assert "outputs is the array of all samples, or a tuple of such arrays where the model has several outputs" in text


@pytest.mark.parametrize("command", ["compress", "prune", "bench", "profile"])
def test_every_option_that_has_a_default_shows_it(run: Run, command: str) -> None:
    text = " ".join(run(command, "--help").output.split())
    for option in onnxprune.cli.main.commands[command].params:
        if getattr(option, "default", None) in (None, False) or not option.opts[0].startswith("-"):
            continue
        if isinstance(option.default, str | int) and not isinstance(option.default, bool):
            assert f"[default: {option.default}" in text


@pytest.mark.parametrize("command", ["compress", "prune", "compare"])
def test_the_default_of_preprocess_is_what_is_done(run: Run, command: str) -> None:
    assert "[default: (unit for pixels, else none)]" in " ".join(run(command, "--help").output.split())


@pytest.mark.parametrize("command", sorted(onnxprune.cli.main.commands))
def test_every_command_can_show_the_traceback_of_an_unexpected_error(run: Run, command: str) -> None:
    text = " ".join(run(command, "--help").output.split())
    assert "-v, --verbose" in text
    assert "the traceback of an unexpected error" in text


def test_version(run: Run) -> None:
    result = run("--version")
    assert result.output.strip() == f"onnxprune {onnxprune.__version__}"


@pytest.mark.parametrize(("typed", "meant"), [("inspet", "inspect"), ("compres", "compress"), ("benhc", "bench")])
def test_mistyped_command(run: Run, typed: str, meant: str) -> None:
    result = run(typed, "model.onnx")
    assert result.exit_code == 2
    assert f"No such command '{typed}'" in result.output
    _, _, suggestion = result.output.partition("Did you mean")
    assert f"'{meant}'" in suggestion


def test_mistyped_option(run: Run) -> None:
    result = run("compress", "model.onnx", "--target-latncy", "10ms")
    assert result.exit_code == 2
    assert "--target-latency" in result.output


@pytest.mark.parametrize("arguments", [["--help"], ["compress", "--help"], ["--version"], ["prune", "m.onnx"]])
def test_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from onnxprune.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'onnx_ir', 'numpy', 'pydantic', 'rich'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"
