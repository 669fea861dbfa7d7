"""Models beside a baseline: whether it may be compared, what became of them, and whether that is an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxprune.errors import BaselineError, DeviceError, RegressionError
from onnxprune.graph import shown_sizes
from onnxprune.latency import BUSY_SPREAD, regression
from onnxprune.progress import Observer
from onnxprune.report import (
    Baseline,
    BenchedModel,
    BenchResult,
    DeviceFigures,
    LatencyFigures,
    RegressionRecord,
    device_line,
    differences,
    regression_line,
)

_DIGITS_RATIO = 4
QUIETER = (
    "Stop what else runs there, let it cool, fix its CPU's frequency, measure with more --sessions, and measure the "
    "baseline anew if it was noisy itself"
)
"""What helps against noise."""


def check_device(baseline: Baseline, now: DeviceFigures, observer: Observer, *, force: bool) -> None:
    """Refuse a baseline of another device, unless forced.

    Args:
        baseline: The baseline.
        now: This device.
        observer: Told where it was forced.
        force: Only warn.

    Raises:
        BaselineError: Names both devices.
    """
    found = differences(baseline.device, now)
    if not found:
        return
    message = (
        f"the baseline '{baseline.file}' was measured on {device_line(baseline.device)}, this is {device_line(now)}; "
        f"they differ in {'; '.join(found)}"
    )
    if not force:
        raise BaselineError(
            f"{message}. Measure a baseline here ('onnxprune bench MODEL --report FILE'), or add --force"
        )
    observer.warn(f"{message}; compared all the same (--force)")


def check_sizes(
    baseline: str,
    pairs: Sequence[tuple[str, LatencyFigures]],
    shapes: Mapping[str, Mapping[str, Sequence[int]]],
    observer: Observer,
    *,
    force: bool,
) -> None:
    """Refuse what was measured with other input sizes, unless forced; old baselines do not tell.

    Args:
        baseline: The report.
        pairs: Of each model the file's name and the latency then.
        shapes: Of each model the sizes of its inputs now, by its file.
        observer: Told where it was forced.
        force: Only warn.

    Raises:
        BaselineError: Names both sizes.
    """
    for (called, then), now in zip(pairs, shapes.values(), strict=True):
        # By their order: a model that was exported again may call its inputs otherwise.
        if then.input_shapes is None or _sizes(then.input_shapes) == _sizes(now):
            continue
        message = (
            f"the baseline '{baseline}' measured '{called}' with {shown_sizes(then.input_shapes)}, this is with "
            f"{shown_sizes(now)}"
        )
        if not force:
            raise BaselineError(
                f"{message}. Measure with the same sizes (--input-shape, --batch), or a baseline with these "
                "('onnxprune bench MODEL --report FILE'), or add --force"
            )
        observer.warn(f"{message}; compared all the same (--force)")


def _sizes(shapes: Mapping[str, Sequence[int]]) -> list[tuple[int, ...]]:
    return [tuple(sizes) for sizes in shapes.values()]


def regressions(
    benched: Sequence[BenchedModel],
    baseline: str,
    pairs: Sequence[tuple[str, LatencyFigures]],
    allowed: float,
) -> tuple[RegressionRecord, ...]:
    """Compare each model with what was measured of it before.

    Args:
        benched: The models.
        baseline: The report that they are compared with.
        pairs: Of each model the file's name and the latency then.
        allowed: Share by which a model may have become slower.
    """
    records = []
    for model, (path, then) in zip(benched, pairs, strict=True):
        found = regression(then.samples_ms, model.latency.samples_ms, allowed)
        records.append(
            RegressionRecord(
                path=model.path,
                baseline=baseline,
                baseline_path=path,
                baseline_p50_ms=then.p50_ms,
                p50_ms=model.latency.p50_ms,
                ratio=round(found.ratio, _DIGITS_RATIO),
                ratio_ci95=(round(found.low, _DIGITS_RATIO), round(found.high, _DIGITS_RATIO)),
                p_value=round(found.p_value, 6),
                max_regression=allowed,
                verdict=found.verdict,
                noisy=max(then.spread, model.latency.spread) > BUSY_SPREAD,
                spread=model.latency.spread,
                baseline_spread=then.spread,
            )
        )
    return tuple(records)


def unclear(records: Sequence[RegressionRecord]) -> list[str]:
    """Say of which models too little was measured to tell that they became slower, though they seem so."""
    return [
        f"{regression_line(record)}: it may be slower than allowed, which so few sessions cannot tell; measure with "
        "more --sessions"
        for record in records
        if record.verdict == "undecided" and record.ratio > 1 + record.max_regression
    ]


def raise_on_regression(result: BenchResult) -> None:
    """Raise where a model is slower than its baseline by more than allowed, or where noise hides whether it is.

    Raises:
        RegressionError: A model is slower, and not by chance.
        DeviceError: The device, or the baseline, is too noisy to tell.
    """
    slower = [record for record in result.regressions if record.verdict == "regression"]
    if slower:
        raise RegressionError("; ".join(regression_line(record) for record in slower))
    hidden = [record for record in result.regressions if record.verdict == "undecided" and record.noisy]
    if hidden:
        raise DeviceError(_too_noisy(result.device.name, hidden[0]))


def _too_noisy(device: str, record: RegressionRecord) -> str:
    """Say which side's noise hides the answer, and what to do about that one."""
    (low, high), allowed = record.ratio_ci95, 1 + record.max_regression
    unknown = f"it takes {low:.2f} to {high:.2f} times what the baseline took, where {allowed:.2f} is allowed"
    if record.spread <= BUSY_SPREAD:
        return (
            f"the baseline '{record.baseline}' is too noisy to tell whether '{record.path}' became slower: its "
            f"sessions differ by {record.baseline_spread:.0%} of p50 (those of now by {record.spread:.0%}), and "
            f"{unknown}. Measure the baseline anew ('onnxprune bench MODEL --report FILE'), while nothing else runs "
            "there"
        )
    return (
        f"device '{device}' is too noisy to tell whether '{record.path}' became slower: its sessions differ by "
        f"{record.spread:.0%} of p50 (the baseline's by {record.baseline_spread:.0%}), and {unknown}. {QUIETER}"
    )
