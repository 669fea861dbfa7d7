"""How many cores this process may use, for libraries that only see how many the machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

THREADS = "OMP_NUM_THREADS"


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
    cores, quota = cores or os.cpu_count() or 1, _quota(Path(root))
    limits = [allowed or allowed_cores(), asked_threads(environ) or cores, cores if quota is None else quota]
    return max(1, math.floor(min(limits))) if min(limits) < cores else 0


def asked_threads(environ: Mapping[str, str] = os.environ) -> int | None:
    """Return how many threads the user asks for, of OMP_NUM_THREADS' outermost level; None where that says nothing."""
    said = environ.get(THREADS, "").partition(",")[0].strip()
    return int(said) if said.isdecimal() and int(said) else None


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
    quota = _quota(Path(root))
    if quota is not None and quota < (cores or os.cpu_count() or 1):
        environ.setdefault(THREADS, str(max(1, math.floor(quota))))


def _quota(root: Path) -> float | None:
    """Return the cores' worth of time that this process may use; None where there is no limit.

    The least of its control group's and of those around it counts. Files:
    https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max) and, before that,
    https://docs.kernel.org/scheduler/sched-bwc.html (cfs_quota_us).
    """
    return min((quota for folder in _control_groups(root) for quota in _quotas(folder)), default=None)


def _control_groups(root: Path) -> Iterator[Path]:
    """Give the folders of this process's control groups for CPU time, and of those around them."""
    mount = root / "sys/fs/cgroup"
    # In a container that sees its own group only, that is the mount's root, whatever the path says.
    yield from (mount, mount / "cpu")
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds and "cpu" not in kinds.split(","):
            continue
        top = mount / kinds
        inner = top / path.lstrip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(top))


def _quotas(folder: Path) -> Iterator[float]:
    second = _numbers(folder / "cpu.max")
    first = _numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us")
    for numbers in (second, first):
        if len(numbers) == 2 and min(numbers) > 0:
            yield numbers[0] / numbers[1]


def _numbers(file: Path) -> list[int]:
    return [int(word) for word in _text(file).split() if word.lstrip("-").isdecimal()]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
