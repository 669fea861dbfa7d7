"""Reading targets: every accepted notation, and every refusal with what it says."""

from collections.abc import Callable

import pytest

from onnxprune.errors import TargetError
from onnxprune.search.target import Target, parse_count, parse_latency, parse_size, ratio_target


@pytest.mark.parametrize(
    ("text", "value", "relative"),
    [
        ("10ms", 10.0, False),
        ("500us", 0.5, False),
        ("500µs", 0.5, False),
        ("0.01s", 10.0, False),
        ("1e1 ms", 10.0, False),
        (".5ms", 0.5, False),
        ("10MS", 10.0, False),
        (" 10ms ", 10.0, False),
        ("250000ns", 0.25, False),
        ("60%", 0.6, True),
        ("60 %", 0.6, True),
        ("0.5x", 0.5, True),
        (12.5, 12.5, False),
        (3, 3.0, False),
    ],
)
def test_latency(text: str | float, value: float, relative: bool) -> None:
    target = parse_latency(text)
    assert target.kind == "latency"
    assert target.value == pytest.approx(value)
    assert target.relative is relative


@pytest.mark.parametrize(
    ("text", "value"),
    [("500M", 5e8), ("1.2G", 1.2e9), ("1.2b", 1.2e9), ("70k", 7e4), ("25000000", 2.5e7), ("2T", 2e12)],
)
def test_count(text: str, value: float) -> None:
    target = parse_count(text, "params")
    assert (target.kind, target.value, target.relative, target.text) == ("params", value, False, text)


@pytest.mark.parametrize(
    ("text", "value"), [("3MB", 3e6), ("3MiB", 3 * 2**20), ("500kB", 5e5), ("2gb", 2e9), ("100B", 100)]
)
def test_size(text: str, value: float) -> None:
    target = parse_size(text)
    assert (target.kind, target.value, target.relative, target.text) == ("size", value, False, text)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_latency, "0ms", "'0ms' must be a finite number above 0"),
        (parse_latency, "-5ms", "'-5ms' must be a finite number above 0"),
        (parse_latency, "0%", "'0%' must be a finite number above 0"),
        (parse_latency, "10x", "does not make the model smaller.*'0.5x' and '50%'"),
        (parse_latency, "100%", "does not make the model smaller"),
        (parse_latency, "1x", "does not make the model smaller"),
        (parse_latency, "10", "has no unit; write it like '10ms'"),
        (parse_latency, "10MB", "unknown unit 'MB'; write it like '10ms'"),
        (parse_latency, "fast", "cannot be read; write it like '10ms'"),
        (parse_latency, "", "cannot be read"),
        (parse_latency, "ms", "cannot be read"),
        (parse_latency, "nan", "cannot be read"),
        (parse_latency, "1e400ms", "must be a finite number above 0"),
        (parse_latency, float("nan"), "must be a finite number above 0"),
        (parse_latency, float("inf"), "must be a finite number above 0"),
        (parse_latency, "10ms 20ms", "cannot be read"),
        (parse_count, "0", "must be a finite number above 0"),
        (parse_count, "10ms", "unknown unit 'ms'; write it like '500M'"),
        (parse_count, "2x", "does not make the model smaller"),
        (parse_size, "3", "has no unit; write it like '500kB'"),
        (parse_size, "3M", "unknown unit 'M'"),
        (ratio_target, 0.0, "must be a finite number above 0"),
        (ratio_target, 1.0, "must be below 1"),
        (ratio_target, -0.3, "must be a finite number above 0"),
    ],
)
def test_nonsense_is_refused_with_a_hint(parse: Callable[..., Target], text: str, message: str) -> None:
    with pytest.raises(TargetError, match=message) as caught:
        parse(text)
    assert caught.value.exit_code == 2


def test_resolve_scales_only_relative_targets() -> None:
    assert parse_latency("60%").resolve(20.0) == pytest.approx(12.0)
    assert parse_latency("10ms").resolve(20.0) == 10.0
    assert parse_count("0.5x").resolve(4_000_000) == 2_000_000
