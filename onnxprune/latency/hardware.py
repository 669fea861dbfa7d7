"""What this machine is, as far as latency depends on it."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from pathlib import Path

from onnxprune.latency.options import MeasureOptions
from onnxprune.latency.providers import provider_name

_CPU_FIELDS = ("model name", "cpu family", "model", "stepping", "cache size")
# The instruction sets that onnxruntime picks its kernels by.
_KERNEL_FLAGS = (
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_tile",
    "asimd",
    "asimddp",
    "sve",
    "i8mm",
)


def fingerprint(options: MeasureOptions) -> dict[str, object]:
    """Return what a measured cost depends on: equal fingerprints mean comparable costs."""
    import onnxruntime as ort

    provider = provider_name(options.provider)
    result: dict[str, object] = {
        "cpu": cpu_model(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 1,
        "onnxruntime": ort.__version__,
        "provider": provider,
        "threads": options.threads,
    }
    if provider.startswith(("CUDA", "Tensorrt")):
        result["gpu"] = _gpu_model()
    return result


@functools.cache
def cpu_model() -> str:
    """Return the CPU's model and the instruction sets that decide which kernels run."""
    info = _first_cpu()
    flags = info.get("flags", info.get("Features", "")).split()
    parts = [info[field] for field in _CPU_FIELDS if field in info] or [platform.processor() or "unknown"]
    return " ".join([*parts, *(flag for flag in _KERNEL_FLAGS if flag in flags)])


def _first_cpu() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


@functools.cache
def _gpu_model() -> str:
    command = shutil.which("nvidia-smi")
    if command is None:
        return "unknown"
    query = [command, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        result = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return result.stdout.strip()
