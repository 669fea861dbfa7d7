"""Resize and Upsample, every mode and opset, against onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from bridge_models import Case, opsets_of, relative_difference, single

X = np.random.default_rng(0).standard_normal((1, 2, 5, 6)).astype(np.float32)
UP, DOWN = [1.0, 1.0, 2.0, 1.5], [1.0, 1.0, 0.6, 0.5]
COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


def upsample_cases(opset: int) -> Iterator[Case]:
    for mode in ("nearest", "linear"):
        if opset < 9:
            yield Case([X], {"mode": mode, "scales": UP})
        else:
            yield Case([X, UP], {"mode": mode})


def resize_cases(opset: int) -> Iterator[Case]:
    if opset < 11:
        for scales in (UP, DOWN, [1.0, 1.0, 2.0, 2.0]):
            for mode in ("nearest", "linear"):
                yield Case([X, scales], {"mode": mode})
        return
    roi = None if opset >= 13 else [0.0] * 8
    for scales in (UP, DOWN, [1.0, 1.0, 2.0, 2.0]):
        for coordinates in COORDINATES:
            for mode in ("linear", "cubic"):
                yield Case(
                    [X, roi, scales],
                    {"mode": mode, "coordinate_transformation_mode": coordinates},
                    tolerance=1e-4,
                )
            for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
                modes = {"coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
                yield Case([X, roi, scales], {"mode": "nearest", **modes})
    empty = None if opset >= 13 else np.zeros(0, np.float32)
    for sizes in ([1, 2, 8, 3], [1, 2, 10, 12], [1, 3, 5, 6]):
        yield Case([X, roi, empty, sizes], {"mode": "linear"}, tolerance=1e-4)
        yield Case([X, roi, empty, sizes], {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"})
    outside = {"exclude_outside": 1, "cubic_coeff_a": -0.5, "mode": "cubic"}
    yield Case([X, roi, UP], outside, tolerance=1e-4)
    crop = {
        "coordinate_transformation_mode": "tf_crop_and_resize",
        "mode": "linear",
        "extrapolation_value": 9.0,
    }
    yield Case([X, [0.0, 0.0, 0.4, 0.2, 1.0, 1.0, 1.2, 0.8], UP], crop, tolerance=1e-4)


def newer_resize_cases() -> Iterator[Case]:
    yield Case([X, None, [2.0, 1.5]], {"axes": [2, 3], "mode": "linear"}, tolerance=1e-4)
    yield Case([X, None, None, [7, 9]], {"axes": [3, 2], "mode": "nearest"})
    for mode in ("linear", "cubic"):
        yield Case([X, None, DOWN], {"antialias": 1, "mode": mode}, tolerance=1e-3)
    for policy in ("not_larger", "not_smaller"):
        yield Case(
            [X, None, None, [10, 9]],
            {"axes": [2, 3], "mode": "linear", "keep_aspect_ratio_policy": policy},
            tolerance=1e-4,
        )


def all_cases() -> list:
    found = [("Upsample", opset, case) for opset in (7, 9) for case in upsample_cases(opset)]
    found += [("Resize", opset, case) for opset in opsets_of("Resize") for case in resize_cases(opset)]
    found += [("Resize", opset, case) for opset in (18, 19) for case in newer_resize_cases()]
    found += [
        (
            "Resize",
            19,
            Case([X, None, s], {"coordinate_transformation_mode": "half_pixel_symmetric", "mode": "linear"}),
        )
        for s in (UP, DOWN)
    ]
    return [pytest.param(*row, id=f"{row[0]}-{row[1]}-{index}") for index, row in enumerate(found)]


@pytest.mark.parametrize(("op_type", "opset", "case"), all_cases())
def test_resampling_equals_onnxruntime(op_type, opset, case):
    model, feeds = single(op_type, opset, case)
    assert relative_difference(model, feeds) <= case.tolerance
