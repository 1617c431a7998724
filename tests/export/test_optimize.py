from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import optimize as optimize_module
from export.optimize import (
    LEVELS,
    beside,
    carry_metadata,
    data_files,
    optimize,
    ort_tools,
    read_metadata,
    stamp,
    stored_bytes,
)

IMAGE = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)


def network() -> onnx.ModelProto:
    """Conv, Relu, Conv, Relu, global pooling and Gemm; 16 channels, 10 classes."""
    values = np.random.default_rng(1)
    shapes = {"w1": (16, 3, 3, 3), "b1": (16,), "w2": (16, 16, 3, 3), "w3": (10, 16), "b3": (10,)}
    tensors = [
        numpy_helper.from_array(values.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["c1"], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1] * 4),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["logits"], transB=1),
    ]
    source = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16])
    sink = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "network", [source], [sink], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {"classes": "ten", "key": "abc"})
    return model


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The network in a folder of its own."""
    folder = tmp_path / "source"
    folder.mkdir()
    onnx.save(network(), folder / "model.onnx")
    return folder / "model.onnx"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """The network with its weights in a data file."""
    folder = tmp_path / "outside"
    folder.mkdir()
    onnx.save(
        network(),
        folder / "model.onnx",
        save_as_external_data=True,
        location="w.data",
        size_threshold=0,
    )
    return folder / "model.onnx"


def operators(file: Path) -> Counter[str]:
    """How often each operator stands in a file."""
    return Counter(node.op_type for node in onnx.load(file, load_external_data=False).graph.node)


def answer(file: Path) -> np.ndarray:
    """What ONNX Runtime computes, as the file stands."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(file, options)
    return np.asarray(session.run(None, {"input": IMAGE})[0])


@pytest.mark.parametrize("level", LEVELS)
def test_levels(source, tmp_path, level):
    """Each level computes the same, keeps the metadata, and passes the checker."""
    target = tmp_path / "model.onnx"
    optimize(source, target, level)
    assert np.allclose(answer(target), answer(source), atol=1e-4)
    assert read_metadata(target) == {"classes": "ten", "key": "abc"}


def test_levels_differ(source, tmp_path):
    """Basic leaves standard operators, extended fuses, layout and all use this CPU's layout."""
    found = {}
    for level in LEVELS:
        optimize(source, tmp_path / f"{level}.onnx", level)
        found[level] = operators(tmp_path / f"{level}.onnx")
    assert found["basic"] == operators(source)
    assert found["extended"]["FusedConv"] == 2
    assert found["layout"]["ReorderOutput"] == found["all"]["ReorderOutput"] > 0


def test_unknown_level(source, tmp_path):
    """An unknown level is refused with those that are known, and nothing is written."""
    with pytest.raises(ValueError, match=r"'o3' is unknown.*extended"):
        optimize(source, tmp_path / "model.onnx", "o3")
    assert not (tmp_path / "model.onnx").exists()


def test_same_bytes(source, tmp_path):
    """The same source gives the same file, whatever its folder."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        optimize(source, tmp_path / name / "model.onnx", "extended")
    first, second = ((tmp_path / name / "model.onnx").read_bytes() for name in ("a", "b"))
    assert first == second
    assert str(tmp_path).encode() not in first


def test_large_networks_get_a_data_file(outside, tmp_path, monkeypatch):
    """Over protobuf's limit the result has a data file; ONNX Runtime drops metadata then."""
    monkeypatch.setattr(optimize_module, "LARGEST_SINGLE_FILE", 1000)
    target = tmp_path / "model.onnx"
    optimize(outside, target, "extended")
    assert data_files(target) == [tmp_path / "model.onnx.data"]
    assert read_metadata(target) == {"classes": "ten", "key": "abc"}
    assert np.allclose(answer(target), answer(outside), atol=1e-4)


needs_ort_tools = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_tools") is None, reason="onnxruntime-tools is an extra"
)


def ort_tools_alone(source: Path, target: Path, level: int) -> None:
    """``ort_tools`` in a process of its own: its package and onnxruntime's quantiser exclude
    each other, whichever is imported first."""
    code = "import sys; from pathlib import Path; from export.optimize import ort_tools\n"
    code += "ort_tools(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))"
    subprocess.run([sys.executable, "-c", code, source, target, str(level)], check=True)


@needs_ort_tools
def test_ort_tools_changes_a_network(source, tmp_path):
    """The deprecated optimiser does something for a CNN, which its defaults would not."""
    target = tmp_path / "model.onnx"
    ort_tools_alone(source, target, 2)
    assert operators(target)["FusedConv"] == 2
    assert np.allclose(answer(target), answer(source), atol=1e-4)
    assert read_metadata(target) == {"classes": "ten", "key": "abc"}


@needs_ort_tools
def test_ort_tools_leaves_the_source_alone(source, tmp_path):
    """Its intermediate file is not left, nor put, beside the source."""
    source.parent.chmod(0o555)
    (tmp_path / "target").mkdir()
    ort_tools_alone(source, tmp_path / "target" / "model.onnx", 1)
    source.parent.chmod(0o755)
    assert [file.name for file in source.parent.iterdir()] == ["model.onnx"]
    assert [file.name for file in (tmp_path / "target").iterdir()] == ["model.onnx"]


def test_ort_tools_limits(source, tmp_path, monkeypatch):
    """A level that it doesn't know and a network that it can't write are refused."""
    with pytest.raises(ValueError, match="1, 2 and 99"):
        ort_tools(source, tmp_path / "model.onnx", 3)
    monkeypatch.setattr(optimize_module, "LARGEST_SINGLE_FILE", 1000)
    with pytest.raises(ValueError, match="2 GB"):
        ort_tools(source, tmp_path / "model.onnx", 2)


def test_stored_bytes(source, outside):
    """The size counts the data files that are named, and no other file."""
    (outside.parent / "notes.txt").write_text("more")
    data = outside.parent / "w.data"
    assert data_files(outside) == [data]
    assert stored_bytes(outside) == outside.stat().st_size + data.stat().st_size
    assert stored_bytes(source) == source.stat().st_size


@pytest.mark.parametrize("name", ["../w.data", "/etc/passwd", "a/b", "", ".", ".."])
def test_data_file_elsewhere(outside, name):
    """A file that names a data file outside of its folder is not followed."""
    with pytest.raises(ValueError, match="outside of its folder"):
        beside(outside, name)


def test_stamp_replaces_and_keeps(source):
    """Stamped keys replace those of the same name; others, and the network, stay."""
    before = answer(source)
    stamp(source, {"key": "new", "more": "\u00e4"})
    stamp(source, {"key": "newer"})
    assert read_metadata(source) == {"classes": "ten", "key": "newer", "more": "\u00e4"}
    model = onnx.load(source)
    assert {p.key: p.value for p in model.metadata_props} == read_metadata(source)
    assert np.array_equal(answer(source), before)
    onnx.checker.check_model(source)


def test_stamp_reads_no_weights(tmp_path, monkeypatch):
    """Fields other than the metadata are copied byte by byte, in pieces."""
    monkeypatch.setattr(optimize_module, "_COPIED_BYTES", 7)
    file = tmp_path / "model.onnx"
    onnx.save(network(), file)
    stamp(file, {"a": "b"})
    expected = network()
    expected.metadata_props.add(key="a", value="b")
    assert onnx.load(file) == expected


def test_carry_metadata(source, tmp_path):
    """What the target says of itself stays beside what it inherits."""
    target = tmp_path / "model.onnx"
    model = network()
    helper.set_model_props(model, {"own": "1", "key": "mine"})
    onnx.save(model, target)
    carry_metadata(source, target)
    assert read_metadata(target) == {"own": "1", "classes": "ten", "key": "abc"}


@pytest.mark.parametrize("content", [b"\x3a\xff\x01", b"\xff" * 20, b"\x00\x00", b"\x0b\x01"])
def test_not_an_onnx_file(tmp_path, content):
    """A truncated or foreign file is refused in a sentence."""
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="not a whole"):
        read_metadata(file)
