"""What is observed is written down once, and given back in the same order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnxprune.errors import RunDirectoryError
from onnxprune.journal import Journal


def never() -> dict[str, Any]:
    raise AssertionError("observed again")


def test_a_repeated_run_gets_its_observations_back(tmp_path: Path) -> None:
    first = Journal(tmp_path / "h.jsonl")
    values = [first.observe("latency", {"model": "a"}, lambda ms=ms: {"ms": ms}) for ms in (1.1, 0.1 + 0.2)]
    again = Journal(tmp_path / "h.jsonl")
    assert [again.observe("latency", {"model": "a"}, never) for _ in values] == values
    assert again.observe("latency", {"model": "a"}, lambda: {"ms": 3.0}) == {"ms": 3.0}
    assert len((tmp_path / "h.jsonl").read_text().splitlines()) == 3


def test_other_keys_and_kinds_are_other_observations(tmp_path: Path) -> None:
    Journal(tmp_path / "h.jsonl").observe("latency", {"model": "a", "shape": (1, 2)}, lambda: {"ms": 1})
    again = Journal(tmp_path / "h.jsonl")
    assert again.observe("latency", {"model": "b", "shape": (1, 2)}, lambda: {"ms": 2}) == {"ms": 2}
    assert again.observe("layer", {"model": "a", "shape": (1, 2)}, lambda: {"ms": 3}) == {"ms": 3}
    assert again.observe("latency", {"model": "a", "shape": (1, 2)}, never) == {"ms": 1}


def test_a_note_is_written_once(tmp_path: Path) -> None:
    for _ in range(2):
        Journal(tmp_path / "h.jsonl").note("network", {"groups": [1, 2]})
    assert (tmp_path / "h.jsonl").read_text() == '{"kind":"network","groups":[1,2]}\n'


@pytest.mark.parametrize("lost", range(1, 12))
def test_a_line_that_was_cut_short_was_not_observed(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "h.jsonl"
    journal = Journal(path)
    for ms in (1, 2):
        journal.observe("latency", {}, lambda ms=ms: {"ms": ms})
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])
    again = Journal(path)
    assert [again.observe("latency", {}, lambda: {"ms": 2})["ms"] for _ in range(2)] == [1, 2]
    assert path.read_bytes() == whole


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_text('{"kind": "epoch"}\nhello\n')
    with pytest.raises(RunDirectoryError, match=r"^line 2 of '.*h\.jsonl' is damaged"):
        Journal(tmp_path / "h.jsonl")
    (tmp_path / "h.jsonl").write_text("[1]\n")
    with pytest.raises(RunDirectoryError, match="is no observation of a run"):
        Journal(tmp_path / "h.jsonl")


def test_what_is_void_is_observed_again(tmp_path: Path) -> None:
    def values(journal: Journal) -> list[int]:
        return [journal.observe("latency", {"model": "a"}, lambda n=n: {"ms": n})["ms"] for n in (5, 6)]

    path = tmp_path / "h.jsonl"
    journal = Journal(path)
    journal.note("network", {})
    journal.observe("latency", {"model": "a"}, lambda: {"ms": 1})
    with journal.listed() as first:
        journal.observe("latency", {"model": "a"}, lambda: {"ms": 2})
    journal.void(first)
    with journal.listed() as nothing:
        pass
    journal.void(nothing)
    assert len(path.read_text().splitlines()) == 4
    assert values(Journal(path)) == [1, 6]
    again = Journal(path)
    with again.listed() as both:
        assert values(again) == [1, 6]
    again.void(both)
    # The file as it was observed again says which of its kinds still count.
    assert (again.kinds, Journal(path).kinds) == (frozenset({"network"}), frozenset({"network"}))
    assert values(Journal(path)) == [5, 6]


def test_without_a_file_nothing_is_kept() -> None:
    journal = Journal()
    assert not journal.kept
    assert [journal.observe("a", {}, lambda n=n: {"n": n})["n"] for n in (1, 2)] == [1, 2]
