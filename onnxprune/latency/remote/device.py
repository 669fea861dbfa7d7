"""A machine over SSH as a device."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnxprune.errors import DeviceError, InputsError
from onnxprune.latency.conditions import Seen, conditions, summary
from onnxprune.latency.device import Feeds, ModelSource, Progress
from onnxprune.latency.hardware import with_provider_options
from onnxprune.latency.inside import NodeProfile, PeakMemory
from onnxprune.latency.interleaved import measure_rounds
from onnxprune.latency.layer_costs import LayerCosts, scaled
from onnxprune.latency.layers import BREAD_IN, BREAD_OUT, CHAIN_NODES, LayerSpec, chain, sandwich
from onnxprune.latency.options import MeasureOptions
from onnxprune.latency.providers import PROVIDERS, fallback_note
from onnxprune.latency.remote.link import Link, Upload
from onnxprune.latency.remote.process import RequestError
from onnxprune.latency.remote.recipe import FeedsRecipe, feeds_recipe, recipe
from onnxprune.latency.remote.ssh import Target
from onnxprune.latency.session import newer_than_known, plain_reason
from onnxprune.latency.stats import LatencyStats

# Of the time that an answer may take, what a process there may.
_CHILD_SHARE = 0.9


class SshDevice:
    """onnxruntime on another machine; to be closed, which removes what was put there."""

    def __init__(self, target: Target, *, send_weights: bool = False) -> None:
        """Connect.

        Args:
            target: Where to.
            send_weights: Send the true weights and inputs, to compare; else random ones are made there.

        Raises:
            DeviceError: The device cannot be reached or lacks something; the message says what to do.
        """
        self.name = f"ssh://{target.address}"
        self._link = Link(target)
        self._send_weights = send_weights
        self._overheads_ms: dict[int, float] = {}
        self._facts: dict[str, dict[str, object]] = {}
        self._notes: list[str] = []
        self._noted: set[str] = set()
        self._seen: list[Seen] = []
        self._link.connect()

    @property
    def busy_s(self) -> float:
        """Seconds that the device was asked for."""
        return self._link.busy_s

    @property
    def conditions(self) -> dict[str, float | bool]:
        """What was read of the machine while it measured; see `conditions.summary`."""
        return summary(self._seen)

    def fingerprint(self, options: MeasureOptions) -> dict[str, object]:
        """Return the CPU (and GPU) there, onnxruntime's version, provider and threads."""
        request = {"do": "facts", "provider": options.full_provider, "threads": options.threads}
        key = json.dumps(request)
        if key not in self._facts:
            with self._explained(options):
                self._facts[key] = self._link.ask(request)["facts"]
        return with_provider_options(self._facts[key], options)

    def layer_costs(self, options: MeasureOptions) -> LayerCosts:
        """Return the table of that machine, with what earlier runs measured."""
        return LayerCosts(_RemoteTimer(self, options))

    def measure(
        self,
        models: Mapping[str, ModelSource],
        feeds: Mapping[str, Feeds],
        options: MeasureOptions,
        on_progress: Progress | None = None,
    ) -> dict[str, LatencyStats]:
        """Measure models in `options.sessions` rounds of turns, each one request; see `Device.measure`.

        Rounds that were answered are kept when the connection is lost.
        """
        recipes = {name: recipe(name, source, send_weights=self._send_weights) for name, source in models.items()}
        inputs = {name: self._fed(feeds[name]) for name in models if name in feeds}
        model_keys = {name: made.key for name, made in recipes.items()}
        feed_keys = {name: made.key for name, made in inputs.items()}
        uploads = [
            *(Upload(made.key, made.requests) for made in recipes.values()),
            *(Upload(made.key, made.requests) for made in inputs.values()),
        ]
        seen: list[dict[str, Any]] = []

        def run_round(names: Sequence[str]) -> dict[str, dict[str, Any]]:
            keys = {"models": _only(model_keys, names), "feeds": _only(feed_keys, names)}
            answer = self._link.ask({"do": "round", "order": list(names), **keys, "options": _told(options)}, uploads)
            seen.append(answer["seen"])
            timed: dict[str, dict[str, Any]] = answer["timed"]
            return timed

        with self._explained(options):
            self._link.keep({upload.key for upload in uploads})
            result = measure_rounds(models, feeds, options.sessions, run_round, on_progress)
            for name in models:
                self._see_fallback(name, (model_keys[name], feed_keys[name]), uploads, options)
        self._seen += seen
        for kind, note in conditions(seen).items():
            self._note(kind, f"device '{self.name}' {note}")
        return result

    def profile(self, name: str, source: ModelSource, feeds: Feeds, options: MeasureOptions) -> NodeProfile:
        """Return what each node takes there; see `Device.profile`."""
        return NodeProfile.from_dict(self._ask_about("nodes", (name, source), feeds, options))

    def peak_memory(self, name: str, source: Path, feeds: Feeds, options: MeasureOptions) -> PeakMemory:
        """Return the memory of a fresh process there; see `Device.peak_memory`."""
        # The process there ends before its answer is given up.
        limit_s = _CHILD_SHARE * self._link.target.limit_s
        return PeakMemory(**self._ask_about("memory", (name, source), feeds, options, limit_s=limit_s))

    def _ask_about(
        self, what: str, model: tuple[str, ModelSource], feeds: Feeds, options: MeasureOptions, **more: float
    ) -> dict[str, Any]:
        """Ask something about one model, which may be there already."""
        made = recipe(*model, send_weights=self._send_weights)
        fed = self._fed(feeds)
        uploads = [Upload(made.key, made.requests), Upload(fed.key, fed.requests)]
        request = {"do": what, "name": model[0], "model": made.key, "feeds": fed.key, "options": _told(options)}
        with self._explained(options):
            return self._link.ask({**request, **more}, uploads)

    def _fed(self, feeds: Feeds) -> FeedsRecipe:
        return feeds_recipe(feeds, send_values=self._send_weights)

    def take_notes(self) -> tuple[str, ...]:
        """Return what was seen since the last call; see `Device.take_notes`."""
        if self._link.resumed:
            self._note(
                "lost", f"device '{self.name}' lost the connection; it was made again, and what was measured kept"
            )
        notes, self._notes = tuple(self._notes), []
        return notes

    def close(self) -> None:
        """End the connection and remove what was put there."""
        if not self._link.close():
            self._note("left", f"device '{self.name}': a folder onnxprune-* may be left in its temporary folder")

    def layer_ms(self, spec: LayerSpec, options: MeasureOptions) -> float:
        """Return the milliseconds that a layer takes there."""
        request = {
            "do": "layer",
            **_small_model("layer", *sandwich(spec), options),
            "bread": [BREAD_IN, BREAD_OUT],
            "overhead_ms": self._overhead_ms(options),
        }
        with self._explained(options):
            return float(self._link.ask(request)["ms"])

    def _overhead_ms(self, options: MeasureOptions) -> float:
        """Return what the profiler there adds to the time of a kernel; asked for once."""
        if options.full_provider != PROVIDERS["cpu"]:
            return 0.0
        if options.threads not in self._overheads_ms:
            request = {"do": "overhead", **_small_model("chain", *chain(), options), "nodes": CHAIN_NODES}
            with self._explained(options):
                self._overheads_ms[options.threads] = float(self._link.ask(request)["ms"])
        return self._overheads_ms[options.threads]

    def _see_fallback(
        self, name: str, keys: tuple[str, str], uploads: Sequence[Upload], options: MeasureOptions
    ) -> None:
        """Look, once for each model and provider, for nodes that it leaves to the CPU."""
        provider = options.full_provider
        kind = f"{provider} {name}"
        if provider == PROVIDERS["cpu"] or kind in self._noted:
            return
        request = {"do": "placement", "name": name, "model": keys[0], "feeds": keys[1], "options": _told(options)}
        note = fallback_note(provider, self._link.ask(request, uploads)["nodes"])
        self._note(kind, f"device '{self.name}', model '{name}': {note}" if note is not None else None)

    def _note(self, kind: str, text: str | None) -> None:
        """Keep what was seen, each kind once: a search measures hundreds of times."""
        if kind not in self._noted and text is not None:
            self._notes.append(text)
        self._noted.add(kind)

    @contextmanager
    def _explained(self, options: MeasureOptions) -> Iterator[None]:
        """Say what a refusal means."""
        try:
            yield
        except RequestError as error:
            kind = InputsError if error.kind == "run" else DeviceError
            raise kind(self._meaning(error, options)) from None

    def _meaning(self, error: RequestError, options: MeasureOptions) -> str:
        where, version = f"device '{self.name}'", f"onnxruntime {self._link.connect()}"
        reason = plain_reason(str(error))
        provider = options.full_provider
        newer = newer_than_known(reason) if error.kind == "load" else None
        if newer is not None:
            python = self._link.target.python
            return (
                f"{where}: {version} there is older than model '{error.name}' needs ({newer}); update it there with "
                f"'{python} -m pip install --upgrade onnxruntime', or name another Python with ?python=PATH"
            )
        return {
            "provider": f"{where}: {version} there has no provider '{options.provider}'; it has {reason}; take "
            "one of those, or install an onnxruntime there that was built with it",
            "dropped": f"{where}: {provider} does not start there for model '{error.name}' (its libraries or "
            f"its hardware are missing, or it refuses an option); what is left is {reason}",
            "load": f"{where}: {version} cannot load model '{error.name}' on {provider} there: {reason}",
            "run": f"{where}: {version} cannot run model '{error.name}' on {provider} there: {reason}",
            "space": f"{where}: there is no space left in {reason}; name another folder with ?folder=PATH",
            "files": f"{where}: cannot write there, {reason}; name another folder with ?folder=PATH",
            "memory-child": f"{where}: the memory of model '{error.name}' cannot be measured: {reason}",
            "memory": f"{where}: it has too little memory for this model",
        }.get(error.kind, f"{where}: {reason}")


class _RemoteTimer:
    """Times layers on a device over SSH."""

    def __init__(self, device: SshDevice, options: MeasureOptions) -> None:
        self._device, self._options = device, options

    def fingerprint(self) -> dict[str, object]:
        """Return what the timings depend on."""
        return self._device.fingerprint(self._options)

    def time_ms(self, spec: LayerSpec) -> float:
        """Return the milliseconds that a layer takes."""
        return scaled(spec, lambda part: self._device.layer_ms(part, self._options))


def _small_model(name: str, model: bytes, feeds: Feeds, options: MeasureOptions) -> dict[str, Any]:
    """Describe a model that travels within a request."""
    arrays = {key: {"dtype": array.dtype.str, "shape": list(array.shape), "seed": 0} for key, array in feeds.items()}
    text = base64.b64encode(zlib.compress(model)).decode()
    return {"name": name, "model": text, "arrays": arrays, "options": _told(options)}


def _only(keys: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: keys[name] for name in names}


def _told(options: MeasureOptions) -> dict[str, Any]:
    return {
        "provider": options.full_provider,
        "provider_options": list(options.provider_options),
        "threads": options.threads,
        "warmup": options.warmup,
        "min_runs": options.min_runs,
        "max_runs": options.max_runs,
        "session_ms": options.session_ms,
        "binds": options.binds,
    }
