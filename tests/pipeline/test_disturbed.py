"""Latencies that other work disturbs while a structure is confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from onnxprune.errors import TargetOutOfReachError
from onnxprune.latency import Feeds, LatencyStats, MeasureOptions, ModelSource, summarise
from onnxprune.latency.device import Progress
from onnxprune.latency.fake import FakeDevice
from onnxprune.pipeline import Settings, run
from onnxprune.search import parse_latency
from tests.pipeline.test_run import by_macs, model

__all__ = ["model"]


class DisturbedDevice(FakeDevice):
    """What is measured at length takes too long there, the first so many times."""

    def __init__(self, times: int) -> None:
        super().__init__(by_macs, layer_ms=lambda s: s.channels_in * s.channels_out * 576e-6)
        self.times = times

    def measure(
        self,
        models: Mapping[str, ModelSource],
        feeds: Mapping[str, Feeds],
        options: MeasureOptions,
        on_progress: Progress | None = None,
    ) -> dict[str, LatencyStats]:
        stats = super().measure(models, feeds, options, on_progress)
        if "pruned" in stats and options.sessions == MeasureOptions().sessions and self.times > 0:
            self.times -= 1
            slow = [[20 * ms for ms in runs] for runs in stats["pruned"].samples_ms]
            stats["pruned"] = replace(summarise(slow), load_ms=stats["pruned"].load_ms)
        return stats


def test_an_earlier_stage_that_misses_its_target_is_gone_on_from(model: Path) -> None:
    settings = Settings(target=parse_latency("40%"), stages=2, round_to=1, allocation="global")
    report = run(model, replace(settings, device=DisturbedDevice(8))).report
    assert report.before.latency is not None
    assert report.after.latency is not None
    assert 0.38 <= report.after.latency.p50_ms / report.before.latency.p50_ms <= 0.4
    with pytest.raises(TargetOutOfReachError, match="met in short measurements but not in long ones"):
        run(model, replace(settings, stages=1, device=DisturbedDevice(99)))
