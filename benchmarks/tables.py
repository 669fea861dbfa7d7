"""Write docs/allocation.md from the committed results of allocation.py, learning.py, healing.py, evaluator.py and
on_target.py, the table of docs/latency.md from those of prediction.py, that of README.md from those of allocation.py.

python benchmarks/tables.py
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

RESULTS, PAGE = Path("benchmarks/results"), Path("docs/allocation.md")
METHODS = (
    "uniform l1",
    "global taylor",
    "torch-pruning",
    "rl-pruner",
    "rl without healing",
    "rl",
    "rl without labels",
    "rl with features",
)
_KEY = re.compile(
    r"(?P<network>\S+) (?P<budget>latency|macs) (?P<share>[\d.]+)x (?P<method>.+) seed (?P<seed>\d+)"
    r"(?P<length>(?: \d+ images)?(?: \d+ epochs)?(?: batches of \d+)?(?: augmented)?)(?P<recipe> by .+)?"
)
_PEERS = METHODS[:5]
_STEPS = ("searching (rl)", "healing", "distilling")
_ALONE = "predicted from layers alone"
_README_METHODS = {"rl": "onnxprune", "torch-pruning": "Torch-Pruning", "global taylor": "global Taylor"}
MACS_TEXT = """\
ResNet-56 at 2.1 times fewer MACs, where `rl` may take any count (`--round-to 1`). It loses 1.46 points with what layers
inside give compared too (`--features 10`), 0.56 of Torch-Pruning's 2.61: its lead is the healing's, and goes with
training.

- *By length of training*, of two networks of an earlier commit, tested on all, `rl` and Torch-Pruning: 85.64 and
  30.15 % untrained, 85.64 (as healed) and 85.01 after one epoch on 10,000 images, 87.37 and 86.74 after two, 87.70 and
  86.99 after four, 88.06 and 88.30 after four on 45,000.
- *At length*, on a GPU: 11 epochs on 45,000 flipped and shifted images (`--samples 45000 --epochs 11 --batch-size 128
  --augment`), the structures of seed 0, three seeds of training. Losses of 0.37 and 0.69 points, 0.53. The global
  variant of Torch-Pruning loses 0.24; the validation part prefers the local one (89.04 against 88.84). These are
  differences of 5,000 test images within chance.
- *What helps*: comparing what layers inside give, which needs to know which of the original's channels are left: 88.90,
  88.38 and 88.34 instead of 87.94 (weight 1: 88.20). On one structure a weight of 30 gave 88.16 on the validation and
  88.42 on the test part, comparing 18 layers in place of 6 87.82 and 88.56, where the default gives 87.76 and 88.46. At
  half latency it gives less: on mobilenet 82.45 (weight 1: 82.27 and 82.14), on vgg 82.37 (weight 1: 82.31, 81.99 and
  82.32).
- *What did not help*: a rate of 1.5e-4 (87.73), flips and shifts in a short training (87.64), BatchNormalization put
  back for the training (87.82; Torch-Pruning's 86.68), and, on today's split and from 86.36 untrained, mixup (88.02).
  Healing on 2,048 or 8,192 images instead of 512 starts at 86.62 and 86.74 instead of 86.20 %, for 40 and 124 s instead
  of 11.
"""
Runs = dict[tuple[str, str, str], dict[str, list[dict[str, Any]]]]


def read_runs() -> Runs:
    """Return the runs of each (network, budget, share), by method, by the recipe that suits the method best."""
    recipes: Any = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for key, record in json.loads((RESULTS / "allocation.json").read_text()).items():
        match = _KEY.fullmatch(key)
        assert match is not None, key
        place = match["network"], match["budget"] + match["length"], match["share"]
        recipes[place][match["method"]][match["recipe"]].append(record)
    return {
        place: defaultdict(list, {method: max(found.values(), key=_accuracy) for method, found in methods.items()})
        for place, methods in recipes.items()
    }


def _accuracy(records: list[dict[str, Any]]) -> float:
    values = [record["after"] for record in records if "after" in record]
    return float(np.mean(values)) if values else -1.0


def cell(records: list[dict[str, Any]], field: str) -> str:
    """Show the mean over seeds, and their number where there are several."""
    values = [record[field] for record in records if field in record]
    if not values:
        return "fails" if records else ""
    many = f" ({len(values)})" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{many}"


def accuracy_table(runs: Runs) -> list[str]:
    """One line a network and target: test accuracy of every method."""
    lines = [f"| network | target | original | {' | '.join(METHODS)} | rl - best other |"]
    lines.append("|---" * (len(METHODS) + 4) + "|")
    for (network, budget, share), methods in sorted(runs.items()):
        original = next(r["before"] for records in methods.values() for r in records if "before" in r)
        row = [cell(methods.get(method, []), "after") for method in METHODS]
        peers = [np.mean([r["after"] for r in methods[m]]) for m in _PEERS if any("after" in r for r in methods[m])]
        own = [r["after"] for r in methods["rl"] if "after" in r]
        margin = f"{np.mean(own) - max(peers):+.2f}" if own and peers else ""
        lines.append(f"| {network} | {share}x {budget} | {original:.2f} | {' | '.join(row)} | {margin} |")
    return lines


def target_table(runs: Runs) -> list[str]:
    """How close the delivered latency came to the target, of every run of ours that searched."""
    lines = ["| network | target | measured / target |", "|---|---|---|"]
    for (network, budget, share), methods in sorted(runs.items()):
        records = [r for method in ("rl", "rl without labels") for r in methods.get(method, []) if "latency" in r]
        if budget == "latency" and records:
            reached = ", ".join(f"{record['latency'] / float(share):.3f}" for record in records)
            lines.append(f"| {network} | {share}x | {reached} |")
    return lines


def untrained_table() -> list[str]:
    """How close `prune` came to the target, by on_target.py."""
    lines = ["| network and target | measured / target |", "|---|---|"]
    for key, row in json.loads((RESULTS / "on_target.json").read_text()).items():
        lines.append(f"| {key} | {row.get('measured / target', 'fails')} |")
    return lines


def remote_table() -> list[str]:
    """How close `prune` came on a device over SSH, by remote_target.py, and how long the device was asked for."""
    lines = ["| network and target | measured / target | device, s | whole run, s |", "|---" * 4 + "|"]
    for key, row in json.loads((RESULTS / "remote_target.json").read_text()).items():
        figures = [row.get(name, "fails") for name in ("measured / target", "device seconds", "seconds")]
        lines.append(f"| {key} | {' | '.join(str(figure) for figure in figures)} |")
    return lines


def time_table(runs: Runs) -> list[str]:
    """Where the time of `rl` went, in seconds."""
    lines = [
        "| network | target | structures judged | searching | healing | distilling | whole run |",
        "|---" * 7 + "|",
    ]
    for (network, budget, share), methods in sorted(runs.items()):
        for record in methods.get("rl", [])[:1]:
            steps = record.get("steps", {})
            figures = [steps.get(name, 0.0) for name in _STEPS]
            figures[0] += steps.get("comparing the best", 0.0)
            row = " | ".join(f"{value:.0f}" for value in (record.get("evaluations", 0), *figures, record["seconds"]))
            lines.append(f"| {network} | {share}x {budget} | {row} |")
    return lines


def learning_table() -> list[str]:
    """Reward of `rl` and of random search with as many evaluations."""
    lines = ["| search | seeds | start | random | rl | rl - random, by seed | unseen, rl - random |", "|---" * 7 + "|"]
    pairs: list[float] = []
    for key, rows in json.loads((RESULTS / "learning.json").read_text()).items():
        agents = {name: {row["seed"]: row for row in rows if row["agent"] == name} for name in ("rl", "random")}
        seeds = sorted(set(agents["rl"]) & set(agents["random"]))
        if not seeds:
            continue
        best, unseen = (
            {name: np.array([agents[name][seed][field] for seed in seeds]) for name in agents}
            for field in ("best_reward", "unseen_metric")
        )
        gains = ", ".join(f"{gain:+.2f}" for gain in best["rl"] - best["random"])
        pairs += list(best["rl"] - best["random"])
        start = max(rows[0]["start"].values())
        lines.append(
            f"| {key} | {len(seeds)} | {start:.2f} | {best['random'].mean():.2f} | {best['rl'].mean():.2f} | {gains} | "
            f"{(unseen['rl'] - unseen['random']).mean():+.2f} |"
        )
    lines += ["", f"Over all {len(pairs)} pairs: {np.mean(pairs):+.2f}, p = {chance_of(np.array(pairs)):.1g}."]
    return lines


def chance_of(gains: np.ndarray) -> float:
    """Return the chance of a mean at least this high were every sign a coin's (paired permutation test, one-sided)."""
    flips = np.random.default_rng(0).choice((-1.0, 1.0), (100_000, len(gains)))
    return float((1 + ((flips * gains).mean(axis=1) >= gains.mean() - 1e-12).sum()) / (1 + len(flips)))


def evaluator_table() -> list[str]:
    """Seconds of plain onnxruntime, and what judging takes beside it."""
    lines = ["| network | images | plain, s | judging / plain | with cutting and healing / plain |", "|---" * 5 + "|"]
    for network, row in json.loads((RESULTS / "evaluator.json").read_text()).items():
        lines.append(f"| {network} | {' | '.join(str(value) for value in row.values())} |")
    return lines


def healing_table() -> list[str]:
    """Accuracy right after pruning and after healing."""
    lines = ["| network | removed | original | pruned | healed | regained | seconds |", "|---" * 7 + "|"]
    for network, record in json.loads((RESULTS / "healing.json").read_text()).items():
        for removed, row in record.items():
            if isinstance(row, dict):
                figures = [f"{row[name]:.2f}" if name in row else "" for name in ("pruned", "healed")]
                regained = f"{row['regained']:.0%}" if "regained" in row else ""
                original = f"{record['original']:.2f}" if "original" in record else ""
                lines.append(
                    f"| {network} | {removed} | {original} | {' | '.join(figures)} | {regained} | {row['seconds']} |"
                )
    return lines


def prediction_table() -> list[str]:
    """Relative errors of predicted latencies: median and 90th percentile, by network and over all."""
    results = json.loads((RESULTS / "prediction.json").read_text())
    lines = [
        "| network | original | points | profiled in | again | error: median | p90 | of the fastest runs | p90 "
        "| from layers alone | p90 | measured twice |",
        "|---" * 12 + "|",
    ]
    kinds = {("predicted", "measured"): [], ("predicted", "fastest"): [], (_ALONE, "measured"): []}  # type: ignore[var-annotated]
    again = []
    for network, row in results.items():
        cells = [f"{row['original_ms']:.3g} ms", row["points"], f"{row['device_s']:.0f} s", f"{row['again_s']:.0f} s"]
        for (predicted, measured), pool in kinds.items():
            errors = np.abs(np.array(row[predicted]) / row[measured] - 1)
            pool.append(errors)
            cells += [f"{np.median(errors):.1%}", f"{np.percentile(errors, 90):.1%}"]
        twice = np.array(row["measured again"]) / row["measured"][: len(row["measured again"])]
        again.append(np.abs(twice - 1))
        lines.append(f"| {network} | {' | '.join(map(str, cells))} | {np.median(again[-1]):.1%} |")
    whole = [
        cell
        for pool in map(np.concatenate, kinds.values())
        for cell in (f"{np.median(pool):.1%}", f"{np.percentile(pool, 90):.1%}")
    ]
    lines.append(f"| all | | | | | {' | '.join(whole)} | {np.median(np.concatenate(again)):.1%} |")
    return lines


def alone_on_both_cores() -> str:
    """Tell of the runs that had the machine for themselves."""
    told = []
    for key, run in json.loads((RESULTS / "allocation_idle.json").read_text()).items():
        match = _KEY.fullmatch(key)
        assert match is not None
        told.append(
            f"{key}, alone on both cores with a thread for each: {run['steps']['searching (rl)']:.0f} s of search for "
            f"{run['evaluations']} structures, {run['seconds']} s in all, {run['after']:.2f} %, "
            f"{run['latency'] / float(match['share']):.3f} of the target."
        )
    return " ".join(told)


def summary_table(runs: Runs) -> list[str]:
    """One line a network: test accuracy of what people would take, at two latencies."""
    shares = ("0.5", "0.33")
    columns = [f"{shown} at {share}x" for share in shares for shown in _README_METHODS.values()]
    lines = [f"| network | original | {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) + 1)]
    for network in sorted({network for network, budget, _ in runs if budget == "latency"}):
        at = [runs[network, "latency", share] for share in shares]
        cells = [cell(methods[method], "after").split(" (")[0] for methods in at for method in _README_METHODS]
        lines.append(f"| {network} | {at[0]['rl'][0]['before']:.2f} | {' | '.join(cells)} |")
    return lines


def write_between(page: Path, name: str, lines: list[str]) -> None:
    """Write a table into a page, between the comments that mark its place."""
    text = page.read_text()
    start, end = text.index(f"<!-- {name} -->") + len(f"<!-- {name} -->"), text.index(f"<!-- /{name} -->")
    page.write_text(text[:start] + "\n" + "\n".join(lines) + "\n" + text[end:])


def main() -> None:
    """Write the pages."""
    runs = read_runs()
    write_between(Path("docs/latency.md"), "prediction", prediction_table())
    write_between(Path("README.md"), "accuracy", summary_table(runs))
    sections = {
        "Accuracy at equal cost": (
            "Test top-1 in percent, mean over seeds (their number in brackets where there are several). `rl - best "
            "other` compares with the best of the first five methods that was run; an empty cell was not run yet. A "
            "method that fails cannot reach the target. Each method is fine-tuned by SGD at 0.02 or AdamW at 5e-4, "
            "whichever gave more of what was run: what was healed wants small steps, what was not wants large ones. "
            "AdamW was run for vgg, for `rl`, once for global taylor and twice for Torch-Pruning on ResNet-56 at "
            "0.5x. Other runs were on the second core.\n\n"
            "ResNet-56 has seen all training images: it is validated on half of the test images and tested on the "
            "other half (`--unseen` in models/benchmark_networks.py). Torch-Pruning can prune it only inside its "
            "blocks. `rl-pruner` here takes 5 % of the channels a stage, 4 rounds of samples and one epoch after each "
            "(at half the latency 12 stages on vgg, 19 on mobilenet; at a third 13 and 20, after which next to nothing "
            "is left of mobilenet, whose latency falls less than its channels), where the paper takes 1 %, 10 rounds "
            "and 20 epochs.",
            accuracy_table(runs),
        ),
        "At equal MACs": (MACS_TEXT, []),
        "On target": ("Latency of the delivered file over the target, run by run.", target_table(runs)),
        "On target, untrained": (
            "24 structures judged, nothing trained; all of one commit, on one of two cores, other work on the other "
            "for half of them.",
            untrained_table(),
        ),
        "On target, over SSH": (
            "6 structures judged, nothing trained, no layer measured before. The device is this machine over the "
            "loopback with another onnxruntime (1.15.1), timed by CPU time, on a core with much other work. "
            "*Compressed*: `compress` as it comes (160 structures at most, an epoch of training), with this "
            "machine's own onnxruntime.",
            remote_table(),
        ),
        "Where the time goes": (
            "Seconds, one thread, other runs beside it on the second core; but until b8c626b onnxruntime judged on "
            f"threads bound to both cores, for which the runs waited for each other. {alone_on_both_cores()}",
            time_table(runs),
        ),
        "Does it learn?": (
            "Reward in points under a share of the predicted latency, nothing trained, 60 structures for both. What "
            "was run *by moments* is from before candidates were healed in order; there ResNet-56's rewards are of "
            "images it had seen. On vgg both end at the best structure there is, which is the global ranking's "
            "at each of three shares; at 0.2x no more than 12 are within the budget. ResNet-56's seeds 1 and 2 are of "
            "another profile of the machine than the others: both agents of a seed have the same.",
            learning_table(),
        ),
        "What judging costs": ("One candidate beside plain onnxruntime on the same images.", evaluator_table()),
        "Healing": (
            "Uniform l1, 512 unlabelled images, no training; `all`: every group, `inner`: without residual streams. On "
            "both cores, nothing beside; a network's first row includes the time in which PyTorch is loaded.",
            healing_table(),
        ),
    }
    text = (
        "# What allocation, search and healing are worth\n\nWritten by benchmarks/tables.py from benchmarks/results/.\n"
    )
    for title, (what, lines) in sections.items():
        text += f"\n## {title}\n\n{what.strip()}\n" + "".join(f"\n{line}" for line in lines) + "\n" * bool(lines)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
