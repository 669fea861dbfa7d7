"""onnxruntime sessions, opened with the options of a measurement and with errors that name the model."""

from __future__ import annotations

import re
from pathlib import Path

from onnxprune.errors import DeviceError, InputsError
from onnxprune.latency.device import Feeds, ModelSource
from onnxprune.latency.on_device.loaded import Loaded
from onnxprune.latency.options import MeasureOptions
from onnxprune.latency.providers import require_provider

_TOO_NEW = {
    "IR version": r"model IR version: (\d+), max supported IR version: (\d+)",
    "opset": r"Opset (\d+) is under development.* till opset (\d+)",
}


class Session:
    """One onnxruntime session of one model."""

    def __init__(self, name: str, source: ModelSource, options: MeasureOptions, profile: Path | None = None) -> None:
        """Load a model.

        Args:
            name: The model's name, for messages.
            source: File or bytes. A file is read by onnxruntime itself, so that no copy of it is made here.
            options: Provider and threads.
            profile: Prefix of a file that onnxruntime writes its per-node profile to; None for no profile.

        Raises:
            DeviceError: The provider does not work, or it cannot load the model.
        """
        self.name = name
        self._provider = require_provider(options.provider)
        if isinstance(source, Path) and not source.is_file():
            raise DeviceError(f"model '{name}' cannot be measured: there is no file '{source}'")
        try:
            prefix = None if profile is None else str(profile)
            self._loaded = Loaded(source if isinstance(source, bytes) else str(source), self._provider, options, prefix)
        except Exception as error:
            raise DeviceError(self._failure("load", error)) from error
        if self._provider not in self._loaded.providers:
            raise DeviceError(f"onnxruntime dropped the provider '{options.provider}' for model '{name}'")

    def run(self, feeds: Feeds) -> None:
        """Run once; the outputs are dropped.

        Raises:
            InputsError: The model does not run on these inputs.
        """
        try:
            self._loaded.run(feeds)
        except Exception as error:
            foreign = [f"'{name}' ({array.dtype.name})" for name, array in feeds.items() if array.dtype.kind == "V"]
            if foreign:
                raise InputsError(
                    f"model '{self.name}' cannot be run: onnxruntime takes no arrays of such types from Python: "
                    f"{', '.join(foreign)}; let the model read float32 and cast it inside"
                ) from error
            raise InputsError(self._failure("run", error)) from error

    def copies_ms(self, feeds: Feeds) -> list[float]:
        """Return what copies of the inputs to the provider's memory and of the outputs back take, in milliseconds."""
        return self._loaded.copies_ms(feeds)

    def end_profile(self) -> Path:
        """Stop profiling and return the file that was written."""
        return Path(self._loaded.end_profile())

    def _failure(self, what: str, error: Exception) -> str:
        return f"onnxruntime cannot {what} model '{self.name}' on {self._provider}: {plain_reason(str(error))}"


def plain_reason(text: str) -> str:
    """Strip the codes and places in the source before onnxruntime's words.

    `[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find ...` becomes `Could not find ...`.
    """
    for before in (r"\[ONNXRuntimeError\] : \d+ : \w+ : ", r"Load model from \S+ failed:", r"/\S+:\d+ .+?\) (?=[A-Z])"):
        text = re.sub(rf"^{before}", "", text)
    return text.strip()


def newer_than_known(reason: str) -> str | None:
    """Return which version of ONNX a model has that onnxruntime refuses for being too new; None: it is not that.

    Args:
        reason: Why onnxruntime refused it.
    """
    for what, pattern in _TOO_NEW.items():
        found = re.search(pattern, reason)
        if found is not None:
            return f"{what} {found[1]}; it knows up to {found[2]}"
    return None
