"""What layers cost at given channel counts: measured on demand, kept on disk, interpolated in between."""

from __future__ import annotations

import bisect
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal, Protocol

from onnxprune.latency import hardware
from onnxprune.latency.granularity import better_count, efficient_step
from onnxprune.latency.layers import BREAD_IN, BREAD_OUT, LayerSpec, sandwich, weight_bytes
from onnxprune.latency.on_device.timing import layer_ms
from onnxprune.latency.options import MeasureOptions
from onnxprune.latency.providers import PROVIDERS
from onnxprune.latency.session import Session

# More weights than any cache holds; loading more than that takes seconds and gigabytes.
_LARGEST_BYTES = 64 << 20
# Channels that steps are looked for in: four of the largest blocks.
_PROBED_CHANNELS = 256
_SCHEMA = 2

Axis = Literal["in", "out"]


class LayerTimer(Protocol):
    """Times one layer."""

    def fingerprint(self) -> dict[str, object]:
        """Return what the timings depend on."""

    def time_ms(self, spec: LayerSpec) -> float:
        """Return the milliseconds a layer takes, with the layout conversions around it."""


class ProfilingTimer:
    """Times layers with onnxruntime's profiler; by the clock where it has no times for kernels."""

    def __init__(self, options: MeasureOptions) -> None:
        """Time with the provider and threads of `options`."""
        self._options = options

    def fingerprint(self) -> dict[str, object]:
        """Return the hardware, onnxruntime's version, provider and threads."""
        return hardware.fingerprint(self._options)

    def time_ms(self, spec: LayerSpec) -> float:
        """Return the mean of the fastest quarter of the runs; see `scaled`."""
        return scaled(spec, self._measured_ms)

    def _measured_ms(self, spec: LayerSpec) -> float:
        model, feeds = sandwich(spec)
        with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
            session = Session("layer", model, self._options, profile=Path(folder) / "profile")
            by_kernel = self._options.full_provider == PROVIDERS["cpu"]
            return layer_ms(session, feeds, (BREAD_IN, BREAD_OUT), by_kernel=by_kernel)


def scaled(spec: LayerSpec, measured_ms: Callable[[LayerSpec], float]) -> float:
    """Return what a layer takes: a matrix far larger than the caches takes time in proportion to its size.

    So a part of it is measured.
    """
    parts = -(-weight_bytes(spec) // _LARGEST_BYTES) if spec.op == "MatMul" else 1
    part = spec.at(max(spec.channels_in // parts, 1), spec.channels_out)
    return measured_ms(part) * spec.channels_in / part.channels_in


class LayerCosts:
    """Costs of layers on one device.

    Measured points are kept in a JSON file for each hardware, onnxruntime version, provider and thread count,
    so that a second run on the same machine measures nothing.
    """

    def __init__(self, timer: LayerTimer, folder: Path | None = None) -> None:
        """Open the table of a timer's device.

        Args:
            timer: Times layers.
            folder: Where tables are kept; None: `$ONNXPRUNE_CACHE`, or `onnxprune` in the user's cache
                folder.
        """
        self._timer = timer
        key = hashlib.sha256(json.dumps([_SCHEMA, timer.fingerprint()], sort_keys=True, default=str).encode())
        self._file = (folder or cache_folder()) / f"layers-{key.hexdigest()[:16]}.json"
        self._points: dict[str, float] = _read(self._file)
        self._granules: dict[tuple[LayerSpec, Axis], int] = {}
        self._unsaved = 0
        self._answers: dict[str, float] = {}
        self.on_measured: Callable[[int], None] | None = None
        self.recall: Callable[[str, Callable[[], float]], float] = lambda _, make: make()
        """Answers for a layer instead of the table, if it can: a run that goes on must see the costs it saw before."""

    def cost_ms(self, spec: LayerSpec) -> float:
        """Return the measured cost of a layer at its counts."""
        key = _key(spec)
        if key not in self._answers:
            self._answers[key] = self.recall(key, lambda: self._measured_ms(key, spec))
        return self._answers[key]

    def _measured_ms(self, key: str, spec: LayerSpec) -> float:
        if key not in self._points:
            self._points[key] = self._timer.time_ms(spec)
            self._unsaved += 1
            if self.on_measured is not None:
                self.on_measured(self._unsaved)
        return self._points[key]

    def measured_counts(self, spec: LayerSpec) -> list[tuple[int, float]]:
        """Return (output channels, ms) of what was measured of a layer at its input channels, by count.

        Where input and output channels are tied, both change.
        """
        # Points by key, not by layer: a table holds those of many networks.
        counts = range(1, spec.channels_out + 1)
        keys = ((count, _key(spec.at(count if spec.tied else spec.channels_in, count))) for count in counts)
        return [(count, self._points[key]) for count, key in keys if key in self._points]

    def save(self) -> None:
        """Write new points to the table's file; a folder that cannot be written is left alone."""
        if not self._unsaved:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._file.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps(_read(self._file) | self._points))
            temporary.replace(self._file)
        except OSError:
            # The table only saves time; a read-only home must not stop a run.
            return
        self._unsaved = 0

    def granule(self, spec: LayerSpec, axis: Axis) -> int:
        """Find the step of channel counts that is worth taking on one axis of a layer.

        The smallest step is taken that saves about as much per channel as large ones; see `granularity`.

        Args:
            spec: The layer.
            axis: "in" or "out"; both are the same for layers whose axes are tied.

        Returns:
            The step, in channels.
        """
        typical = _typical(spec, axis)
        if (typical, axis) not in self._granules:
            count, unit = _count_and_unit(typical, axis)
            self._granules[typical, axis] = efficient_step(lambda c: self._at(typical, axis, c), count, unit)
        return self._granules[typical, axis]

    def better_count(self, spec: LayerSpec, axis: Axis, limit: int) -> int | None:
        """Find a larger count of an axis, up to `limit`, that is no slower; see `granularity`."""
        count, unit = _count_and_unit(spec, axis)
        return better_count(lambda c: self._at(spec, axis, c), count, limit, unit)

    def _at(self, spec: LayerSpec, axis: Axis, count: int) -> float:
        if spec.tied:
            return self.cost_ms(spec.at(count, count))
        if axis == "out":
            return self.cost_ms(spec.at(spec.channels_in, count))
        return self.cost_ms(spec.at(count, spec.channels_out))

    def surface(self, spec: LayerSpec, granule_in: int, granule_out: int) -> Callable[[int, int], float]:
        """Return the cost of a layer as a function of (channels in, channels out).

        Counts are rounded up to whole granules: what lies between two of them costs as much as the upper one.
        Between measured points, a factor of two apart and the layer's own, the cost is bilinear, as that of a
        contraction nearly is. The layer's own counts need not fill a granule; what that costs more is
        measured and kept as a factor.
        """
        own = self.cost_ms(spec)
        smooth = self._interpolated(spec, granule_in, granule_out)
        top = smooth(spec.channels_in, spec.channels_out)
        factor = own / top if top > 0 else 1.0
        misaligned_in, misaligned_out = spec.channels_in % granule_in > 0, spec.channels_out % granule_out > 0

        # A search asks for the same counts thousands of times.
        @functools.cache
        def cost_ms(channels_in: int, channels_out: int) -> float:
            value = smooth(channels_in, channels_out)
            still_in = misaligned_in and channels_in == spec.channels_in
            still_out = misaligned_out and channels_out == spec.channels_out
            aligned = not (still_in or still_out) and (misaligned_in or misaligned_out)
            return value if aligned else value * factor

        return cost_ms

    def _interpolated(self, spec: LayerSpec, granule_in: int, granule_out: int) -> Callable[[int, int], float]:
        grid_in, grid_out = _grid(spec.channels_in, granule_in), _grid(spec.channels_out, granule_out)

        def at_input(c_in: int, c_out: int) -> float:
            return _linear(lambda b: self.cost_ms(spec.at(c_in, b)), grid_out, _up(c_out, granule_out))

        if spec.tied:
            return lambda c_in, _: _linear(lambda c: self.cost_ms(spec.at(c, c)), grid_in, _up(c_in, granule_in))
        return lambda c_in, c_out: _linear(lambda a: at_input(a, c_out), grid_in, _up(c_in, granule_in))


def cache_folder() -> Path:
    """Return where measured tables are kept."""
    if "ONNXPRUNE_CACHE" in os.environ:
        return Path(os.environ["ONNXPRUNE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onnxprune"


def _key(spec: LayerSpec) -> str:
    fields = asdict(spec)
    if spec.dtype == "float32":
        # As in the tables from before there were others.
        del fields["dtype"]
    return json.dumps(fields, separators=(",", ":"))


def _read(file: Path) -> dict[str, float]:
    try:
        points = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(points, dict):
        return {}
    return {key: float(value) for key, value in points.items() if isinstance(value, int | float)}


def _up(count: int, granule: int) -> int:
    return -(-count // granule) * granule


def _grid(count: int, granule: int) -> list[int]:
    """Return the counts to measure: the granule times powers of two, and the layer's own count rounded up."""
    top, grid = _up(count, granule), [granule]
    while grid[-1] * 2 < top:
        grid.append(grid[-1] * 2)
    return sorted({*grid, top})


def _linear(cost: Callable[[int], float], grid: Sequence[int], count: int) -> float:
    """Interpolate between the grid's counts around `count`, which lies within the grid."""
    right = bisect.bisect_left(grid, count)
    at_right = cost(grid[right])
    if grid[right] == count:
        return at_right
    left = grid[right - 1]
    # A larger layer measured as faster is noise, or a count to move up to: it need not cost more.
    at_left = min(cost(left), at_right)
    return at_left + (at_right - at_left) * (count - left) / (grid[right] - left)


def _typical(spec: LayerSpec, axis: Axis) -> LayerSpec:
    """Shrink a layer to one with the same kernels: similar layers are probed once, and small steps show.

    The other axis' count becomes a power of two; the axis itself has a few of the largest blocks at most.
    """
    count, unit = _count_and_unit(spec, axis)
    count = min(count, max(_PROBED_CHANNELS // unit, 4) * unit)
    if spec.tied:
        return spec.at(count, count)
    if axis == "out":
        return spec.at(_power(spec.channels_in // unit) * unit, count)
    return spec.at(count, _power(spec.channels_out // unit) * unit)


def _count_and_unit(spec: LayerSpec, axis: Axis) -> tuple[int, int]:
    """Return the channels of an axis, and what their count is always a multiple of."""
    return (spec.channels_out if axis == "out" else spec.channels_in), (spec.width or spec.groups)


def _power(count: int) -> int:
    return 1 << (max(count, 1).bit_length() - 1)
