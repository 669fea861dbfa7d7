"""A picture of the samples that two models differ on the most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxprune.errors import OutputError
from onnxprune.report.comparison import Comparison, WorstSample
from onnxprune.report.figure_files import save_figure
from onnxprune.report.staircases import image_format
from onnxprune.report.tables import shortened

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLUMNS, _SIDE = 5, 2.2
_COLOURS = (1, 3)
_SMALLEST = 4


def check_pictures(path: Path, sample: NDArray[Any]) -> None:
    """Refuse to draw what is no picture.

    Args:
        path: The file, .svg or .png.
        sample: The first input of one sample, as the models take it.

    Raises:
        OutputError: The name of the file or the sample is of another kind.
    """
    image_format(path)
    _picture(path, sample)


def _picture(path: Path, sample: NDArray[Any]) -> NDArray[np.float64]:
    """Return a sample as a picture, shape (height, width, 3), from 0 to 1; of 1 or 3 channels, first or last."""
    if sample.ndim == 3 and sample.shape[0] in _COLOURS and sample.shape[2] not in _COLOURS:
        sample = sample.transpose(1, 2, 0)
    if sample.ndim == 2:
        sample = sample[:, :, None]
    if sample.ndim != 3 or sample.shape[2] not in _COLOURS or min(sample.shape[:2]) < _SMALLEST:
        raise OutputError(
            f"'{path}' cannot be drawn: a sample of the first input has the sizes {list(sample.shape)}, which are not "
            "those of a picture with 1 or 3 channels; leave out --pictures"
        )
    # Whatever preprocessing made of the values, the darkest is black and the brightest white.
    values = np.nan_to_num(sample.astype(np.float64))
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.broadcast_to(scaled, (*scaled.shape[:2], 3))


def plot_worst(result: Comparison, samples: Sequence[NDArray[Any]], path: Path) -> None:
    """Draw the worst samples of a comparison, with what each model takes them for.

    Args:
        result: The comparison.
        samples: The first input of each of its worst samples.
        path: The file, .svg or .png.

    Raises:
        OutputError: The samples are no pictures, or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = image_format(path)
    pictures = [_picture(path, sample) for sample in samples]
    columns = min(_COLUMNS, max(len(pictures), 1))
    rows = max(math.ceil(len(pictures) / columns), 1)
    figure = Figure(figsize=(_SIDE * columns, (_SIDE + 0.5) * rows + 0.4))
    FigureCanvasAgg(figure)
    places = figure.subplots(rows, columns, squeeze=False).flatten()
    for place in places:
        place.set_axis_off()
    for place, worst, picture in zip(places, result.worst, pictures, strict=False):
        place.imshow(picture)
        place.set_title(_caption(worst), fontsize=7, parse_math=False)
    first, second = (Path(model.path).name for model in result.models)
    title = f"{second} against {first}: the farthest apart by {result.divergence}"
    figure.suptitle(title, fontsize=9, parse_math=False)
    figure.tight_layout()
    save_figure(figure, path, kind)


def _caption(worst: WorstSample) -> str:
    named = f"{worst.index}" if worst.name is None else shortened(worst.name)[-34:]
    apart = "not finite" if worst.divergence is None else f"{worst.divergence:.3g}"
    classes = "" if worst.first is None else f"{worst.first} → {worst.second}"
    label = "" if worst.label is None else f" (label {worst.label})"
    return f"{named}: {apart}\n{classes}{label}"
