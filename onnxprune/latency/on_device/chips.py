"""Which chips a machine computes with: the CPU and its instruction sets, and what a provider uses beside it."""

from __future__ import annotations

import importlib
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

UNKNOWN = "unknown accelerator"
"""What stands for a chip that could not be found out: two of them may be two."""

_CPU_FIELDS = ("model name", "cpu family", "model", "stepping", "cache size")
_ARM_FIELDS = ("CPU implementer", "CPU part", "CPU variant", "CPU revision")
# The instruction sets that onnxruntime picks its kernels by, as Linux calls them, and as macOS does.
_KERNEL_FLAGS = {
    "avx": "AVX1.0",
    "avx2": "AVX2",
    "fma": "FMA",
    "avx512f": "AVX512F",
    "avx512_vnni": "AVX512VNNI",
    "avx_vnni": "AVXVNNI",
    "amx_tile": "AMXTILE",
    "asimd": "hw.optional.AdvSIMD",
    "asimddp": "hw.optional.arm.FEAT_DotProd",
    "sve": "hw.optional.arm.FEAT_SVE",
    "i8mm": "hw.optional.arm.FEAT_I8MM",
}
_BRAND, _FEATURES = "machdep.cpu.brand_string", ("machdep.cpu.features", "machdep.cpu.leaf7_features")
_REGISTRY = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_ON_CPU = ("CPUExecutionProvider", "XnnpackExecutionProvider", "ACLExecutionProvider", "DnnlExecutionProvider")
_ON_NVIDIA = ("CUDA", "Tensorrt", "NvTensorRTRTX")
# Those that compute on a graphics chip which Linux lists.
_ON_GRAPHICS = ("OpenVINO", "MIGraphX", "ROCM", "WebGpu")


def cpu_model(root: str = "/") -> str:
    """Return the CPU's (and the board's) model and the instruction sets that decide which kernels run."""
    text = read_text(Path(root) / "proc/cpuinfo").split("\n\n")[0]
    info = _pairs(text)
    board = read_text(Path(root) / "proc/device-tree/model").strip("\0\n ")
    fields = [info[field] for field in (*_CPU_FIELDS, *_ARM_FIELDS) if field in info]
    if not fields:
        fields, flags = _elsewhere()
    else:
        flags = info.get("flags", info.get("Features", "")).split()
    return " ".join([*([board] if board else []), *fields, *(flag for flag in _KERNEL_FLAGS if flag in flags)])


def accelerator(provider: str, root: str = "/") -> dict[str, str]:
    """Return what is known of the chip that a provider computes on beside the CPU; nothing where there is none.

    Args:
        provider: onnxruntime's name of the provider.
        root: The system whose `sys` tells.
    """
    if provider in _ON_CPU:
        return {}
    if provider.startswith(_ON_NVIDIA):
        return {"gpu": _nvidia()}
    if provider.startswith("CoreML") and platform.machine() == "arm64":
        # Apple's chips are one with their GPU and neural engine.
        return {"accelerator": _sysctl().get(_BRAND, UNKNOWN)}
    return {"accelerator": (_graphics(root) if provider.startswith(_ON_GRAPHICS) else "") or UNKNOWN}


def read_text(path: Path) -> str:
    """Return a file's text; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _elsewhere() -> tuple[list[str], list[str]]:
    """Return the CPU's model and flags where there is no /proc/cpuinfo."""
    if platform.system() == "Darwin":
        told = _sysctl()
        words = {word for field in _FEATURES for word in told.get(field, "").split()}
        flags = [flag for flag, name in _KERNEL_FLAGS.items() if name in words or told.get(name) == "1"]
        if _BRAND in told:
            return [told[_BRAND]], flags
    name = _registry() if platform.system() == "Windows" else ""
    # On Apple's chips this is 'arm', whichever it is; a last resort.
    return [name or platform.processor() or "unknown"], []


def _sysctl() -> dict[str, str]:
    # Without a login shell the path may lack it.
    program = shutil.which("sysctl") or "/usr/sbin/sysctl"
    names = [_BRAND, *_FEATURES, *(name for name in _KERNEL_FLAGS.values() if name.startswith("hw."))]
    # It fails where the machine has not all of these.
    return _pairs(_said([program, *names], partly=True))


def _registry() -> str:
    try:
        winreg: Any = importlib.import_module("winreg")
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _REGISTRY) as key:
            names = [str(winreg.QueryValueEx(key, name)[0]).strip() for name in ("ProcessorNameString", "Identifier")]
    except (ImportError, OSError):
        return ""
    return " ".join(names)


def _nvidia() -> str:
    program = shutil.which("nvidia-smi")
    query = ["--query-gpu=name,driver_version", "--format=csv,noheader"]
    return (_said([program, *query]) if program else "") or UNKNOWN


def _graphics(root: str) -> str:
    """Return the PCI numbers of the graphics chips."""
    cards = sorted((Path(root) / "sys/class/drm").glob("card*/device"))
    ids = [[read_text(card / name).strip() for name in ("vendor", "device")] for card in cards]
    return " ".join(dict.fromkeys("PCI " + ":".join(pair) for pair in ids if all(pair)))


def _said(command: list[str], *, partly: bool = False) -> str:
    """Return what a command prints; nothing where it fails, unless what it prints then counts too."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=not partly)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _pairs(text: str) -> dict[str, str]:
    parts = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in parts}
