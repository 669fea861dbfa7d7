"""Where the nodes of a directed graph stand in a picture: in rows from top to bottom, with few crossings.

A node's row is one below the lowest it reads. Edges over several rows get a bend in each row between, so that they
run beside nodes and not across them. Within rows, nodes and bends are sorted by the mean place of their neighbours,
in a few sweeps down and up (Sugiyama et al., 1981); then each is pulled toward its neighbours as far as the others in
its row let it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

_SORTING_SWEEPS, _PLACING_SWEEPS = 8, 24
# Edges over more rows than this run straight: their bends would outnumber the nodes.
_LONGEST_BENT = 60


@dataclass(frozen=True)
class Layout:
    """Places, in units of the distance between two rows or two nodes of a row.

    Attributes:
        x: Of each node, from 0.
        row: Of each node, from 0.
        edges: For each edge its (reader, source), and the (x, row) of its bends from the source to the reader.
        width: Largest x of a node or bend.
    """

    x: tuple[float, ...]
    row: tuple[int, ...]
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
    x = _place(levels, above, below, count)
    return Layout(
        x=tuple(x[:count]),
        row=tuple(row),
        edges=tuple((node, source, tuple((x[b], rows[b]) for b in bends)) for node, source, bends in chains),
        width=max(x, default=0.0),
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
    place = [0.0] * count

    def number(level: list[int]) -> None:
        for index, vertex in enumerate(level):
            place[vertex] = index - (len(level) - 1) / 2

    for level in levels:
        number(level)
    for sweep in range(_SORTING_SWEEPS):
        neighbours = above if sweep % 2 == 0 else below
        for level in levels if sweep % 2 == 0 else reversed(levels):
            if len(level) > 1:
                keys = {vertex: _pull(place, neighbours[vertex], vertex) for vertex in level}
                level.sort(key=keys.__getitem__)
                number(level)


def _place(levels: list[list[int]], above: list[list[int]], below: list[list[int]], nodes: int) -> list[float]:
    """Pull every vertex toward the mean of its neighbours, and keep the order and the distances within its row."""
    x = [0.0] * sum(map(len, levels))
    offsets = [_offsets(level, nodes) for level in levels]
    for level, offset in zip(levels, offsets, strict=True):
        for vertex, start in zip(level, offset, strict=True):
            x[vertex] = start - offset[-1] / 2
    for sweep in range(_PLACING_SWEEPS):
        neighbours = above if sweep % 2 == 0 else below
        for index in range(len(levels)) if sweep % 2 == 0 else range(len(levels) - 1, -1, -1):
            level = levels[index]
            wanted = [_pull(x, neighbours[vertex], vertex) for vertex in level]
            for vertex, there in zip(level, _apart(wanted, offsets[index]), strict=True):
                x[vertex] = there
    least = min(x, default=0.0)
    return [there - least for there in x]


def _pull(places: Sequence[float], neighbours: Sequence[int], vertex: int) -> float:
    """Return the mean place of a vertex's neighbours, its own where it has none."""
    if not neighbours:
        return places[vertex]
    return sum(places[other] for other in neighbours) / len(neighbours)


def _offsets(level: Sequence[int], nodes: int) -> list[float]:
    """Return the least distance of each vertex of a row from its first; bends need less room than nodes do."""
    half = [0.5 if vertex < nodes else 0.15 for vertex in level]
    return [0.0, *accumulate(a + b for a, b in pairwise(half))]


def _apart(wanted: Sequence[float], offset: Sequence[float]) -> list[float]:
    """Find the places nearest to the wanted ones, by least squares, that keep their distances.

    With y = x - offset the distances become the order, so this is isotonic regression: neighbours that are out of
    order share their mean.
    """
    blocks: list[tuple[float, int]] = []
    for there, start in zip(wanted, offset, strict=True):
        total, length = there - start, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / length:
            before = blocks.pop()
            total, length = total + before[0], length + before[1]
        blocks.append((total, length))
    means = [total / length for total, length in blocks for _ in range(length)]
    return [mean + start for mean, start in zip(means, offset, strict=True)]
