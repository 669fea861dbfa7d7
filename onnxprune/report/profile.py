"""What the layers of a model cost over their channel counts, on one device."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from onnxprune.report.environment import Environment
from onnxprune.report.figures import DeviceFigures
from onnxprune.report.record import Record
from onnxprune.report.tables import figures_table, shortened
from onnxprune.report.units import milliseconds

Staircase = tuple[tuple[int, float], ...]


class LayerStairs(Record):
    """One layer, and those like it.

    Attributes:
        name: Its node.
        copies: How many layers of the model are like it.
        op: Operator, "Conv", "ConvTranspose" or "MatMul" (Gemm too).
        channels: Input and output channels.
        tied: Whether both change together, as in a depthwise convolution.
        full_ms: What it costs alone, with the channels it has; null where the budget ended before.
        half_ms: The same with half of its output channels, as the points around tell.
        step_in: Step of input channels that is worth taking; null where the budget ended before it was found.
        step_out: The same of output channels.
        points: Points that its costs rest on.
        measured: How many of them this profile measured.
        known: Whether it was known already.
        staircase_in: (input channels, ms) of every count that was measured, the output channels at their largest.
        staircase_out: (output channels, ms), the input channels at their largest; empty where both are tied.
    """

    name: str
    copies: int
    op: str
    channels: tuple[int, int]
    tied: bool
    full_ms: float | None
    half_ms: float | None
    step_in: int | None
    step_out: int | None
    points: int
    measured: int
    known: bool
    staircase_in: Staircase = ()
    staircase_out: Staircase = ()


class ProfileResult(Record):
    """What was measured of a model's layers, now and before.

    Attributes:
        onnxprune_version: Version of onnxprune.
        environment: Software and hardware of this machine.
        device: What was measured on.
        model: The model's file.
        latency_ms: p50 of the model.
        layers: Its layers, equal ones once.
        layers_known: How many of them were known before.
        points_measured: Points that were measured.
        structures: Whole structures of the model that its prediction is corrected by.
        structures_measured: How many of them were measured now.
        device_s: Seconds that measuring took.
        finished: Whether the budget was enough.
        table: File that holds the device's table; null where it could not be written.
    """

    onnxprune_version: str
    environment: Environment
    device: DeviceFigures
    model: str
    latency_ms: float
    layers: tuple[LayerStairs, ...]
    layers_known: int
    points_measured: int
    structures: int
    structures_measured: int
    device_s: float
    finished: bool
    table: str | None


def profile_table(result: ProfileResult) -> Table:
    """Show every layer: what it costs at full and half width, the points measured and the steps found."""
    table = figures_table("layer", "op", "in", "out", "full", "half", "step in", "step out", "points", "measured")
    for layer in result.layers:
        more = f" + {layer.copies - 1} more" if layer.copies > 1 else ""
        figures = ["" if ms is None else milliseconds(ms) for ms in (layer.full_ms, layer.half_ms)]
        steps = ["" if step is None else str(step) for step in (layer.step_in, layer.step_out)]
        table.add_row(
            Text(shortened(layer.name) + more),
            layer.op,
            *(str(count) for count in layer.channels),
            *figures,
            *steps,
            str(layer.points),
            "known" if layer.known else str(layer.measured),
        )
    return table


def profile_lines(result: ProfileResult) -> list[str]:
    """Say in a line each what was known, how long it took, and where it is kept."""
    lines = [
        f"{result.layers_known} of {len(result.layers)} layers were known; {result.points_measured} points and "
        f"{result.structures_measured} of {result.structures} whole structures measured in {result.device_s:.1f} s of "
        "device time",
        f"the model takes {milliseconds(result.latency_ms)}",
    ]
    if result.table is not None:
        lines.append(f"kept in {result.table}")
    if not result.finished:
        lines.append("the budget was spent before everything was measured; run it again to go on")
    return lines
