"""What onnxprune makes of one ONNX file: analysis, removal of 30 %, proof, latency, conversion, a training step."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import torch

import onnxprune
from onnxprune.channels import permitted
from onnxprune.graph import graph_cost, load, random_inputs, resolve_input_shapes
from onnxprune.latency import LocalDevice, MeasureOptions
from onnxprune.report import coverage
from onnxprune.torch_bridge import compare, to_torch

SHARE = 0.3


def check(source: Path, folder: Path, shape: tuple[int, ...] | None) -> dict[str, Any]:
    """Run one file through everything and record what came out.

    Args:
        source: The file.
        folder: Where results may lie.
        shape: Size of its input, where that is free; None: the file says it.
    """
    started = time.perf_counter()
    model = load(source)
    given = None if shape is None else {str(model.graph.inputs[0].name): shape}
    shapes = resolve_input_shapes(model, given, batch=2)
    loaded = time.perf_counter()
    channels = permitted(model)
    analysed = time.perf_counter()
    record: dict[str, Any] = {
        "nodes": len(model.graph),
        "load_s": round(loaded - started, 3),
        "analyse_s": round(analysed - loaded, 3),
        "groups": len(channels.groups),
        "coverage": round(coverage(channels, graph_cost(model, shapes)), 4),
        "reasons": reasons(channels),
    }
    if not channels.groups:
        return record
    result = folder / "ours.onnx"
    report = onnxprune.prune(source, ratio=SHARE, importance="l2", output=result, input_shapes=given).report
    record["macs"] = round(report.after.macs / report.before.macs, 4)
    record["verified_error"] = report.verification.relative_error
    record["latency"] = latency_ratio(source, result, given)
    pruned = load(result)
    return record | bridge(pruned, given)


def reasons(channels: Any) -> dict[str, int]:
    """Count the fixed channels by the operator that fixed them."""
    found: dict[str, int] = {}
    for fixed in channels.fixed:
        why = re.sub(r" '[^']*'", "", fixed.reason)
        found[why] = found.get(why, 0) + fixed.channels
    return dict(sorted(found.items(), key=lambda item: -item[1])[:3])


def bridge(pruned: Any, given: dict[str, tuple[int, ...]] | None) -> dict[str, Any]:
    """Convert to PyTorch and train one step."""
    try:
        feeds = random_inputs(pruned, resolve_input_shapes(pruned, given, batch=2), 0)
        module = to_torch(pruned)
        error = compare(module, pruned, feeds).relative
        module.train()
        outputs = module(*(torch.from_numpy(array) for array in feeds.values()))
        sum((output.float() ** 2).mean() for output in outputs).backward()  # type: ignore[union-attr]
        trained = sum(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters())
        return {"converted_error": error, "trained": trained, "parameters": len(list(module.parameters()))}
    except Exception as error:
        return {"bridge_failed": f"{type(error).__name__}: {str(error)[:200]}"}


def latency_ratio(original: Path, result: Path, given: dict[str, tuple[int, ...]] | None = None) -> float:
    """Measure a result beside the original, on one thread."""
    model = load(original)
    feeds = random_inputs(model, resolve_input_shapes(model, given), 0)
    files = {"original": original, "result": result}
    stats = LocalDevice().measure(files, dict.fromkeys(files, feeds), MeasureOptions(sessions=3, session_ms=150))
    return round(stats["result"].p50_ms / stats["original"].p50_ms, 4)
