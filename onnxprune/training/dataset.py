"""A set of samples to calibrate, train or test with: rows of a source, read in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from onnxprune.errors import DataError

if TYPE_CHECKING:
    from onnxprune.training.task import TaskMetric

IntArray = NDArray[np.int64]
AnyArray = NDArray[Any]


class Source(Protocol):
    """Samples that can be read by number."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def fetch(self, rows: IntArray) -> tuple[AnyArray, ...]:
        """Read samples, ready for the model.

        Args:
            rows: Numbers of the samples, shape (n,).

        Returns:
            One array an input of the model, in its order, each of shape (n, ...).
        """


@runtime_checkable
class NamedSource(Source, Protocol):
    """Samples that have names."""

    def name(self, row: int) -> str:
        """Return the name of a sample, such as its file."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples that go through the model together.

    Attributes:
        inputs: One array an input of the model, in its order, each of shape (n, ...).
        labels: Class numbers, shape (n,), or None where there are none.
        positions: Where in the dataset each sample stands, shape (n,).
    """

    inputs: tuple[AnyArray, ...]
    labels: IntArray | None
    positions: IntArray


@dataclass(frozen=True, eq=False)
class Dataset:
    """Some rows of a source, with their labels where there are any.

    Attributes:
        source: Where the samples come from.
        rows: The source's rows that belong to this dataset, shape (n,).
        labels: The class number of each of these rows, shape (n,), or None.
        classes: The classes' names by number, where they have any.
        synthetic: True for random inputs that stand in for missing data.
        origin: Where the samples come from, as an error message names it.
        notes: Assumptions that were made in reading them, to be shown to the user.
        targets: What the user's own metric compares outputs with, one row for each of these rows, or None.
        metric: The user's own metric, or None.
        scored: Whether outputs that have the form of class scores are such; a user's metric may be for something else.
    """

    source: Source
    rows: IntArray
    labels: IntArray | None = None
    classes: tuple[str, ...] | None = None
    synthetic: bool = False
    origin: str = "data"
    notes: tuple[str, ...] = ()
    targets: AnyArray | None = None
    metric: TaskMetric | None = None
    scored: bool = True

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.rows)

    @property
    def labelled(self) -> bool:
        """Whether the samples have labels."""
        return self.labels is not None

    def batches(
        self, batch_size: int, shuffle_seed: int | Sequence[int] | None = None, *, drop_last: bool = False
    ) -> Iterator[Batch]:
        """Read the samples in batches.

        Args:
            batch_size: Samples a batch; the last one may be smaller.
            shuffle_seed: Seed of a random order; None keeps the dataset's order.
            drop_last: Leave out a last batch that is not full, unless it is the only one.
        """
        order = np.arange(len(self))
        if shuffle_seed is not None:
            order = np.random.default_rng(shuffle_seed).permutation(len(self))
        for start in range(0, len(self), batch_size):
            positions = order[start : start + batch_size]
            if drop_last and start > 0 and len(positions) < batch_size:
                return
            labels = None if self.labels is None else self.labels[positions]
            yield Batch(self.source.fetch(self.rows[positions]), labels, positions)

    def name(self, position: int) -> str | None:
        """Return the name of the sample at a position, such as its file; None where samples have none."""
        return self.source.name(int(self.rows[position])) if isinstance(self.source, NamedSource) else None

    def select(self, positions: IntArray) -> Dataset:
        """Return the samples at these positions as a dataset of their own."""
        labels = None if self.labels is None else self.labels[positions]
        targets = None if self.targets is None else self.targets[positions]
        return replace(self, rows=self.rows[positions], labels=labels, targets=targets)

    def subset(self, n: int, seed: int) -> Dataset:
        """Draw at most `n` samples, every class in its share, in the dataset's order."""
        if n >= len(self):
            return self
        return self.select(np.sort(spread_order(len(self), self.labels, seed)[:n]))

    def spread(self, n: int, seed: int) -> Dataset:
        """Draw at most `n` samples such that the first few of them, too, have every class in its share."""
        return self.select(spread_order(len(self), self.labels, seed)[:n])

    def filled(self, n: int) -> Dataset:
        """Return at least `n` samples: where there are fewer, some again."""
        return self if len(self) >= n else self.select(np.resize(np.arange(len(self)), n))

    def in_memory(self, batch_size: int = 64) -> Dataset:
        """Read all samples once and keep them, for what is run over many times."""
        arrays: tuple[AnyArray, ...] = ()
        read = 0
        for batch in self.batches(batch_size):
            # Filled as they come: joined at the end, they would be in memory twice.
            arrays = arrays or tuple(np.empty((len(self), *part.shape[1:]), part.dtype) for part in batch.inputs)
            for array, part in zip(arrays, batch.inputs, strict=True):
                array[read : read + len(part)] = part
            read += len(batch.inputs[0])
        return replace(self, source=_Held(arrays), rows=np.arange(len(self)))

    def unlabelled(self) -> Dataset:
        """Return the same samples without their labels."""
        return replace(self, labels=None, classes=None)


@dataclass(frozen=True, eq=False)
class _Held:
    """Samples in memory, ready for the model."""

    arrays: tuple[AnyArray, ...]

    def __len__(self) -> int:
        return len(self.arrays[0])

    def fetch(self, rows: IntArray) -> tuple[AnyArray, ...]:
        return tuple(array[rows] for array in self.arrays)


@dataclass(frozen=True, eq=False)
class DataSplits:
    """The three parts of the data, and what the user should know about how they came to be.

    Attributes:
        train: What the network learns from; calibration samples come from here too.
        val: What choices are made by: the best epoch, the best candidate.
        test: Touched once, at the end.
        notes: Assumptions that were made, to be shown to the user.
    """

    train: Dataset
    val: Dataset
    test: Dataset
    notes: tuple[str, ...] = ()

    @property
    def synthetic(self) -> bool:
        """Whether the inputs are random because there is no data."""
        return self.train.synthetic


def spread_order(count: int, labels: IntArray | None, seed: int) -> IntArray:
    """Order samples at random such that every stretch of the order has each class in its share.

    Each class's samples are put at even distances over the order, from a random start.

    Args:
        count: Number of samples.
        labels: Their class numbers, shape (count,), or None for one class.
        seed: Seed of the order.

    Returns:
        A permutation of the samples, shape (count,).
    """
    rng = np.random.default_rng(seed)
    if labels is None:
        return rng.permutation(count)
    place = np.empty(count)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(place, kind="stable")


def cut(data: Dataset, shares: Sequence[float], seed: int) -> tuple[Dataset, ...]:
    """Split a dataset by seed into disjoint parts, each class in its share.

    Args:
        data: What to split.
        shares: The parts' sizes relative to each other; each above zero.
        seed: Seed of the split.

    Raises:
        DataError: There are fewer samples than parts.
    """
    if len(data) < len(shares):
        raise DataError(
            f"{data.origin} has {len(data)} samples, too few to split into {len(shares)} parts; add samples, "
            "or give the parts yourself (--val, --test)"
        )
    order = spread_order(len(data), data.labels, seed)
    ends = np.rint(np.cumsum(shares) / np.sum(shares) * len(data)).astype(int)
    for part in range(len(shares)):  # no part may be empty, however small its share
        least = part + 1 if part == 0 else ends[part - 1] + 1
        ends[part] = min(max(ends[part], least), len(data) - (len(shares) - 1 - part))
    return tuple(data.select(np.sort(rows)) for rows in np.split(order, ends[:-1]))
