"""Rounds of fresh sessions of every model, wherever they run: what devices share."""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxprune.errors import DeviceError
from onnxprune.latency.device import Feeds, ModelSource, Progress
from onnxprune.latency.stats import LatencyStats, summarise

# Sessions hold their weights in packed copies: several networks of this size at once would crowd a small machine.
_HELD_BYTES = 256 << 20

Round = Callable[[Sequence[str]], Mapping[str, Mapping[str, Any]]]
"""Opens a session of each model named, in order, and lets them take turns; see `on_device.timing.whole_round`."""


def measure_rounds(
    models: Mapping[str, ModelSource],
    feeds: Mapping[str, Feeds],
    sessions: int,
    run_round: Round,
    on_progress: Progress | None,
) -> dict[str, LatencyStats]:
    """Measure models in rounds; each round has a fresh session of every model.

    The order changes from round to round. Models too large to be held side by side are held one after the other.
    See `Device.measure`.
    """
    if missing := [name for name in models if name not in feeds]:
        raise DeviceError(f"no inputs were given for model '{missing[0]}'")
    timed: dict[str, list[Mapping[str, Any]]] = {name: [] for name in models}
    names = list(models)
    for session in range(sessions):
        first = session % max(len(names), 1)
        order = names[first:] + names[:first]
        for together in [order] if _fit_together(models) else [[name] for name in order]:
            for name, session_of in run_round(together).items():
                timed[name].append(session_of)
        if on_progress is not None:
            on_progress((session + 1) * len(names), sessions * len(names))
    return {name: _stats(timed[name]) for name in models}


def _stats(timed: Sequence[Mapping[str, Any]]) -> LatencyStats:
    copies = [session["copies_ms"] for session in timed if session["copies_ms"] is not None]
    there, back = np.median(copies, axis=0) if copies else (0.0, 0.0)
    return replace(
        summarise([session["samples_ms"] for session in timed]),
        load_ms=tuple(float(session["load_ms"]) for session in timed),
        copies_ms=(float(there), float(back)) if copies else None,
    )


def _fit_together(models: Mapping[str, ModelSource]) -> bool:
    return sum(_bytes(source) for source in models.values()) <= _HELD_BYTES


def _bytes(source: ModelSource) -> int:
    """Return the size of a model with the weights beside it."""
    if isinstance(source, bytes):
        return len(source)
    return sum(file.stat().st_size for file in source.parent.glob(f"{glob.escape(source.name)}*") if file.is_file())
