from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner, Result

from onnxprune.cli import main
from onnxprune.latency.fake import FakeDevice
from onnxprune.pipeline import benching
from onnxprune.report import BenchResult
from tests.report.conftest import small_cnn

Run = Callable[..., Result]
Fake = Callable[..., FakeDevice]


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


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts a fake device in the place of the one asked for."""

    def put(ms: float, device: type[FakeDevice] = FakeDevice, **settings: Any) -> FakeDevice:
        there = device(lambda *_: ms, **settings)

        @contextmanager
        def opened(*_: object) -> Iterator[FakeDevice]:
            yield there

        monkeypatch.setattr(benching, "opened", opened)
        return there

    return put


def parsed(result: Result, code: int = 0) -> BenchResult:
    assert result.exit_code == code, result.output
    return BenchResult.model_validate_json(result.stdout)
