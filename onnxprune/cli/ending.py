"""How a command ends when it is told to: Ctrl-C, a cancelled CI job, `docker stop`, a closed terminal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Absent on Windows: SIGHUP.
_SIGNALS = ("SIGTERM", "SIGHUP")


class Stopped(KeyboardInterrupt):
    """A signal told the command to stop: it ends as by Ctrl-C, with what it has written so far whole."""

    def __init__(self, signal_number: int) -> None:
        """Keep which signal it was."""
        super().__init__(f"Stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number


@contextmanager
def stoppable() -> Iterator[None]:
    """Let signals end the block as Ctrl-C does, so that files are closed and temporary folders removed.

    A second signal ends the process at once. What is ignored on purpose (nohup) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    caught = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in caught:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def _stop(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Stopped(number)
