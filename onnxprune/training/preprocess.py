"""How raw pixels become what the network was trained on: scale, mean, deviation, size, layout and colour."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from onnxprune.errors import DataError
from onnxprune.graph import path_kind
from onnxprune.training.dataset import AnyArray

Layout = Literal["nchw", "nhwc"]


class Preprocess(BaseModel):
    """What is done to a picture: `(pixel * scale - mean) / std`, after colour, resizing and cropping.

    Attributes:
        scale: Factor on the pixel values, which run from 0 to 255.
        mean: Subtracted after scaling; one number, or one a channel in the order the model reads them.
        std: Divided by after that; like `mean`.
        size: For pictures from files: a number, to which the shorter side is resized before the model's
            height and width are cut from the centre; or height and width, to which the picture is stretched.
            None: as large as `crop` asks.
        crop: The share of the resized shorter side that the cut from the centre keeps, where `size` is None.
        layout: The model's input layout; None: seen from the input's shape, channels being the axis of size
            1, 3 or 4.
        color: What the model reads; None: rgb, or grey where it has one channel. Arrays are taken to hold
            rgb.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scale: float = 1.0
    mean: tuple[float, ...] = Field(default=(0.0,), min_length=1)
    std: tuple[float, ...] = Field(default=(1.0,), min_length=1)
    size: int | tuple[int, int] | None = None
    crop: float = Field(default=1.0, gt=0.0, le=1.0)
    layout: Layout | None = None
    color: Literal["rgb", "bgr", "grey"] | None = None

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(","))
        return (value,) if isinstance(value, int | float) else value

    @field_validator("size", mode="before")
    @classmethod
    def _sides(cls, value: object) -> object:
        if isinstance(value, str) and "x" in value:
            return tuple(part.strip() for part in value.split("x"))
        return value

    @model_validator(mode="after")
    def _possible(self) -> Preprocess:
        if any(s == 0 for s in self.std):
            raise ValueError("std must not be 0")
        if self.size is not None and np.min(self.size) < 1:
            raise ValueError("size must be at least 1")
        return self

    @property
    def changes_values(self) -> bool:
        """Whether pixel values are scaled or shifted at all."""
        return self.scale != 1.0 or any(self.mean) or any(s != 1.0 for s in self.std)


PRESETS: Mapping[str, Preprocess] = {
    "imagenet": Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), crop=0.875),
    "tf": Preprocess(scale=1 / 127.5, mean=(1.0,)),
    "unit": Preprocess(scale=1 / 255),
    "none": Preprocess(),
}
"""Preprocessing by name: torchvision's, x / 127.5 - 1, x / 255, and pixels as they are."""


def load_preprocess(spec: str | Path | Preprocess | Mapping[str, Any] | None, **overrides: Any) -> Preprocess | None:
    """Read preprocessing from a preset's name, a JSON file or a mapping.

    A mapping may name a preset to start from: `{"preset": "imagenet", "size": 232}`.

    Args:
        spec: What to read; None where the user said nothing.
        **overrides: Single fields that go before what `spec` says; None leaves a field alone.

    Returns:
        The preprocessing, or None where neither `spec` nor an override says anything.

    Raises:
        DataError: No such preset or file, a field that does not exist, or a value that makes no sense.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    if spec is None and not given:
        return None
    fields, origin = _fields(spec)
    preset = fields.pop("preset", None)
    base = {} if preset is None else _preset(str(preset), origin).model_dump()
    try:
        return Preprocess.model_validate({**base, **fields, **given})
    except ValidationError as error:
        raise DataError(f"{origin}: {_explain(error)}") from error


def _fields(spec: str | Path | Preprocess | Mapping[str, Any] | None) -> tuple[dict[str, Any], str]:
    if spec is None:
        return {"preset": "unit"}, "preprocess options"
    if isinstance(spec, Preprocess):
        return spec.model_dump(), "preprocess"
    if isinstance(spec, Mapping):
        return dict(spec), "preprocess"
    if str(spec) in PRESETS:
        return {"preset": str(spec)}, f"preprocess '{spec}'"
    path = Path(spec)
    if path_kind(path) != "file":
        _preset(str(spec), f"preprocess '{spec}'")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"preprocess file '{path}' cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"preprocess file '{path}' must hold a JSON object such as {{\"scale\": 0.0039}}")
    return content, f"preprocess file '{path}'"


def _preset(name: str, origin: str) -> Preprocess:
    if name in PRESETS:
        return PRESETS[name]
    close = difflib.get_close_matches(name, PRESETS, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    raise DataError(
        f"{origin}: there is no preset and no file '{name}'; {hint}presets are {', '.join(PRESETS)}; "
        'a file holds JSON such as {"scale": 0.0039, "mean": [0.5], "std": [0.5]}'
    )


def _explain(error: ValidationError) -> str:
    parts = []
    for problem in error.errors():
        field = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "extra_forbidden":
            close = difflib.get_close_matches(field, Preprocess.model_fields, n=1)
            known = f"did you mean '{close[0]}'?" if close else f"fields are {', '.join(Preprocess.model_fields)}"
            parts.append(f"unknown field '{field}'; {known}")
        else:
            parts.append(f"{field or 'value'}: {problem['msg']} (got {problem['input']!r})")
    return "; ".join(dict.fromkeys(parts))


def normalise_pixels(batch: AnyArray, preprocess: Preprocess, channel_axis: int) -> AnyArray:
    """Apply scale, mean and deviation.

    Args:
        batch: Pixel values, shape (n, ...).
        preprocess: What to do.
        channel_axis: The axis that a mean and a deviation of several numbers run along.

    Returns:
        float32 array of the same shape.
    """
    shape = [1] * batch.ndim
    shape[channel_axis] = -1
    mean = np.asarray(preprocess.mean, np.float32).reshape(shape)
    std = np.asarray(preprocess.std, np.float32).reshape(shape)
    values = batch.astype(np.float32)
    values *= np.float32(preprocess.scale)
    values -= mean
    values /= std
    return values
