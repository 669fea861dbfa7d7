"""Take protobuf messages apart without parsing them: where each field lies in the bytes."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Kinds of fields."""

Buffer = bytes | mmap.mmap
"""Bytes, or a mapped file."""


def fields(data: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, start of its tag, start of its body, end) of each field of a message."""
    position = start
    while position < end:
        tag, body = varint(data, position)
        kind = tag & 7
        if kind == LENGTH:
            length, body = varint(data, body)
            stop = body + length
        elif kind == VARINT:
            stop = varint(data, body)[1]
        elif kind in (FIXED64, FIXED32):
            stop = body + (8 if kind == FIXED64 else 4)
        else:
            raise ValueError(f"wire type {kind}")
        if stop > end:
            raise ValueError("a field reaches beyond its message")
        yield tag >> 3, position, body, stop
        position = stop


def varint(data: Buffer, position: int) -> tuple[int, int]:
    """Read a number; return it and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
