"""How a latency is measured: provider, threads, batch, and how long."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.errors import DeviceError
from onnxprune.latency.on_device.binding import memory_of
from onnxprune.latency.providers import provider_name


@dataclass(frozen=True)
class MeasureOptions:
    """What to measure on and for how long; validates itself.

    A session ends when it has run `min_runs` times and for `session_ms`, or `max_runs` times.

    Attributes:
        provider: Execution provider: a short name (cpu, cuda, xnnpack, ...; see `providers.PROVIDERS`) or
            onnxruntime's own.
        provider_options: Options of the provider, as (name, value).
        threads: Threads inside an operator. One is the default: with two, sessions were seen to be 3x off.
        batch: Samples per run; the feeds must have this batch, it is recorded with the result.
        warmup: Runs of each session that are not timed.
        sessions: Fresh sessions per model; whole sessions can be off, so the figure is taken over several.
        min_runs: Fewest timed runs of each session.
        max_runs: Most timed runs of each session.
        session_ms: Time that a session is measured for, within these limits.
        io_binding: Keep inputs and outputs in the provider's memory, so that copies are not timed; None: where the
            provider has memory of its own (CUDA, TensorRT).

    Raises:
        DeviceError: A value makes no sense, or the provider's name is unknown.
    """

    provider: str = "cpu"
    provider_options: tuple[tuple[str, str], ...] = ()
    threads: int = 1
    batch: int = 1
    warmup: int = 3
    sessions: int = 5
    min_runs: int = 10
    max_runs: int = 300
    session_ms: float = 150.0
    io_binding: bool | None = None

    def __post_init__(self) -> None:
        provider_name(self.provider)
        lowest = {"threads": 1, "batch": 1, "warmup": 0, "sessions": 1, "min_runs": 1, "max_runs": 1}
        for field, low in lowest.items():
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise DeviceError(f"{field} must be a whole number of at least {low}, not {value!r}")
        if not self.session_ms >= 0:
            raise DeviceError(f"session_ms must be 0 or more milliseconds, not {self.session_ms!r}")
        if self.max_runs < self.min_runs:
            raise DeviceError(f"max_runs ({self.max_runs}) must be at least min_runs ({self.min_runs})")

    @property
    def full_provider(self) -> str:
        """onnxruntime's name of the provider."""
        return provider_name(self.provider)

    @property
    def binds(self) -> bool:
        """Whether inputs and outputs stay in the provider's memory, so that copies are not timed."""
        return memory_of(self.full_provider) != "cpu" if self.io_binding is None else self.io_binding
