"""CUDA's libraries, which pip installs (the nvidia-* wheels) where no loader looks for them."""

from __future__ import annotations

import contextlib
import functools
import io

_ON_CUDA = ("CUDAExecutionProvider", "TensorrtExecutionProvider")


def load_libraries(provider: str) -> None:
    """Load what a provider needs, before its first session; a session says itself what it lacks then.

    Args:
        provider: onnxruntime's name of the provider.
    """
    if provider in _ON_CUDA:
        _preload()


@functools.lru_cache(maxsize=1)
def _preload() -> None:
    import onnxruntime as ort

    # It prints what it does not find, and fails on wheels that are broken.
    with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
        # onnxruntime has it since 1.21.
        ort.preload_dlls()
