"""The peak memory of a model: the resident set of a fresh process that loads and runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# For an interpreter of its own, which sees no file of this package where that came over SSH; so `libraries` stands
# here again. What it loads counts as the model's, as where the system finds the libraries itself.
# VmHWM and not getrusage where there is a choice: the latter begins with what the parent process had.
_CHILD = """\
import json, os, re, sys, threading
def end_with_parent():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=end_with_parent, daemon=True).start()
import numpy as np
import onnxruntime as ort
def resident(field):
    try:
        with open("/proc/self/status") as file:
            return int(re.search(field + r":\\s*(\\d+) kB", file.read())[1]) * 1024
    except (OSError, TypeError):
        pass
    try:
        import resource
    except ImportError:
        return None
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024
told = json.load(open(sys.argv[1]))
arrays = np.load(told["arrays"])
feeds = {name: arrays[key] for key, name in told["names"].items()}
settings = ort.SessionOptions()
settings.log_severity_level = 3
settings.intra_op_num_threads = told["threads"]
settings.inter_op_num_threads = 1
base = resident("VmRSS")
providers = [(name, options) for name, options in told["providers"]]
if told["providers"][0][0] in ("CUDAExecutionProvider", "TensorrtExecutionProvider"):
    try:
        ort.preload_dlls()
    except Exception:
        pass
session = ort.InferenceSession(told["model"], settings, providers=providers, enable_fallback=0)
for _ in range(3):
    session.run(None, feeds)
print("onnxprune" + json.dumps({"peak_bytes": resident("VmHWM"), "base_bytes": base}))
"""


class ChildFailedError(Exception):
    """The process failed; the text says why."""


def peak_memory(
    model: Any,
    feeds: Mapping[str, np.ndarray],
    options: Any,
    providers: Any,
    *,
    folder: Any = None,
    limit_s: float = 600.0,
) -> dict[str, Any]:
    """Load and run a model in a process of its own.

    Args:
        model: Path of the model's file.
        feeds: Its inputs.
        options: Has `threads`.
        providers: Providers with their options, in order.
        folder: Where temporary files go; None: the system's.
        limit_s: Seconds that the process may take.

    Returns:
        `peak_bytes`: the largest resident set; `base_bytes`: what Python and onnxruntime had before the model was
        loaded. None where the system does not tell.

    Raises:
        ChildFailedError: The process failed.
    """
    with tempfile.TemporaryDirectory(prefix="onnxprune-", dir=folder) as inside:
        arrays, told = Path(inside) / "feeds.npz", Path(inside) / "told.json"
        keys = {f"input{number}": name for number, name in enumerate(feeds)}
        # Texts are objects to numpy, which it would write as pickles.
        values: dict[str, Any] = {
            key: feeds[name].astype(str) if feeds[name].dtype == object else feeds[name] for key, name in keys.items()
        }
        np.savez(str(arrays), **values)
        request = {"model": str(model), "arrays": str(arrays), "names": keys, "threads": options.threads}
        told.write_text(json.dumps({**request, "providers": providers}), encoding="utf-8")
        return _answer([sys.executable, "-c", _CHILD, str(told)], limit_s)


def _answer(command: list[str], limit_s: float) -> dict[str, Any]:
    # The child ends when its input does: with this process, however that ends.
    child_end, own_end = os.pipe()
    try:
        done = subprocess.run(command, stdin=child_end, capture_output=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise ChildFailedError(f"it took more than {limit_s:.0f} s") from error
    finally:
        os.close(child_end)
        os.close(own_end)
    # Libraries may print lines of their own.
    for line in done.stdout.decode(errors="replace").splitlines():
        if line.startswith("onnxprune{"):
            result: dict[str, Any] = json.loads(line[len("onnxprune") :])
            return result
    said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    raise ChildFailedError(said[-1] if said else f"the process ended with {done.returncode}")
