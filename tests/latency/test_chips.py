"""How a machine's chips are named: on Linux by its files, elsewhere by what the system says."""

from __future__ import annotations

import contextlib
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from onnxprune.latency.hardware import with_provider_options
from onnxprune.latency.on_device.chips import UNKNOWN, accelerator, cpu_model
from onnxprune.latency.options import MeasureOptions

M2 = """\
machdep.cpu.brand_string: Apple M2
hw.optional.AdvSIMD: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_I8MM: 0
"""
XEON = """\
machdep.cpu.brand_string: Intel(R) Xeon(R) W-3245 CPU @ 3.20GHz
machdep.cpu.features: FPU VME SSE4.2 FMA AVX1.0
machdep.cpu.leaf7_features: AVX2 AVX512F AVX512VNNI
"""


def program(folder: Path, name: str, text: str, code: int = 0) -> None:
    """Put a program there that says something and fails or not."""
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\necho \"unknown oid\" >&2\nexit {code}\n")
    path.chmod(0o755)


def on(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, folder: Path) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(
    ("told", "machine", "expected"),
    [
        (M2, "arm64", "Apple M2 asimd asimddp"),
        (XEON, "x86_64", "Intel(R) Xeon(R) W-3245 CPU @ 3.20GHz avx avx2 fma avx512f avx512_vnni"),
        ("", "arm64", "arm"),
    ],
)
def test_macs_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: str, machine: str, expected: str
) -> None:
    # What a machine lacks makes sysctl fail.
    program(tmp_path, "sysctl", told, 1)
    on(monkeypatch, "Darwin", machine, tmp_path)
    assert cpu_model(str(tmp_path)) == expected
    chip = {"Apple M2 asimd asimddp": "Apple M2"}.get(expected, UNKNOWN)
    assert accelerator("CoreMLExecutionProvider") == {"accelerator": chip}


def test_processors_under_windows_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = {"ProcessorNameString": "Intel(R) Core(TM) i7-8700 CPU ", "Identifier": "Intel64 Family 6 Model 158"}

    @contextlib.contextmanager
    def open_key(*where: str) -> Iterator[str]:
        yield where[1]

    registry = SimpleNamespace(
        HKEY_LOCAL_MACHINE="", OpenKey=open_key, QueryValueEx=lambda _key, name: (values[name], 1)
    )
    monkeypatch.setitem(sys.modules, "winreg", registry)
    on(monkeypatch, "Windows", "AMD64", tmp_path)
    assert cpu_model(str(tmp_path)) == "Intel(R) Core(TM) i7-8700 CPU Intel64 Family 6 Model 158"


@pytest.mark.parametrize(("code", "name"), [(0, "NVIDIA H100, 550.1"), (9, UNKNOWN)])
def test_gpus_of_nvidia(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, name: str) -> None:
    program(tmp_path, "nvidia-smi", "NVIDIA H100, 550.1\n", code)
    on(monkeypatch, "Linux", "x86_64", tmp_path)
    assert accelerator("CUDAExecutionProvider") == accelerator("TensorrtExecutionProvider") == {"gpu": name}


def test_graphics_chips_under_linux(tmp_path: Path) -> None:
    for card, device in (("card0", "0x73bf"), ("card1", "0x744c")):
        folder = tmp_path / "sys/class/drm" / card / "device"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text("0x1002\n")
        (folder / "device").write_text(f"{device}\n")
    found = {"accelerator": "PCI 0x1002:0x73bf PCI 0x1002:0x744c"}
    assert accelerator("MIGraphXExecutionProvider", str(tmp_path)) == found
    assert accelerator("MIGraphXExecutionProvider", str(tmp_path / "none")) == {"accelerator": UNKNOWN}
    assert accelerator("QNNExecutionProvider", str(tmp_path)) == {"accelerator": UNKNOWN}
    assert accelerator("XnnpackExecutionProvider", str(tmp_path)) == {}


def test_openvino_on_the_cpu_has_no_accelerator() -> None:
    facts: dict[str, object] = {"cpu": "a", "accelerator": UNKNOWN}
    options = MeasureOptions(provider="openvino", provider_options=(("device_type", "CPU"),))
    assert with_provider_options(facts, options) == {"cpu": "a", "provider_options": {"device_type": "CPU"}}
    assert with_provider_options(facts, MeasureOptions(provider="openvino")) == facts
