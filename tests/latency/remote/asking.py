"""A short measurement over SSH, and what is said where it is refused."""

from __future__ import annotations

import pytest

from onnxprune.errors import DeviceError
from onnxprune.latency import MeasureOptions, choose, opened
from tests.latency.models import FEEDS, one_op

SHORT = MeasureOptions(sessions=3, warmup=1, min_runs=4, session_ms=0.0)


def measure(spec: str, options: MeasureOptions = SHORT) -> None:
    with opened(choose(spec)[0]) as device:
        device.measure({"small": one_op()}, {"small": FEEDS}, options)


def refusal(spec: str) -> str:
    with pytest.raises(DeviceError) as refused:
        measure(spec)
    return str(refused.value)
