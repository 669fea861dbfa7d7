"""Cost models that predict what a structure costs, for searches that ask for thousands of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from onnxprune.channels import ChannelMap
from onnxprune.search.sizes import AxisSize, Counts, Join, PaperCost, Product

Item = TypeVar("Item")
# Of the figures from the layers' own measurements, beside each structure measured whole.
_PRIOR_WEIGHT = 1e-3
_LEAST_SHARE = 0.05
# Of the cheapest structure's mean layer, that it may take less in the network than alone.
_MOST_OVERHEAD = 0.9


@dataclass(frozen=True)
class LayerTerm:
    """The latency of one contraction as a function of its channel counts.

    Attributes:
        node: Name of the node.
        channels_in: Size of its input channel axis.
        channels_out: Size of its output channel axis.
        cost_ms: Milliseconds at (channels in, channels out).
    """

    node: str
    channels_in: AxisSize
    channels_out: AxisSize
    cost_ms: Callable[[int, int], float]

    def of(self, counts: Counts) -> float:
        """Return the milliseconds at the groups' counts; a layer without channels is not there."""
        channels_in, channels_out = self.channels_in.of(counts), self.channels_out.of(counts)
        return self.cost_ms(channels_in, channels_out) if channels_in and channels_out else 0.0


class LatencyCost:
    """Predicted latency: measured costs of the contractions, and a cost per entry for everything else.

    What the layers' own measurements leave of the network's latency (activations that are not fused, joins, pooling,
    the runtime itself) is spread over the entries that the other nodes write.
    """

    def __init__(
        self,
        terms: Sequence[LayerTerm],
        paper: PaperCost,
        original: np.ndarray,
        latency_ms: float | None,
        block: int = 1,
    ) -> None:
        """Calibrate on the unpruned network.

        Args:
            terms: The contractions.
            paper: Closed forms of the network's sizes.
            original: Counts of the unpruned network.
            latency_ms: Its measured latency; None: the layers' sum, and nothing else costs anything.
            block: Channels that the device's kernels keep together.
        """
        self._terms = tuple(terms)
        self._activations = paper.activations
        self._joins = paper.joins
        self._block = block
        layers_ms = sum(term.of(original) for term in self._terms)
        latency_ms = layers_ms if latency_ms is None else latency_ms
        # Layers measured alone can add up to more than the whole, where neighbours keep data in the cache.
        scale = min(1.0, latency_ms / layers_ms) if layers_ms else 1.0
        rest_ms = max(latency_ms - layers_ms * scale, 0.0)
        self._weights: tuple[float, ...] = (scale, rest_ms / max(paper.activations_of(original), 1), 0.0, 0.0)
        items: list[tuple[LayerTerm | Product | Join, list[AxisSize]]] = [
            *((t, [t.channels_in, t.channels_out]) for t in self._terms),
            *((p, list(p.sizes)) for p in self._activations),
            *((j, [*j.entries.sizes, *j.parts]) for j in self._joins),
        ]
        self._of = [_Parts.among(touched) for touched in _by_group(len(original), items)]
        self._all = _Parts(self._terms, self._activations, self._joins)

    def total(self, counts: np.ndarray) -> float:
        """Return the predicted latency in ms."""
        return self._sum(self._all, counts.tolist())

    def around(self, group: int, counts: np.ndarray) -> float:
        """Return the predicted ms of everything one group's count affects."""
        return self._sum(self._of[group], counts.tolist())

    def refitted(self, structures: Sequence[np.ndarray], measured_ms: Sequence[float]) -> LatencyCost:
        """Correct what layers, entries, joins and each layer's call cost, by structures that were measured whole.

        Layers measured alone lack what happens between them: reordered data, caches, the runtime's own work; and data
        stays in caches between them. With L the sum of the layers' own ms, E the entries that
        other nodes write, J those of joins whose parts do not fill blocks (they leave the blocked layout, and come back
        to it) and N the number of layers left,

            ms = a L + b E + j J + c N,   a and b at least a twentieth of what they were, j >= 0,
                                          c >= -0.9 a k,  k the cheapest structure's mean layer

        by least squares of the relative errors, with a little weight on the figures from before. (The bounds: on a
        device too noisy to see a difference, channels must still cost something.)

        Args:
            structures: Counts, shape (groups,) each.
            measured_ms: Measured latency of each.
        """
        parts = np.array([self._all.of(s.tolist(), self._block) for s in structures])
        # What a call may take off a layer. Of a (L - most N) + ... + (c + a most) N no coefficient is negative.
        most = _MOST_OVERHEAD * float((parts[:, 0] / np.maximum(parts[:, 3], 1)).min())
        parts[:, 0] -= most * parts[:, 3]
        typical = np.maximum(parts.mean(axis=0), 1e-12)
        ms = np.asarray(measured_ms)
        before = np.array(self._weights)
        before[3] += most * before[0]
        least = np.array([before[0] * _LEAST_SHARE, before[1] * _LEAST_SHARE, 0.0, 0.0])
        hold = np.diag(typical) * np.sqrt(_PRIOR_WEIGHT * len(ms)) / ms.mean()
        rows = np.concatenate([parts / ms[:, None], hold])
        fitted = _non_negative(rows, np.concatenate([np.ones(len(ms)), hold @ before]) - rows @ least)
        corrected = copy(self)
        weights = least + fitted
        weights[3] -= most * weights[0]
        corrected._weights = tuple(weights.tolist())
        return corrected

    def _sum(self, parts: _Parts, counts: Counts) -> float:
        return sum(weight * part for weight, part in zip(self._weights, parts.of(counts, self._block), strict=True))


@dataclass(frozen=True)
class _Parts:
    """What a latency is made of: the whole network's, or what one group has a say in."""

    terms: tuple[LayerTerm, ...]
    activations: tuple[Product, ...]
    joins: tuple[Join, ...]

    @staticmethod
    def among(items: Sequence[LayerTerm | Product | Join]) -> _Parts:
        """Sort parts by what they are."""
        return _Parts(
            tuple(item for item in items if isinstance(item, LayerTerm)),
            tuple(item for item in items if isinstance(item, Product)),
            tuple(item for item in items if isinstance(item, Join)),
        )

    def of(self, counts: Counts, block: int) -> tuple[float, float, float, float]:
        """Return the layers' own ms, entries, entries of misaligned joins, and the number of layers left."""
        own_ms = [term.of(counts) for term in self.terms]
        entries = sum(product.of(counts) for product in self.activations)
        joined = sum(join.misaligned(counts, block) for join in self.joins)
        return sum(own_ms), entries, joined, sum(ms > 0 for ms in own_ms)


def _non_negative(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Solve a small least-squares problem with no negative coefficient, by trying which of them are 0."""
    best, least = np.zeros(rows.shape[1]), float("inf")
    for subset in range(1, 1 << rows.shape[1]):
        used = [column for column in range(rows.shape[1]) if subset >> column & 1]
        solution = np.zeros(rows.shape[1])
        solution[used] = np.linalg.lstsq(rows[:, used], wanted, rcond=None)[0]
        error = float(np.square(rows @ solution - wanted).sum())
        if (solution >= 0).all() and error < least:
            best, least = solution, error
    return best


class ProductCost:
    """A cost that is a sum of products of axis sizes: MACs, parameters or bytes."""

    def __init__(self, products: Sequence[tuple[Product, float]], groups: int) -> None:
        """Prepare for a network.

        Args:
            products: The products and what each of their entries costs.
            groups: Number of groups.
        """
        self._products = tuple(products)
        self._of = _by_group(groups, [(item, list(item[0].sizes)) for item in self._products])

    def total(self, counts: np.ndarray) -> float:
        """Return the cost of the whole network."""
        values = counts.tolist()
        return sum(product.of(values) * weight for product, weight in self._products)

    def around(self, group: int, counts: np.ndarray) -> float:
        """Return the cost of everything one group's count affects."""
        values = counts.tolist()
        return sum(product.of(values) * weight for product, weight in self._of[group])


class ShareCost:
    """A cost of one for each whole group, so that steps are priced by the share of a group that they remove."""

    def __init__(self, sizes: np.ndarray) -> None:
        """Prepare for groups of these sizes, shape (groups,)."""
        self._sizes = sizes

    def total(self, counts: np.ndarray) -> float:
        """Return the sum of the shares that stay."""
        return float((counts / self._sizes).sum())

    def around(self, group: int, counts: np.ndarray) -> float:
        """Return the share of one group that stays."""
        return float(counts[group] / self._sizes[group])


class ChannelShareCost:
    """The share of the channels that stays, of all producers together."""

    def __init__(self, channels: ChannelMap) -> None:
        """Prepare for a network."""
        per_unit = np.array([group.channels_per_unit for group in channels.groups])
        sizes = np.array([group.size for group in channels.groups])
        self._share_of_unit = per_unit / (per_unit * sizes).sum()

    def total(self, counts: np.ndarray) -> float:
        """Return the share of all channels that stays."""
        return float((counts * self._share_of_unit).sum())

    def around(self, group: int, counts: np.ndarray) -> float:
        """Return what one group holds of it."""
        return float(counts[group] * self._share_of_unit[group])


def macs_cost(paper: PaperCost, groups: int, each: float = 1.0) -> ProductCost:
    """Return the network's multiply-accumulates as a cost; `each`: what one of them costs."""
    return ProductCost([(product, each) for product in paper.macs], groups)


def parameters_cost(paper: PaperCost, groups: int) -> ProductCost:
    """Return the number of weights as a cost."""
    return ProductCost([(product, 1.0) for product, _ in paper.parameters], groups)


def bytes_cost(paper: PaperCost, groups: int) -> ProductCost:
    """Return the bytes of the weights as a cost."""
    return ProductCost(paper.parameters, groups)


def _by_group(groups: int, items: Sequence[tuple[Item, list[AxisSize]]]) -> list[list[Item]]:
    result: list[list[Item]] = [[] for _ in range(groups)]
    for item, sizes in items:
        touched = {int(group) for size in sizes for group in size.groups}
        for group in touched:
            result[group].append(item)
    return result
