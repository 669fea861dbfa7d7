"""What travels must run on an old Python with numpy and onnxruntime only."""

from __future__ import annotations

import ast
import sys
from importlib import resources
from pathlib import Path

import pytest

from onnxprune.latency.remote.process import _MODULES

FOLDER = resources.files("onnxprune.latency.on_device")
FILES = [name for name in _MODULES]


def test_every_file_travels() -> None:
    assert {*FILES, "__init__"} == {Path(str(file)).stem for file in FOLDER.iterdir() if str(file).endswith(".py")}


@pytest.mark.parametrize("name", FILES)
def test_it_is_python_3_8_and_imports_little(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text(), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    sent_before = {f"onnxprune.latency.on_device.{other}" for other in FILES[: FILES.index(name)]}
    allowed = sys.stdlib_module_names | {"numpy", "onnxruntime"}
    assert {module for module in imported if module not in sent_before and module.split(".")[0] not in allowed} == set()
