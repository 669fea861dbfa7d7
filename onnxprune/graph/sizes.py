"""Sizes that are products of numbers and dynamic sizes, such as 4 h w."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import zip_longest

import onnx_ir as ir

# Joins the factors in a name; exporters write a star, and by it more than products.
TIMES = " · "


@dataclass(frozen=True)
class Size:
    """A number times dynamic sizes.

    Attributes:
        factor: The number; a fraction where a size was divided, which leaves no remainder where a Reshape fits.
        names: Names of the dynamic sizes, sorted, each as often as it is a factor.
        exact: Whether it is that whatever the dynamic sizes are; half of an odd size is not.
    """

    factor: Fraction
    names: tuple[str, ...] = ()
    exact: bool = field(default=True, compare=False)

    def __mul__(self, other: Size | int) -> Size:
        """Multiply by a number or another size."""
        if isinstance(other, Size):
            names = tuple(sorted(self.names + other.names))
            return Size(self.factor * other.factor, names, self.exact and other.exact)
        return Size(self.factor * other, self.names, self.exact)

    __rmul__ = __mul__

    def __truediv__(self, number: int) -> Size:
        """Divide by a number."""
        factor = self.factor / number
        return Size(factor, self.names, self.exact and factor.denominator == 1)


def quotient(size: Size, by: Size) -> Size | None:
    """Divide a size by another, None where that leaves a dynamic size to divide by."""
    left = list(size.names)
    for name in by.names:
        if name not in left:
            return None
        left.remove(name)
    return Size(size.factor / by.factor, tuple(left)) if by.factor else None


def named(name: str) -> Size:
    """Return a dynamic size itself, or the product that `name_of` named."""
    factors = name.split(TIMES)
    number = int(factors[0]) if len(factors) > 1 and factors[0].isdecimal() else 1
    return Size(Fraction(number), tuple(sorted(factors[1:] if number > 1 else factors)))


def name_of(size: Size) -> int | str | None:
    """Return how a shape states a size: a number, a name, or None for what is neither, such as a half."""
    if not size.exact or size.factor.denominator != 1 or size.factor < 1:
        return None
    number = int(size.factor)
    if not size.names:
        return number
    return TIMES.join([str(number)] * (number > 1) + list(size.names))


def is_plain(name: str) -> bool:
    """Say whether a name that a model gives can be told from a product."""
    return TIMES not in name and not name.isdecimal()


def expanded(size: Size, known: Mapping[str, Size]) -> Size:
    """Replace the names of a size by what they are known to be."""
    result = Size(size.factor, exact=size.exact)
    for name in size.names:
        result *= known.get(name, named(name))
    return result


def dims(value: ir.Value) -> tuple[int | str | None, ...]:
    """Return a value's sizes: numbers, names of dynamic dimensions, or None where unknown."""
    if value.shape is None:
        return ()
    return tuple(d if isinstance(d, int) else d.value for d in value.shape)


def same_sizes(first: Iterable[int | ir.SymbolicDim], second: Iterable[int | ir.SymbolicDim]) -> bool:
    """Whether two shapes are known to be equal: sizes without a name are equal to nothing."""
    return all(
        a == b and not (isinstance(a, ir.SymbolicDim) and a.value is None) for a, b in zip_longest(first, second)
    )
