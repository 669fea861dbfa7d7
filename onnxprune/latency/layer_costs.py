"""What layers cost at given channel counts: measured on demand, kept on disk, interpolated in between."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from onnxprune.latency import hardware
from onnxprune.latency.granularity import efficient_step
from onnxprune.latency.layers import BREAD_IN, BREAD_OUT, CHAIN_NODES, LayerSpec, chain, sandwich, weight_bytes
from onnxprune.latency.on_device.timing import layer_ms, profiler_overhead_ms
from onnxprune.latency.options import MeasureOptions
from onnxprune.latency.providers import PROVIDERS
from onnxprune.latency.session import Session
from onnxprune.latency.surface import Axis, Line, surface

# More weights than any cache holds; loading more than that takes seconds and gigabytes.
_LARGEST_BYTES = 64 << 20
# Channels that steps are looked for in: four of the largest blocks.
_PROBED_CHANNELS = 256
_SCHEMA = 3

Known = Sequence[tuple[Sequence[int], float]]
"""Channel counts, and a figure for them."""


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
            if self._options.full_provider != PROVIDERS["cpu"]:
                return layer_ms(session, feeds, (BREAD_IN, BREAD_OUT), by_kernel=False)
            return layer_ms(session, feeds, (BREAD_IN, BREAD_OUT), by_kernel=True, overhead_ms=self._overhead_ms)

    @functools.cached_property
    def _overhead_ms(self) -> float:
        model, feeds = chain()
        with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
            profiled = Session("chain", model, self._options, profile=Path(folder) / "profile")
            return profiler_overhead_ms(profiled, Session("chain", model, self._options), feeds, CHAIN_NODES)


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
        self.measured_points = 0
        """Layers that were timed, not found."""
        self.measured_s = 0.0
        """Seconds that this took."""
        self.recall: Callable[[str, Callable[[], float]], float] = lambda _, make: make()
        """Answers for a layer instead of the table, if it can: a run that goes on must see the costs it saw before."""
        self.recall_known: Callable[[str, Callable[[], Known]], Known] = lambda _, make: make()
        """The same for what the table knows besides."""

    @property
    def file(self) -> Path:
        """Where the table is kept."""
        return self._file

    def cost_ms(self, spec: LayerSpec) -> float:
        """Return the measured cost of a layer at its counts."""
        key = _key(spec)
        if key not in self._answers:
            self._answers[key] = self.recall(key, lambda: self._measured_ms(key, spec))
        return self._answers[key]

    def _measured_ms(self, key: str, spec: LayerSpec) -> float:
        if key not in self._points:
            start = time.perf_counter()
            self._points[key] = self._timer.time_ms(spec)
            self.measured_s += time.perf_counter() - start
            self.measured_points += 1
            self._unsaved += 1
        return self._points[key]

    def knows(self, spec: LayerSpec) -> bool:
        """Say whether a layer was measured at its counts."""
        return _key(spec) in self._points

    def keep_structure(self, network: str, counts: Sequence[int], ratio: float) -> None:
        """Keep what a whole structure of a network takes, as a share of the original's latency.

        Args:
            network: Says which network and sizes.
            counts: The structure.
            ratio: Its share.
        """
        self._points[_structure_prefix(network) + json.dumps(list(counts))] = ratio
        self._unsaved += 1

    def structures(self, network: str) -> list[tuple[tuple[int, ...], float]]:
        """Return the structures of a network that were kept, and their shares of the original's latency."""
        prefix = _structure_prefix(network)

        def known() -> Known:
            mine = [(key.removeprefix(prefix), ms) for key, ms in self._points.items() if key.startswith(prefix)]
            return [(json.loads(counts), ms) for counts, ms in mine]

        return [(tuple(counts), ratio) for counts, ratio in self.recall_known(prefix, known)]

    def measured_counts(self, spec: LayerSpec, axis: Axis = "out") -> list[tuple[int, float]]:
        """Return (channels, ms) of what was measured of a layer along one axis, by count.

        Args:
            spec: The layer; its other count stays. Where input and output channels are tied, both change.
            axis: Whose channels are counted.
        """
        # Points by key, not by layer: a table holds those of many networks.
        if spec.tied:
            layers = [spec.along(count) for count in range(spec.width, spec.channels_in + 1, spec.width)]
        elif axis == "out":
            layers = [spec.at(spec.channels_in, count) for count in range(1, spec.channels_out + 1)]
        else:
            layers = [spec.at(count, spec.channels_out) for count in range(1, spec.channels_in + 1)]
        keys = ((layer.channels_out if axis == "out" else layer.channels_in, _key(layer)) for layer in layers)
        return [(count, self._points[key]) for count, key in keys if key in self._points]

    def save(self) -> bool:
        """Write new points to the table's file; a folder that cannot be written is left alone.

        Returns:
            Whether all points are kept.
        """
        if not self._unsaved:
            return True
        temporary = self._file.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(_read(self._file) | self._points))
            temporary.replace(self._file)
        except OSError:
            # The table only saves time; a read-only home must not stop a run.
            return False
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        self._unsaved = 0
        return True

    def granule(self, spec: LayerSpec, axis: Axis) -> int:
        """Find the step of channel counts that is worth taking on one axis of a layer.

        The smallest step is taken that saves about as much per channel as large ones; see `granularity`.

        Args:
            spec: The layer.
            axis: "in" or "out"; one follows from the other for layers whose axes are tied.

        Returns:
            The step, in channels.
        """
        if spec.tied and axis == "out":
            width_in, width_out = spec.widths
            return self.granule(spec, "in") // width_in * width_out
        typical = _typical(spec, axis)
        if (typical, axis) not in self._granules:
            count, unit = _count_and_unit(typical, axis)
            self._granules[typical, axis] = efficient_step(lambda c: self._at(typical, axis, c), count, unit)
        return self._granules[typical, axis]

    def _at(self, spec: LayerSpec, axis: Axis, count: int) -> float:
        if spec.tied:
            return self.cost_ms(spec.along(count))
        if axis == "out":
            return self.cost_ms(spec.at(spec.channels_in, count))
        return self.cost_ms(spec.at(count, spec.channels_out))

    def surface(self, spec: LayerSpec, granule_in: int, granule_out: int) -> Callable[[int, int], float]:
        """Return the cost of a layer as a function of (channels in, channels out); see `surface`."""
        return surface(self, spec, granule_in, granule_out)

    def known_counts(self, line: Line) -> list[int]:
        """Return the counts along a line that were measured, ascending."""

        def known() -> Known:
            return [([count], 0.0) for count in line.counts if self.knows(line.at(count))]

        return [counts[0] for counts, _ in self.recall_known(f"line {line.axis} {_key(line.spec)}", known)]


def cache_folder() -> Path:
    """Return where measured tables are kept."""
    # Set to nothing, as a CI file may have it, they are not set.
    if own := os.environ.get("ONNXPRUNE_CACHE"):
        return Path(own)
    if common := os.environ.get("XDG_CACHE_HOME"):
        return Path(common) / "onnxprune"
    try:
        return Path.home() / ".cache" / "onnxprune"
    except RuntimeError:
        # A user without a home, as of a container: by number, since the folder is everybody's.
        user = os.getuid() if hasattr(os, "getuid") else "user"
        return Path(tempfile.gettempdir()) / f"onnxprune-{user}"


def _key(spec: LayerSpec) -> str:
    fields = asdict(spec)
    if spec.dtype == "float32":
        # As in the tables from before there were others.
        del fields["dtype"]
    if not spec.width_out:
        del fields["width_out"]
    return json.dumps(fields, separators=(",", ":"))


def _structure_prefix(network: str) -> str:
    return f"structure {network} "


def _read(file: Path) -> dict[str, float]:
    try:
        points = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(points, dict):
        return {}
    return {key: float(value) for key, value in points.items() if _is_time(value)}


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _typical(spec: LayerSpec, axis: Axis) -> LayerSpec:
    """Shrink a layer to one with the same kernels: similar layers are probed once, and small steps show.

    The other axis' count becomes a power of two; the axis itself has a few of the largest blocks at most.
    """
    count, unit = _count_and_unit(spec, axis)
    count = min(count, max(_PROBED_CHANNELS // unit, 4) * unit)
    if spec.tied:
        return spec.along(count)
    if axis == "out":
        return spec.at(_power(spec.channels_in // unit) * unit, count)
    return spec.at(count, _power(spec.channels_out // unit) * unit)


def _count_and_unit(spec: LayerSpec, axis: Axis) -> tuple[int, int]:
    """Return the channels of an axis, and what their count is always a multiple of."""
    return (spec.channels_out if axis == "out" else spec.channels_in), (spec.width or spec.groups)


def _power(count: int) -> int:
    return 1 << (max(count, 1).bit_length() - 1)
