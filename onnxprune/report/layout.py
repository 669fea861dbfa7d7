"""Where the nodes of a directed graph stand in a picture: in rows from top to bottom, with few crossings.

A node's row is one below the lowest it reads. Edges over several rows get a bend in each row between, so that they
run beside nodes and not across them. Within rows, nodes and bends are sorted by the mean place of their neighbours,
in a few sweeps down and up (Sugiyama et al., 1981); then each is pulled toward its neighbours as far as the others in
its row let it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_SORTING_SWEEPS, _PLACING_SWEEPS = 8, 24
# Edges over more rows than this run straight: their bends would outnumber the nodes.
_LONGEST_BENT = 60


@dataclass(frozen=True)
class Layout:
    """Places, in units of the distance between two rows or two nodes of a row.

    Attributes:
        x: Of each node, from 0, shape (nodes,).
        row: Of each node, from 0, shape (nodes,).
        edges: For each edge its (reader, source), and the (x, row) of its bends from the source to the reader.
        width: Largest x of a node or bend.
    """

    x: np.ndarray
    row: np.ndarray
    edges: tuple[tuple[int, int, tuple[tuple[float, int], ...]], ...]
    width: float


def lay_out(inputs: Sequence[Sequence[int]]) -> Layout:
    """Place a graph's nodes.

    Args:
        inputs: For each node the earlier ones that it reads: an order from top to bottom.
    """
    count = len(inputs)
    row = _rows(inputs)
    rows = list(row)
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    chains: list[tuple[int, int, list[int]]] = []
    for node, sources in enumerate(inputs):
        for source in sources:
            bends: list[int] = []
            last = source
            span = range(row[source] + 1, row[node]) if row[node] - row[source] <= _LONGEST_BENT else range(0)
            for between in span:
                bend = len(rows)
                rows.append(between)
                above.append([last])
                below.append([])
                below[last].append(bend)
                bends.append(bend)
                last = bend
            above[node].append(last)
            below[last].append(node)
            chains.append((node, source, bends))
    levels = _levels(rows)
    _sort(levels, above, below, len(rows))
    x = _place(levels, above, below, is_bend=np.arange(len(rows)) >= count)
    return Layout(
        x=x[:count],
        row=np.array(row, dtype=np.int64),
        edges=tuple((node, source, tuple((float(x[b]), rows[b]) for b in bends)) for node, source, bends in chains),
        width=float(x.max(initial=0.0)),
    )


def _rows(inputs: Sequence[Sequence[int]]) -> list[int]:
    row: list[int] = []
    for sources in inputs:
        row.append(1 + max((row[source] for source in sources), default=-1))
    # What reads nothing stands right above its first reader.
    first_reader: dict[int, int] = {}
    for node, sources in enumerate(inputs):
        for source in sources:
            first_reader[source] = min(first_reader.get(source, row[node]), row[node])
    return [
        max(0, first_reader[node] - 1) if not sources and node in first_reader else row[node]
        for node, sources in enumerate(inputs)
    ]


def _levels(rows: Sequence[int]) -> list[list[int]]:
    levels: list[list[int]] = [[] for _ in range(max(rows, default=-1) + 1)]
    for vertex, row in enumerate(rows):
        levels[row].append(vertex)
    return levels


def _sort(levels: list[list[int]], above: list[list[int]], below: list[list[int]], count: int) -> None:
    """Order each row by the mean place of its neighbours in the row before, down and up in turn."""
    place = np.zeros(count)
    for level in levels:
        place[level] = np.arange(len(level))
    for sweep in range(_SORTING_SWEEPS):
        down = sweep % 2 == 0
        for level in levels if down else reversed(levels):
            neighbours = above if down else below
            key = {v: float(np.mean(place[neighbours[v]])) if neighbours[v] else float(place[v]) for v in level}
            level.sort(key=key.__getitem__)
            place[level] = np.arange(len(level)) - (len(level) - 1) / 2


def _place(levels: list[list[int]], above: list[list[int]], below: list[list[int]], is_bend: np.ndarray) -> np.ndarray:
    """Pull every vertex toward the mean of its neighbours, and keep the order and the distances within its row."""
    x = np.zeros(len(is_bend))
    # Bends are lines, which need less room than nodes do.
    half = np.where(is_bend, 0.15, 0.5)
    offsets = [np.concatenate([[0.0], np.cumsum(half[level[:-1]] + half[level[1:]])]) for level in levels]
    for level, offset in zip(levels, offsets, strict=True):
        x[level] = offset - offset[-1] / 2
    for sweep in range(_PLACING_SWEEPS):
        order = range(len(levels)) if sweep % 2 == 0 else range(len(levels) - 1, -1, -1)
        neighbours = above if sweep % 2 == 0 else below
        for index in order:
            level = levels[index]
            wanted = np.array([np.mean(x[neighbours[v]]) if neighbours[v] else x[v] for v in level])
            x[level] = _apart(wanted, offsets[index], np.where(is_bend[level], 4.0, 1.0))
    return x - x.min(initial=0.0) if len(x) else x


def _apart(wanted: np.ndarray, offset: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Find the places nearest to the wanted ones, by least squares, that keep their distances.

    With y = x - offset the distances become the order, so this is isotonic regression: neighbours that are out of
    order share their mean.
    """
    blocks: list[list[float]] = []
    for value, mass in zip(wanted - offset, weight, strict=True):
        blocks.append([value * mass, mass, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, mass_of, length = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += mass_of
            blocks[-1][2] += length
    means = np.concatenate([np.full(int(length), total / mass) for total, mass, length in blocks])
    placed: np.ndarray = means + offset
    return placed
