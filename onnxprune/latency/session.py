"""onnxruntime sessions, opened with the options of a measurement and with errors that name the model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from onnxprune.errors import DeviceError
from onnxprune.latency.device import Feeds, ModelSource
from onnxprune.latency.on_device.binding import Bound
from onnxprune.latency.options import MeasureOptions
from onnxprune.latency.providers import PROVIDERS, require_provider

_ERRORS_ONLY = 3


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
        import onnxruntime as ort

        self.name = name
        self._options = options
        self._bound: Bound | None = None
        self._provider = require_provider(options.provider)
        if isinstance(source, Path) and not source.is_file():
            raise DeviceError(f"model '{name}' cannot be measured: there is no file '{source}'")
        try:
            self._session: Any = ort.InferenceSession(
                source if isinstance(source, bytes) else str(source),
                _session_options(options, profile),
                providers=providers_of(options),
                enable_fallback=0,
            )
        except Exception as error:
            raise self._failed("load", error) from error
        if self._provider not in self._session.get_providers():
            raise DeviceError(f"onnxruntime dropped the provider '{options.provider}' for model '{name}'")

    def run(self, feeds: Feeds) -> None:
        """Run once; the outputs are dropped.

        Raises:
            DeviceError: The model does not run on these inputs.
        """
        try:
            if self._options.binds:
                self._on_device(feeds).run()
            else:
                self._session.run(None, feeds)
        except Exception as error:
            raise self._failed("run", error) from error

    def copies_ms(self, feeds: Feeds) -> list[float]:
        """Return what copies of the inputs to the provider's memory and of the outputs back take, in milliseconds."""
        return self._on_device(feeds).copies_ms()

    def end_profile(self) -> Path:
        """Stop profiling and return the file that was written."""
        return Path(self._session.end_profiling())

    def _on_device(self, feeds: Feeds) -> Bound:
        if self._bound is None or self._bound.feeds is not feeds:
            number = int(dict(self._options.provider_options).get("device_id", "0"))
            self._bound = Bound(self._session, feeds, self._provider, number)
        return self._bound

    def _failed(self, what: str, error: Exception) -> DeviceError:
        reason = plain_reason(str(error))
        return DeviceError(f"onnxruntime cannot {what} model '{self.name}' on {self._provider}: {reason}")


def plain_reason(text: str) -> str:
    """Strip the codes before onnxruntime's words.

    `[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find ...` becomes `Could not find ...`.
    """
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text).strip()


def providers_of(options: MeasureOptions) -> list[tuple[str, dict[str, str]]]:
    """Return the providers of a session, in order, with their options: the one asked for, and the CPU."""
    provider = options.full_provider
    behind: list[tuple[str, dict[str, str]]] = [] if provider == PROVIDERS["cpu"] else [(PROVIDERS["cpu"], {})]
    return [(provider, dict(options.provider_options)), *behind]


def _session_options(options: MeasureOptions, profile: Path | None) -> Any:
    import onnxruntime as ort

    result = ort.SessionOptions()
    result.log_severity_level = _ERRORS_ONLY
    result.intra_op_num_threads = options.threads
    result.inter_op_num_threads = 1
    if profile is not None:
        result.enable_profiling = True
        result.profile_file_prefix = str(profile)
    return result
