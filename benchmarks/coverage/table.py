"""docs/COVERAGE.md from the results of the coverage benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HOW = {
    "shipped": "they are shipped",
    "dynamo-free": "the dynamo exporter writes them, with a free batch and length",
    "torchscript-free": "the torchscript exporter writes them, with a free batch and length",
}
TOOLS = ("torch-pruning", "onnxsim", "onnx2torch + torch-pruning")
# A result counts as faster below this share of the original's latency: the measurement's own noise is about 2 %.
FASTER, TOLERANCE, COVERED = 0.98, 1e-4, 0.8
_HEADER = """# Coverage

Networks with random weights, as PyTorch's exporters write them: `python -m benchmarks.coverage`, each in a process of
its own (this page: `--table`; figures: benchmarks/results/coverage.json). *Prunable*: share of the
multiply-accumulates that removable channels take part in. *Left*: MACs, and latency (onnxruntime, one thread, beside
the original), after `onnxprune prune --ratio 0.3 --importance l2`. *Error*: largest difference between the pruned
network and the original with these channels silenced, in outputs and (since f6f4a03) in what sums over removed units;
0 where both sum in the same order. *Trains*: converted to PyTorch, one step, weights that got a gradient. The other
tools remove 30 % too (benchmarks/coverage/peers.py), and none is told about the architecture: share of the latency
that is left, or why there is no result. That theirs is right is not checked beyond the outputs' shapes. Where a cell
or a network is missing, it was not run yet. What "took more than" its time limit (600 s, for ours of the three largest
3,600 s, for others of vit_h_14 3,000 s, on a core that was shared with other work) counts as failed, and so does what
was killed for memory ("exit code -9": 24 GB, shared too) or found no more ("MemoryError": 12 to 16 GB): ten cells,
none of them ours. Two networks were measured at a time, on two cores that also did other work, so single latencies are
off by some tenths. What is said of one run is of networks drawn at random, every tool on the same machine (an AMD EPYC
with AVX2, 2 cores), with 180 s for each of the others. The other sizes of torchvision's families were given to ours
only. What is *shipped* are the files of sixteen wheels (benchmarks/coverage/wheels.py: readers of text, detectors,
wake words, speech, music, kinds of files), trained and exported by their makers with tf2onnx, keras2onnx, Paddle's and
PyTorch's exporters of several years; dynamic sizes were fixed for the other tools. Torch-Pruning needs PyTorch code,
which they have none of. slanet-plus reads a table in a Loop until it has read its end: on random inputs in 26 steps,
and pruned, not trained, in all 501 that it may take. It cannot be trained here for its Loop, tashkeel not for a GRU
with lengths, and swift_f0 gives what has no gradient.
"""


def write(results: dict[str, Any], path: Path) -> None:
    """Write the page."""
    ours = {key.removesuffix(" ours"): row for key, row in results.items() if key.endswith(" ours")}
    peers = {key.removesuffix(" peers"): row for key, row in results.items() if key.endswith(" peers")}
    lines = [
        _HEADER,
        provenance(ours),
        *summary(ours, peers),
        grouping(results),
        "",
        *rows(ours, peers),
        "",
        *reasons(ours),
        "",
    ]
    path.write_text("\n".join(lines))


def provenance(ours: dict[str, Any]) -> str:
    """Say which commits our rows are of."""
    counts = Counter(row.get("commit") for row in ours.values())
    older = counts.pop(None, 0)
    listed = [f"{count} of commit {commit}" for commit, count in counts.most_common()]
    return f"Rows of onnxprune: {', '.join([*listed, *([f'{older} of several commits before'] if older else [])])}."


def summary(ours: dict[str, Any], peers: dict[str, Any]) -> list[str]:
    """Count what came out, for each exporter, and beside the other tools."""
    exporters = sorted({key.rsplit(" ", 1)[1] for key in ours}, reverse=True)
    lines = []
    for exporter in exporters:
        files = {key: row for key, row in ours.items() if key.endswith(f" {exporter}")}
        how = _HOW.get(exporter, f"the {exporter} exporter writes them")
        lines += ["", f"As {how}:", "", *counted(files)]
    shipped = {key for key in peers if key.endswith(" shipped")}
    lines += ["", "Beside the other tools, right and faster:", ""]
    lines += beside(ours, {key: row for key, row in peers.items() if key not in shipped}, TOOLS, "exported")
    return lines + beside(ours, {key: peers[key] for key in shipped}, TOOLS[1:], "shipped")


def beside(ours: dict[str, Any], peers: dict[str, Any], tools: Sequence[str], kind: str) -> list[str]:
    """Count what is right and faster of the files that all were given; of those that nobody can prune, too."""
    both = [key for key in peers if "coverage" in ours.get(key, {})]
    if not both:
        return []
    lines = [f"- Of {len(both)} files as {kind}: {tally(both, ours, peers, tools)}."]
    runs = Counter(peers[key]["commit"] for key in both if peers[key].get("commit") == ours[key].get("commit"))
    for commit, count in runs.items():
        run = [key for key in both if peers[key].get("commit") == ours[key].get("commit") == commit]
        lines.append(
            f"- Of these, {count} by all tools in one run, of commit {commit}: {tally(run, ours, peers, tools)}."
        )
    return lines


def tally(keys: Sequence[str], ours: dict[str, Any], peers: dict[str, Any], tools: Sequence[str]) -> str:
    """Count, for each tool, the files of which it makes something right and faster."""
    mine = sum(ours[key].get("verified_error", 1) <= TOLERANCE and ours[key].get("latency", 1) < FASTER for key in keys)
    counts = {tool: sum(good(peers[key].get(tool, {})) for key in keys) for tool in tools}
    return ", ".join(f"{tool} {count}" for tool, count in ({"onnxprune": mine} | counts).items())


def counted(ours: dict[str, Any]) -> list[str]:
    """Count what came out of our rows."""
    loaded = [row for row in ours.values() if "coverage" in row]
    pruned = [row for row in loaded if "verified_error" in row]
    right = sum(row["verified_error"] <= TOLERANCE for row in pruned)
    trains = sum(bool(row.get("trained")) for row in pruned)
    return [
        f"- {len(loaded)} networks; {sum('export_failed' in row for row in ours.values())} could not be exported, "
        f"{sum('failed' in row for row in ours.values())} failed here.",
        f"- {share(sum(row['coverage'] > COVERED for row in loaded), len(loaded))} have more than "
        f"{COVERED:.0%} of their MACs prunable.",
        f"- {share(right, len(pruned))} of the pruned are proved right, "
        f"{share(sum(row['latency'] < FASTER for row in pruned), len(pruned))} became faster.",
        f"- {share(trains, len(pruned))} convert to PyTorch and train.",
    ]


def grouping(results: dict[str, Any]) -> str:
    """Compare the time that finding the groups takes."""
    timed = [row for key, row in results.items() if key.endswith(" analysis")]
    alone = sum(row["analysis_s"] < row["torch-pruning_s"] for row in timed)
    whole = sum(row["ours_s"] < row["torch-pruning_s"] for row in timed)
    return (
        f"- The analysis is quicker than Torch-Pruning's graph and groups on {alone} of the {len(timed)} "
        f"networks that it takes, reading and checking the file and its analysis together on {whole} (in turns in one "
        "process, the least of three; Torch-Pruning's network is in memory before)."
    )


def good(row: dict[str, Any]) -> bool:
    """Say whether a tool's result runs, has the original's outputs, and is faster."""
    return "latency" in row and row["latency"] < FASTER


def share(part: int, whole: int) -> str:
    """Write a count and its share."""
    return f"{part} of {whole} ({part / whole:.0%})" if whole else "0 of 0"


def rows(ours: dict[str, Any], peers: dict[str, Any]) -> list[str]:
    """Write a row for each file."""
    lines = [
        "| network | exporter | prunable | MACs left | latency left | error | trains | analysis | Torch-Pruning "
        "| onnxsim | onnx2torch + TP |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for key in sorted(ours):
        name, exporter = key.rsplit(" ", 1)
        cells = [name, exporter, *mine(ours[key]), *(theirs(peers.get(key, {}).get(tool)) for tool in TOOLS)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def mine(row: dict[str, Any]) -> list[str]:
    """Write the cells of one of our rows."""
    for kind in ("export_failed", "failed"):
        if kind in row:
            what = "not exported" if kind == "export_failed" else "failed"
            return [f"{what}: {row[kind].split(':')[0][:40]}", *[""] * 5]
    if "verified_error" not in row:
        return [f"{row['coverage']:.0%}", "", "", "", "", f"{row['load_s'] + row['analyse_s']:.2f} s"]
    trained = f"{row['trained']}/{row['parameters']}" if "trained" in row else "no"
    return [
        f"{row['coverage']:.1%}",
        f"{row['macs']:.2f}",
        f"{row['latency']:.2f}",
        f"{row['verified_error']:.0e}",
        trained,
        f"{row['load_s'] + row['analyse_s']:.2f} s",
    ]


def theirs(row: dict[str, Any] | None) -> str:
    """Write another tool's cell."""
    if row is None:
        return ""
    return f"{row['latency']:.2f}" if "latency" in row else row["failed"].split(":")[0][:24]


def reasons(ours: dict[str, Any]) -> list[str]:
    """List what fixes channels most often."""
    counts: Counter[str] = Counter()
    for row in ours.values():
        counts.update(list(row.get("reasons", {})))
    lines = ["## What fixes channels", "", "| reason | files |", "| --- | ---: |"]
    return lines + [f"| {reason.replace('|', '/')} | {count} |" for reason, count in counts.most_common(15)]
