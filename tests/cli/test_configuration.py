"""Defaults from `onnxprune.toml`: which values arrive, which paths they become, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from onnxprune import pipeline
from onnxprune.cli.main import main
from onnxprune.config import COMMANDS, FILE_NAME, find_config
from tests.cli.conftest import Run
from tests.cli.test_plumbing import Calls, fake_result


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    recorded: Calls = []

    def compress(model: str, **options: Any) -> pipeline.CompressResult:
        recorded.append({"model": model, **options})
        return fake_result(options["output"])

    monkeypatch.setattr(pipeline, "compress", compress)
    return recorded


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str, name: str = FILE_NAME) -> Path:
    (folder / name).write_text(text)
    return folder / name


WHOLE = """
[devices.fast]
spec = "local?threads=4"

[compress]
model = "nets/net.onnx"
target-latency = "10ms"
data = "pictures"
metric = "my.eval:map50"
preprocess = "imagenet"
device = "fast"
max-drop = 1
seed = 7
heal = false
keep = ["stem*", "fc"]
unit = ["mlp"]
stages = 3
time-budget = "5m"
input-shape = ["image:1x3x8x8"]
quiet = true
"""


def test_every_kind_of_option_arrives(run: Run, calls: Calls, folder: Path) -> None:
    write(folder, WHOLE)
    result = run("compress")
    assert (result.exit_code, result.stdout) == (0, "")
    (call,) = calls
    expected = {
        **{"model": "nets/net.onnx", "target_latency": "10ms", "data": "pictures", "metric": "my.eval:map50"},
        **{"preprocess": "imagenet", "device": "local?threads=4", "max_drop": 1.0, "seed": 7, "heal": False},
        **{"keep": ("stem*", "fc"), "units": ("mlp",), "stages": 3, "time_budget": 300.0},
        "input_shapes": {"image": (1, 3, 8, 8)},
    }
    assert {name: call[name] for name in expected} == expected


def test_the_command_line_wins(run: Run, calls: Calls, folder: Path) -> None:
    write(folder, WHOLE)
    assert run("compress", "other.onnx", "--target-macs", "50%", "--seed", "1", "--heal").exit_code == 0
    (call,) = calls
    assert (call["model"], call["seed"], call["heal"]) == ("other.onnx", 1, True)
    assert (call["target_macs"], call["target_latency"]) == ("50%", None)


def test_paths_are_relative_to_the_file(run: Run, calls: Calls, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = 'val = "my.data:val"\ntest = "t.npz"\npreprocess = "p.json"\noutput = "out.onnx"\nrun-dir = "/runs/a"\n'
    write(folder, WHOLE.replace('preprocess = "imagenet"\n', options))
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert run("compress").exit_code == 0
    (call,) = calls
    assert {name: call[name] for name in ("model", "data", "val", "test", "preprocess", "output", "run_dir")} == {
        **{"model": str(folder / "nets/net.onnx"), "data": str(folder / "pictures"), "val": "my.data:val"},
        **{"test": str(folder / "t.npz"), "preprocess": str(folder / "p.json")},
        **{"output": str(folder / "out.onnx"), "run_dir": "/runs/a"},
    }


DEVICE = "ssh://board?config=ci/ssh_config"


@pytest.mark.parametrize(
    "text",
    [
        f"[compress]\ndevice = '{DEVICE}'\n",
        f"[devices.pi]\nspec = '{DEVICE}'\n[compress]\ndevice = 'pi'\n",
    ],
)
def test_what_a_device_names_is_relative_to_the_file_and_needed_where_it_is_used(
    run: Run, calls: Calls, folder: Path, *, model: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    write(folder, text)
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert run("inspect", model).exit_code == 0
    assert run("compress", "net.onnx", "--target-macs", "50%", "--device", "local").exit_code == 0
    missing = run("compress", "net.onnx", "--target-macs", "50%")
    assert missing.exit_code == 2
    assert f"there is no file '{folder / 'ci' / 'ssh_config'}'" in missing.stderr
    (folder / "ci").mkdir()
    (folder / "ci" / "ssh_config").touch()
    assert run("compress", "net.onnx", "--target-macs", "50%").exit_code == 0
    assert [call["device"] for call in calls] == ["local", f"ssh://board?config={folder / 'ci' / 'ssh_config'}"]


def test_another_file(run: Run, calls: Calls, folder: Path) -> None:
    write(folder, '[compress]\nseed = 1\ntarget-macs = "50%"\n')
    (folder / "ci").mkdir()
    other = write(folder / "ci", '[devices.fast]\nspec = "local?threads=3"\n[compress]\nseed = 2\n', "other.toml")
    arguments = ("compress", "net.onnx", "--target-macs", "40%", "--device", "fast", "--config", other)
    assert run(*arguments).exit_code == 0
    assert (calls[0]["seed"], calls[0]["target_macs"], calls[0]["device"]) == (2, "40%", "local?threads=3")
    missing = run("compress", "net.onnx", "--config", folder / "none.toml")
    assert missing.exit_code == 2
    assert "none.toml': No such file" in missing.stderr


def test_two_targets_in_the_file(run: Run, calls: Calls, folder: Path) -> None:
    write(folder, '[compress]\ntarget-macs = "50%"\ntarget-latency = "10ms"\n')
    result = run("compress", "net.onnx")
    assert result.exit_code == 2
    assert (
        f"give one target only in '{folder / 'onnxprune.toml'}', not --target-latency and --target-macs"
        in result.stderr
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[compres]\nseed = 1\n", "line 1: unknown key 'compres'; did you mean 'compress'?"),
        (
            '[compress]\ntarget-latncy = "10ms"\n',
            "line 2: unknown key 'compress.target-latncy'; did you mean 'target-la",
        ),
        ("[bench]\n\nsesions = 1\n", "line 3: unknown key 'bench.sesions'; did you mean 'sessions'?"),
        ("[compress]\nthreads = '4'\n", "line 2: key 'compress.threads': Input should be a valid integer"),
        ("[compress]\nseed = true\n", "key 'compress.seed': Input should be a valid integer"),
        ("[compress]\nthreads = 0\n", "key 'compress.threads': 0 is not in the range x>=1"),
        ("[compress]\nmax-drop = -1.0\n", "key 'compress.max-drop': -1.0 is not in the range x>=0"),
        ("[compress]\nprovider = 'abacus'\n", "line 2: key 'compress.provider': unknown provider 'abacus'; known are"),
        ("[compress]\nheal = 'no'\n", "key 'compress.heal': Input should be a valid boolean"),
        ("[compress]\ntarget-latency = 'soon'\n", "line 2: key 'compress.target-latency': "),
        ("[compress]\ntime-budget = 90\n", "'90' is no time above 0; write it like '90s'"),
        ("[compress]\noptimizer = 'adam'\n", "key 'compress.optimizer': 'adam' is not one of "),
        ("[compress]\nkeep = [1]\n", "key 'compress.keep': Input should be a valid string"),
        ("[compress]\nkeep = 'stem*'\n", "line 2: key 'compress.keep': must be a list, even of one: [\"stem*\"]"),
        ("[bench]\nmodels = 'x'\n", "line 2: key 'bench.models': must be a list, even of one: [\"x\"]"),
        ("[compress]\ndevice = 'pi'\n", "line 2: key 'compress.device': no device is called 'pi'"),
        ("[devices.pi]\nspec = 'local'\nthread = 2\n", "line 3: unknown key 'devices.pi.thread'; known are spec"),
        ("devices.pi = {spec = 'local', threads = 2}\n", "line 1: unknown key 'devices.pi.threads'"),
        ("[devices.pi]\nspec = 'local'\n[devices.pi]\nspec = 'local'\n", "line 3: a second device is called 'pi'"),
        ("[compress\n", "is no valid TOML"),
        (
            "[compress]\nthreads = 0\n[prune]\nratio = 2.0\n",
            "line 2: key 'compress.threads': 0 is not in the range x>=1.; ",
        ),
    ],
)
def test_what_cannot_be_meant(run: Run, calls: Calls, folder: Path, text: str, message: str) -> None:
    path = write(folder, text)
    result = run("compress", "net.onnx", "--target-macs", "50%")
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: '")
    assert str(path) in result.stderr
    assert message in result.stderr
    assert calls == []


def test_help_needs_no_valid_file(run: Run, folder: Path) -> None:
    write(folder, "[compress\n")
    assert run("compress", "--help").exit_code == 0


def test_a_file_that_is_no_text(run: Run, folder: Path) -> None:
    (folder / FILE_NAME).write_bytes(b"\xff\xfe")
    result = run("compress", "net.onnx", "--target-macs", "50%")
    assert (result.exit_code, "it is not UTF-8" in result.stderr) == (2, True)


def test_the_nearest_file_counts(folder: Path) -> None:
    deep = folder / "a" / "b"
    deep.mkdir(parents=True)
    above = write(folder, "")
    assert find_config(deep) == above
    near = write(folder / "a", "")
    assert find_config(deep) == near


def test_commands_with_a_table_have_the_option_and_the_documentation_names_them() -> None:
    having = {name for name, command in main.commands.items() if "config" in [p.name for p in command.params]}
    # `resume` takes what its run was told, and `demo` is always the same.
    assert having == {*COMMANDS} == {*main.commands} - {"resume", "demo"}
    page = (Path(__file__).parents[2] / "docs" / "ci.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"Tables are (.+?)\. Options", page, re.DOTALL)
    assert {*re.findall(r"`(\w+)`", listed)} == {*COMMANDS}
