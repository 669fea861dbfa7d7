"""The program that measures on a remote device.

It answers requests, one JSON object a line: `{"do": "round", ...}` in, `{"timed": ..., "seen": ...}` or
`{"error": ..., "kind": ...}` out. Its files lie in a temporary folder that goes when the input ends.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import io
import json
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import types
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.latency.on_device.breakdown import node_times
from onnxprune.latency.on_device.content import make_array, write_segment
from onnxprune.latency.on_device.loaded import Loaded, providers_of
from onnxprune.latency.on_device.machine import Watch, facts
from onnxprune.latency.on_device.memory import ChildFailedError, peak_memory
from onnxprune.latency.on_device.tidy import FOLDER_PREFIX, remove, sweep
from onnxprune.latency.on_device.timing import Profiled, layer_ms, nodes_by_provider, profiler_overhead_ms, whole_round

# What is being measured when the input ends may take this long to end.
_GRACE_S = 1.0
_CPU = "CPUExecutionProvider"


class RefusedError(Exception):
    """A request that cannot be done; `kind` tells the other side what to say, `name` of which model."""

    def __init__(self, kind: str, text: str, name: str = "") -> None:
        super().__init__(text)
        self.kind, self.name = kind, name


class Served:
    """A session of a model file, as the other side asks for it."""

    def __init__(self, name: str, source: Any, options: Any, profile: str | None = None) -> None:
        import onnxruntime as ort

        self._name = name
        if options.provider not in ort.get_available_providers():
            raise RefusedError("provider", ", ".join(ort.get_available_providers()), name)
        try:
            self._loaded = Loaded(source, options.provider, options, profile)
        except Exception as error:
            raise RefusedError("load", str(error), name) from error
        if options.provider not in self._loaded.providers:
            raise RefusedError("dropped", ", ".join(self._loaded.providers), name)

    def run(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Run once."""
        try:
            self._loaded.run(feeds)
        except Exception as error:
            raise RefusedError("run", str(error), self._name) from error

    def copies_ms(self, feeds: Mapping[str, np.ndarray]) -> list[float]:
        """Return the times of copies there and back."""
        return self._loaded.copies_ms(feeds)

    def end_profile(self) -> object:
        """Stop profiling and return the file."""
        return self._loaded.end_profile()


class Service:
    """Answers requests."""

    def __init__(self, folder: Path) -> None:
        """Keep files in a folder."""
        self._folder = folder
        self._feeds: dict[str, dict[str, np.ndarray]] = {}
        # The input that is being sent.
        self._begun = io.BytesIO()

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a request says; raises `RefusedError`."""
        do: Callable[[Mapping[str, Any]], dict[str, Any]] = getattr(self, "_do_" + request["do"])
        try:
            return do(request)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise RefusedError("space", str(self._folder.parent)) from error
            raise RefusedError("files", f"{self._folder}: {error.strerror}") from error
        except MemoryError as error:
            raise RefusedError("memory", "") from error

    def _do_facts(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"facts": facts(request["provider"], request["threads"])}

    def _do_put(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Write the next segments of a model's file."""
        folder = self._folder / request["model"]
        path = (folder / request["file"]).resolve()
        if folder not in path.parents:
            raise RefusedError("files", "'{}' lies outside the model's folder".format(request["file"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb" if request["first"] else "ab") as file:
            for segment in request["segments"]:
                write_segment(file, segment)
        return {}

    def _do_feeds(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Take the next segments of an input."""
        if request["first"]:
            self._begun = io.BytesIO()
        for segment in request["segments"]:
            write_segment(self._begun, segment)
        if request["last"]:
            values = np.frombuffer(self._begun.getbuffer(), np.dtype(request["dtype"]))
            self._feeds.setdefault(request["key"], {})[request["name"]] = values.reshape(request["shape"])
            self._begun = io.BytesIO()
        return {}

    def _do_keep(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Forget what is not in the list."""
        for folder in self._folder.iterdir():
            if folder.name not in request["keys"]:
                shutil.rmtree(folder, ignore_errors=True)
        self._feeds = {key: feeds for key, feeds in self._feeds.items() if key in request["keys"]}
        return {}

    def _do_round(self, request: Mapping[str, Any]) -> dict[str, Any]:
        options = types.SimpleNamespace(**request["options"])
        feeds = {name: self._feeds[key] for name, key in request["feeds"].items()}
        watch = Watch()

        def serve_model(name: str) -> Served:
            return Served(name, self._model(request["models"][name]), options)

        return {"timed": whole_round(serve_model, request["order"], feeds, options), "seen": watch.stop()}

    def _do_nodes(self, request: Mapping[str, Any]) -> dict[str, Any]:
        with self._profiled(self._model(request["model"]), request) as session:
            return node_times(session, self._feeds[request["feeds"]])

    def _do_memory(self, request: Mapping[str, Any]) -> dict[str, Any]:
        options = types.SimpleNamespace(**request["options"])
        feeds = self._feeds[request["feeds"]]
        try:
            model, limit_s = self._model(request["model"]), request["limit_s"]
            return peak_memory(
                model, feeds, options, providers_of(options.provider, options), folder=self._folder, limit_s=limit_s
            )
        except ChildFailedError as error:
            raise RefusedError("memory-child", str(error), request["name"]) from error

    def _do_placement(self, request: Mapping[str, Any]) -> dict[str, Any]:
        with self._profiled(self._model(request["model"]), request) as session:
            return {"nodes": nodes_by_provider(session, self._feeds[request["feeds"]])}

    def _do_layer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        feeds = {name: make_array(told) for name, told in request["arrays"].items()}
        by_kernel, overhead_ms = request["options"]["provider"] == _CPU, request["overhead_ms"]
        with self._profiled(zlib.decompress(base64.b64decode(request["model"])), request) as session:
            return {"ms": layer_ms(session, feeds, request["bread"], by_kernel=by_kernel, overhead_ms=overhead_ms)}

    def _do_overhead(self, request: Mapping[str, Any]) -> dict[str, Any]:
        feeds = {name: make_array(told) for name, told in request["arrays"].items()}
        model = zlib.decompress(base64.b64decode(request["model"]))
        plain = Served(request["name"], model, types.SimpleNamespace(**request["options"]))
        with self._profiled(model, request) as session:
            return {"ms": profiler_overhead_ms(session, plain, feeds, request["nodes"])}

    def _do_sweep(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """End runners whose connection was lost, and remove their folders."""
        sweep(request["left"], self._folder.parent)
        return {}

    def _model(self, key: str) -> str:
        return str(self._folder / key / "model.onnx")

    @contextlib.contextmanager
    def _profiled(self, source: object, request: Mapping[str, Any]) -> Iterator[Profiled]:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            prefix = Path(folder) / "profile"
            yield Served(request["name"], source, types.SimpleNamespace(**request["options"]), str(prefix))


def serve(requests: Any, replies: Any, parent: str | None) -> None:
    """Answer requests until they end; see the module.

    Args:
        requests: A binary file of JSON lines.
        replies: A binary file for the answers.
        parent: Folder to make the temporary folder in; None: the system's.
    """

    def reply(message: Mapping[str, Any]) -> None:
        replies.write(json.dumps(message).encode() + b"\n")
        replies.flush()

    try:
        import onnxruntime as ort
    except ImportError as error:
        reply({"error": str(error), "kind": "import", "python": sys.executable})
        return
    try:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent)).resolve()
    except OSError as error:
        reply({"error": f"{parent or tempfile.gettempdir()}: {error.strerror}", "kind": "space"})
        return
    lines: Any = queue.SimpleQueue()
    ended = threading.Event()
    threading.Thread(target=_read, args=(requests, lines, ended, folder), daemon=True).start()
    try:
        reply({"ready": ort.__version__, "folder": str(folder), "pid": os.getpid()})
        service = Service(folder)
        for line in iter(lines.get, None):
            try:
                reply(service.answer(json.loads(line.decode())))
            except RefusedError as error:
                reply({"error": str(error), "kind": error.kind, "name": error.name})
            except Exception as error:
                reply({"error": f"{type(error).__name__}: {error}", "kind": "unexpected"})
    except OSError:
        # The connection is gone; there is nobody to tell.
        return
    finally:
        remove(folder)
        ended.set()


def _read(requests: Any, lines: Any, ended: Any, folder: Path) -> None:
    """Pass requests on; when they end, end the process, too, whatever it is at: nobody waits for it."""
    with contextlib.suppress(OSError):
        for line in requests:
            lines.put(line)
    lines.put(None)
    if not ended.wait(_GRACE_S):
        remove(folder)
        os._exit(0)


def main(told: Mapping[str, Any]) -> None:
    """Serve standard input and output; what libraries print goes to standard error."""

    def leave(*_: object) -> None:
        raise SystemExit(1)

    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), leave)
    # A file of its own: at the end Python would wait for the one that the reading thread holds.
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(requests, replies, str(Path(told["folder"]).expanduser()) if told["folder"] else None)
