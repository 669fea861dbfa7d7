"""The graph as a picture: well-formed, complete, coloured by group, and placed without overlap."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxprune.channels import Restriction
from onnxprune.report import inspect_model, picture_page, svg
from onnxprune.report.layout import lay_out
from onnxprune.report.picture import colour
from tests.report.conftest import small_cnn

SVG = "{http://www.w3.org/2000/svg}"


def nodes_of(text: str) -> dict[str, tuple[str, list[str]]]:
    """Titles by their first line, each with the rest and the colours of the node's stripes."""
    found = {}
    for element in ElementTree.fromstring(text).iter(f"{SVG}g"):
        title = element.find(f"{SVG}title")
        assert title is not None
        assert title.text is not None
        first, _, rest = title.text.partition("\n")
        stripes = [r.attrib["fill"] for r in element.iter(f"{SVG}rect") if r.attrib.get("class") != "frame"]
        found[first] = rest, stripes
    return found


def test_every_node_is_there_in_the_colour_of_its_group(cnn_path: Path) -> None:
    nodes = nodes_of(svg(inspect_model(cnn_path)))
    assert list(nodes) == [
        *("Conv 'first'", "Relu 'act'", "Conv 'second'", "Conv 'depthwise'"),
        *("GlobalAveragePool 'pool'", "Flatten 'flat'", "Gemm 'classifier'"),
    ]
    for name in ("Conv 'first'", "Relu 'act'"):
        assert nodes[name] == ("16 channels of group 'first'", ["#ffffff", colour(0)])
    assert nodes["Conv 'depthwise'"][0] == "24 channels of group 'second' + 1 more"
    assert colour(1) in nodes["Conv 'depthwise'"][1]


def test_what_is_fixed_is_grey_and_says_why(cnn_path: Path) -> None:
    nodes = nodes_of(svg(inspect_model(cnn_path, restriction=Restriction(keep=("second",)))))
    why, stripes = nodes["Conv 'second'"]
    assert why == "24 channels fixed: --keep 'second' names it\nwhat would free them: leave out --keep 'second'"
    assert stripes == nodes["Gemm 'classifier'"][1] == ["#c4c4c4"]
    assert nodes["Flatten 'flat'"][0] == "no channel that can go passes through"


def test_a_node_has_the_colours_of_all_its_outputs(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[1, 3, 4, 4] x) => (float[1, 5, 4, 4] y) {
            [first] a = Conv (x, w)
            [second] b = Conv (x, u)
            [all] c = Concat <axis = 1> (a, b)
            [parts] d, e = Split <axis = 1> (c, sizes)
            [left] f = Conv (d, v)
            [right] g = Conv (e, t)
            [sum] y = Add (f, g)
        }
    """)
    for name, shape in (("w", (8, 3, 1, 1)), ("u", (8, 3, 1, 1)), ("v", (5, 8, 1, 1)), ("t", (5, 8, 1, 1))):
        model.graph.initializer.append(onnx.helper.make_tensor(name, 1, shape, [1.0] * math.prod(shape)))
    model.graph.initializer.append(onnx.helper.make_tensor("sizes", 7, (2,), [8, 8]))
    onnx.save(model, tmp_path / "net.onnx")
    nodes = nodes_of(svg(inspect_model(tmp_path / "net.onnx")))
    assert nodes["Split 'parts'"] == nodes["Concat 'all'"]
    assert nodes["Split 'parts'"][0] == "8 channels of group 'first'\n8 channels of group 'second'"


def test_names_are_escaped(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[1, 2] x) => (float[1, 2] y) { [n] y = Gemm (x, w) }
    """)
    model.graph.node[0].name = "</title><script>alert('&')</script>"
    model.graph.initializer.append(onnx.helper.make_tensor("w", 1, (2, 2), [1.0] * 4))
    onnx.save(model, tmp_path / "odd.onnx")
    inspection = inspect_model(tmp_path / "odd.onnx")
    (name,) = nodes_of(svg(inspection))
    assert name.startswith("Gemm '</title><script>")
    assert "<script" not in picture_page(inspection)


def test_what_runs_inside_another_node_is_said_and_what_it_reads_drawn(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[1, 3, 4, 4] x, bool c) => (float[1, 5, 4, 4] y) {
            [first] a = Conv (x, w)
            [choice] b = If (c) <
                then_branch = t () => (float[1, 5, 4, 4] p) { p = Conv (a, v) },
                else_branch = e () => (float[1, 5, 4, 4] q) { q = Conv (a, v) }
            >
            [last] y = Relu (b)
        }
    """)
    for name, shape in (("w", (8, 3, 1, 1)), ("v", (5, 8, 1, 1))):
        model.graph.initializer.append(onnx.helper.make_tensor(name, 1, shape, [1.0] * math.prod(shape)))
    onnx.save(model, tmp_path / "net.onnx")
    inspection = inspect_model(tmp_path / "net.onnx")
    assert [node.inputs for node in inspection.drawn] == [(), (0,), (1,)]
    page = picture_page(inspection)
    assert "% of the MACs that are counted." in page
    assert "<p>Not reached: Conv (2x) run inside If" in page


def test_the_page_needs_no_other_file(cnn_path: Path) -> None:
    text = picture_page(inspect_model(cnn_path))
    assert "src=" not in text
    assert "href=" not in text
    assert "100.0 % of the MACs" in text
    assert "nothing: the caller reads them" in text


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    count = draw(st.integers(0, 25))
    return [draw(st.lists(st.integers(0, i - 1), max_size=3, unique=True)) if i else [] for i in range(count)]


@given(graphs())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_nodes_do_not_overlap_and_edges_go_down(inputs: list[list[int]]) -> None:
    layout = lay_out(inputs)
    rows: dict[int, list[float]] = {}
    for x, row in zip(layout.x, layout.row, strict=True):
        rows.setdefault(row, []).append(x)
    for places in rows.values():
        ordered = sorted(places)
        assert all(b - a >= 1 - 1e-6 for a, b in pairwise(ordered))
    assert min(layout.x, default=0.0) >= 0.0
    assert sorted((reader, source) for reader, source, _ in layout.edges) == sorted(
        (reader, source) for reader, sources in enumerate(inputs) for source in sources
    )
    for reader, source, bends in layout.edges:
        assert layout.row[source] < layout.row[reader]
        assert [row for _, row in bends] == list(range(layout.row[source] + 1, layout.row[reader]))


def test_a_chain_is_a_straight_line_and_a_block_is_symmetric() -> None:
    chain = lay_out([[], [0], [1], [2]])
    assert chain.x == (0.0, 0.0, 0.0, 0.0)
    assert chain.row == (0, 1, 2, 3)
    block = lay_out([[], [0], [1], [0, 2]])
    assert block.x[0] == pytest.approx(block.x[3])
    assert block.x[1] == pytest.approx(block.x[2])


def test_names_with_control_characters_are_drawn(tmp_path: Path) -> None:
    network = small_cnn()
    network.graph.node[0].name = "first\x01<&>"
    onnx.save(network, tmp_path / "odd.onnx")
    nodes = nodes_of(svg(inspect_model(tmp_path / "odd.onnx")))
    assert any(title.startswith("Conv 'first\N{REPLACEMENT CHARACTER}<&>'") for title in nodes)
