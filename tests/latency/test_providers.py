import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import onnxruntime as ort
import pytest

from onnxprune.errors import DeviceError
from onnxprune.latency.on_device.libraries import _preload
from onnxprune.latency.on_device.loaded import providers_of
from onnxprune.latency.on_device.runner import Served
from onnxprune.latency.on_device.timing import nodes_by_provider
from onnxprune.latency.options import MeasureOptions
from onnxprune.latency.providers import (
    PROVIDERS,
    _starts,
    fallback_note,
    provider_name,
    require_provider,
    working_providers,
)
from onnxprune.latency.session import Session
from tests.latency.models import FEEDS, one_op


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("cpu", "CPUExecutionProvider"),
        ("CUDA", "CUDAExecutionProvider"),
        ("tensorrt", "TensorrtExecutionProvider"),
        ("XnnpackExecutionProvider", "XnnpackExecutionProvider"),
    ],
)
def test_short_and_full_names(given: str, full: str) -> None:
    assert provider_name(given) == full


def test_the_cpu_works_everywhere() -> None:
    assert require_provider("cpu") == "CPUExecutionProvider"
    assert "CPUExecutionProvider" in working_providers()


def test_an_unknown_name_is_refused_with_what_works() -> None:
    with pytest.raises(DeviceError, match=r"unknown provider 'cud'; did you mean 'cuda'\? .*working here: .*cpu"):
        provider_name("cud")


def test_a_provider_that_was_not_built_in_is_refused_with_what_works() -> None:
    lacking = next(name for name, full in PROVIDERS.items() if full not in ort.get_available_providers())
    with pytest.raises(DeviceError, match=rf"has no provider '{lacking}'; working here: .*cpu"):
        require_provider(lacking)


@pytest.mark.filterwarnings("ignore:Specified provider 'NoneExecutionProvider'")
def test_a_provider_that_is_built_in_but_does_not_start_is_refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["NoneExecutionProvider", "CPUExecutionProvider"])
    working_providers.cache_clear()
    try:
        with pytest.raises(DeviceError, match=r"does not start on this machine.*working here: cpu"):
            require_provider("NoneExecutionProvider")
    finally:
        working_providers.cache_clear()
    assert capfd.readouterr().out == ""


class OnCuda:
    """Stands for onnxruntime's session on a machine with CUDA, and tells when it was made."""

    order: ClassVar[list[str]] = []

    def __init__(self, _source: object, _options: object, providers: list[Any], **_: object) -> None:
        self.providers = [name if isinstance(name, str) else name[0] for name in providers]
        self.order.append(self.providers[0])

    def get_providers(self) -> list[str]:
        return self.providers


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """An onnxruntime with CUDA; yields what it was asked for, in order. Its libraries are broken."""

    def preload() -> None:
        OnCuda.order.append("libraries")
        sys.stdout.write("Failed to load libcudnn.so.9\n")
        raise OSError("libcudnn.so.9")

    monkeypatch.setattr(OnCuda, "order", [])
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", OnCuda)
    monkeypatch.setattr(ort, "preload_dlls", preload, raising=False)
    for cache in (_preload, _starts):
        cache.cache_clear()
    yield OnCuda.order
    for cache in (_preload, _starts):
        cache.cache_clear()


def test_libraries_of_cuda_are_loaded_once_before_its_first_session(
    cuda: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        Session("m", one_op(), MeasureOptions(provider="cuda"))
    assert cuda == ["libraries", *["CUDAExecutionProvider"] * 3]
    assert capfd.readouterr().out == ""


def test_libraries_of_cuda_are_loaded_by_what_serves_over_ssh(cuda: list[str]) -> None:
    options = SimpleNamespace(provider="CUDAExecutionProvider", provider_options=[], threads=1, binds=True)
    Served("m", one_op(), options)
    assert cuda == ["libraries", "CUDAExecutionProvider"]


def test_libraries_of_cuda_are_no_matter_of_the_cpu(cuda: list[str]) -> None:
    Session("m", one_op(), MeasureOptions())
    assert cuda == ["CPUExecutionProvider"]


def test_nodes_are_counted_by_the_provider_that_runs_them(tmp_path: Path) -> None:
    session = Session("m", one_op(), MeasureOptions(), profile=tmp_path / "profile")
    assert nodes_by_provider(session, FEEDS) == {"CPUExecutionProvider": {"Relu": 1}}


def test_copies_between_providers_are_not_counted(tmp_path: Path) -> None:
    ran = {"Relu": "CUDAExecutionProvider", "MemcpyToHost": "CUDAExecutionProvider", "Det": "CPUExecutionProvider"}
    events = [
        {"cat": "Node", "name": f"{op}_kernel_time", "dur": 1, "args": {"op_name": op, "provider": provider}}
        for op, provider in ran.items()
    ]
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps(events))
    session = SimpleNamespace(run=lambda _: None, end_profile=lambda: str(profile))
    assert nodes_by_provider(session, FEEDS) == {
        "CUDAExecutionProvider": {"Relu": 1},
        "CPUExecutionProvider": {"Det": 1},
    }


def test_nodes_that_fall_back_to_the_cpu_are_named() -> None:
    own, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    note = fallback_note(own, {own: {"Conv": 20, "Relu": 3}, cpu: {"Resize": 2, "NonMaxSuppression": 1}})
    assert note is not None
    assert note.startswith(
        f"3 of 26 nodes do not run on {own} but fall back to the CPU: 2 Resize, 1 NonMaxSuppression;"
    )
    many = fallback_note(own, {cpu: {f"Op{i}": i + 1 for i in range(7)}})
    assert many is not None
    assert "28 of 28" in many
    assert "7 Op6, 6 Op5, 5 Op4, 4 Op3, 3 Op2 and 2 other operators" in many
    assert fallback_note(own, {own: {"Conv": 20}}) is None
    assert fallback_note(cpu, {cpu: {"Conv": 20}}) is None


@pytest.mark.parametrize(
    ("provider", "options", "given"),
    [
        ("OpenVINOExecutionProvider", (), {"num_of_threads": "3"}),
        ("OpenVINOExecutionProvider", (("device_type", "CPU"),), {"device_type": "CPU", "num_of_threads": "3"}),
        ("OpenVINOExecutionProvider", (("num_of_threads", "2"),), {"num_of_threads": "2"}),
        ("OpenVINOExecutionProvider", (("load_config", "ov.json"),), {"load_config": "ov.json"}),
        ("XnnpackExecutionProvider", (), {}),
    ],
)
def test_providers_with_threads_of_their_own_are_told_how_many(
    provider: str, options: tuple[tuple[str, str], ...], given: dict[str, str]
) -> None:
    asked = SimpleNamespace(provider_options=options, threads=3)
    assert providers_of(provider, asked) == [(provider, given), ("CPUExecutionProvider", {})]
