"""Does the agent learn? `rl` beside random search with as many evaluations, from the same starting point.

    python benchmarks/learning.py NETS/vgg.onnx --data NETS/cifar10 --out benchmarks/results/learning.json

Both search under a share of the network's predicted latency, on the same problem, judge and seeds, with branches that
can go whole; with `--budget macs` under a share of its MACs, where groups may keep any number of channels. Nothing is
trained: what is compared is the reward that a search maximises, on evaluation samples of the validation part, and on
samples of the test part that neither has seen. `--data` is a folder as models/benchmark_networks.py writes it. Seeds
that are in the results already are not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.importance import score_units
from onnxprune.latency import LocalDevice, MeasureOptions
from onnxprune.pipeline.branches import with_branches
from onnxprune.pipeline.judging import HealedJudge, Subjects, candidate_healer, evaluation_samples
from onnxprune.pipeline.measuring import Bench, LatencyEvaluator, measure_original
from onnxprune.pipeline.planning import Choice, make_problem
from onnxprune.pipeline.prepare import Network, read_network
from onnxprune.pipeline.training import draft_healer
from onnxprune.progress import SilentObserver
from onnxprune.search import (
    Environment,
    RandomAgent,
    RlAgent,
    SearchConfig,
    calibrated,
    full_counts,
    parse_count,
    parse_latency,
    search,
)
from onnxprune.search.plan import exact_cost
from onnxprune.training import Batch, load_preprocess, open_data


def prepare(options: Any) -> tuple[Environment, HealedJudge, HealedJudge]:
    """Make the task and two judges: of evaluation samples, and of samples that no search sees."""
    network = read_network(options.network, None, 1)
    files = {part: str(options.data / f"{part}.npz") for part in ("val", "test")}
    preprocess = load_preprocess(str(options.data / "preprocess.json"))
    with np.load(options.data / "train.npz") as arrays:
        images = {"x": arrays["x"][:2048]}
    data = open_data(images, network.inputs, network.input_shapes, preprocess, 0, **files)
    calibration = list(data.train.subset(256, 0).batches(32, drop_last=True))
    scores = score_units("reconstruction", network.model, network.channels, calibration=calibration, seed=0)
    environment = under_macs if options.budget == "macs" else under_latency
    task = environment(network, scores, calibration, options.share)
    heal = candidate_healer(network, data.train, 0)
    seen = data.val.subset(evaluation_samples(network), 0)
    draft = draft_healer(network, data.train, 0)
    unseen = data.test.subset(2000, 0)
    judges = [HealedJudge(Subjects(network, scores, part, heal, draft=draft)) for part in (seen, unseen)]
    return task, judges[0], judges[1]


def under_latency(network: Network, scores: np.ndarray, calibration: list[Batch], share: float) -> Environment:
    """Limit the latency that the measured layers predict."""
    bench = Bench(LocalDevice(), MeasureOptions(), SilentObserver())
    original_ms = measure_original(network, bench)
    problem = make_problem(network, scores, Choice(parse_latency("50%"), "rl", None, 0), bench, original_ms)
    problem = with_branches(problem, network, calibration)
    problem = calibrated(problem, LatencyEvaluator(network, bench, original_ms), original_ms, 0)
    return Environment(problem, problem.cost, share * problem.cost.total(full_counts(network.channels)))


def under_macs(network: Network, scores: np.ndarray, calibration: list[Batch], share: float) -> Environment:
    """Limit the multiply-accumulates; nothing is measured."""
    bench, target = Bench(LocalDevice(), MeasureOptions(), SilentObserver()), parse_count("50%")
    problem = make_problem(network, scores, Choice(target, "rl", 1, 0), bench, 0.0)
    problem = with_branches(problem, network, calibration)
    budget = exact_cost(problem, target)
    assert budget is not None
    return Environment(problem, budget, share * budget.total(full_counts(network.channels)))


def run(environment: Environment, judges: tuple[HealedJudge, HealedJudge], name: str, seed: int, count: int) -> Any:
    """Search once and judge the best structure on samples that the search did not see."""
    agent = {"rl": RlAgent, "random": RandomAgent}[name](environment, seed)
    started = time.monotonic()
    outcome = search(environment, agent, judges[0], SearchConfig(evaluations=count, patience=count))
    best = outcome.best
    unseen = judges[1].judge(best.candidate.counts, judges[1].looks[-1])
    plain = [j for j in outcome.judgements if j.round == 0]
    rewards = [j.verdict.reward for j in outcome.judgements if j.verdict.samples == judges[0].looks[-1]]
    return {
        "agent": name,
        "seed": seed,
        "evaluations": len(outcome.judgements),
        "seconds": round(time.monotonic() - started, 1),
        "start": {j.candidate.source: round(j.verdict.reward, 3) for j in reversed(plain)},
        "best_reward": round(best.verdict.reward, 3),
        "best_metric": round(best.verdict.metric, 3),
        "unseen_metric": round(unseen.metric, 3),
        "best_so_far": [round(float(r), 3) for r in np.maximum.accumulate(rewards)][::5],
    }


def main() -> None:
    """Run the benchmark and write its results after every search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--budget", default="latency", choices=("latency", "macs"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=120)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/learning.json"))
    options = parser.parse_args()
    environment, *judges = prepare(options)
    key = f"{options.network.stem} at {options.share:g}x" + " of the MACs" * (options.budget == "macs")
    for seed in range(options.seeds):
        for name in ("rl", "random"):
            results = json.loads(options.out.read_text()) if options.out.exists() else {}
            rows = results.setdefault(key, [])
            if any((row["agent"], row["seed"]) == (name, seed) for row in rows):
                continue
            rows.append(run(environment, (judges[0], judges[1]), name, seed, options.evaluations))
            print(key, rows[-1], flush=True)
            options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
