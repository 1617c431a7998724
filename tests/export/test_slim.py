from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import slim as slim_module
from export.anatomy import count
from export.build import CannotShrink
from export.optimize import read_metadata, stored_bytes

pytest.importorskip("onnxslim")


def with_a_norm(file):
    """A convolution, its BatchNormalization, and a constant that nodes compute."""
    chance = np.random.default_rng(0)
    tensors = {
        "kernel": chance.standard_normal((8, 3, 3, 3)),
        **{name: chance.uniform(0.5, 1, 8) for name in ("scale", "shift", "mean", "variance")},
        "two": np.array([2.0]),
        "three": np.array([3.0]),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "kernel"], ["maps"]),
        node("BatchNormalization", ["maps", "scale", "shift", "mean", "variance"], ["normed"]),
        node("Add", ["two", "three"], ["five"]),
        node("Mul", ["normed", "five"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "norm",
        [value("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [value("y", TensorProto.FLOAT, ["N", 8, 6, 6])],
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, file)
    return file


def test_folds_and_fuses(tmp_path, answers, openvino_answers, error, operators):
    """The norm stands in the convolution, the sum is a constant; all in ONNX's own operators."""
    source, target = with_a_norm(tmp_path / "a.onnx"), tmp_path / "b.onnx"
    slim_module.slim(source, target)
    found = Counter(operators(target))
    assert (found["Conv"], found["BatchNormalization"], found["Add"]) == (1, 0, 0)
    assert {node.domain for node in onnx.load(target).graph.node} <= {"", "ai.onnx"}
    images = np.random.default_rng(1).standard_normal((3, 3, 8, 8)).astype(np.float32)
    expected = answers(source, images)
    assert error(answers(target, images), expected) < 1e-5
    assert error(openvino_answers(target, images), expected) < 1e-5


def test_a_network_of_another_tool(foreign, tmp_path, photos, answers, error):
    """Names of input and output, metadata, weights and work are as before, and so is the size."""
    source, target = foreign(tmp_path), tmp_path / "b.onnx"
    slim_module.slim(source, target)
    assert error(answers(target, photos), answers(source, photos)) < 1e-5
    graph = onnx.load(target).graph
    assert (graph.input[0].name, graph.output[0].name) == ("photo", "scores")
    assert read_metadata(target)["classes"] == "ten"
    assert count(target).macs == count(source).macs
    unused = 4 * 300  # the vector that nobody reads
    assert stored_bytes(target) == pytest.approx(stored_bytes(source) - unused, abs=800)


def test_any_batch(foreign, tmp_path, photos, answers):
    """The batch stays free."""
    slim_module.slim(foreign(tmp_path), tmp_path / "b.onnx")
    assert answers(tmp_path / "b.onnx", photos[:1]).shape == (1, 10)


def test_over_2_gb(foreign, tmp_path, monkeypatch):
    """What would have to stand in memory twice is refused before it is read."""
    monkeypatch.setattr(slim_module, "LARGEST_SINGLE_FILE", 1000)
    with pytest.raises(CannotShrink, match=r"foreign.onnx: it is over protobuf's 2 GB"):
        slim_module.slim(foreign(tmp_path), tmp_path / "b.onnx")
