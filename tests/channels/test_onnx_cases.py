"""ONNX's own backend tests: whatever the operator and its attributes, nothing crashes and no removal is wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.onnx_cases import MODES, Case, Outcome, cases, run, table, variant


@pytest.fixture(scope="module")
def all_cases() -> list[Case]:
    return list(cases())


def sweep(some: list[Case], folder: Path) -> list[Outcome]:
    models = ((case, mode, variant(case, mode)) for case in some for mode in MODES)
    return [run(case, mode, model, folder) for case, mode, model in models if model is not None]


def failures(outcomes: list[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.category in ("wrong", "crash")]


def axes_of_input(case: Case) -> int:
    return len(case.model.graph.input[0].type.tensor_type.shape.dim) if case.model.graph.input else 0


def one_of_each_operator(some: list[Case]) -> list[Case]:
    """Pick cases until every operator is among them, those first that have axes to prune."""
    seen: set[tuple[str, str]] = set()
    picked = []
    for case in sorted(some, key=axes_of_input, reverse=True):
        operators = {(node.domain, node.op_type) for node in case.model.graph.node}
        if operators - seen:
            seen |= operators
            picked.append(case)
    return picked


# Found faults that the first case of their operator did not.
TELLING = frozenset({"test_attention_4d_softcap_neginf_mask"})


@pytest.mark.slow
def test_one_case_of_each_operator(all_cases: list[Case], tmp_path: Path) -> None:
    telling = [case for case in all_cases if case.name in TELLING]
    assert len(telling) == len(TELLING)
    outcomes = sweep([*one_of_each_operator(all_cases), *telling], tmp_path)
    assert failures(outcomes) == []
    assert sum(outcome.category == "pruned" for outcome in outcomes) >= 90


@pytest.mark.nightly
def test_every_case(all_cases: list[Case], tmp_path: Path) -> None:
    outcomes = sweep(all_cases, tmp_path)
    assert failures(outcomes) == []
    assert sum(outcome.category == "pruned" for outcome in outcomes) >= 700
    assert Counter(o.category for o in outcomes if o.kind == "light") == {"pruned": 9}


def test_the_table_counts_outcomes() -> None:
    outcomes = [
        Outcome("a", "node", MODES[0], "refused", "'m.onnx' uses opset 28"),
        Outcome("b", "node", MODES[0], "refused", "'n.onnx' uses opset 28"),
        Outcome("b", "node", MODES[3], "pruned", units=8, removed=2),
    ]
    page = table(outcomes)
    assert "| refused | 2 | 0 | 0 | 0 | 0 |" in page
    assert "| pruned | 0 | 0 | 0 | 1 | 0 |" in page
    assert "| 2 | ... uses opset 28 |" in page
