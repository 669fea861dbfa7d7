"""Random inputs that stand in where there is no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnxprune.training.dataset import AnyArray, Dataset, DataSplits, IntArray, cut
from onnxprune.training.layout import is_float, picture_shape
from onnxprune.training.sources import FRACTIONS

if TYPE_CHECKING:
    from onnxprune.graph import InputSpec


@dataclass(frozen=True, eq=False)
class RandomSource:
    """Random samples, made when they are read; a number always gives the same sample."""

    inputs: tuple[InputSpec, ...]
    shapes: Mapping[str, Sequence[int]]
    count: int
    seed: int

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.count

    def fetch(self, rows: IntArray) -> tuple[AnyArray, ...]:
        """Make samples by number."""
        return tuple(self._input(position, rows) for position in range(len(self.inputs)))

    def _input(self, position: int, rows: IntArray) -> AnyArray:
        spec = self.inputs[position]
        sample = tuple(self.shapes[spec.name][1:])
        generators = (np.random.default_rng((self.seed, position, int(row))) for row in rows)
        return np.stack([_sample(spec, sample, rng) for rng in generators])


def _sample(spec: InputSpec, sample: tuple[int, ...], rng: np.random.Generator) -> AnyArray:
    if spec.dtype == np.uint8 and len(sample) == 3:
        return rng.integers(0, 256, sample, dtype=np.uint8)
    if not is_float(spec):
        return rng.integers(0, 2, sample).astype(spec.dtype)
    if len(sample) == 3:
        return picture_noise(sample, rng).astype(spec.dtype)
    return rng.standard_normal(sample).astype(spec.dtype)


def picture_noise(sample: tuple[int, ...], rng: np.random.Generator) -> AnyArray:
    """Draw noise whose amplitude falls as 1 / frequency, as that of photographs does; mean 0, deviation 1.

    Args:
        sample: Shape without the batch axis, three entries; the axis of size 1, 3 or 4 holds the channels.
        rng: Where the numbers come from.
    """
    picture = picture_shape(sample, None)
    axes = (1, 2) if picture.layout == "nchw" else (0, 1)
    rows = np.fft.fftfreq(picture.height)[:, None]
    columns = np.fft.rfftfreq(picture.width)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1 / max(picture.height, picture.width)
    spectrum = np.fft.rfft2(rng.standard_normal(sample), axes=axes)
    spectrum /= np.expand_dims(frequency, 0 if axes == (1, 2) else 2)
    noise = np.fft.irfft2(spectrum, s=(picture.height, picture.width), axes=axes)
    return np.asarray((noise - noise.mean()) / (noise.std() + 1e-12))


def synthetic_data(
    inputs: Sequence[InputSpec],
    input_shapes: Mapping[str, Sequence[int]],
    n: int,
    seed: int,
    fractions: tuple[float, float, float] = FRACTIONS,
) -> DataSplits:
    """Make random inputs, in three parts, for a model that comes without data; they are marked `synthetic`.

    Args:
        inputs: What the model takes.
        input_shapes: Concrete size of every input, batch included.
        n: Number of samples, at least 3.
        seed: Seed of the samples and of the split.
        fractions: Shares of train, validation and test.
    """
    data = synthetic_samples(inputs, input_shapes, n, seed)
    train, val, test = cut(data, fractions, seed)
    return DataSplits(train, val, test, data.notes)


def synthetic_samples(
    inputs: Sequence[InputSpec], input_shapes: Mapping[str, Sequence[int]], n: int, seed: int
) -> Dataset:
    """Make random inputs in one part; a note says what they are worth.

    Args:
        inputs: What the model takes.
        input_shapes: Concrete size of every input, batch included.
        n: Number of samples.
        seed: Seed of the samples.
    """
    source = RandomSource(tuple(inputs), dict(input_shapes), n, seed)
    note = "no data given: random inputs stand in, so figures say how far outputs agree on noise, no more"
    return Dataset(source, np.arange(n), synthetic=True, origin="synthetic inputs", notes=(note,))
