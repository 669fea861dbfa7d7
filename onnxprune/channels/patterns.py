"""Patterns that name producers: shell globs on the names that the file has and on the shorter ones that tables show.

A producer goes by its node's name, by that name without what an exporter repeats in it, and by the name of its weight.
Case counts, and `*` matches any characters, `/` and `.` too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from fnmatch import fnmatchcase

from onnxprune.channels.map import ChannelMap
from onnxprune.errors import PatternError

ProducerNames = Mapping[str, tuple[str, ...]]
"""For each producer, everything it goes by."""

_NEAREST = 3


def short_name(name: str) -> str:
    """Drop from an exporter's node name what repeats itself: `/layer1/layer1.0/conv1/Conv`, `layer1.0/conv1/Conv`."""
    parts = name.strip("/").split("/")
    pairs = zip(parts, [*parts[1:], ""], strict=True)
    return "/".join(part for part, after in pairs if not after.startswith(f"{part}."))


def producer_names(channels: ChannelMap) -> ProducerNames:
    """Return what every producer goes by, fixed ones too, in graph order."""
    return {
        node: tuple(dict.fromkeys((node, node.strip("/"), short_name(node), weight)))
        for node, (weight, _) in channels.outputs_of.items()
    }


def named_by(pattern: str, option: str, names: ProducerNames) -> list[str]:
    """Find the producers that a pattern names.

    Args:
        pattern: The pattern; a name that holds brackets matches itself too.
        option: Where it was given, for the message.
        names: From `producer_names`.

    Returns:
        The producers, in graph order.

    Raises:
        PatternError: It names none; the message has the nearest names.
    """
    found = [node for node, known in names.items() if any(_matches(name, pattern) for name in known)]
    if not found:
        raise PatternError(f"{option} '{pattern}' names no node that makes channels{_nearest(pattern, names)}")
    return found


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _nearest(pattern: str, names: ProducerNames) -> str:
    if not names:
        return ": the model has no convolution or matrix product with weights"
    wanted = re.sub(r"[*?\[\]]", "", pattern)
    matcher = SequenceMatcher(b=wanted)

    def likeness(name: str) -> float:
        best = 0.0
        for part in (name, *re.split(r"[/.]", name)):
            matcher.set_seq1(part)
            best = max(best, matcher.ratio())
        return best

    scores = {node: max(map(likeness, known)) for node, known in names.items()}
    listed = ", ".join(f"'{short_name(node)}'" for node in sorted(scores, key=lambda node: -scores[node])[:_NEAREST])
    return f"; the nearest are {listed} ('onnxprune inspect' lists them all)"
