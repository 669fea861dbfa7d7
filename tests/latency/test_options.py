from typing import Any

import pytest

from onnxprune.errors import DeviceError
from onnxprune.latency import MeasureOptions


def test_one_thread_and_the_cpu_are_the_defaults() -> None:
    options = MeasureOptions()
    assert (options.provider, options.threads, options.batch) == ("cpu", 1, 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threads": 0}, "threads must be a whole number of at least 1, not 0"),
        ({"threads": 1.5}, "threads must be a whole number"),
        ({"batch": -1}, "batch must be"),
        ({"sessions": 0}, "sessions must be"),
        ({"warmup": -1}, "warmup must be a whole number of at least 0"),
        ({"session_ms": -1.0}, "session_ms must be 0 or more"),
        ({"session_ms": float("nan")}, "session_ms must be 0 or more"),
        ({"min_runs": 20, "max_runs": 10}, "max_runs .10. must be at least min_runs .20."),
        ({"provider": "gpu"}, "unknown provider 'gpu'; known are cpu, cuda"),
    ],
)
def test_senseless_values_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        MeasureOptions(**fields)
