"""A connection that is kept: lost, it is made again, and the request that was under way is repeated."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any

from onnxprune.errors import DeviceError
from onnxprune.latency.remote.process import ConnectionLostError, HungUpError, RunnerProcess, swept
from onnxprune.latency.remote.ssh import Target

# A request that ends the connection this often is what ends it: the device runs out of memory, say.
_TRIES = 3
_PAUSES_S = (0.2, 2.0, 5.0, 15.0, 30.0)
_FIRST_PAUSES_S = (0.5, 2.0)
# Half of it to end the connection, the rest to remove what it left.
_CLOSE_S = 20.0


class Upload:
    """Something that requests need on the other side."""

    def __init__(self, key: str, requests: Callable[[], Iterable[dict[str, Any]]]) -> None:
        """Describe it.

        Args:
            key: Digest.
            requests: Makes the requests that put it there.
        """
        self.key, self.requests = key, requests


class Link:
    """Asks the runner of a device, over one connection for all requests."""

    def __init__(self, target: Target, sleep: Callable[[float], None] = time.sleep) -> None:
        """Prepare; the first request connects.

        Args:
            target: Where to.
            sleep: Waits some seconds; for tests.
        """
        self.target = target
        self._sleep = sleep
        self._process: RunnerProcess | None = None
        self._left: list[dict[str, Any]] = []
        self.lost = 0
        """How often the connection was lost."""
        self.resumed = 0
        """How often it was made again."""
        self.busy_s = 0.0
        """Seconds of waiting for the device: connecting, sending, measuring."""

    def connect(self) -> str:
        """Connect, if need be, and return the version of onnxruntime there.

        Raises:
            DeviceError: The device cannot be reached or lacks something.
        """
        return self._connected().onnxruntime

    def ask(self, request: dict[str, Any], needs: Iterable[Upload] = ()) -> dict[str, Any]:
        """Put there what a request needs and is not there, and return the answer.

        Raises:
            RequestError: The runner refused.
            DeviceError: The device cannot be reached any more, does not answer in time, or dies of the request.
        """
        needs, start_s = tuple(needs), time.monotonic()
        try:
            return self._ask(request, needs)
        finally:
            self.busy_s += time.monotonic() - start_s

    def _ask(self, request: dict[str, Any], needs: Iterable[Upload]) -> dict[str, Any]:
        for _ in range(_TRIES):
            process = self._connected()
            try:
                for upload in needs:
                    self._put(process, upload)
                return process.ask(request, self.target.limit_s)
            except ConnectionLostError:
                self._forget()
            except DeviceError:
                # It may still be busy with what it did not answer.
                self._forget()
                raise
        raise DeviceError(
            f"device 'ssh://{self.target.address}' lost the connection {_TRIES} times at the same request "
            f"('{request['do']}'); it may have run out of memory (look at 'dmesg' there)"
        )

    def keep(self, keys: set[str]) -> None:
        """Remove what is there of other models and inputs."""
        process = self._process
        if process is None or process.present <= keys:
            return
        process.present &= keys
        self.ask({"do": "keep", "keys": sorted(keys)})

    def close(self) -> bool:
        """End the connection, in limited time; say whether nothing is left there.

        What a lost connection left is removed by one that is made for it.
        """
        end_s = time.monotonic() + _CLOSE_S
        process, self._process = self._process, None
        if process is not None and not process.end(_CLOSE_S / 2):
            self._left.append(process.left)
        if self._left and swept(self.target, self._left, max(end_s - time.monotonic(), 0.0)):
            self._left = []
        return not self._left

    def _put(self, process: RunnerProcess, upload: Upload) -> None:
        if upload.key not in process.present:
            for request in upload.requests():
                process.ask(request, self.target.limit_s)
            process.present.add(upload.key)

    def _connected(self) -> RunnerProcess:
        if self._process is None:
            self._process = self._again() if self.lost else self._first()
        return self._process

    def _first(self) -> RunnerProcess:
        """Connect; of a server that hangs up at once, ask again a few times."""
        for pause_s in _FIRST_PAUSES_S:
            with contextlib.suppress(HungUpError):
                return self._new()
            self._sleep(pause_s)
        return self._new()

    def _again(self) -> RunnerProcess:
        """Connect once more: the network, or the device, may take a while to come back."""
        problem: Exception = ConnectionLostError()
        for pause_s in _PAUSES_S:
            self._sleep(pause_s)
            try:
                process = self._new()
            except (DeviceError, ConnectionLostError) as error:
                problem = error
            else:
                self.resumed += 1
                return process
        raise DeviceError(
            f"device 'ssh://{self.target.address}' lost its connection and {len(_PAUSES_S)} attempts to make it again "
            f"failed: {str(problem) or 'it is lost at once'}. Once it is back, 'onnxprune resume' goes on with a run "
            "that has a --run-dir"
        )

    def _new(self) -> RunnerProcess:
        """Connect, and end what earlier connections left there, before it disturbs what is measured next."""
        process = RunnerProcess(self.target)
        if self._left:
            try:
                process.ask({"do": "sweep", "left": self._left}, self.target.limit_s)
            except BaseException:
                process.end(wait_s=0.0)
                raise
            self._left = []
        return process

    def _forget(self) -> None:
        assert self._process is not None
        self._left.append(self._process.left)
        self._process.end(wait_s=0.0)
        self._process = None
        self.lost += 1
