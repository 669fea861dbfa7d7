"""What each layer costs on its own, in the original and in the result, for the report."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from onnxprune.channels import analyse
from onnxprune.graph import concrete_shapes
from onnxprune.latency import LayerCosts, LayerSpec, NumberFormat
from onnxprune.pipeline.prepare import Network
from onnxprune.report import LayerRecord
from onnxprune.search.problem import layer_specs

_DIGITS_MS = 4


def layer_records(
    network: Network, result: ir.Model, table: LayerCosts, number_format: NumberFormat | None = None
) -> tuple[LayerRecord, ...]:
    """Time the layers of the original and of the result, each alone, in the original's order.

    Args:
        network: The original.
        result: The smaller model.
        table: The device's; most of the original's layers stand in it already.
        number_format: What the result computes in, and staircases are of; None: what the original computes in.
    """
    before = layer_specs(network.model, network.shapes, network.channels)
    after = layer_specs(result, concrete_shapes(result, network.input_shapes), analyse(result))
    records = tuple(_record(name, spec, after.get(name), table, number_format) for name, spec in before.items())
    table.save()
    return records


def _record(
    name: str, before: LayerSpec, after: LayerSpec | None, table: LayerCosts, number_format: NumberFormat | None
) -> LayerRecord:
    chosen_from = before if number_format is None else replace(before, dtype=number_format)
    return LayerRecord(
        name=name,
        op=before.op,
        channels_before=(before.channels_in, before.channels_out),
        channels_after=None if after is None else (after.channels_in, after.channels_out),
        before_ms=round(table.cost_ms(before), _DIGITS_MS),
        after_ms=None if after is None else round(table.cost_ms(after), _DIGITS_MS),
        staircase=tuple((count, round(ms, _DIGITS_MS)) for count, ms in table.measured_counts(chosen_from)),
    )
