"""Files and arrays made as they are described: bytes, or random values of a distribution."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

# A prime, so that no two rows of a weight are equal.
_POOL = 65537


def write_segment(file: Any, segment: Mapping[str, Any]) -> None:
    """Write a part of a file: bytes as they are, or random values of a described distribution."""
    if "data" in segment:
        file.write(zlib.decompress(base64.b64decode(segment["data"])))
    else:
        block, left = _normal(segment["normal"]), segment["normal"]["bytes"]
        while left > 0:
            file.write(block[:left])
            left -= len(block)


def _normal(told: Mapping[str, Any]) -> Any:
    """Make normal values within the limits told, none of them denormal; a tensor repeats them."""
    pool = np.roll(np.random.default_rng(0).standard_normal(_POOL), told["seed"]) * told["std"] + told["mean"]
    brain = told["dtype"] == "bfloat16"
    values = np.clip(pool, told["low"], told["high"]).astype("float32" if brain else told["dtype"])
    tiny = np.finfo(values.dtype).tiny
    # Not 0: something may be divided by what is positive.
    values = np.where(np.abs(values) < tiny, np.copysign(tiny, values), values)
    return (values.view("uint32") >> 16).astype("uint16").tobytes() if brain else values.tobytes()


def make_array(told: Mapping[str, Any]) -> Any:
    """Return an array of standard normal values."""
    # numpy draws no half precision.
    return np.random.default_rng(told["seed"]).standard_normal(told["shape"], "float32").astype(told["dtype"])
