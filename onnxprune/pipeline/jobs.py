"""From what plain arguments ask for to what is done: the operation itself, or a look ahead at it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

from onnxprune.errors import ArgumentError
from onnxprune.latency import DeviceSpec, opened
from onnxprune.pipeline.argument_types import check_types
from onnxprune.pipeline.files import check_files
from onnxprune.pipeline.preview import make_preview
from onnxprune.pipeline.run import run
from onnxprune.pipeline.settings import CompressResult, Settings
from onnxprune.report import Operation, Preview

P = ParamSpec("P")


@dataclass(frozen=True)
class Job:
    """What plain arguments ask for.

    Attributes:
        model: The `.onnx` file.
        spec: The device.
        settings: Everything else.
    """

    model: str | Path
    spec: DeviceSpec
    settings: Settings


_READERS: dict[str, Callable[..., Job]] = {}


def runs(read: Callable[P, Job]) -> Callable[P, CompressResult]:
    """Make of a function that reads arguments an operation that does what they ask for."""
    _READERS[read.__name__] = read

    @wraps(read)
    def operation(*args: P.args, **kwargs: P.kwargs) -> CompressResult:
        job = _job(read, *args, **kwargs)
        with _device(job) as settings:
            return run(job.model, settings)

    return operation


def preview(operation: Operation, model: str | Path, **options: Any) -> Preview:
    """Look at everything an operation needs, and say what it would do and how long it should take.

    Nothing is written. What the operation would refuse before it computes is refused.

    Args:
        operation: The operation.
        model: The `.onnx` file.
        **options: As the operation takes them.

    Raises:
        OnnxPruneError: The model, the data, the device or an output cannot be used, or the target is out of reach.
    """
    job = _job(_READERS[operation], model, **options)
    with _device(job) as settings:
        return make_preview(job.model, settings)


def _job(read: Callable[P, Job], *args: P.args, **kwargs: P.kwargs) -> Job:
    """Read arguments, and refuse what cannot be meant or would overwrite something."""
    signature = inspect.signature(read)
    given = signature.bind(*args, **kwargs)
    check_types(signature, given.arguments)
    job = read(*args, **kwargs)
    if job.settings.resume and job.settings.run_dir is None:
        raise ArgumentError("resume needs run_dir, the folder of the run to go on with")
    given.apply_defaults()
    check_files(given.arguments)
    return job


@contextmanager
def _device(job: Job) -> Iterator[Settings]:
    """Open the device that settings lack."""
    observer = job.settings.observer
    if job.spec.target is not None:
        observer.stage("connecting to the device")
    with opened(job.spec, observer.warn, job.settings.measure.provider) as device:
        yield replace(job.settings, device=device)
