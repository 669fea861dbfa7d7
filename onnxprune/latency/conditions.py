"""What a device did while it measured, as sentences: it throttled, it was hot, others used it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Cores that other processes may use before it is said.
_OTHERS = 0.5
# Shorter stretches are too short for the system's count of busy time, which ticks every 10 ms.
_SHORTEST_S = 0.5
_SLOWER = 0.9
_CAPPED = 0.95
_HOT_CELSIUS = 80.0
# The Raspberry Pi's firmware: what is so now.
_FLAGS = {1: "its supply voltage is too low", 2: "its frequency is capped", 4: "it throttles", 8: "it is too hot"}

Seen = Mapping[str, Any]
"""What `on_device.machine.Watch` saw during a round."""


def conditions(seen: Sequence[Seen]) -> dict[str, str]:
    """Say what bears on the figures.

    Args:
        seen: What was seen in each round of a measurement.

    Returns:
        Sentences without their subject, by kind; none where all was well or the system does not tell.
    """
    found = {
        "throttling": _throttling(seen),
        "held back": _held_back(seen),
        "slower": _slower(seen),
        "capped": _capped(seen),
        "busy": _busy(seen),
    }
    return {kind: note for kind, note in found.items() if note is not None}


def summary(seen: Sequence[Seen]) -> dict[str, float | bool]:
    """Sum up what was read: the highest temperature, the range of the clock, and cores that others used.

    Args:
        seen: What was seen in each round of all measurements.

    Returns:
        `celsius`, `lowest_mhz`, `highest_mhz`, `others_cores`, each where the system tells, and `throttled`: whether
        heat, supply, a limit on its clock or one on its CPU time slowed it.
    """
    if not seen:
        return {}
    heat, clock = ([one[name] for one in seen if one[name] is not None] for name in ("celsius", "mhz"))
    told = [one for one in seen if one["others_s"] is not None]
    result: dict[str, float | bool] = {"celsius": max(heat)} if heat else {}
    if clock:
        result |= {"lowest_mhz": min(clock), "highest_mhz": max(clock)}
    elapsed = sum(one["elapsed_s"] for one in told)
    if elapsed > 0:
        result["others_cores"] = round(sum(one["others_s"] for one in told) / elapsed, 2)
    throttled = (_throttling(seen), _held_back(seen), _slower(seen), _capped(seen))
    return result | {"throttled": any(note is not None for note in throttled)}


def _throttling(seen: Sequence[Seen]) -> str | None:
    flags = 0
    for one in seen:
        flags |= one["firmware_flags"]
    said = [text for bit, text in _FLAGS.items() if flags & bit]
    celsius = max((one["celsius"] for one in seen if one["celsius"] is not None), default=None)
    if any(one["throttle_events"] > 0 for one in seen):
        said.append("its CPU throttled")
    if not said:
        return None
    heat = f" at {celsius:.0f} °C" if celsius is not None else ""
    return f"throttled while it measured ({', '.join(dict.fromkeys(said))}){heat}; cool it and measure again"


def _held_back(seen: Sequence[Seen]) -> str | None:
    times = sum(one["held_back"] for one in seen)
    if times == 0:
        return None
    return (
        f"was held back {times} times by a limit on its CPU time (a container's or a control group's): p50 is of runs "
        "between, the mean, p90 and p99 are of both; raise the limit, or give --threads that fit into it"
    )


def _slower(seen: Sequence[Seen]) -> str | None:
    mhz = [one["mhz"] for one in seen if one["mhz"]]
    if len(mhz) < 2 or mhz[-1] >= _SLOWER * mhz[0]:
        return None
    return f"ran slower and slower: {mhz[0]:.0f} MHz after the first round, {mhz[-1]:.0f} MHz after the last"


def _capped(seen: Sequence[Seen]) -> str | None:
    capped = [one for one in seen if one["limit_mhz"] and one["full_mhz"]]
    worst = min(capped, key=lambda one: one["limit_mhz"] / one["full_mhz"], default=None)
    if worst is None or worst["limit_mhz"] >= _CAPPED * worst["full_mhz"]:
        return None
    heat = worst["celsius"]
    hot = f" ({heat:.0f} °C)" if heat is not None and heat >= _HOT_CELSIUS else ""
    return f"was limited to {worst['limit_mhz']:.0f} of its {worst['full_mhz']:.0f} MHz{hot}"


def _busy(seen: Sequence[Seen]) -> str | None:
    told = [one for one in seen if one["others_s"] is not None]
    elapsed = sum(one["elapsed_s"] for one in told)
    if elapsed < _SHORTEST_S:
        return None
    others = sum(one["others_s"] for one in told) / elapsed
    if others < _OTHERS:
        return None
    return f"was busy: other processes used {others:.1f} cores while it measured; stop them and measure again"
