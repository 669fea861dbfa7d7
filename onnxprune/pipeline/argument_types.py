"""Arguments of the library's functions whose type cannot be meant: refused by name, before anything is read."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from typing import ParamSpec, TypeVar

from onnxprune.errors import ArgumentError
from onnxprune.training import Preprocess

P = ParamSpec("P")
R = TypeVar("R")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_seed(value: object) -> bool:
    return isinstance(value, Integral) and _is_whole(value) and int(value) >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and _is_number(value) and math.isfinite(value)


def _is_amount(value: object) -> bool:
    return _is_text(value) or _is_number(value)


def _is_switch(value: object) -> bool:
    return isinstance(value, bool)


def _are_texts(value: object) -> bool:
    return _is_text(value) or (isinstance(value, Sequence) and all(map(_is_text, value)))


def _are_paths(value: object) -> bool:
    # What can be gone through once only is looked at where it is used.
    listed = isinstance(value, Sequence) and all(map(_is_path, value))
    return _is_path(value) or listed or isinstance(value, Iterator)


def _are_sizes(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        _is_text(name) and isinstance(sizes, Iterable) and all(map(_is_whole, sizes)) for name, sizes in value.items()
    )


def _are_shares(value: object) -> bool:
    return _is_path(value) or (
        isinstance(value, Mapping) and all(_is_text(name) and _is_number(share) for name, share in value.items())
    )


def _is_preprocess(value: object) -> bool:
    return _is_path(value) or isinstance(value, Preprocess | Mapping)


def _is_function(value: object) -> bool:
    return _is_text(value) or callable(value)


def _are_stages(value: object) -> bool:
    return _is_text(value) or _is_whole(value)


_Rule = tuple[Callable[[object], bool], str]
_RULES: Mapping[str, _Rule] = {
    name: rule
    for rule, names in {
        (_is_path, "a path"): "model first second output report run_dir plot pictures compare",
        (_are_paths, "the path of a model, or several"): "models",
        (_is_whole, "a whole number"): "epochs batch_size round_to min_channels threads batch sessions samples worst",
        (_is_seed, "a whole number from 0"): "seed",
        (_is_finite, "a finite number"): (
            "time_budget max_ratio max_regression budget learning_rate features max_drop"
        ),
        (_is_amount, "a number, or text such as '60%'"): (
            "ratio target_latency target_macs target_params target_size search_budget"
        ),
        (_is_text, "text"): "importance allocation device provider optimizer teacher quantize calibration",
        (_are_texts, "text, or several"): "keep only units augment rl_pruner",
        (_is_function, "a function, or its name as 'package.module:function'"): "metric",
        (_is_switch, "True or False"): "io_binding",
        (_are_sizes, "sizes by the names of inputs, such as {'image': (1, 3, 224, 224)}"): "input_shapes",
        (_are_stages, "a whole number or 'auto'"): "stages",
        (_is_preprocess, "a preset's name, a JSON file, or fields by name"): "preprocess",
        (_are_shares, "a file, or shares by patterns, such as {'layer3*': 0.5}"): "ratios",
    }.items()
    for name in names.split()
}


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function refuse arguments whose type cannot be meant, with an `ArgumentError`."""
    signature = inspect.signature(function)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        check_types(signature, signature.bind(*args, **kwargs).arguments)
        return function(*args, **kwargs)

    return checked


def check_types(signature: inspect.Signature, arguments: Mapping[str, object]) -> None:
    """Refuse arguments whose type cannot be meant.

    Args:
        signature: The function's; what is None by default may be None.
        arguments: What it is called with, by name.

    Raises:
        ArgumentError: Says which, and what it must be.
    """
    for name, value in arguments.items():
        fits, what = _RULES.get(name, (None, ""))
        left_out = value is None and signature.parameters[name].default is None
        if fits is not None and not left_out and not fits(value):
            raise ArgumentError(f"{name} must be {what}, not {value!r}")
