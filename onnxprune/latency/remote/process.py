"""One connection: an ssh process, the runner at its other end, and requests with time limits."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from onnxprune.errors import DeviceError
from onnxprune.latency.on_device.tidy import SWEPT
from onnxprune.latency.remote import ssh

_PACKAGE = "onnxprune.latency.on_device"
_MODULES = (
    "content",
    "chips",
    "machine",
    "timing",
    "binding",
    "libraries",
    "loaded",
    "breakdown",
    "memory",
    "tidy",
    "runner",
)
_TIDY = ("tidy",)
# Importing onnxruntime takes many seconds on a small board.
_START_S = 120.0
_END_S = 10.0
_LINES_KEPT = 40

# Old Pythons must get as far as the check of the version. The comment is how a runner knows another one.
_BOOTSTRAP = """\
# onnxprune runner
import sys, json, types
def bad(kind, text):
    print(json.dumps({"kind": kind, "error": text, "python": sys.executable}))
    sys.exit(0)
if sys.version_info < (3, 8):
    bad("python", sys.version.split()[0])
told = json.loads(sys.stdin.buffer.readline().decode())
try:
    for name, text in told["modules"]:
        module = sys.modules[name] = types.ModuleType(name)
        exec(compile(text, name, "exec"), module.__dict__)
except ImportError as error:
    bad("import", str(error))
module.main(told)
"""


class ConnectionLostError(Exception):
    """The connection ended before an answer came; a new one may serve."""


class HungUpError(DeviceError):
    """The server hung up before anybody was let in; a little later it may not."""


class RequestError(Exception):
    """The runner refused a request.

    Attributes:
        kind: Why, as a word; see `on_device.runner`.
        name: The model it is about, or "".
    """

    def __init__(self, kind: str, text: str, name: str = "") -> None:
        super().__init__(text)
        self.kind, self.name = kind, name


class RunnerProcess:
    """A runner on the other side; requests go one after the other."""

    def __init__(self, target: ssh.Target) -> None:
        """Connect and start the runner.

        Raises:
            DeviceError: It does not start there; the message says why and what to do.
        """
        self._target = target
        self._process = subprocess.Popen(
            _command(target),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Ctrl-C is for us; the runner must live to tidy up.
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._said: deque[str] = deque(maxlen=_LINES_KEPT)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read_lines, self._read_said)]
        for thread in self._threads:
            thread.start()
        self.present: set[str] = set()
        """Keys of what was put there."""
        self._folder, self._pid = "", 0
        try:
            self._begin()
        except BaseException:
            self.end(wait_s=0.0)
            raise

    @property
    def left(self) -> dict[str, Any]:
        """What the runner leaves behind if it is killed."""
        return {"folder": self._folder, "pid": self._pid}

    def ask(self, request: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            ConnectionLostError: The connection ended.
            RequestError: The runner refused.
            DeviceError: It could not be sent, or no answer came, in time.
        """
        self._send(request, limit_s)
        return self._answer(limit_s)

    def end(self, wait_s: float) -> bool:
        """End the input, upon which the runner removes its folder, and wait; say whether it ended by itself."""
        assert self._process.stdin is not None
        # What an interrupted request left is written before the end.
        with contextlib.suppress(OSError), self._killed_after(wait_s):
            self._process.stdin.close()
        return self._exit_code(wait_s) == 0

    def _exit_code(self, wait_s: float) -> int:
        """Wait for the end, with all that was said until then; what does not end in time is killed."""
        try:
            code = self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        for thread in self._threads:
            thread.join(1.0)
        return code

    def _begin(self) -> None:
        try:
            self._send({"modules": _sources(_MODULES), "folder": self._target.folder}, _START_S)
            ready = self._answer(_START_S, having="ready")
        except ConnectionLostError:
            code, said = self._exit_code(_END_S), "\n".join(self._said)
            failure = ssh.failure(self._target, code, said)
            raise (HungUpError(str(failure)) if ssh.may_pass(code, said) else failure) from None
        except RequestError as error:
            raise self._not_ready(error) from None
        self._folder, self._pid = ready["folder"], ready["pid"]
        self.onnxruntime = str(ready["ready"])
        """Version of onnxruntime there."""

    def _not_ready(self, error: RequestError) -> DeviceError:
        where = f"device 'ssh://{self._target.address}'"
        if error.kind == "python":
            return DeviceError(f"{where}: '{self._target.python}' there is Python {error}; 3.8 or newer is needed")
        if error.kind == "import":
            python = error.name or self._target.python
            return DeviceError(
                f"{where}: '{python}' there lacks what measuring needs ({error}); install it with "
                f"'{python} -m pip install numpy onnxruntime'; where that is refused, in an environment of its own "
                "('python3 -m venv ~/venv && ~/venv/bin/pip install numpy onnxruntime'), whose Python is named with "
                "?python=~/venv/bin/python"
            )
        return DeviceError(f"{where}: cannot make a folder there: {error}; name another with ?folder=PATH")

    def _send(self, request: dict[str, Any], limit_s: float) -> None:
        assert self._process.stdin is not None
        with self._killed_after(limit_s) as killed:
            try:
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                self._process.stdin.flush()
            except OSError as error:
                if not killed.is_set():
                    raise ConnectionLostError from error
                raise DeviceError(
                    f"device 'ssh://{self._target.address}' did not take a request within {limit_s:.0f} s; is the "
                    "connection that slow, give more with ?timeout=SECONDS"
                ) from None

    @contextlib.contextmanager
    def _killed_after(self, limit_s: float) -> Iterator[threading.Event]:
        """Kill the connection after a while, which the event tells: a pipe that nobody empties blocks for ever."""
        killed = threading.Event()

        def kill() -> None:
            killed.set()
            self._process.kill()

        watchdog = threading.Timer(limit_s, kill)
        # Ctrl-C may come before it can be cancelled; nobody is to wait for it then.
        watchdog.daemon = True
        try:
            watchdog.start()
            yield killed
        finally:
            watchdog.cancel()

    def _answer(self, limit_s: float, having: str = "") -> dict[str, Any]:
        """Wait for an answer, or a refusal; what the login shell prints comes before the first and is passed over.

        Args:
            limit_s: Seconds to wait at most.
            having: Key without which an object is none; "": any is one.
        """
        end = time.monotonic() + limit_s
        while True:
            try:
                line = self._lines.get(timeout=max(end - time.monotonic(), 0.0))
            except queue.Empty:
                raise DeviceError(
                    f"device 'ssh://{self._target.address}' did not answer within {limit_s:.0f} s; is it that slow, "
                    "give more with ?timeout=SECONDS"
                ) from None
            if line is None:
                raise ConnectionLostError
            answer = _object_in(line)
            if answer is None:
                continue
            if "error" in answer and "kind" in answer:
                raise RequestError(answer["kind"], answer["error"], answer.get("name") or answer.get("python") or "")
            if not having or having in answer:
                return answer

    def _read_lines(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _read_said(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line.decode(errors="replace").rstrip())


def _object_in(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a line is; None: it is anything else, such as a greeting in braces."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def swept(target: ssh.Target, left: Sequence[Mapping[str, Any]], limit_s: float) -> bool:
    """Remove what runners left, by a connection that only does this, and say whether that was done.

    Args:
        target: Where.
        left: `RunnerProcess.left` of each.
        limit_s: Seconds that it may take.
    """
    request = {"modules": _sources(_TIDY), "folder": target.folder, "left": left}
    try:
        done = subprocess.run(
            _command(target),
            input=json.dumps(request).encode() + b"\n",
            capture_output=True,
            timeout=limit_s,
            start_new_session=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return SWEPT.encode() in done.stdout


def _command(target: ssh.Target) -> list[str]:
    return ssh.command(target, ssh.remote_python(target, f"exec({_BOOTSTRAP!r})"))


def _sources(modules: Sequence[str]) -> list[list[str]]:
    """Return names and texts of modules, in the order in which they are to be made there."""
    return [
        [f"{_PACKAGE}.{name}", (resources.files(_PACKAGE) / f"{name}.py").read_text(encoding="utf-8")]
        for name in modules
    ]
