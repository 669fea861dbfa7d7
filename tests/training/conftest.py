from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxprune.graph import InputSpec


def spec(name: str, *shape: int | str, dtype: str = "float32") -> InputSpec:
    return InputSpec(name, shape, np.dtype(dtype))


@pytest.fixture
def grey() -> tuple[tuple[InputSpec, ...], dict[str, tuple[int, ...]]]:
    """A model input for 8 x 8 grey pictures: specs and shapes."""
    return (spec("image", "batch", 1, 8, 8),), {"image": (1, 1, 8, 8)}


@pytest.fixture
def colour() -> tuple[tuple[InputSpec, ...], dict[str, tuple[int, ...]]]:
    """A model input for 8 x 8 colour pictures: specs and shapes."""
    return (spec("image", "batch", 3, 8, 8),), {"image": (1, 3, 8, 8)}


@pytest.fixture
def make_spec() -> Callable[..., InputSpec]:
    return spec
