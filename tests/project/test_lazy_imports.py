"""Nothing heavy is loaded before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "torchvision", "onnx2torch", "onnxruntime")
ROOT = Path(__file__).resolve().parents[2]


def loaded_by(code: str) -> set[str]:
    """Return which heavy packages a fresh interpreter has loaded after running `code`."""
    report = f"\nimport sys\nprint('loaded', *sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("package", ["onnxprune", "onnxprune.graph", "onnxprune.channels", "onnxprune.report"])
def test_importing_loads_neither_torch_nor_onnxruntime(package: str) -> None:
    assert loaded_by(f"import {package}") == set()


def test_help_loads_neither_torch_nor_onnxruntime() -> None:
    code = "import sys\nfrom onnxprune.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert loaded_by(code) == set()


def test_a_package_that_is_loaded_is_seen() -> None:
    assert loaded_by("import onnxruntime") == {"onnxruntime"}


def test_every_public_name_can_be_imported() -> None:
    loaded_by("import onnxprune\nfor name in onnxprune.__all__: getattr(onnxprune, name)")
