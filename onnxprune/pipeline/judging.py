"""Judges candidate structures: prune, heal in closed form, run in onnxruntime on the evaluation samples."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxprune.channels import prune
from onnxprune.errors import DataError
from onnxprune.graph import graph_cost, is_quantised, twin_of
from onnxprune.healing import Samples, collect_moments, heal_weights, healed_as_floats, solving_macs
from onnxprune.latency import predictor
from onnxprune.pipeline.prepare import Network, runnable
from onnxprune.search import WORST, Verdict, keep_mask
from onnxprune.training import Dataset, Metrics, Predict, collect, evaluate, own_score, sized

Heal = Callable[[ir.Model, np.ndarray], ir.Model]
"""Corrects the weights of a pruned model, given which units stayed."""

# Few images first: a quarter of the samples tells the hopeless candidates from the rest.
_FIRST_LOOK = 0.25
# Points that a nat of divergence from the original's outputs is worth: what the accuracy on unseen samples falls by
# (docs/search.md): every sample tells of its divergence, but only those near a boundary tell of the accuracy.
_POINTS_PER_NAT, _MOST_NATS = 50.0, 10.0
# Candidates stay open from their first look to the next, as far as memory allows.
_OPEN_CANDIDATES, _OPEN_BYTES, _RUN_BYTES = 24, 1 << 30, 32 << 20
# The evaluation samples are kept, and the original's outputs on them, which maps of a segmentation network can make
# large.
_FLOAT, _REFERENCE_BYTES, _INPUT_BYTES, _FEWEST = 4, 256 << 20, 1 << 30, 16
_EVALUATIONS, _SMALL_MACS, _EVALUATION_LIMITS = 160, 3e8, (40, 160)
_LOOK_MACS, _LOOK_SAMPLES = 5e11, (256, 2048)
# Layers of large networks have many positions in each sample.
_HEALING_MACS, _HEALING_SAMPLES = 3e11, (64, 512)
# The final network's ranges of activations are taken on all of these; a candidate's on few, which rank it as well.
_RANGE_SAMPLES = 64
# Solved on these, structures rank as they do solved on all.
_DRAFT_SAMPLES = 128
_BATCH = 64
# PyTorch holds some activations of two networks at once.
_FINAL_BYTES = 1 << 30


@dataclass(frozen=True)
class Subjects:
    """What is judged, and on what.

    Attributes:
        network: The original.
        scores: Importance of every unit, shape (units,).
        data: The evaluation samples, never of the test part.
        heal: How candidates are healed first; None: not at all.
        original: What candidates are compared with, where that is not `network`.
        finish: What the final network gets beyond `heal`, before any training; None: nothing.
        draft: What candidates get beyond `heal` when they are judged; None: nothing.
    """

    network: Network
    scores: np.ndarray
    data: Dataset
    heal: Heal | None
    original: Network | None = None
    finish: Heal | None = None
    draft: Heal | None = None


def candidate_healer(network: Network, data: Dataset, seed: int) -> Heal:
    """Return what heals candidates in closed form, from moments of the original's activations.

    Args:
        network: The original. Candidates of an int8 one are healed as floats and rounded, as the final network is.
        data: Calibration samples are drawn of these; labels are not used.
        seed: Seed of the samples and positions.
    """
    channels, batches = network.channels, healing_batches(network, data, seed)
    twin = twin_of(network.model) if is_quantised(network.model) else None
    moments = collect_moments(network.model if twin is None else twin.model, batches, seed=seed)

    def heal(pruned: ir.Model, keep: np.ndarray) -> ir.Model:
        return heal_weights(pruned, channels, keep, moments)

    if twin is None:
        return heal
    few = few_batches(network, batches)
    return lambda pruned, keep: healed_as_floats(pruned, lambda floats: heal(floats, keep), few)


def healing_batches(network: Network, data: Dataset, seed: int) -> Sequence[Samples]:
    """Draw the samples that weights are solved on, and that scales of integers follow."""
    samples = data.spread(healing_samples(network), seed).filled(network.fixed_batch or 1)
    return list(samples.batches(batch_size(network), drop_last=True))


def few_batches(network: Network, batches: Sequence[Samples]) -> Sequence[Samples]:
    """Return as many of the batches as a candidate's ranges of activations are taken on."""
    return batches[: max(_RANGE_SAMPLES // batch_size(network), 1)]


class HealedJudge:
    """A `search.Judge` that looks at the healed network."""

    def __init__(self, subjects: Subjects) -> None:
        """Run the original on the evaluation samples once."""
        self._subjects = subjects = replace(subjects, data=subjects.data.in_memory())
        self._batch = batch_size(subjects.network)
        original = subjects.original or subjects.network
        self._reference = collect(self._predict(original.model), subjects.data, self._batch)
        self.looks: tuple[int, ...] = self._looks()
        self._open: OrderedDict[bytes, Predict] = OrderedDict()
        weight_bytes = graph_cost(subjects.network.model, subjects.network.input_shapes).weight_bytes
        # An open session keeps its weights twice (packed too) and what its activations needed.
        self._most_open = int(np.clip(_OPEN_BYTES // (2 * weight_bytes + _RUN_BYTES), 1, _OPEN_CANDIDATES))

    def judge(self, counts: np.ndarray, samples: int) -> Verdict:
        """Evaluate the healed network of a structure on the first samples."""
        return _verdict(self._evaluate(self._candidate(counts), samples))

    def confirm(self, counts: np.ndarray) -> Verdict:
        """Evaluate a structure on all samples, healed as the final network is."""
        network, finish = self._subjects.network, self._subjects.finish
        if finish is None:
            return self.judge(counts, self.looks[-1])
        keep = keep_mask(network.channels, self._subjects.scores, counts)
        return _verdict(self._evaluate(self._predict(finish(self._healed(keep), keep)), self.looks[-1]))

    def _looks(self) -> tuple[int, ...]:
        """Return the numbers of samples of the looks: few first, unless the user's metric needs more of the original's.

        What fails on all of the original's own outputs would tell no candidates apart.
        """
        data, samples = self._subjects.data, len(self._subjects.data)
        few = max(1, round(samples * _FIRST_LOOK))
        if data.metric is None:
            return few, samples
        try:
            own_score(data, self._reference)
        except DataError as error:
            where = f"on the original's outputs for the {samples} samples that candidates are judged on"
            raise DataError(f"{where}: {error}") from error
        try:
            own_score(data.select(np.arange(few)), [output[:few] for output in self._reference])
        except DataError:
            return (samples,)
        return few, samples

    def _evaluate(self, predict: Predict, samples: int) -> Metrics:
        """Measure a network on the first samples, where the user's metric may fail on what it gives."""
        first = self._subjects.data.select(np.arange(samples))
        reference: Sequence[np.ndarray] = [output[:samples] for output in self._reference]
        return evaluate(predict, first, reference, batch_size=self._batch, forgiving=True)

    def _candidate(self, counts: np.ndarray) -> Predict:
        """Open a candidate, or find it open from its first look."""
        key = counts.tobytes()
        if key not in self._open:
            keep = keep_mask(self._subjects.network.channels, self._subjects.scores, counts)
            healed, draft = self._healed(keep), self._subjects.draft
            finished = healed if draft is None else draft(healed, keep)
            # Closed first: of large networks only one is open at a time.
            if len(self._open) >= self._most_open:
                self._open.popitem(last=False)
            self._open[key] = self._predict(finished)
        return self._open[key]

    def _healed(self, keep: np.ndarray) -> ir.Model:
        network, heal = self._subjects.network, self._subjects.heal
        pruned = prune(network.model, network.channels, keep)
        return pruned if heal is None else heal(pruned, keep)

    def _predict(self, model: ir.Model) -> Predict:
        network, run = self._subjects.network, predictor(runnable(model))
        return sized(lambda inputs: network.picked(run(inputs)), network.fixed_batch)


def evaluation_samples(network: Network) -> int:
    """Say on how many samples candidates are judged: as many as a few seconds are enough for, by the network's MACs."""
    outputs = [network.shapes.get(str(value.name), ()) for value in network.model.graph.outputs]
    out, read = (
        sum(int(np.prod(shape)) for shape in shapes) * _FLOAT / network.batch
        for shapes in (outputs, network.input_shapes.values())
    )
    fit = max(int(min(_REFERENCE_BYTES / max(out, 1), _INPUT_BYTES / max(read, 1))), _FEWEST)
    return min(_samples(network, _LOOK_MACS, _LOOK_SAMPLES), fit)


def healing_samples(network: Network) -> int:
    """Say on how many samples weights are solved."""
    return _samples(network, _HEALING_MACS, _HEALING_SAMPLES)


def draft_samples(network: Network) -> int | None:
    """Say on how many samples candidates are healed as the final network is; None where that costs more than judging.

    Layers that make up for what the layers before them have changed save far more of some structures than of others: of
    a ResNet-56, two of 84 % and 86 % before that had 87 % and 93 % after it.
    """
    running = 2 * _DRAFT_SAMPLES * _sample_macs(network)
    judging = evaluation_samples(network) * _sample_macs(network)
    return _DRAFT_SAMPLES if solving_macs(network.model) + running <= judging else None


def final_samples(network: Network, most: int | None = None) -> int:
    """Say how many samples the final healing runs at once: as many as memory allows their activations, or `most`."""
    if network.module_batch is not None:
        return network.module_batch
    samples = int(np.clip(_FINAL_BYTES // _sample_bytes(network), 1, healing_samples(network)))
    return samples if most is None else min(samples, most)


def batch_size(network: Network) -> int:
    """Say how many samples run together, so that their activations stay within a fixed memory."""
    if network.fixed_batch is not None:
        return network.fixed_batch
    return int(np.clip(_RUN_BYTES // _sample_bytes(network), 1, _BATCH))


def _sample_bytes(network: Network) -> float:
    """Bytes of the activations of one sample, at most."""
    return max(graph_cost(network.model, network.input_shapes).peak_activation_bytes / network.batch, 1.0)


def search_length(network: Network) -> int:
    """Say how many structures an agent judges where the user does not: fewer of networks that take longer."""
    return int(np.clip(_EVALUATIONS * np.sqrt(_SMALL_MACS / _sample_macs(network)), *_EVALUATION_LIMITS))


def _samples(network: Network, macs: float, limits: tuple[int, int]) -> int:
    """Say how many samples a number of MACs is enough for, within limits."""
    return int(np.clip(macs / _sample_macs(network), *limits))


def _sample_macs(network: Network) -> float:
    return max(graph_cost(network.model, network.input_shapes).macs / network.batch, 1.0)


def reward(metrics: Metrics) -> float:
    """Return what a search maximises: the metric in points, less the divergence from the original.

    Where there is no divergence (no class scores), the metric is continuous already. Outputs that are not finite, and
    those that the user's metric fails on, are worth `WORST`; what is finite is as low as it is, since a user's metric
    may be on any scale.
    """
    divergence = 0.0 if metrics.kl is None else _POINTS_PER_NAT * min(metrics.kl, _MOST_NATS)
    return _finite(metrics.primary - divergence)


def _verdict(metrics: Metrics) -> Verdict:
    return Verdict(reward(metrics), _finite(metrics.primary), metrics.samples, metrics.failure)


def _finite(points: float) -> float:
    return max(points, WORST) if math.isfinite(points) else WORST
