from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.latency.remote.server import Server, serving


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running OpenSSH server that the client knows and that knows the client."""
    with serving(tmp_path / "server") as running:
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXPRUNE_CACHE", str(tmp_path / "cache"))
