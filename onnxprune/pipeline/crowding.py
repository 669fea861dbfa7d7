"""Whether PyTorch's threads find cores that are free."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from onnxprune.cores import THREADS, allowed_cores, asked_threads
from onnxprune.latency import LocalDevice

# As for latency: less is what any machine has in the background.
_OTHERS = 0.5


def crowding_note(device: str, conditions: Mapping[str, float | bool], cores: int | None = None) -> str | None:
    """Say that threads will wait for each other, and how to have fewer; None where there is room.

    PyTorch's threads meet after every layer, so one that has to wait for its core stops all: beside one busy process on
    two cores, five steps of training a ResNet-20 took 0.9 s on one thread, and 4 to 21 s on two.

    Args:
        device: Name of the device that was measured; nothing is known of this machine where it is another one.
        conditions: What was read of it; see `latency.Device`.
        cores: Those of this machine, all of which may be used; None: as many as the system says.
    """
    others = float(conditions.get("others_cores", 0.0))
    allowed, cores = cores or allowed_cores(), cores or os.cpu_count() or 1
    free = max(1, math.floor(cores - others + _OTHERS))
    threads = asked_threads() or allowed
    if device != LocalDevice.name or others < _OTHERS or threads <= free:
        return None
    return (
        f"other processes use {others:.1f} of this machine's {cores} cores, and PyTorch's {threads} threads wait for "
        f"each other there; with {THREADS}={free} in the environment healing and training may be many times faster"
    )
