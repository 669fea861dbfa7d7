"""action.yml, run as GitHub would run it, with a stand-in for the installed package's network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from onnxprune.report.verdicts import run_outputs
from tests.cli.test_end_to_end import pictures
from tests.report.conftest import small_cnn
from tests.report.records import make_report

ROOT = Path(__file__).resolve().parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def run_action(folder: Path, **inputs: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """Run the steps but for the installation; return the last one and the outputs."""
    (script,) = (step for step in STEPS if step.get("id") == "compress")
    given = {name: settings.get("default", "") for name, settings in ACTION["inputs"].items()}
    given.update({name.replace("_", "-"): value for name, value in inputs.items()})
    tools = folder / "tools"
    tools.mkdir()
    (tools / "onnxprune").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m onnxprune "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GITHUB_STEP_SUMMARY": str(folder / "step summary.md"),
        "GITHUB_OUTPUT": str(folder / "outputs"),
        **{name: substituted(value, given) for name, value in script["env"].items()},
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script["run"]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    outputs = folder / "outputs"
    lines = outputs.read_text().splitlines() if outputs.exists() else []
    return done, dict(line.split("=", 1) for line in lines)


def substituted(text: str, inputs: dict[str, str]) -> str:
    return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: inputs[match[1]], text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(small_cnn(), tmp_path / "my net.onnx")
    return tmp_path


@pytest.mark.slow
def test_a_job_that_ends_well(folder: Path) -> None:
    pictures(folder)
    options = "--epochs=1\n--batch-size=8\n--allocation=global\n\n--round-to=2\n"
    files = {"output": "small.onnx", "junit": "junit.xml"}
    done, outputs = run_action(folder, model="my net.onnx", target_macs="60%", data="data.npz", args=options, **files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert outputs["model"] == "small.onnx"
    assert outputs["report"] == "small.report.json"
    assert float(outputs["latency-before"]) > 0
    assert float(outputs["latency-after"]) > 0
    assert set(outputs) == set(ACTION["outputs"])
    assert "Target met" in (folder / "step summary.md").read_text(encoding="utf-8")
    for name in ("small.onnx", "small.report.json", "junit.xml"):
        assert (folder / name).is_file()


@pytest.mark.slow
def test_a_file_of_defaults_and_further_options_say_where_files_go(folder: Path) -> None:
    (folder / "onnxprune.toml").write_text(
        '[compress]\noutput = "small.onnx"\nreport = "small.json"\njunit = "tests.xml"\nepochs = 1\nround-to = 2\n'
    )
    done, outputs = run_action(folder, model="my net.onnx", target_macs="60%", args="--report=other.json\n--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (outputs["model"], outputs["report"]) == ("small.onnx", "other.json")
    written = {path.name for path in folder.iterdir() if path.suffix in {".onnx", ".json", ".xml"}}
    assert written == {"my net.onnx", "small.onnx", "other.json", "tests.xml"}


def test_a_dry_run_has_no_outputs(folder: Path) -> None:
    done, outputs = run_action(folder, model="my net.onnx", target_macs="60%", args="--dry-run\n--round-to=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "This run would" in done.stdout
    assert outputs == {}


def test_a_job_that_fails_and_inputs_that_are_no_commands(folder: Path) -> None:
    inputs = {"model": "none.onnx", "data": "$(touch ran); `touch ran`", "junit": "junit.xml"}
    done, outputs = run_action(folder, target_macs="60%", **inputs)
    assert done.returncode == 1
    assert "'none.onnx' does not exist" in done.stderr
    assert outputs == {}
    assert not (folder / "ran").exists()
    assert "❌" in (folder / "step summary.md").read_text(encoding="utf-8")
    assert "<error" in (folder / "junit.xml").read_text(encoding="utf-8")


def test_no_target_is_a_usage_error(folder: Path) -> None:
    assert run_action(folder, model="my net.onnx")[0].returncode == 2


def test_the_action_is_whole() -> None:
    (script,) = (step for step in STEPS if step.get("id") == "compress")
    used = {*re.findall(r"inputs\.([\w-]+)", str(STEPS))}
    assert used == {*ACTION["inputs"]}
    assert all(re.search(rf'"\${name}"', script["run"]) or name == "ARGS" for name in script["env"])
    assert "${{" not in script["run"], "inputs must not be pasted into the script"
    assert {*ACTION["outputs"]} == {*run_outputs(make_report(), "report.json")}
    for name, output in ACTION["outputs"].items():
        assert output["value"] == f"${{{{ steps.compress.outputs.{name} }}}}"
    assert all("shell" in step for step in STEPS if "run" in step)


def test_the_image_installs_what_the_package_needs() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", lines, re.MULTILINE) for name in line.split()]
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in kept
