"""setup.py, constraints.txt, Makefile, .ci/run and README agree with each other."""

from __future__ import annotations

import os
import re
import runpy
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import onnxprune

ROOT = Path(__file__).resolve().parents[2]
PLATFORMS = {
    "Linux x86-64": ({"sys_platform": "linux", "platform_machine": "x86_64"}, "onnxruntime-gpu"),
    "Linux ARM": ({"sys_platform": "linux", "platform_machine": "aarch64"}, "onnxruntime"),
    "Windows x86-64": ({"sys_platform": "win32", "platform_machine": "AMD64"}, "onnxruntime-gpu"),
    "Windows ARM": ({"sys_platform": "win32", "platform_machine": "ARM64"}, "onnxruntime"),
    "macOS": ({"sys_platform": "darwin", "platform_machine": "arm64"}, "onnxruntime"),
}


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    """What setup.py hands to setuptools."""
    given: dict[str, Any] = {}
    patch = pytest.MonkeyPatch()
    patch.setattr(setuptools, "setup", given.update)
    patch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    patch.undo()
    return given


@pytest.fixture(scope="module")
def requirements(metadata: dict[str, Any]) -> list[Requirement]:
    lines = [*metadata["install_requires"], *(line for extra in metadata["extras_require"].values() for line in extra)]
    return [Requirement(line) for line in lines]


def pins() -> Iterator[tuple[str, str]]:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        yield canonicalize_name(name), version


def test_constraints_are_exact_versions_and_name_no_host() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert len(dict(pins())) == len(lines), "a package is pinned twice"


def test_every_requirement_has_a_range_that_contains_its_pin(requirements: list[Requirement]) -> None:
    pinned = dict(pins())
    for requirement in requirements:
        assert requirement.specifier, f"{requirement} has no range"
        if requirement.name != "onnxruntime":  # only installed where onnxruntime-gpu is not
            assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, requirement


@pytest.mark.parametrize("platform", PLATFORMS)
def test_one_onnxruntime_on_each_platform(requirements: list[Requirement], platform: str) -> None:
    environment, package = PLATFORMS[platform]
    wanted = [r.name for r in requirements if r.marker is None or r.marker.evaluate(environment)]
    assert [name for name in wanted if name.startswith("onnxruntime")] == [package]


def test_version_is_the_same_everywhere(metadata: dict[str, Any]) -> None:
    assert metadata["version"] == onnxprune.__version__
    assert SpecifierSet(metadata["python_requires"]).contains("3.11")


def test_packages_hold_every_module(metadata: dict[str, Any]) -> None:
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "onnxprune").rglob("*.py")}
    assert set(metadata["packages"]) == {".".join(folder.parts) for folder in folders}
    assert (ROOT / "onnxprune" / "py.typed").is_file()


def test_console_script_is_the_command_line() -> None:
    from onnxprune.cli import main

    (script,) = entry_points(group="console_scripts", name="onnxprune")
    assert script.load() is main


def test_make_targets_install_first() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test", "lint", "bench"):
        assert f"\n{target}: .venv/installed\n" in makefile
    assert "\n.venv/installed: setup.py constraints.txt\n" in makefile


def test_ci_lints_then_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.findall(r"^make \w+$", script.read_text(), re.MULTILINE) == ["make lint", "make test"]


def test_readme_opens_with_the_two_commands() -> None:
    opening = (ROOT / "README.md").read_text().split("\n## ")[0]
    assert "\n    make demo" in opening
    assert "\n    make test" in opening


@pytest.mark.parametrize("page", [*sorted(path.name for path in ROOT.glob("*.md")), "models/README.md"])
def test_links_of_the_pages_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_command_line_offers_every_criterion() -> None:
    from onnxprune.cli.options import CRITERIA
    from onnxprune.importance import criteria

    assert sorted(CRITERIA) == [criterion.name for criterion in criteria()]
