"""The network at each step of a run that ends in int8: what pruning, healing, training and rounding each cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from onnxprune.graph import save
from onnxprune.latency import LatencyStats
from onnxprune.pipeline.directory import RunDirectory
from onnxprune.pipeline.prepare import Network
from onnxprune.pipeline.quantising import Quantiser
from onnxprune.pipeline.structure import Structure
from onnxprune.pipeline.training import Trained
from onnxprune.progress import Observer
from onnxprune.report import QuantisationRecord, VersionRecord
from onnxprune.report.assembly import metric_figures
from onnxprune.training import Metrics

_ORIGINAL_INT8, _DIGITS_MS = "original in int8", 4


class Versions:
    """Files of the steps' networks; none where the result stays float."""

    def __init__(self, network: Network, folder: Path, directory: RunDirectory) -> None:
        """Prepare.

        Args:
            network: The original.
            folder: Where the steps' files go.
            directory: Where quantised networks are kept, so that they are made once.
        """
        self._network, self._folder, self._directory = network, folder, directory
        self._quantiser: Quantiser | None = None
        self.judged: dict[str, Path] = {}
        """Files to judge beside the original and the result, in order."""
        self.timed: dict[str, Path] = {}
        """Those of them that have a latency of their own."""

    def add(self, quantiser: Quantiser, structure: Structure, trained: Trained | None, result: Path) -> None:
        """Write every step's network, the quantised result to its own file.

        Args:
            quantiser: Makes int8 networks.
            structure: The pruned network.
            trained: Its training; None without one.
            result: Where the quantised result goes.
        """
        self._quantiser = quantiser
        original = quantiser.finish(self._network.model, self._directory.quantised("int8-original"))
        steps: dict[str, ir.Model] = {_ORIGINAL_INT8: original, "pruned": structure.pruned}
        if trained is not None:
            steps |= {} if trained.healed is None else {"healed": trained.healed}
            steps["trained"] = trained.model
        for number, (name, model) in enumerate(steps.items()):
            self.judged[name] = self._folder / f"step-{number}.onnx"
            save(model, self.judged[name])
        last = structure.pruned if trained is None else trained.model
        save(quantiser.finish(last, self._directory.quantised("int8")), result)
        # One structure has one latency in float, whatever its weights.
        self.timed = {_ORIGINAL_INT8: self.judged[_ORIGINAL_INT8], "float": self.judged["pruned"]}

    def record(
        self, stats: Mapping[str, LatencyStats], judged: Sequence[Metrics] | None, observer: Observer
    ) -> QuantisationRecord | None:
        """Put together what was found of every step; None where the result is float.

        Args:
            stats: Latency of the "original", the result ("pruned") and the `timed` files.
            judged: Metrics of the original, the `judged` files, and the result.
            observer: Told where int8 is the slower of the two.
        """
        quantiser = self._quantiser
        if quantiser is None:
            return None
        plain, int8 = stats["float"], stats["pruned"]
        if int8.p50_ms > plain.p50_ms:
            observer.warn(
                f"int8 is slower than float for the structure that was found: {int8.p50_ms:.3g} ms against "
                f"{plain.p50_ms:.3g} ms; without --quantize the same accuracy is faster"
            )
        shown = {"original": stats["original"], _ORIGINAL_INT8: stats[_ORIGINAL_INT8], "pruned": plain, "result": int8}
        names = ["original", *self.judged, "result"]
        metrics: Sequence[Metrics | None] = judged if judged is not None else [None] * len(names)
        return QuantisationRecord(
            scheme=str(quantiser.scheme),
            calibration=quantiser.calibration,
            samples=quantiser.samples,
            versions=tuple(
                VersionRecord(
                    name=name,
                    p50_ms=round(shown[name].p50_ms, _DIGITS_MS) if name in shown else None,
                    metric=metric_figures(found, "test"),
                )
                for name, found in zip(names, metrics, strict=True)
            ),
        )
