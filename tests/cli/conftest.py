from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from onnxprune.cli import main
from tests.report.conftest import small_cnn

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Runs the command line with its arguments, as strings."""

    def invoke(*arguments: str | Path) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="onnxprune")

    return invoke


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "cnn.onnx"
    onnx.save(small_cnn(), path)
    return path
