"""What a run found of structures, told from its history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onnxprune.report.history import History, read_history
from onnxprune.report.seen import best_so_far, structures_chosen, structures_seen, unbeaten
from onnxprune.search import WORST

NETWORK = {"kind": "network", "groups": [{"name": "conv", "units": 8}], "cost": 8e6, "unit": "MACs"}
LOOKS = {"kind": "looks", "stage": 1, "samples": [15, 60]}


def judged(units: int, metric: float, samples: int = 60, stage: int = 1) -> dict[str, Any]:
    figures = {"reward": metric - 1, "metric": metric, "samples": samples, "predicted_cost": units * 1e6}
    return {"kind": "judgement", "stage": stage, "source": "rl", "units": [units], **figures}


def evaluated(units: int, metric: float, stage: int = 1, samples: int = 60) -> dict[str, Any]:
    return {"kind": "evaluation", "stage": stage, "units": [units], "samples": samples, "metric": metric}


def took(units: int, cost: float, stage: int = 1) -> dict[str, Any]:
    return {"kind": "structure", "stage": stage, "units": [units], "cost": cost}


@pytest.fixture
def history_of(tmp_path: Path) -> Any:
    def write(*lines: dict[str, Any]) -> History:
        text = "".join(json.dumps(line) + "\n" for line in (NETWORK, LOOKS, *lines))
        (tmp_path / "history.jsonl").write_text(text)
        return read_history(tmp_path)

    return write


def test_first_looks_are_never_the_best_nor_on_the_front(history_of: Any) -> None:
    seen = structures_seen(history_of(judged(4, 90), judged(3, 100, samples=15), judged(5, 92)))
    assert [one.whole for one in seen] == [True, False, True]
    assert unbeaten(seen, "MACs") == [(4e6, 90), (5e6, 92)]
    assert [None if best is None else best.metric for best in best_so_far(seen)] == [90, 90, 92]


def test_a_stage_of_which_only_first_looks_are_done_has_no_best(history_of: Any) -> None:
    assert best_so_far(structures_seen(history_of(judged(4, 90, samples=15)))) == [None]


def test_samples_of_a_judge_that_notes_no_looks_are_those_of_most(tmp_path: Path) -> None:
    lines = [NETWORK, judged(4, 90), judged(3, 100, samples=15), judged(2, 80, samples=30, stage=2)]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [one.all_samples for one in structures_seen(read_history(tmp_path))] == [60, 60, 30]


@pytest.mark.parametrize("why", [{}, {"failure": "ValueError"}])
def test_what_has_no_metric_is_not_seen(history_of: Any, why: dict[str, str]) -> None:
    seen = structures_seen(history_of(evaluated(8, 99), {**evaluated(7, WORST), **why}, evaluated(6, 96)))
    assert [one.metric for one in seen] == [99, 96]


def test_evaluations_stand_for_judgements_where_an_agent_notes_none(history_of: Any) -> None:
    lines = [evaluated(8, 99), evaluated(7, 95), {**evaluated(6, 96), "reward": 70.0}, took(6, 6e6)]
    seen = structures_seen(history_of(*lines, evaluated(6, 98, stage=2), evaluated(5, 97, stage=2)))
    begins = "what a stage begins with"
    assert [one.source for one in seen] == [begins, "sampled", "sampled", begins, "sampled"]
    assert [one.score for one in seen] == [99, 95, 96, 98, 97]
    assert [one.cost for one in seen] == [8e6, None, 6e6, 6e6, None]
    assert unbeaten(seen, "MACs") == [(6e6, 98), (8e6, 99)]


def test_what_a_stage_begins_with_is_not_its_best(history_of: Any) -> None:
    best = best_so_far(structures_seen(history_of(evaluated(8, 99), evaluated(7, 95), evaluated(6, 96))))
    assert [None if one is None else one.metric for one in best] == [None, 95, 96]


def test_two_looks_at_a_structure_are_one_structure(history_of: Any) -> None:
    (seen,) = structures_seen(history_of(evaluated(7, 99, samples=15), evaluated(7, 95)))
    assert (seen.metric, seen.whole) == (95, True)


@pytest.mark.parametrize("figures", [{"metric": -1e300, "failure": "no classes"}, {"metric": None}, {}])
def test_evaluations_without_a_metric_are_left_out(history_of: Any, figures: dict[str, Any]) -> None:
    failed = {"kind": "evaluation", "stage": 1, "units": [7], "samples": 60, **figures}
    assert [one.metric for one in structures_seen(history_of(failed, evaluated(6, 90)))] == [90]


def test_what_a_stage_took_has_its_measured_cost_and_the_metric_it_was_judged_by(history_of: Any) -> None:
    (chosen,) = structures_chosen(history := history_of(judged(4, 90), took(4, 3.9e6)), structures_seen(history))
    assert (chosen.stage, chosen.cost, chosen.metric) == (1, 3.9e6, 90)


def test_a_fitted_structure_has_the_metric_of_its_confirmation(history_of: Any) -> None:
    confirmed = {"kind": "confirmation", "stage": 1, "units": [5], "metric": 93.0}
    history = history_of(judged(4, 90), took(5, 5e6), confirmed)
    assert [one.metric for one in structures_chosen(history, structures_seen(history))] == [93]


def test_a_first_look_is_not_the_metric_of_what_a_stage_took(history_of: Any) -> None:
    history = history_of(judged(4, 100, samples=15), judged(5, 90), took(4, 4e6))
    assert [one.metric for one in structures_chosen(history, structures_seen(history))] == [None]
