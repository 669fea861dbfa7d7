"""A share to remove for each group, as a file says it: `{"layer3*": 0.5, "layer4*": 0.3}`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxprune.channels import ChannelMap
from onnxprune.channels.patterns import ProducerNames, named_by, producer_names
from onnxprune.errors import PatternError, TargetError
from onnxprune.search.limits import Limits

_OPTION = "--ratios"
_SHAPE = 'it must be an object of patterns and shares to remove, such as {"layer3*": 0.5}'


@dataclass(frozen=True)
class GroupRatios:
    """Which share of which group goes.

    Attributes:
        shares: (pattern, share of the units that goes, from 0 and below 1); the last that names a group counts.
        text: Where they come from.
    """

    shares: tuple[tuple[str, float], ...]
    text: str

    def counts(self, channels: ChannelMap, limits: Limits = Limits()) -> np.ndarray:
        """Return how many units of each group stay, shape (groups,): whole ones, at least one.

        Args:
            channels: The analysis.
            limits: What may go at most.

        Raises:
            PatternError: A pattern names no producer, or only such whose channels are fixed, or two names of one group
                have different shares.
            TargetError: Nothing would go, or more than the limits allow.
        """
        chosen = self._chosen(channels)
        counts = np.array([group.size for group in channels.groups], dtype=np.int64)
        least = limits.least(channels)
        for group, share in chosen.items():
            size = channels.groups[group].size
            counts[group] = max(1, size - round(size * share))
            if counts[group] < least[group]:
                raise TargetError(
                    f"{self.text} takes {share:g} of group '{channels.groups[group].name}', which leaves "
                    f"{counts[group]} of {size}: at least {least[group]} stay by {limits.text}"
                )
        if all(count == group.size for count, group in zip(counts, channels.groups, strict=True)):
            raise TargetError(f"{self.text} takes nothing from any group{_why_nothing(chosen, channels)}")
        return counts

    def _chosen(self, channels: ChannelMap) -> dict[int, float]:
        names = producer_names(channels)
        of_producer: dict[str, list[int]] = {}
        for each in channels.groups:
            for producer in each.producers:
                of_producer.setdefault(producer, []).append(each.index)
        chosen: dict[int, float] = {}
        exact: dict[int, tuple[str, float]] = {}
        for pattern, share in self.shares:
            producers = named_by(pattern, _OPTION, names)
            found = {index for producer in producers for index in of_producer.get(producer, ())}
            if not found:
                raise PatternError(_all_fixed(pattern, producers, channels))
            for group in sorted(found):
                chosen[group] = share
                if _is_name(pattern, producers, names):
                    before = exact.setdefault(group, (pattern, share))
                    if before[1] != share:
                        raise PatternError(
                            f"{_OPTION} '{before[0]}' ({before[1]:g}) and '{pattern}' ({share:g}) contradict each "
                            "other: they share their channels"
                        )
        return chosen


def read_ratios(source: str | Path | Mapping[str, float]) -> GroupRatios:
    """Read shares to remove from a JSON file, or take them as they are.

    Args:
        source: The file, or patterns with their shares.

    Raises:
        TargetError: The file cannot be read, is no such object, or a share is no number from 0 and below 1.
    """
    if isinstance(source, Mapping):
        return _checked(list(source.items()), "ratios")
    where = f"'{source}'"
    try:
        content = json.loads(Path(source).read_bytes(), object_pairs_hook=_Pairs)
    except OSError as error:
        raise TargetError(f"the ratios in {where} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise TargetError(f"{where} is no JSON ({error}); {_SHAPE}") from error
    if not isinstance(content, _Pairs):
        raise TargetError(f"{where} holds no JSON object; {_SHAPE}")
    return _checked(content, str(source))


class _Pairs(list[tuple[str, object]]):
    """The members of a JSON object, those of the same name too."""


def _checked(pairs: Sequence[tuple[str, object]], where: str) -> GroupRatios:
    if not pairs:
        raise TargetError(f"{where} names no group; {_SHAPE}")
    shares: dict[str, float] = {}
    for pattern, share in pairs:
        if pattern in shares:
            raise TargetError(f"{where} has '{pattern}' twice")
        if not isinstance(share, int | float) or isinstance(share, bool):
            raise TargetError(f"{where}: '{pattern}' must be a number, the share to remove, not {json.dumps(share)}")
        if not (math.isfinite(share) and 0 <= share < 1):
            raise TargetError(f"{where}: '{pattern}' must be from 0 and below 1, not {share:g}: 0.3 removes 30 %")
        shares[pattern] = float(share)
    return GroupRatios(tuple(shares.items()), where)


def _why_nothing(chosen: Mapping[int, float], channels: ChannelMap) -> str:
    """Say what share would take one of the largest group."""
    asked = [index for index, share in chosen.items() if share > 0]
    if not asked:
        return "; give a share above 0"
    largest = max(asked, key=lambda index: channels.groups[index].size)
    group = channels.groups[largest]
    if group.size == 1:
        return ": those it names have only one channel, or one of what goes together, and one stays"
    one = f"{1 / group.size:.2g}"
    return f": {chosen[largest]:g} of the {group.size} of group '{group.name}' rounds to none; {one} takes one"


def _is_name(pattern: str, producers: Sequence[str], names: ProducerNames) -> bool:
    return any(pattern in names[producer] for producer in producers)


def _all_fixed(pattern: str, producers: Sequence[str], channels: ChannelMap) -> str:
    reason = next((fixed.reason for fixed in channels.fixed if fixed.producer == producers[0]), "they are fixed")
    return f"{_OPTION} '{pattern}' names only nodes whose channels cannot go ('{producers[0]}': {reason})"
