"""Small networks as other tools write them: other names, other layouts, old opsets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]
RANK = 6
"""Of the large matrix, but for a noise that makes up a hundredth of it."""


def _weights() -> dict[str, Array]:
    chance = np.random.default_rng(0)
    thin, wide = chance.standard_normal((512, RANK)), chance.standard_normal((RANK, 64))
    large = thin @ wide / 20
    large += 0.01 * np.abs(large).mean() * chance.standard_normal((512, 64))
    found = {
        "kernel:0": chance.standard_normal((8, 3, 3, 3)) / 5,
        "variances": np.full(300, 1e-9),
        "dense/kernel": large,
        "dense/bias": chance.standard_normal(64) / 10,
        "head/kernel": chance.standard_normal((10, 64)) / 8,
        "head/bias": chance.standard_normal(10),
    }
    return {name: np.asarray(array, np.float32) for name, array in found.items()}


def _nodes() -> list[onnx.NodeProto]:
    """Channels last outside, a MatMul with its bias apart, a Gemm with its matrix turned."""
    node = helper.make_node
    return [
        node("Transpose", ["photo"], ["channels_first"], perm=[0, 3, 1, 2]),
        node("Conv", ["channels_first", "kernel:0"], ["maps"], pads=[1, 1, 1, 1]),
        node("Relu", ["maps"], ["positive"]),
        node("Transpose", ["positive"], ["channels_last"], perm=[0, 2, 3, 1]),
        node("Reshape", ["channels_last", "flat_shape"], ["flat"]),
        node("MatMul", ["flat", "dense/kernel"], ["product"]),
        node("Add", ["product", "dense/bias"], ["dense"]),
        node("Relu", ["dense"], ["dense_positive"]),
        node("Gemm", ["dense_positive", "head/kernel", "head/bias"], ["scores"], transB=1),
    ]


@pytest.fixture(scope="session")
def foreign() -> Callable[..., Path]:
    """``foreign(folder, opset=11, listed=False, outside=False, **changed)``: the file.

    With ``listed`` its weights stand among the inputs, as in files of before 2019; with
    ``outside`` in a data file. ``changed`` are other values for its weights.
    """

    def make(
        folder: Path, opset: int = 11, listed: bool = False, outside: bool = False, **changed: Array
    ) -> Path:
        weights = {**_weights(), **changed}
        shape = numpy_helper.from_array(np.array([-1, 512], np.int64), "flat_shape")
        tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
        value = helper.make_tensor_value_info
        inputs = [value("photo", TensorProto.FLOAT, ["N", 8, 8, 3])]
        if listed:
            inputs += [value(t.name, t.data_type, list(t.dims)) for t in (*tensors, shape)]
        graph = helper.make_graph(
            _nodes(),
            "foreign",
            inputs,
            [value("scores", TensorProto.FLOAT, ["N", 10])],
            [*tensors, shape],
        )
        opsets = [helper.make_opsetid("", opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=3 if listed else 6)
        model.metadata_props.add(key="classes", value="ten")
        file = folder / "foreign.onnx"
        if outside:
            onnx.save(model, file, save_as_external_data=True, location="weights.bin")
        else:
            onnx.save(model, file)
        return file

    return make


@pytest.fixture(scope="session")
def branching() -> Callable[..., Path]:
    """``branching(file, read="variances")``: the foreign network's file, with an If behind it.

    Its branches shift the scores by an initialiser that they alone read, times the mean of
    the input, so that nothing can be folded.
    """

    def branch(kind: str, read: str) -> onnx.GraphProto:
        nodes = [
            helper.make_node("Mul", [read, "photo_mean"], [f"{kind}_product"]),
            helper.make_node("ReduceMean", [f"{kind}_product"], [f"{kind}_mean"], keepdims=0),
            helper.make_node(kind, [f"{kind}_mean"], [f"{kind}_out"]),
        ]
        out = helper.make_tensor_value_info(f"{kind}_out", TensorProto.FLOAT, [])
        return helper.make_graph(nodes, kind, [], [out])

    def change(file: Path, read: str = "variances") -> Path:
        model = onnx.load(file)
        branches = {"then_branch": branch("Neg", read), "else_branch": branch("Abs", read)}
        model.graph.node.extend(
            [
                helper.make_node("ReduceMean", ["photo"], ["photo_mean"], keepdims=0),
                helper.make_node("Greater", ["photo_mean", "limit"], ["bright"]),
                helper.make_node("If", ["bright"], ["shift"], **branches),
                helper.make_node("Add", ["scores", "shift"], ["shifted"]),
            ]
        )
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "limit"))
        model.graph.output[0].name = "shifted"
        onnx.save(model, file)
        return file

    return change


@pytest.fixture(scope="session")
def photos() -> Array:
    """Inputs of the foreign network, of which each differs in size and in kind."""
    chance = np.random.default_rng(1)
    images = chance.standard_normal((24, 8, 8, 3)) * chance.uniform(0.5, 2, (24, 1, 1, 1))
    return np.asarray(images, np.float32)


@pytest.fixture(scope="session")
def answers() -> Callable[[Path, Any], Array]:
    """What ONNX Runtime computes for a file with one input and one output."""

    def run(file: Path, inputs: Any) -> Array:
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {session.get_inputs()[0].name: inputs})[0])

    return run


@pytest.fixture(scope="session")
def openvino_answers() -> Callable[[Path, Any], Array]:
    """What OpenVINO computes in fp32, or a skip where it is not installed."""
    openvino = pytest.importorskip("openvino")

    def run(file: Path, inputs: Any) -> Array:
        hint = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(file, "CPU", hint)
        return np.asarray(compiled([inputs])[0])

    return run


@pytest.fixture(scope="session")
def error() -> Callable[[Array, Array], float]:
    """Largest difference over the largest value expected."""

    def share(found: Array, expected: Array) -> float:
        return float(np.abs(found - expected).max() / np.abs(expected).max())

    return share


@pytest.fixture(scope="session")
def operators() -> Callable[[Path], Sequence[str]]:
    """The operators of a file, in order."""
    return lambda file: [node.op_type for node in onnx.load(file).graph.node]
