"""What the user does not want touched: groups that `--keep` names, or that no `--only` names, become fixed.

requires  an analysis, and patterns
ensures   an analysis of the same model whose remaining groups may all lose channels; the given one is not changed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxprune.channels import hints
from onnxprune.channels.analysis import analyse
from onnxprune.channels.attention import AttentionUnit
from onnxprune.channels.map import Axis, ChannelMap, FixedChannels, Group, GroupKind
from onnxprune.channels.patterns import named_by, producer_names
from onnxprune.errors import PatternError

_NAMED_BY_NONE = "no --only pattern names it"
_INSEPARABLE = "they can only go all together, and of every group something stays"

UNITS: tuple[GroupKind, ...] = ("channels", "mlp", "head-dim", "heads", "embedding")
"""What may go, from what always may to what is only taken where it is asked for."""

_USUAL_UNITS: tuple[GroupKind, ...] = ("channels", "mlp", "head-dim", "heads")


@dataclass(frozen=True)
class Restriction:
    """What the user wants touched.

    Attributes:
        keep: Patterns of producers whose channels stay.
        only: Patterns of producers whose channels may go; none: all.
        units: What may go; none: channels, hidden units and entries of every head, or heads where these cannot go.
    """

    keep: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    units: tuple[GroupKind, ...] = ()

    @property
    def kinds(self) -> tuple[GroupKind, ...]:
        """What may go, told or by default."""
        return self.units or _USUAL_UNITS

    @property
    def is_usual(self) -> bool:
        """Whether that is the default, told or not."""
        return set(self.kinds) == set(_USUAL_UNITS)


def permitted(model: ir.Model, restriction: Restriction = Restriction()) -> ChannelMap:
    """Find which channels of a model can go and are allowed to.

    Args:
        model: A normalised model.
        restriction: What the user wants touched.

    Raises:
        PatternError: A pattern names nothing, or two wishes contradict each other.
    """
    units, usual = frozenset(restriction.kinds), restriction.is_usual
    if not usual and {"heads", "head-dim"} <= units:
        raise PatternError("--unit heads and --unit head-dim contradict each other: a head goes whole, or it does not")
    attention: AttentionUnit = "either" if usual else "heads" if "heads" in units else "head-dim"
    channels = analyse(model, attention, embedding="embedding" in units)
    return restrict(_of_kinds(channels, units), restriction.keep, restriction.only)


def with_embedding_hints(model: ir.Model, channels: ChannelMap) -> ChannelMap:
    """Say of fixed channels that the width of an embedding holds, and so another axis fixes, what would free them.

    The operator that fixed them, an Add behind a normalisation, does not know; another analysis does.
    """
    if not any(entry.hint == hints.TIED for entry in channels.fixed):
        return channels
    wider = analyse(model, embedding=True)
    freed = {node for group in wider.groups if group.kind == "embedding" for node in group.producers}
    fixed = (
        replace(entry, hint=hints.EMBEDDING) if entry.hint == hints.TIED and entry.producer in freed else entry
        for entry in channels.fixed
    )
    return replace(channels, fixed=tuple(fixed))


def _of_kinds(channels: ChannelMap, units: frozenset[GroupKind]) -> ChannelMap:
    """Fix the groups whose units are of no kind that may go, and those of a single unit, which must stay."""
    fixed: dict[int, list[FixedChannels]] = {}
    for group in channels.groups:
        if group.kind not in units:
            reason, hint = f"no --unit names what they are ({group.kind})", f"--unit {group.kind}"
            fixed[group.index] = _fixed(channels, group, reason, hint)
        elif group.size == 1:
            fixed[group.index] = _fixed(channels, group, _INSEPARABLE, hints.WHOLE)
    if not fixed:
        return channels
    entries = [entry for each in fixed.values() for entry in each]
    untouched = channels.untouched | {entry.producer for entry in entries}
    return replace(
        _without(channels, fixed), fixed=_in_order(channels, [*channels.fixed, *entries]), untouched=untouched
    )


def restrict(channels: ChannelMap, keep: Sequence[str] = (), only: Sequence[str] = ()) -> ChannelMap:
    """Fix the groups that are not to be touched.

    Args:
        channels: The analysis.
        keep: Patterns; a group of which one producer is named stays whole.
        only: Patterns; where there are any, a group of which no producer is named stays whole.

    Returns:
        The analysis with fewer units, the rest numbered anew, and with what was fixed and why.

    Raises:
        PatternError: A pattern names no producer, or one of each kind name the same producer or group.
    """
    if not keep and not only:
        return channels
    names = producer_names(channels)
    kept, chosen = _first_patterns(keep, "--keep", names), _first_patterns(only, "--only", names)
    for node in names:
        _check(node, node, kept, chosen)
    fixed: dict[int, list[FixedChannels]] = {}
    for group in channels.groups:
        stays = next((node for node in group.producers if node in kept), None)
        wanted = next((node for node in group.producers if node in chosen), None)
        if stays is not None and wanted is not None:
            _check(stays, wanted, kept, chosen)
        if stays is not None:
            fixed[group.index] = _kept(channels, group, kept)
        elif only and wanted is None:
            hint = f"an --only pattern that names '{group.producers[0]}'"
            fixed[group.index] = _fixed(channels, group, _NAMED_BY_NONE, hint)
    untouched = {node for node in names if node in kept or (only and node not in chosen)}
    return replace(
        _without(channels, fixed),
        fixed=_in_order(channels, [*channels.fixed, *(entry for entries in fixed.values() for entry in entries)]),
        untouched=channels.untouched | untouched,
    )


def nothing_left(path: str | Path, fixed: Iterable[FixedChannels], unreached: Sequence[str] = ()) -> str:
    """Say why no channel of a model can go, with the three commonest reasons.

    Args:
        path: The model's file.
        fixed: What is fixed in it.
        unreached: Where it has weights that the analysis does not reach; see `unreached_weights`.
    """
    reasons: Counter[str] = Counter()
    for entry in fixed:
        reasons[entry.reason] += entry.channels
    if not reasons:
        where = f" that channels are followed through: {'; '.join(unreached)}" if unreached else ""
        end = "" if unreached else ": there is no channel to remove"
        return f"'{path}' has no convolution or matrix product with weights{where}{end}"
    listed = "; ".join(f"{reason} ({count} channels)" for reason, count in reasons.most_common(3))
    return f"no channel of '{path}' can be removed: {listed}. 'onnxprune inspect -v {path}' says what would free them"


def _first_patterns(patterns: Sequence[str], option: str, names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return, for each producer that is named, the first pattern that does."""
    found: dict[str, str] = {}
    for pattern in patterns:
        for node in named_by(pattern, option, names):
            found.setdefault(node, pattern)
    return found


def _check(stays: str, wanted: str, kept: Mapping[str, str], chosen: Mapping[str, str]) -> None:
    """Refuse that of the same channels some are to stay and some to go."""
    if stays not in kept or wanted not in chosen:
        return
    both = f"both name '{stays}'" if stays == wanted else f"'{stays}' and '{wanted}' share their channels"
    raise PatternError(f"--keep '{kept[stays]}' and --only '{chosen[wanted]}' contradict each other: {both}")


def _kept(channels: ChannelMap, group: Group, kept: Mapping[str, str]) -> list[FixedChannels]:
    named = [node for node in group.producers if node in kept]
    hint = "leave out " + " and ".join(f"--keep '{pattern}'" for pattern in dict.fromkeys(kept[node] for node in named))
    shared = f"they share channels with '{named[0]}', which --keep '{kept[named[0]]}' names"
    return [
        replace(entry, reason=f"--keep '{kept[entry.producer]}' names it" if entry.producer in kept else shared)
        for entry in _fixed(channels, group, shared, hint)
    ]


def _fixed(channels: ChannelMap, group: Group, reason: str, hint: str) -> list[FixedChannels]:
    return [FixedChannels(node, _made_by(channels, node, group), reason, hint) for node in group.producers]


def _made_by(channels: ChannelMap, node: str, group: Group) -> int:
    """Count the output channels of a node that belong to a group."""
    units = channels.axis(*channels.outputs_of[node])
    return 0 if units is None else int(np.isin(units, group.units).sum())


def _without(channels: ChannelMap, fixed: Mapping[int, object]) -> ChannelMap:
    """Drop groups, and number units and groups anew."""
    left = [group for group in channels.groups if group.index not in fixed]
    # One entry more than there are units: an index of -1 stays -1.
    number = np.full(channels.unit_count + 1, -1)
    units = np.sort(np.concatenate([group.units for group in left])) if left else np.zeros(0, dtype=np.int64)
    number[units] = np.arange(len(units))
    translated: dict[int, Axis] = {}

    def translate(axis: Axis) -> Axis:
        # Axes are shared between values, and recognised by their identity.
        if axis is not None and id(axis) not in translated:
            new = number[axis]
            translated[id(axis)] = new if (new >= 0).any() else None
        return None if axis is None else translated[id(axis)]

    axes = {name: tuple(translate(axis) for axis in each) for name, each in channels.axes.items()}
    return replace(
        channels,
        unit_count=len(units),
        axes={name: each for name, each in axes.items() if any(axis is not None for axis in each)},
        groups=tuple(replace(group, index=index, units=number[group.units]) for index, group in enumerate(left)),
    )


def _in_order(channels: ChannelMap, fixed: list[FixedChannels]) -> tuple[FixedChannels, ...]:
    place = {node: index for index, node in enumerate(channels.outputs_of)}
    return tuple(sorted(fixed, key=lambda entry: place[entry.producer]))
