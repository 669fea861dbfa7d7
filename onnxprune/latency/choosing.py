"""From what the user said to a device that is open, and how to measure on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from onnxprune.errors import ArgumentError, DeviceError
from onnxprune.latency.device import InspectableDevice
from onnxprune.latency.local import LocalDevice
from onnxprune.latency.options import MeasureOptions
from onnxprune.latency.providers import PROVIDERS, provider_name, require_provider
from onnxprune.latency.remote import SshDevice
from onnxprune.latency.spec import DeviceSpec, read_spec

# Far more threads than cores only wait for each other: a session of thousands neither ends nor can be stopped.
_THREADS_PER_CORE, _ALWAYS_ALLOWED = 4, 64
_THREADS_ELSEWHERE = 1024


def choose(
    device: str, provider: str | None = None, threads: int | None = None, batch: int = 1
) -> tuple[DeviceSpec, MeasureOptions]:
    """Read a device's spec or name, and join what it says with what was said beside it.

    Args:
        device: The spec or name.
        provider: Execution provider; None: what the spec says, else the CPU.
        threads: Threads inside an operator; None: what the spec says, else 1.
        batch: Samples per run.

    Raises:
        ArgumentError: Both say something and not the same.
        DeviceError: It cannot be understood, or the threads are far too many.
    """
    spec = read_spec(device)
    for name, there, here in (("provider", spec.provider, provider), ("threads", spec.threads, threads)):
        if there is not None and here is not None and _meant(there) != _meant(here):
            raise ArgumentError(
                f"the device '{spec.text}' says {name}={there}, but {name} {here} was given too; give one"
            )
    if spec.provider_options and provider_name(spec.provider or provider or "cpu") == PROVIDERS["cpu"]:
        raise DeviceError(
            f"the device '{spec.text}' gives options of a provider, but the CPU's takes none; say which with provider="
        )
    options = MeasureOptions(
        provider=spec.provider or provider or "cpu",
        provider_options=spec.provider_options,
        threads=next((said for said in (spec.threads, threads) if said is not None), 1),
        batch=batch,
    )
    _check_threads(spec, options.threads)
    return spec, options


def _check_threads(spec: DeviceSpec, threads: int) -> None:
    """Refuse threads far above the cores: of this machine as it is, elsewhere of the largest that there are."""
    if spec.target is not None:
        if threads > _THREADS_ELSEWHERE:
            raise DeviceError(
                f"{threads} threads are more than a device has cores for; at most {_THREADS_ELSEWHERE} can be asked for"
            )
        return
    cores = os.cpu_count() or 1
    most = max(_ALWAYS_ALLOWED, _THREADS_PER_CORE * cores)
    if threads > most:
        raise DeviceError(
            f"{threads} threads are far more than this machine can run at once (its cores: {cores}); give at most "
            f"{most}, best no more than it has cores"
        )


def _meant(said: str | int) -> str | int:
    """Return a provider by its full name, since it may be written in two ways, and threads as they are."""
    return provider_name(said) if isinstance(said, str) else said


@contextmanager
def opened(
    spec: DeviceSpec, warn: Callable[[str], None] = lambda _: None, provider: str | None = None
) -> Iterator[InspectableDevice]:
    """Open a device, and close it afterwards.

    Args:
        spec: The device.
        warn: Told of what is left on it after closing.
        provider: The execution provider that will be used, where it is worth knowing at once that it does not start
            on this machine; None: the first measurement tells.

    Raises:
        DeviceError: It cannot be reached or used.
    """
    if spec.target is None:
        if provider is not None:
            require_provider(provider)
        yield LocalDevice()
        return
    device = SshDevice(spec.target)
    try:
        yield device
    finally:
        device.close()
        for note in device.take_notes():
            warn(note)
