"""A model as onnxruntime loads and runs it to be measured, here and on a remote device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxprune.latency.on_device.binding import Bound
from onnxprune.latency.on_device.libraries import load_libraries

_CPU = "CPUExecutionProvider"
# Providers with threads of their own, which a session's number says nothing to, and their options that do.
_THREADS = {"OpenVINOExecutionProvider": ("num_of_threads", "load_config")}
_ERRORS_ONLY = 3


class Loaded:
    """One session of onnxruntime; its errors are onnxruntime's."""

    def __init__(self, source: Any, provider: str, options: Any, profile: str | None = None) -> None:
        """Load a model.

        Args:
            source: Path of its file, or its bytes.
            provider: onnxruntime's name of the provider.
            options: Has `threads`, `provider_options` and `binds`.
            profile: Prefix of a file that onnxruntime writes its per-node profile to; None for no profile.
        """
        import onnxruntime as ort

        settings = ort.SessionOptions()
        settings.log_severity_level = _ERRORS_ONLY
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
        if profile is not None:
            settings.enable_profiling = True
            settings.profile_file_prefix = profile
        providers = providers_of(provider, options)
        load_libraries(provider)
        self._session: Any = ort.InferenceSession(source, settings, providers=providers, enable_fallback=0)
        self._provider, self._options = provider, options
        # Looked up once: what a run does beside running is timed with it.
        self._binds = bool(options.binds)
        self._bound: Bound | None = None

    @property
    def providers(self) -> list[str]:
        """Names of the providers that the session kept."""
        return list(self._session.get_providers())

    def run(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Run once; the outputs are dropped."""
        if self._binds:
            self._on_device(feeds).run()
        else:
            self._session.run(None, feeds)

    def copies_ms(self, feeds: Mapping[str, np.ndarray]) -> list[float]:
        """Return what copies of the inputs to the provider's memory and of the outputs back take, in milliseconds."""
        return self._on_device(feeds).copies_ms()

    def end_profile(self) -> str:
        """Stop profiling and return the file that was written."""
        return str(self._session.end_profiling())

    def _on_device(self, feeds: Mapping[str, np.ndarray]) -> Bound:
        if self._bound is None or self._bound.feeds is not feeds:
            number = int(dict(self._options.provider_options).get("device_id", "0"))
            self._bound = Bound(self._session, feeds, self._provider, number)
        return self._bound


def providers_of(provider: str, options: Any) -> list[Any]:
    """Return the providers of a session, in order, with their options: the one asked for, and the CPU."""
    behind: list[Any] = [] if provider == _CPU else [(_CPU, {})]
    chosen = dict(options.provider_options)
    threads = _THREADS.get(provider, ())
    if threads and not any(name in chosen for name in threads):
        chosen[threads[0]] = str(options.threads)
    return [(provider, chosen), *behind]
