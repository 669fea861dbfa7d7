"""How many cores a container may use, for libraries that only see how many there are."""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

_THREADS = "OMP_NUM_THREADS"


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
