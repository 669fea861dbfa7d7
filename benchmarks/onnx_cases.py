"""Every model of ONNX's own backend tests through load, analysis, removal of 30 %, surgery and verification.

    python benchmarks/onnx_cases.py

Five ways: as they are; converted to an opset that is not refused; with further inputs made weights; and between two
matrix products, which bring forth and read the second axis, or the last, so that what the operator's rule leaves free
is really removed. Writes benchmarks/results/onnx_cases.json and docs/onnx-cases.md.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import onnx.version_converter
from onnx import TensorProto, helper, numpy_helper

from onnxprune.channels import ChannelMap, analyse, prune, verify
from onnxprune.errors import ModelError, OnnxPruneError
from onnxprune.graph import load
from onnxprune.graph.load import MAX_IR_VERSION, OPSETS

SHARE = 0.3
_OLD_BECOME = 13
_WIDEST = 1024
MODES = ("as they are", "opset converted", "inputs as weights", "second axis free", "last axis free")
CATEGORIES = ("pruned", "nothing prunable", "refused", "not run", "wrong", "crash")
_DATA = Path(onnx.backend.test.__file__).parent / "data"
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
_NUMBERS = _FLOATS | {TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT8}


@dataclass(frozen=True)
class Case:
    """One model of the tests.

    Attributes:
        name: What ONNX calls it.
        kind: Its kind of test: node, simple, light, pytorch-converted, pytorch-operator.
        model: The model.
        inputs: Arrays of the first data set by input name, as far as they are plain arrays.
    """

    name: str
    kind: str
    model: onnx.ModelProto
    inputs: dict[str, np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        name: The case.
        kind: Its kind.
        mode: Which of the ways it was treated.
        category: One of `CATEGORIES`.
        why: The reason or the error; empty where it was pruned.
        units: How many units there are.
        removed: How many were removed.
    """

    name: str
    kind: str
    mode: str
    category: str
    why: str = ""
    units: int = 0
    removed: int = 0


def cases() -> Iterator[Case]:
    """Yield every case whose model ships with the onnx package, node tests first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        for case in collect_testcases(None):
            yield Case(case.name, "node", case.model, _arrays(case.model, case.data_sets[0][0]))
    for kind in ("simple", "pytorch-converted", "pytorch-operator"):
        for path in sorted((_DATA / kind).glob("*/model.onnx")):
            yield Case(path.parent.name, kind, onnx.load(path), {})
    for path in sorted((_DATA / "light").glob("*.onnx")):
        yield Case(path.stem, "light", onnx.load(path), {})


def _arrays(model: onnx.ModelProto, data: list[object]) -> dict[str, np.ndarray]:
    given: dict[str, np.ndarray] = {}
    for value, item in zip(model.graph.input, data, strict=False):
        if isinstance(item, TensorProto):
            given[value.name] = numpy_helper.to_array(item)
        elif isinstance(item, (np.ndarray, np.generic)):
            given[value.name] = np.asarray(item)
    return given


def variant(case: Case, mode: str) -> onnx.ModelProto | None:
    """Return a case's model as a mode treats it, None where the mode changes nothing about it."""
    if mode == MODES[0]:
        return case.model
    model = _at_a_supported_opset(case.model)
    if mode == MODES[1]:
        return model if model is not None and model is not case.model else None
    if model is None or case.kind == "light":
        return None
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    if mode == MODES[2]:
        return changed if _fill(changed, case, floats_only=True) else None
    _fill(changed, case, floats_only=False)
    return changed if _surround(changed, 1 if mode == MODES[3] else -1) else None


def _at_a_supported_opset(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Convert a model whose opset is refused; None where ONNX has no conversion."""
    version = next((entry.version for entry in model.opset_import if entry.domain == ""), OPSETS.start)
    if version in OPSETS:
        return model
    if version < OPSETS.start:
        try:
            return onnx.version_converter.convert_version(model, _OLD_BECOME)
        except (RuntimeError, onnx.version_converter.ConvertError):
            return None
    newest = OPSETS.stop - 1
    nodes = [node for node in model.graph.node if node.domain == ""]
    # Operators that are as they were in the older set need no conversion.
    if any(onnx.defs.get_schema(node.op_type, version).since_version > newest for node in nodes):
        return None
    older = onnx.ModelProto()
    older.CopyFrom(model)
    older.ir_version = min(older.ir_version, MAX_IR_VERSION)
    for entry in older.opset_import:
        if entry.domain == "":
            entry.version = newest
    return older


def _fill(model: onnx.ModelProto, case: Case, *, floats_only: bool) -> int:
    """Make inputs other than the first initializers, and say how many."""
    graph, changed = model.graph, 0
    for value in list(graph.input)[1:]:
        kind = value.type.tensor_type.elem_type
        array = case.inputs.get(value.name)
        if array is None or (floats_only and (kind not in _FLOATS or array.ndim == 0)):
            continue
        tensor = numpy_helper.from_array(array, value.name)
        if tensor.data_type != kind:
            continue
        graph.initializer.append(tensor)
        graph.input.remove(value)
        changed += 1
    return changed


def _surround(model: onnx.ModelProto, axis: int) -> bool:
    """Put a matrix product along an axis before the first input and behind each output."""
    graph = model.graph
    if len(graph.input) != 1 or model.opset_import[0].version < 7:
        return False
    entry = graph.input[0].type.tensor_type
    sizes = [d.dim_value for d in entry.shape.dim]
    if entry.elem_type not in _FLOATS or len(sizes) < 2 or not 2 <= sizes[axis] <= _WIDEST or 0 in sizes:
        return False
    name = graph.input[0].name
    weight = _weight(graph, "surround_x.weight", sizes[axis], sizes[axis])
    before = _product("surround_x", name, weight, _with_last(axis, len(sizes)), entry.elem_type)
    graph.input[0].name = "surround_x"
    entry.elem_type = TensorProto.FLOAT
    inside, behind = list(graph.node), list[onnx.NodeProto]()
    outputs = list(graph.output)
    for output in outputs:
        kind = output.type.tensor_type
        shape = [d.dim_value for d in kind.shape.dim]
        if output.type.HasField("tensor_type") and kind.elem_type in _NUMBERS and len(shape) > 1 and shape[axis] > 1:
            target = f"surround_{output.name}"
            weight = _weight(graph, f"{target}.weight", shape[axis], 3)
            behind += _product(output.name, target, weight, _with_last(axis, len(shape)), TensorProto.FLOAT)
            graph.output.remove(output)
            graph.output.append(helper.make_tensor_value_info(target, TensorProto.FLOAT, None))
    del graph.node[:]
    graph.node.extend([*before, *inside, *behind])
    return bool(behind)


def _weight(graph: onnx.GraphProto, name: str, height: int, width: int) -> str:
    array = np.random.default_rng(zlib.crc32(name.encode())).standard_normal((height, width))
    graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    return name


def _with_last(axis: int, rank: int) -> list[int]:
    return [i for i in range(rank) if i != axis % rank] + [axis % rank]


def _product(source: str, target: str, weight: str, order: list[int], kind: int) -> list[onnx.NodeProto]:
    """Multiply along the last axis of an order of axes by a weight."""
    back = list(np.argsort(order))
    steps = [
        ("Cast", [source], {"to": TensorProto.FLOAT}),
        ("Transpose", [f"{target}.0"], {"perm": order}),
        ("MatMul", [f"{target}.1", weight], {}),
        ("Transpose", [f"{target}.2"], {"perm": back}),
        ("Cast", [f"{target}.3"], {"to": kind}),
    ]
    return [
        helper.make_node(op, inputs, [f"{target}.{i}" if i < len(steps) - 1 else target], f"{target}.node{i}", **kw)
        for i, (op, inputs, kw) in enumerate(steps)
    ]


def run(case: Case, mode: str, model: onnx.ModelProto, folder: Path) -> Outcome:
    """Take one model through everything; nothing is raised."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    units = removed = 0
    try:
        graph = load(path)
        channels = analyse(graph)
        units = channels.unit_count
        keep = kept(channels, seed=zlib.crc32(case.name.encode()))
        removed = int((~keep).sum())
        if removed:
            verify(graph, channels, keep, prune(graph, channels, keep))
        category, why = ("pruned", "") if removed else ("nothing prunable", _why_nothing(model, channels))
    except Exception as error:
        category, why = _failure(error, units), str(error) if isinstance(error, OnnxPruneError) else repr(error)
    return Outcome(case.name, case.kind, mode, category, why.replace(str(path), "model.onnx"), units, removed)


def _failure(error: Exception, units: int) -> str:
    if not isinstance(error, OnnxPruneError):
        return "crash"
    if isinstance(error, ModelError) and not units:
        return "refused"
    return "not run" if isinstance(error, ModelError) else "wrong"


def kept(channels: ChannelMap, seed: int) -> np.ndarray:
    """Choose which units stay: in each group 70 %, at random, at least one."""
    rng = np.random.default_rng(seed)
    keep = np.ones(channels.unit_count, dtype=bool)
    for group in channels.groups:
        count = min(max(1, round(group.size * SHARE)), group.size - 1)
        keep[rng.choice(group.units, count, replace=False)] = False
    return keep


def _why_nothing(model: onnx.ModelProto, channels: ChannelMap) -> str:
    if channels.unit_count:
        return "groups of a single unit"
    reasons = [re.sub(r" '[^']*'", "", fixed.reason) for fixed in channels.fixed]
    unknown = [reason for reason in reasons if "does not know" in reason]
    if reasons:
        return (unknown or reasons)[0]
    if not any(tensor.data_type in _FLOATS and max(tensor.dims, default=0) > 1 for tensor in model.graph.initializer):
        return "no weights"
    return "no operator whose weights bring channels forth"


def table(outcomes: list[Outcome]) -> str:
    """Write the page of results."""
    lines = [
        "# ONNX's own backend tests",
        "",
        f"Every model of `onnx.backend.test` that ships with onnx {onnx.__version__} is loaded and analysed, 30 % of",
        "each group's units are removed (at random, at least one, and at least one stays), and the removal is",
        "verified in onnxruntime. Most are a single operator whose inputs and outputs are the model's own, so nothing",
        "can go. Three ways change that: the further float inputs of node tests become weights; and the model stands",
        "between two matrix products, which bring forth and read its second axis, or its last, while all its further",
        "inputs are constants. Where the opset is refused, these start from the converted model.",
        "`python benchmarks/onnx_cases.py` writes this page.",
        "",
        "| | " + " | ".join(MODES) + " |",
        "|---|" + "---:|" * len(MODES),
    ]
    count = Counter((o.category, o.mode) for o in outcomes)
    lines += [f"| {c} | " + " | ".join(str(count[c, m]) for m in MODES) + " |" for c in CATEGORIES]
    lines.append("| all | " + " | ".join(str(sum(count[c, m] for c in CATEGORIES)) for m in MODES) + " |")
    lines += ["", "*Not run*: onnxruntime has no kernel for the original model, or cannot run it on random inputs."]
    for category in ("nothing prunable", "refused", "not run", "wrong", "crash"):
        reasons = Counter(_short(o.why) for o in outcomes if o.category == category)
        if reasons:
            lines += ["", f"## {category.capitalize()}: the commonest reasons", "", "| cases | reason |", "|---:|---|"]
            lines += [f"| {n} | {reason} |" for reason, n in reasons.most_common(20)]
    return "\n".join(lines) + "\n"


def _short(why: str) -> str:
    text = " ".join(re.sub(r"(?<!\w)'[^']*'", "...", why).split())
    return text.replace("|", "/")[:150]


def main() -> None:
    """Run every case in every way and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/onnx_cases.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/onnx-cases.md"))
    parser.add_argument("--only", default="", help="cases whose name contains this; nothing is written")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            for mode in MODES if options.only in case.name else ():
                model = variant(case, mode)
                if model is not None:
                    outcomes.append(run(case, mode, model, Path(folder)))
                    if options.only or outcomes[-1].category in ("wrong", "crash"):
                        print(outcomes[-1], flush=True)
    print(Counter((o.mode, o.category) for o in outcomes))
    if not options.only:
        rows = [json.dumps({k: v for k, v in asdict(outcome).items() if v}) for outcome in outcomes]
        options.out.write_text("[\n" + ",\n".join(rows) + "\n]\n")
        options.page.write_text(table(outcomes))


if __name__ == "__main__":
    main()
