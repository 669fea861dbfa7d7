"""How many cores this process may use, for libraries that only see how many the machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

_THREADS = "OMP_NUM_THREADS"


def session_threads(
    environ: Mapping[str, str] = os.environ, root: str = "/", cores: int | None = None, allowed: int | None = None
) -> int:
    """Return how many threads an onnxruntime session should have, other than those that are measured.

    onnxruntime by itself binds a thread to every core of the machine, whether this process may use it or not: beside
    other work they wait for each other, and in containers for the time that the system gives them.

    Args:
        environ: The environment, whose OMP_NUM_THREADS the user may have set.
        root: The system whose `sys` tells of a quota.
        cores: Those of the machine; None: as many as the system says.
        allowed: Those that this process may run on; None: as many as the system says.

    Returns:
        The least of what limits this process; 0 where nothing does: onnxruntime knows best.
    """
    cores = cores or os.cpu_count() or 1
    allowed = allowed or allowed_cores()
    quota = _quota(Path(root) / "sys/fs/cgroup")
    said = environ.get(_THREADS, "").partition(",")[0].strip()
    limits = [allowed, cores if quota is None else math.floor(quota), int(said) if said.isdecimal() else cores]
    return max(1, min(limits)) if min(limits) < cores else 0


def allowed_cores() -> int:
    """Return how many cores this process may run on: containers and taskset allow fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def heed_quota(environ: MutableMapping[str, str] = os.environ, root: str = "/", cores: int | None = None) -> None:
    """Tell OpenMP, by which PyTorch and numpy compute, how many threads fit the control group's quota.

    Without it they start one for every core of the machine, and wait for the threads that the system has stopped. It
    has to be said before those libraries are loaded. What the user said stays.

    Args:
        environ: The environment, which is changed.
        root: The system whose `sys` tells.
        cores: Those of the machine; None: as many as the system says.
    """
    quota = _quota(Path(root) / "sys/fs/cgroup")
    if quota is not None and quota < (cores or os.cpu_count() or 1):
        environ.setdefault(_THREADS, str(max(1, math.floor(quota))))


def _quota(folder: Path) -> float | None:
    """Return the cores' worth of time that the control group may use; None where there is no limit.

    Files: https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max) and, before that,
    https://docs.kernel.org/scheduler/sched-bwc.html (cfs_quota_us).
    """
    second = _numbers(folder / "cpu.max")
    first = _numbers(folder / "cpu/cpu.cfs_quota_us") + _numbers(folder / "cpu/cpu.cfs_period_us")
    for numbers in (second, first):
        if len(numbers) == 2 and min(numbers) > 0:
            return numbers[0] / numbers[1]
    return None


def _numbers(file: Path) -> list[int]:
    try:
        words = file.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []
    return [int(word) for word in words if word.lstrip("-").isdecimal()]
