"""Numbers in place of dynamic sizes, so that shapes can be factored, and where two shapes are cut alike.

Every dynamic size is a prime that no real size is a multiple of; products of sizes so factor uniquely.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from onnxprune.graph.sizes import Size, named

Dims = Sequence[int | str | None]
PRIMES = (1_000_003, 1_000_033, 1_000_037, 1_000_039, 1_000_081, 1_000_099, 1_000_117, 1_000_121)


@dataclass(frozen=True)
class Segment:
    """Axes of two shapes that hold the same entries whatever is in front and behind.

    Attributes:
        ins: Where the axes are before.
        outs: Where they are after.
        in_sizes: Their sizes before.
        out_sizes: Their sizes after; None where they are not known well enough to say which entries go where.
    """

    ins: slice
    outs: slice
    in_sizes: list[int]
    out_sizes: list[int] | None


def is_dynamic(size: int) -> bool:
    """Say whether a size, or a factor of it, stands for a dynamic one."""
    return any(size % prime == 0 for prime in PRIMES)


def segments(before: Dims, after: Dims, products: MutableMapping[str, Size]) -> list[Segment]:
    """Cut two shapes of the same entries, in the same order, into pieces that do not touch each other.

    Args:
        before: Sizes before; names or None where dynamic.
        after: Likewise after.
        products: What named sizes are made of; a size that only this change of shape explains is added.

    Returns:
        The pieces from the front to the back; they cover both shapes.
    """
    sizes = _sizes(before, after, products)
    if sizes is None:
        return [Segment(slice(0, len(before)), slice(0, len(after)), [0] * len(before), None)]
    ins, outs = sizes
    front = list(_cuts(ins, outs))
    start_i, start_j = front[-1]
    back = [(len(ins) - i, len(outs) - j) for i, j in _cuts(ins[start_i:][::-1], outs[start_j:][::-1])]
    cuts = front + back[::-1]
    return [_segment(ins, outs, a, b) for a, b in pairwise(cuts) if a != b]


def _segment(ins: list[int], outs: list[int], start: tuple[int, int], stop: tuple[int, int]) -> Segment:
    in_slice, out_slice = slice(start[0], stop[0]), slice(start[1], stop[1])
    a, b = ins[in_slice], outs[out_slice]
    return Segment(in_slice, out_slice, a, b if math.prod(a) == math.prod(b) != 0 else None)


def _cuts(ins: list[int], outs: list[int]) -> Iterator[tuple[int, int]]:
    """Yield where both shapes have as many entries in front, as far as the sizes are known (not 0)."""
    i = j = 0
    yield 0, 0
    while i < len(ins) or j < len(outs):
        start_i, start_j = i, j
        i, j = min(i + 1, len(ins)), min(j + 1, len(outs))
        while (a := math.prod(ins[start_i:i])) != (b := math.prod(outs[start_j:j])):
            if a < b and i < len(ins) and a:
                i += 1
            elif b < a and j < len(outs) and b:
                j += 1
            else:
                return
        if a == 0:
            return
        yield i, j


def _sizes(before: Dims, after: Dims, products: MutableMapping[str, Size]) -> tuple[list[int], list[int]] | None:
    """Replace dynamic sizes by numbers; those after that nothing explains are 0, unless the entries' number does."""
    if not any(isinstance(dim, str) or dim is None for dim in (*before, *after)):
        return [int(dim or 0) for dim in before], [int(dim or 0) for dim in after]
    known = [_size(dim, f" {position}", products) for position, dim in enumerate(before)]
    wanted = [_size(dim, "", products) for dim in after]
    bases = sorted({name for size in known for name in size.names})
    if len(bases) > len(PRIMES):
        return None
    scales = _scales([*known, *wanted])
    numbers = {name: prime * scales.get(name, 1) for name, prime in zip(bases, PRIMES, strict=False)}
    ins, outs = ([_number(size, numbers) for size in sizes] for sizes in (known, wanted))
    if outs.count(0) == 1 and 0 not in ins:
        unknown = outs.index(0)
        explained = after[unknown]
        if _explain(before, after, ins, outs) and isinstance(explained, str) and None not in before:
            products[explained] = _product(outs[unknown], numbers, scales)
    return ins, outs


def _size(dim: int | str | None, unnamed: str, products: Mapping[str, Size]) -> Size:
    if isinstance(dim, int):
        return Size(Fraction(dim))
    name = dim if dim is not None else unnamed
    return products.get(name, named(name))


def _scales(sizes: list[Size]) -> dict[str, int]:
    """Find what dynamic sizes must be multiples of for all sizes to be whole."""
    scales: dict[str, int] = {}
    for size in sizes:
        for name in size.names[:1]:
            scales[name] = math.lcm(scales.get(name, 1), size.factor.denominator)
    return scales


def _number(size: Size, numbers: Mapping[str, int]) -> int:
    """Return what stands for a size, 0 where it has a factor that has no number."""
    return int(size.factor * math.prod(numbers.get(name, 0) for name in size.names))


def _explain(before: Dims, after: Dims, ins: list[int], outs: list[int]) -> bool:
    """Put what the number of entries leaves where a single size after is unknown, in place.

    Returns:
        Whether all the other sizes, as they are, explain it.
    """
    rest = math.prod(s for s in outs if s)
    lacking = rest // math.gcd(math.prod(ins), rest)
    if lacking > 1:
        # Both shapes hold as many entries when the network runs, so it is a dynamic axis that has this factor.
        unexplained = [i for i, dim in enumerate(before) if not isinstance(dim, int) and dim not in after]
        if len(unexplained) != 1 or is_dynamic(lacking):
            return False
        ins[unexplained[0]] *= lacking
    outs[outs.index(0)] = math.prod(ins) // rest
    return lacking == 1


def _product(number: int, numbers: Mapping[str, int], scales: Mapping[str, int]) -> Size:
    """Return the size that a number stands for."""
    size = Size(Fraction(1))
    for name, stands_for in numbers.items():
        scale = scales.get(name, 1)
        while number % (stands_for // scale) == 0:
            number //= stands_for // scale
            size *= named(name) / scale
    return size * number
