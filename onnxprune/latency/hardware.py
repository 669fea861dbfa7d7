"""What this machine is, as far as latency depends on it."""

from __future__ import annotations

import functools

from onnxprune.latency.on_device import chips, machine
from onnxprune.latency.options import MeasureOptions

cpu_model = functools.cache(chips.cpu_model)
"""Return the CPU's model and the instruction sets that decide which kernels run."""


def fingerprint(options: MeasureOptions) -> dict[str, object]:
    """Return what a measured cost depends on: equal fingerprints mean comparable costs."""
    return with_provider_options(_facts(options.full_provider, options.threads), options)


def with_provider_options(facts: dict[str, object], options: MeasureOptions) -> dict[str, object]:
    """Add the provider's options, where there are any, to what a machine told of itself."""
    chosen = dict(options.provider_options)
    if chosen.get("device_type", "").upper() == "CPU":
        # OpenVINO's.
        facts = {name: fact for name, fact in facts.items() if name != "accelerator"}
    return facts | ({"provider_options": chosen} if chosen else {})


@functools.cache
def _facts(provider: str, threads: int) -> dict[str, object]:
    return machine.facts(provider, threads)
