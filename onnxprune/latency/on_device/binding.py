"""Inputs and outputs kept in the provider's memory, so that what is timed is the network and not the copies."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_COPIES = 11
# Providers that compute in memory of their own, by onnxruntime's name of that memory.
_MEMORY = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "cuda"}


def memory_of(provider: str) -> str:
    """Return onnxruntime's name of the memory that a provider's inputs and outputs are kept in."""
    return _MEMORY.get(provider, "cpu")


class Bound:
    """A session whose inputs and outputs stay in the provider's memory between runs."""

    def __init__(self, session: Any, feeds: Mapping[str, np.ndarray], provider: str, number: int = 0) -> None:
        """Copy the inputs there.

        Args:
            session: onnxruntime's session.
            feeds: Its inputs.
            provider: onnxruntime's name of the provider.
            number: Which of several devices.
        """
        import onnxruntime as ort

        self.feeds = feeds
        self._session = session
        self._binding: Any = session.io_binding()
        memory = memory_of(provider)
        self._inputs: dict[str, Any] = {
            name: ort.OrtValue.ortvalue_from_numpy(array, memory, number) for name, array in feeds.items()
        }
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for output in session.get_outputs():
            # Sequences and maps live in the CPU's memory.
            there = output.type.startswith("tensor(")
            self._binding.bind_output(output.name, memory if there else "cpu", number if there else 0)

    def run(self) -> None:
        """Run once, to the end."""
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def copies_ms(self, clock: Callable[[], float] = time.perf_counter) -> list[float]:
        """Return the median times to copy the inputs there and the outputs back, in milliseconds."""
        self.run()
        there = [_timed_ms(self._copy_inputs, clock) for _ in range(_COPIES)]
        back = [_timed_ms(self._binding.copy_outputs_to_cpu, clock) for _ in range(_COPIES)]
        return [float(np.median(there)), float(np.median(back))]

    def _copy_inputs(self) -> None:
        for name, value in self._inputs.items():
            value.update_inplace(self.feeds[name])
        self._binding.synchronize_inputs()


def _timed_ms(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return (clock() - start) * 1e3
