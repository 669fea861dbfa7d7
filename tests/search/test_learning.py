"""The search learns: budgets hold by construction, plain allocations are candidates, and `rl` beats not learning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxprune.channels import analyse
from onnxprune.graph import concrete_shapes, load, resolve_input_shapes
from onnxprune.search import (
    WORST,
    Candidate,
    Environment,
    RandomAgent,
    RlAgent,
    SearchConfig,
    SearchOutcome,
    Subject,
    Task,
    Verdict,
    learn_plan,
    paper_problem,
    parse_count,
    parse_latency,
    search,
)
from onnxprune.search.agents import Agent, plain_candidates
from onnxprune.search.candidates import Judgement, expected_rewards, successive_halving
from onnxprune.search.costs import macs_cost
from onnxprune.search.critic import Critic
from tests.residual import residual_cnn

LAYERS = 8


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    body = "\n".join(f"h{i + 1} = Conv<pads = [1, 1, 1, 1]>(h{i}, w{i})\n" for i in range(LAYERS))
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[1, 3, 8, 8] h0) => (float[1, 5, 8, 8] y) {{ {body} y = Conv(h{LAYERS}, last) }}""")
    rng = np.random.default_rng(0)
    shapes = {f"w{i}": (32, 32 if i else 3, 3, 3) for i in range(LAYERS)} | {"last": (5, 32, 1, 1)}
    for name, shape in shapes.items():
        array = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    onnx.save(model, path)
    loaded = load(path)
    channels = analyse(loaded)
    scores = np.random.default_rng(1).uniform(0.5, 1.5, channels.unit_count)
    subject = Subject(loaded, channels, concrete_shapes(loaded, resolve_input_shapes(loaded)), scores)
    problem = paper_problem(subject, 4)
    budget = macs_cost(problem.paper, LAYERS)
    return Environment(problem, budget, 0.5 * budget.total(np.full(LAYERS, 32)))


class Planted:
    """A judge to whom only some groups matter, and more noise the fewer the samples."""

    looks = (100, 400)

    def __init__(self, noise: float = 0.0) -> None:
        self.asked: list[tuple[bytes, int]] = []
        self._noise = noise
        self._rng = np.random.default_rng(0)

    def judge(self, counts: np.ndarray, samples: int) -> Verdict:
        self.asked.append((counts.tobytes(), samples))
        matter = np.array([0, 3, 6])
        value = 100 * float(np.log(counts[matter] / 32).mean()) + 5 * float(np.log(counts / 32).mean())
        value += self._noise * float(self._rng.standard_normal()) * np.sqrt(100 / samples)
        return Verdict(value, value, samples)

    def confirm(self, counts: np.ndarray) -> Verdict:
        return self.judge(counts, self.looks[-1])


class Easier(Planted):
    """A judge whose first samples give other rewards than all of them, of every structure alike."""

    def __init__(self, ease: float) -> None:
        super().__init__()
        self._ease = ease

    def judge(self, counts: np.ndarray, samples: int) -> Verdict:
        found = super().judge(counts, samples)
        return replace(found, reward=found.reward + (self._ease if samples == self.looks[0] else 0.0))


@given(seed=st.integers(0, 10_000), spread=st.floats(0.0, 4.0))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_every_action_keeps_the_budget_and_uses_it(environment: Environment, seed: int, spread: float) -> None:
    counts = environment.act(np.random.default_rng(seed).normal(0, spread, environment.groups))
    assert counts is not None
    assert (counts >= 1).all()
    assert (counts <= environment.sizes).all()
    assert 0.9 * environment.limit <= environment.cost(counts) <= environment.limit


def test_a_group_that_is_preferred_keeps_more(environment: Environment) -> None:
    preference = np.zeros(environment.groups)
    preference[4] = 2.0
    start, preferred = environment.act(np.zeros(environment.groups)), environment.act(preference)
    assert start is not None
    assert preferred is not None
    assert preferred[4] > start[4]


def test_plain_allocations_come_first_and_bound_the_outcome(environment: Environment) -> None:
    judge = Planted()
    outcome = search(environment, RandomAgent(environment, 0), judge, SearchConfig(evaluations=20))
    assert [j.candidate.source for j in outcome.judgements[:2]] == ["global", "uniform"]
    assert outcome.best.verdict.reward >= max(j.verdict.reward for j in outcome.judgements[:2])
    assert len(outcome.judgements) == 20
    assert len(judge.asked) == len(set(judge.asked))


def test_a_ranking_that_keeps_more_of_sums_is_among_the_first(tmp_path: Path) -> None:
    onnx.save(residual_cnn(), tmp_path / "residual.onnx")
    model = load(tmp_path / "residual.onnx")
    channels = analyse(model)
    scores = np.random.default_rng(1).uniform(0.5, 1.5, channels.unit_count)
    problem = paper_problem(Subject(model, channels, concrete_shapes(model, resolve_input_shapes(model)), scores), 1)
    budget = macs_cost(problem.paper, len(channels.groups))
    task = Environment(problem, budget, 0.5 * budget.total(np.array([group.size for group in channels.groups])))
    stream = max(channels.groups, key=lambda group: len(group.producers)).index
    plain, _, *others = plain_candidates(task)
    assert max(other.counts[stream] for other in others) > plain.counts[stream]
    assert all(task.cost(candidate.counts) <= task.limit for candidate in others)


def final(environment: Environment, make: Callable[[Environment, int], Agent], seed: int) -> SearchOutcome:
    config = SearchConfig(evaluations=60, patience=60)
    return search(environment, make(environment, seed), Planted(noise=0.5), config)


def test_rl_learns_more_than_random_search_finds(environment: Environment) -> None:
    gains = [
        final(environment, RlAgent, seed).best.verdict.reward
        - final(environment, RandomAgent, seed).best.verdict.reward
        for seed in range(5)
    ]
    assert min(gains) > 0
    start = Planted().judge(plain_candidates(environment)[0].counts, 400).reward
    assert final(environment, RlAgent, 0).best.verdict.reward > start + 5


def test_the_same_seed_searches_the_same(environment: Environment) -> None:
    first, second = final(environment, RlAgent, 3), final(environment, RlAgent, 3)
    assert [j.candidate.key for j in first.judgements] == [j.candidate.key for j in second.judgements]


def test_the_last_word_is_the_finally_healed_network(environment: Environment) -> None:
    class Contrary(Planted):
        def confirm(self, counts: np.ndarray) -> Verdict:
            reward = -self.judge(counts, self.looks[-1]).reward
            return Verdict(reward, reward, self.looks[-1])

    task = Task(environment.problem, parse_count("50%", "macs"), "random", SearchConfig(evaluations=30), 0)
    plain, outcome = learn_plan(task, Planted())
    other, _ = learn_plan(task, Contrary())
    worst = min(outcome.finalists(6), key=lambda j: j.verdict.reward)
    assert plain.counts.tolist() == outcome.best.candidate.counts.tolist()
    assert other.counts.tolist() == worst.candidate.counts.tolist()
    assert {j.candidate.source for j in outcome.finalists(0)} == {"global", "uniform"}


def test_a_tighter_target_fits_the_finalists_without_another_search(environment: Environment) -> None:
    problem = environment.problem

    class Device:
        def latency_ms(self, keep: np.ndarray) -> float:
            counts = np.array([int(keep[group.units].sum()) for group in problem.channels.groups])
            # Lower than predicted, so that the first fit leaves room.
            return 0.8 * problem.cost.total(counts) + 0.2 * environment.limit / 2

    original = Device().latency_ms(np.ones(problem.channels.unit_count, dtype=bool))
    task = Task(problem, parse_latency("50%"), "random", SearchConfig(evaluations=30), 0)
    plan, outcome = learn_plan(task, Planted(), evaluator=Device(), original_ms=original)
    assert 0.96 * 0.5 * original <= plan.achieved <= 0.5 * original
    judge = Planted()
    tighter = replace(task, target=parse_latency("47%"))
    again, same = learn_plan(tighter, judge, evaluator=Device(), original_ms=original, known=outcome)
    assert same is outcome
    assert 0.95 * 0.47 * original <= again.achieved <= 0.47 * original
    assert {samples for _, samples in judge.asked} == {judge.looks[-1]}
    assert len(judge.asked) < 30


def test_it_ends_when_nothing_gets_better(environment: Environment) -> None:
    class Indifferent(Planted):
        def judge(self, counts: np.ndarray, samples: int) -> Verdict:  # noqa: ARG002
            return Verdict(1.0, 1.0, samples)

    outcome = search(environment, RlAgent(environment, 0), Indifferent(), SearchConfig(evaluations=500, patience=3))
    assert outcome.stopped_by == "patience"
    assert len(outcome.judgements) == 2 + 3 * SearchConfig.per_round


def test_it_ends_in_time(environment: Environment) -> None:
    ticks = iter(range(10_000))
    outcome = search(
        environment,
        RandomAgent(environment, 0),
        Planted(),
        SearchConfig(evaluations=500, seconds=40),
        clock=lambda: float(next(ticks)),
    )
    assert outcome.stopped_by == "time"
    assert len(outcome.judgements) < 80


def test_a_budget_out_of_reach_has_no_candidates(environment: Environment) -> None:
    hopeless = Environment(environment.problem, environment.budget, 1.0)
    assert search(hopeless, RlAgent(hopeless, 0), Planted()).judgements == ()


def test_halving_looks_longer_at_the_better_half() -> None:
    judge = Planted()
    candidates = [Candidate(np.full(LAYERS, n), "test") for n in (4, 30, 8, 28, 16, 2)]
    verdicts = successive_halving(judge, candidates)
    assert [looks[-1].samples for looks in verdicts] == [100, 400, 100, 400, 400, 100]
    assert len(judge.asked) == 6 + 3


def test_halving_compares_with_the_best_known_look_by_look() -> None:
    candidates = [Candidate(np.full(LAYERS, n), "test") for n in (4, 30, 8, 28, 16, 2)]
    first, last = (Planted().judge(np.full(LAYERS, 8), samples).reward for samples in Planted.looks)
    verdicts = successive_halving(Easier(32.0), candidates, (first + 32.0, last))
    assert [len(looks) for looks in verdicts] == [1, 2, 2, 2, 2, 1]


@pytest.mark.parametrize("ease", [-32.0, 32.0])
def test_easier_first_samples_change_nothing(environment: Environment, ease: float) -> None:
    def proposed(judge: Planted) -> list[bytes]:
        outcome = search(environment, RlAgent(environment, 0), judge, SearchConfig(evaluations=60, patience=60))
        return [j.candidate.key for j in outcome.judgements]

    assert proposed(Easier(ease)) == proposed(Planted())


def judged(*looks: float) -> Judgement:
    verdicts = tuple(Verdict(reward, reward, samples) for reward, samples in zip(looks, Planted.looks, strict=False))
    return Judgement(0, 1, Candidate(np.ones(1), "test"), verdicts, 1.0, 0.0)


def test_what_has_no_number_is_expected_to_be_worse_than_all_that_has_one() -> None:
    # The second look gave 2 points more, but for the one that it has no number of before.
    seen = [judged(-900.0, -898.0), judged(WORST), judged(-5000.0), judged(WORST, -950.0), judged(-940.0, WORST)]
    spread = 4998.0 - 898.0
    assert expected_rewards(seen).tolist() == [-898.0, -4998.0 - spread, -4998.0, -950.0, -4998.0 - spread]
    assert expected_rewards([judged(WORST), judged(3.0, 3.0)]).tolist() == [2.0, 3.0]
    assert np.isfinite(expected_rewards([judged(WORST), judged(WORST, WORST)])).all()


class Failing(Planted):
    """A judge that has no number for structures with few units in two of the groups."""

    def judge(self, counts: np.ndarray, samples: int) -> Verdict:
        found = super().judge(counts, samples)
        fails = bool((counts[[1, 4]] < 12).any())
        return Verdict(WORST, WORST, samples) if fails else found


def test_structures_without_a_number_neither_win_nor_blind_the_search(environment: Environment) -> None:
    budget = SearchConfig(evaluations=120, patience=60)
    learned, drawn = (search(environment, agent(environment, 0), Failing(), budget) for agent in (RlAgent, RandomAgent))
    assert any(not judgement.verdict.known for judgement in learned.judgements)
    assert learned.best.verdict.reward > drawn.best.verdict.reward
    # Plain allocations that have no number are none either.
    assert all(judgement.verdict.known for judgement in learned.finalists(200))


def test_the_critic_predicts_what_it_saw_and_knows_what_it_did_not() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5))
    y = 3 * x[:, 0] - x[:, 1] + 0.1 * rng.standard_normal(60)
    critic = Critic(x, y)
    fresh = rng.normal(size=(40, 5))
    mean, doubt = critic.predict(fresh)
    assert np.corrcoef(mean, 3 * fresh[:, 0] - fresh[:, 1])[0, 1] > 0.95
    assert critic.predict(np.full((1, 5), 8.0))[1][0] > doubt.mean()
