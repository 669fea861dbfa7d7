"""The table of cases that the operators' test goes through, and the arrays they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from bridge_models import Case, array

Builder = Callable[[int], Iterator[Case]]
BUILDERS: dict[str, Builder] = {}
X = array(2, 4, 9, 8)


def weights(*shape: int, seed: int = 1) -> list:
    return array(*shape, seed=seed).tolist()


def positive(*shape: int, seed: int = 2) -> list:
    return (np.abs(array(*shape, seed=seed)) + 0.5).tolist()


def cases(*op_types: str) -> Callable[[Builder], Builder]:
    def register(builder: Builder) -> Builder:
        BUILDERS.update(dict.fromkeys(op_types, builder))
        return builder

    return register
