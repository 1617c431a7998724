"""The command: tables, findings, JSON and treemap; limits and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import onnx
import pytest
from onnx import helper

from export.anatomy import __main__ as command
from export.anatomy.contents import UnreadableFile, shown
from export.anatomy.examine import examine
from export.anatomy.show import as_json, show
from export.anatomy.treemap import Rectangle, squarified, write_treemap
from tests.export.anatomy.graphs import convolutional, weights, write_graph

FILTERS = {"conv.weight": weights(8, 3, 3, 3), "second.weight": weights(16, 8, 3, 3, seed=1)}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small network."""
    return convolutional(tmp_path / "small.onnx", FILTERS)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """``python -m export.anatomy`` with these words."""
    started = [sys.executable, "-m", "export.anatomy", *words]
    return subprocess.run(started, capture_output=True, text=True, check=False)


def test_the_tables_and_the_findings(file, capsys):
    """Sizes, shares, MACs; then the findings with their remedies, numbered."""
    show(examine(file), 0)
    text = capsys.readouterr().out
    assert text.startswith("small.onnx: ONNX, 16.25 kB, 3,946 parameters")
    lines = [line.split() for line in text.splitlines()]
    assert ["conv", "Conv", "896", "B", "5.7", "224", "0", "13.82", "k", "40"] in lines
    assert "1. head, behind a Flatten, holds" in text
    assert "→ GlobalAveragePooling instead of the Flatten: head keeps 16 of 256 inputs" in text
    assert "has to be trained again" in text


def test_layers_that_are_not_listed_are_summed(file, capsys):
    """``--layers 1``: the largest, and the others in one line."""
    show(examine(file), 1)
    text = capsys.readouterr().out
    assert "2 others" in text and "head Gemm" not in text.partition("2 others")[2].split("1.")[0]


def test_json_has_everything(file):
    """What the tables show, and all findings, under a schema number."""
    found = examine(file)
    whole = json.loads(as_json(found))
    assert whole["schema"] == 1
    assert whole["macs"] == found.contents.macs == sum(x["macs"] for x in whole["layers"])
    assert whole["parameters"] == found.contents.parameters
    assert [x["code"] for x in whole["findings"]] == [x.code for x in found.findings]
    assert whole["findings"][0]["remedies"][0]["bytes_saved"] > 0


def test_the_treemap_is_the_same_each_time(file, tmp_path):
    """Two maps; every layer a rectangle in proportion, told by its title."""
    for name in ("a.svg", "b.svg"):
        write_treemap(examine(file), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    root = ET.parse(tmp_path / "a.svg").getroot()
    layers = [x for x in root.iter(f"{SVG}rect") if (x.get("class") or "").startswith("layer")]
    areas = {}
    for box in layers[:3]:
        title = box.findtext(f"{SVG}title") or ""
        areas[title.split()[0]] = float(box.get("width", 0)) * float(box.get("height", 0))
    sizes = {x.name: x.size_bytes for x in examine(file).contents.layers}
    scale = sum(areas.values()) / sum(sizes.values())
    assert areas == pytest.approx({name: scale * size for name, size in sizes.items()}, rel=0.05)
    assert "prefers-color-scheme: dark" in (root.findtext(f"{SVG}style") or "")


def test_rectangles_fill_their_place():
    """Areas in proportion, none outside, nothing left over; the paper's own example."""
    sizes = [6, 6, 4, 3, 2, 2, 1]
    found = squarified(sizes, Rectangle(0, 0, 6, 4))
    assert [x.width * x.height for x in found] == pytest.approx(sizes)
    assert (found[0].width, found[0].height) == (3, 2)  # Figure 5 of Bruls et al.
    assert max(x.x + x.width for x in found) == pytest.approx(6)
    assert max(x.y + x.height for x in found) == pytest.approx(4)
    assert squarified([], Rectangle(0, 0, 6, 4)) == []


def test_names_cannot_steer_a_terminal(tmp_path, capsys):
    """Control characters and turns of writing are shown escaped, markup as it stands."""
    name = "\x1b[31mred\u202e[bold]x"
    assert shown(name) == "\\x1b[31mred\\u202e[bold]x"
    filters = {name + ".weight" if k == "head.weight" else k: v for k, v in FILTERS.items()}
    file = convolutional(tmp_path / "evil.onnx", filters, metadata={"x": name})
    model = onnx.load(file)
    for node in model.graph.node:
        node.input[:] = [x.replace("second", name) for x in node.input]
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.replace("second", name)
    onnx.save(model, file)
    found = examine(file)
    show(found, 0)
    text = capsys.readouterr().out
    assert "\x1b" not in text and "\u202e" not in text and "\\x1b[31mred\\u202e[bold]x" in text
    write_treemap(found, tmp_path / "evil.svg")
    assert "\x1b" not in (tmp_path / "evil.svg").read_text("utf-8")
    ET.parse(tmp_path / "evil.svg")


def test_operators_domains_and_nodes_cannot_steer_a_terminal(tmp_path, capsys):
    """Nor can what a layer is called by its kind, and what a sentence quotes of the graph."""
    evil = "\x1b[31m"
    nodes = [
        helper.make_node(f"Odd{evil}", ["w"], ["a"], name=f"fold{evil}"),
        helper.make_node(f"Own{evil}", ["input", "v"], ["b"], domain=f"own{evil}"),
        helper.make_node("Add", ["b", "a"], ["logits"]),
    ]
    tensors = {"w": weights(8), "v": weights(8)}
    file = write_graph(tmp_path / "evil.onnx", nodes, tensors)
    model = onnx.load(file)
    model.opset_import.append(helper.make_opsetid(f"own{evil}", 1))
    onnx.save(model, file)
    show(examine(file), 0)
    text = capsys.readouterr().out
    assert "operator own\\x1b[31m.Own\\x1b[31m can't be counted" in text
    assert "Odd\\x1b[31m fold\\x1b[31m" in text and "\x1b" not in text


def test_values_cannot_steer_a_terminal(tmp_path, capsys):
    """A sentence about work that is unknown names node and value."""
    node = helper.make_node("Conv", ["x\x1b[1m", "w"], ["y\x1b[2m"], name="n\x1b[3m")
    file = write_graph(tmp_path / "evil.onnx", [node], {"w": weights(8, 3, 3, 3)})
    show(examine(file), 0)
    text = capsys.readouterr().out
    assert "Conv n\\x1b[3m has no known shape: y\\x1b[2m" in text and "\x1b" not in text


def test_an_error_cannot_steer_a_terminal(file, monkeypatch, capsys):
    """A library's words quote the file."""

    def fail(path: Path) -> None:
        raise UnreadableFile(f"{path.name}: node \x1b[3m")

    monkeypatch.setattr("export.anatomy.examine.examine", fail)
    monkeypatch.setattr(command, "_limit", lambda asked: None)
    assert command.main([str(file)]) == 2
    assert capsys.readouterr().err == "error: small.onnx: node \\x1b[3m\n"


def test_the_command_writes_all(file, tmp_path):
    """Exit code 0, tables on standard output, both files."""
    done = run(str(file), f"--treemap={tmp_path / 'a.svg'}", f"--json={tmp_path / 'a.json'}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "behind a Flatten" in done.stdout
    assert (tmp_path / "a.svg").exists() and (tmp_path / "a.json").exists()


def test_what_cannot_be_read_is_2(file, tmp_path):
    """One sentence on standard error, no traceback: absent, damaged, of another kind."""
    (tmp_path / "cut.onnx").write_bytes(file.read_bytes()[:500])
    for path in (tmp_path / "cut.onnx", tmp_path / "absent.onnx", tmp_path / "a.tflite"):
        done = run(str(path))
        assert done.returncode == 2
        assert path.name in done.stderr and "Traceback" not in done.stderr
        assert done.stdout == ""


def test_a_node_without_its_inputs_is_2(tmp_path):
    """A graph that no tool could run: a sentence."""
    file = convolutional(tmp_path / "odd.onnx", FILTERS)
    model = onnx.load(file)
    del model.graph.node[0].input[:]
    onnx.save(model, file)
    done = run(str(file))
    assert done.returncode == 2 and done.stderr.startswith("error: ")


def test_what_nobody_foresaw_is_2(file, monkeypatch, capsys):
    """A file made to harm may raise anything: it is the file's error, not a traceback."""

    def fail(path: Path) -> None:
        raise IndexError(f"{path.name} \x1b")

    monkeypatch.setattr("export.anatomy.examine.examine", fail)
    monkeypatch.setattr(command, "_limit", lambda asked: None)
    assert command.main([str(file)]) == 2
    text = capsys.readouterr().err
    assert "can't be taken apart (IndexError: 'small.onnx \\x1b')" in text


def test_memory_is_limited(tmp_path):
    """A file that unpacks to more than it may is refused, whatever it is."""
    h5py = pytest.importorskip("h5py")
    import numpy as np

    chance = np.random.default_rng(0).integers(0, 256, 4 << 20, dtype=np.uint8)
    values = np.concatenate([chance, np.zeros(396 << 20, np.uint8)])
    with h5py.File(tmp_path / "big.h5", "w") as opened:
        opened.create_dataset("w", data=values, chunks=(1 << 22,), compression=1)
    done = run(str(tmp_path / "big.h5"), "--memory-limit", "256")
    assert done.returncode == 2
    assert "needs more than 256 MiB" in done.stderr and "--memory-limit" in done.stderr
