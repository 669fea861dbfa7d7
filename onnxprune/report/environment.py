"""Where a run took place: Python, the machine, and the versions of the packages that decide the result."""

from __future__ import annotations

import platform
from importlib import metadata

from onnxprune.cores import allowed_cores
from onnxprune.latency.hardware import cpu_model
from onnxprune.report.record import Record

# onnxruntime and onnx_ir go by several distribution names; what is not installed is left out.
_PACKAGES = (
    "onnxprune",
    "numpy",
    "onnx",
    "onnx-ir",
    "onnx2torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "pillow",
    "torch",
    "torchvision",
)


class Environment(Record):
    """Software and hardware of a run.

    Attributes:
        python: Version of Python.
        platform: Operating system, its version and the architecture.
        cpu: Model of the CPU and the instruction sets that decide which kernels run.
        cores: Logical cores that this process may use.
        packages: Version of each installed package that matters to the result.
    """

    python: str
    platform: str
    cpu: str
    cores: int
    packages: dict[str, str]


def environment() -> Environment:
    """Collect the environment without importing any of the packages it names."""
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=cpu_model(),
        cores=allowed_cores(),
        packages=_versions(),
    )


def _versions() -> dict[str, str]:
    found = {name: _version(name) for name in _PACKAGES}
    return {name: version for name, version in found.items() if version is not None}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
