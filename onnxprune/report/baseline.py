"""What was measured at another time: read from a report of `bench`, or from that of `compress` or `prune`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from onnxprune.errors import BaselineError, DeviceError, ReportError
from onnxprune.latency.on_device.chips import UNKNOWN
from onnxprune.latency.providers import provider_name
from onnxprune.report.bench import BenchResult
from onnxprune.report.figures import DeviceFigures, LatencyFigures
from onnxprune.report.schema import Report, read_report


@dataclass(frozen=True)
class Baseline:
    """Latencies of models on a device.

    Attributes:
        file: The report.
        device: What they were measured on.
        models: Each model's file, as it was called then, and how fast it ran.
    """

    file: str
    device: DeviceFigures
    models: tuple[tuple[str, LatencyFigures], ...]

    def pairs(self, paths: Sequence[str]) -> list[tuple[str, LatencyFigures]]:
        """Find what was measured of each model: the only one, or the one whose file has the same name.

        Raises:
            BaselineError: Nothing, or not one thing, was measured of a model.
        """
        if len(self.models) == len(paths) == 1:
            return [self.models[0]]
        return [self._named(path) for path in paths]

    def _named(self, path: str) -> tuple[str, LatencyFigures]:
        same = [pair for pair in self.models if pair[0] == path]
        found = same or [pair for pair in self.models if Path(pair[0]).name == Path(path).name]
        if len(found) != 1:
            names = ", ".join(f"'{name}'" for name, _ in self.models)
            many = "several files of this name" if found else "none of this name"
            raise BaselineError(
                f"the baseline '{self.file}' has {many} for '{path}'; it has {names}. Compare a model at a time with a "
                "report of it alone, or call the files the same"
            )
        return found[0]


def read_baseline(path: str | Path) -> Baseline:
    """Read a report of `bench`, `compress` or `prune`; of the latter two the result's latency counts.

    Raises:
        ReportError: It cannot be read, or is no such report.
        BaselineError: It holds no latency.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ReportError(f"baseline '{path}' cannot be read: {error.strerror or error}") from error
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ReportError(f"baseline '{path}' is no report: it is not JSON ({error})") from error
    if isinstance(content, dict) and content.get("operation") in ("compress", "prune"):
        return _of_report(str(path), read_report(path))
    try:
        result = BenchResult.model_validate_json(text)
    except ValidationError as error:
        raise ReportError(
            f"'{path}' is no report of bench, compress or prune that this onnxprune reads; write one with "
            f"'onnxprune bench MODEL --report FILE' ({error.errors()[0]['msg']})"
        ) from error
    # The batch of old reports is what was asked for, which a model may not have heeded.
    device = result.device.model_copy(update={"batch": result.models[0].samples}) if result.models else result.device
    return Baseline(str(path), device, tuple((model.path, model.latency) for model in result.models))


def _of_report(path: str, report: Report) -> Baseline:
    if report.device is None or report.after.latency is None:
        raise BaselineError(
            f"the baseline '{path}' holds no latency, since none was measured; write one with "
            "'onnxprune bench MODEL --report FILE'"
        )
    return Baseline(path, report.device, ((report.output.path, report.after.latency),))


def differences(then: DeviceFigures, now: DeviceFigures) -> list[str]:
    """Return in what two devices differ, or may; nothing where their latencies can be compared."""
    unknown = [name for name, value in now.fingerprint.items() if value == then.fingerprint.get(name) == UNKNOWN]
    doubts = [f"{name}: it cannot be known whether it is the same one" for name in unknown]
    return [*changes(_facts(then), _facts(now)), *doubts]


def changes(then: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Return in what two devices' facts, such as their fingerprints, differ."""
    return [
        f"{name}: {_said(then.get(name))} then, {_said(now.get(name))} now"
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]


def device_line(device: DeviceFigures) -> str:
    """Name a device in a few words."""
    told = (device.fingerprint.get(fact) for fact in ("gpu", "accelerator", "cpu"))
    cpu = next((fact for fact in told if fact), "unknown hardware")
    threads = f"{device.threads} thread{'s' if device.threads != 1 else ''}"
    return f"{device.name} ({cpu}; {device.provider}, {threads}, batch {device.batch})"


def _facts(device: DeviceFigures) -> dict[str, object]:
    try:
        provider = provider_name(device.provider)
    except DeviceError:
        provider = device.provider
    said = {"provider": provider, "threads": device.threads, "batch": device.batch, "I/O binding": device.io_binding}
    return {**device.fingerprint, **said}


def _said(value: object) -> str:
    return "not known" if value is None else f"'{value}'" if isinstance(value, str) else str(value)
