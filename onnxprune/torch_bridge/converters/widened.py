"""onnx2torch's converters for schema versions it does not list, where a version only allows more types.

A test holds each row to the schemas: same inputs, same outputs, same attributes.
"""

from __future__ import annotations

from onnxprune.torch_bridge.registry import find_converter, register_version

# operator: (version that onnx2torch knows, version that it lacks)
WIDENED: dict[str, tuple[tuple[int, int], ...]] = {
    "Acos": ((7, 22),),
    "Asin": ((7, 22),),
    "Atan": ((7, 22),),
    "Cos": ((7, 22),),
    "Elu": ((6, 22),),
    "Equal": ((13, 19),),
    "EyeLike": ((9, 22),),
    "GreaterOrEqual": ((12, 16),),
    "LessOrEqual": ((12, 16),),
    "RoiAlign": ((16, 22),),
    "Round": ((11, 22),),
    "ScatterND": ((16, 18),),
    "Sin": ((7, 22),),
    "Softsign": ((1, 22),),
    "Tan": ((7, 22),),
}


def _register() -> None:
    for op_type, rows in WIDENED.items():
        for known, lacking in rows:
            convert = find_converter("", op_type, known)
            if convert is not None and find_converter("", op_type, lacking) is None:
                register_version(op_type, lacking, convert)


_register()
