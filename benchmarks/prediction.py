"""Is the predicted latency the measured one? Random allocations of several networks.

    python benchmarks/prediction.py NETWORK.onnx ... --out benchmarks/results/prediction.json

First each network is profiled, as `onnxprune profile` does; then allocations are drawn without looking at their cost
(a share of the channels, and each group's around it), built, and measured interleaved with the original. What is
compared is the ratio to the original.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.channels import prune
from onnxprune.graph import random_inputs, to_bytes
from onnxprune.latency import LocalDevice, MeasureOptions
from onnxprune.pipeline.prepare import Network, read_network
from onnxprune.search.problem import Subject, latency_problem
from onnxprune.search.sizes import full_counts, keep_mask

ALLOCATIONS, TOGETHER = 50, 5
SHARES, SPREAD = (0.3, 0.95), 0.2
OPTIONS = MeasureOptions(sessions=5, session_ms=60.0)


def drawn(problem: Any, number: int, seed: int) -> list[np.ndarray]:
    """Draw allocations: a share for all groups, and each group's own around it."""
    rng = np.random.default_rng(seed)
    sizes = full_counts(problem.channels)
    result = []
    for share in np.linspace(*SHARES, number):
        shares = np.clip(rng.normal(share, SPREAD, len(sizes)), 0.1, 1.0)
        counts = [problem.admissible.nearest(group, s * size) for group, (s, size) in enumerate(zip(shares, sizes))]
        result.append(np.array(counts))
    return [result[i] for i in rng.permutation(number)]


def measured(network: Network, scores: np.ndarray, allocations: list[np.ndarray]) -> list[dict[str, float]]:
    """Measure allocations beside the original; their latency over its own: by p50 and by the fastest runs."""
    models = {"original": to_bytes(network.model)}
    for index, counts in enumerate(allocations):
        keep = keep_mask(network.channels, scores, counts)
        models[str(index)] = to_bytes(prune(network.model, network.channels, keep))
    feeds = dict.fromkeys(models, random_inputs(network.model, network.input_shapes, 0))
    stats = LocalDevice(clock=time.process_time).measure(models, feeds, OPTIONS)
    original = stats.pop("original")
    return [
        {
            "ratio": s.p50_ms / original.p50_ms,
            "fastest": s.min_ms / original.min_ms,
            "spread": max(s.spread, original.spread),
            "original_ms": original.p50_ms,
            "original_min_ms": original.min_ms,
        }
        for s in stats.values()
    ]
