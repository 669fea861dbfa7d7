"""Plain arguments read and checked, before a model is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from onnxprune.channels import UNITS, Restriction
from onnxprune.errors import PatternError, TargetError
from onnxprune.quantisation import CALIBRATIONS, Calibration
from onnxprune.search import (
    AGENTS,
    ALLOCATIONS,
    AgentName,
    AllocationName,
    GroupRatios,
    Target,
    parse_count,
    parse_latency,
    parse_size,
    ratio_target,
    read_ratios,
)
from onnxprune.training.config import Augmentation

Ratios = str | Path | Mapping[str, float]
"""Shares to remove: a JSON file, or patterns with their shares."""


def one_target(
    latency: str | float | None,
    macs: str | float | None,
    params: str | float | None,
    size: str | float | None,
    *,
    ratio: float | None = None,
    ratios: Ratios | None = None,
) -> Target | GroupRatios:
    """Read the only target that is given.

    Raises:
        TargetError: It cannot be read, or there is not exactly one.
    """
    given: list[Target | GroupRatios] = [
        *([parse_latency(latency)] if latency is not None else []),
        *([parse_count(macs, "macs")] if macs is not None else []),
        *([parse_count(params, "params")] if params is not None else []),
        *([parse_size(size)] if size is not None else []),
        *([ratio_target(ratio)] if ratio is not None else []),
        *([read_ratios(ratios)] if ratios is not None else []),
    ]
    if len(given) != 1:
        kinds = ["ratios" if isinstance(target, GroupRatios) else target.kind for target in given]
        raise TargetError(
            f"give exactly one target, not {' and '.join(kinds) or 'none'}: a latency ('10ms', '60%'), MACs, "
            "parameters, a size, a ratio of all channels or ratios of groups"
        )
    return given[0]


def check_ratios(target: Target | GroupRatios, **others: object) -> None:
    """Refuse what would have no say where each group's ratio is given.

    Args:
        target: What is to be reached.
        **others: Arguments by name; None where they are left out.

    Raises:
        TargetError: One of them is given beside ratios.
    """
    given = [f"--{name.replace('_', '-')}" for name, value in others.items() if value is not None]
    if isinstance(target, GroupRatios) and given:
        raise TargetError(f"--ratios says what goes of each group: leave out {' and '.join(given)}")


def patterns(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return patterns as a tuple; a single one may be given as it is."""
    return (given,) if isinstance(given, str) else tuple(given)


def restriction(
    keep: str | Sequence[str] = (), only: str | Sequence[str] = (), units: str | Sequence[str] = ()
) -> Restriction:
    """Read what the user wants touched.

    Raises:
        PatternError: There is no such unit.
    """
    asked = patterns(units)
    for unit in asked:
        if unit not in UNITS:
            raise PatternError(f"there is no unit '{unit}'; units are {', '.join(UNITS)}")
    return Restriction(patterns(keep), patterns(only), tuple(unit for unit in UNITS if unit in asked))


def allocation_name(name: str | None) -> AllocationName | AgentName | None:
    """Check the name of an allocation or agent.

    Raises:
        TargetError: It is unknown.
    """
    for known in (*AGENTS, *ALLOCATIONS):
        if known == name:
            return known
    if name is not None:
        raise TargetError(f"unknown allocation '{name}'; known are {', '.join((*AGENTS, *ALLOCATIONS))}")
    return None


def stage_number(stages: int | str) -> int | None:
    """Read a number of stages; None: as many as the gap to the target asks for.

    Raises:
        TargetError: It is neither `auto` nor a number from 1.
    """
    if stages == "auto":
        return None
    if isinstance(stages, str) or stages < 1:
        raise TargetError(f"stages must be 'auto' or a number from 1, not {stages!r}")
    return stages


def block_size(block: int | None) -> int | None:
    """Check a fixed block of channels.

    Raises:
        TargetError: It is below 1.
    """
    if block is not None and block < 1:
        raise TargetError(f"round_to must be 1 or more channels, not {block}; leave it out for measured blocks")
    return block


def quantisation(
    quantize: str | None, calibration: str, target: Target | GroupRatios
) -> tuple[Literal["int8"] | None, Calibration]:
    """Read the format that a result is to have, and how its ranges are found.

    Raises:
        TargetError: It is unknown, or the target cannot be met in it.
    """
    if quantize not in (None, "int8"):
        raise TargetError(f"cannot quantise to '{quantize}'; known is int8")
    ranges = next((known for known in CALIBRATIONS if known == calibration), None)
    if ranges is None:
        raise TargetError(f"unknown calibration '{calibration}'; known are {', '.join(CALIBRATIONS)}")
    if quantize is not None and isinstance(target, Target) and target.kind == "size":
        raise TargetError(
            "--target-size counts bytes of the float network, which --quantize changes: give --target-params (about as "
            "many bytes in int8), a latency or MACs"
        )
    return ("int8" if quantize else None), ranges


def augmentations(augment: str | Sequence[str]) -> tuple[Augmentation, ...]:
    """Read the random changes that pictures get.

    Raises:
        TargetError: One is unknown.
    """
    names = (augment,) if isinstance(augment, str) else tuple(augment)
    known = {kind: kind for kind in get_args(Augmentation)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise TargetError(f"unknown augmentation '{unknown[0]}'; known are {', '.join(known)}")
    return tuple(dict.fromkeys(known[name] for name in names))


def as_path(path: str | Path | None) -> Path | None:
    """Return a path as one, None as None."""
    return None if path is None else Path(path)
