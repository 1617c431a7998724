"""Small .onnx files as other tools write them, for tests of models that are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

CLASSES = 10


def keras_like(
    file: Path,
    *,
    opset: int = 13,
    size: int | None = 16,
    batch: int | str | None = None,
    kind: int = TensorProto.FLOAT,
    metadata: dict[str, str] | None = None,
    external: bool = False,
    more_outputs: bool = False,
    map_outputs: bool = False,
    weights_as_inputs: bool = False,
) -> Path:
    """A classifier with channels last: Transpose, Conv, Relu, pooling, MatMul, Softmax."""
    chance = np.random.default_rng(0)
    arrays = {
        "kernel": chance.normal(size=(8, 3, 3, 3)).astype(np.float32) * 0.3,
        "dense": chance.normal(size=(8, CLASSES)).astype(np.float32),
        "bias": chance.normal(size=CLASSES).astype(np.float32),
    }
    source = "image"
    nodes = []
    if kind != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT))
        source = "floats"
    nodes += [
        helper.make_node("Transpose", [source], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["turned", "kernel"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
        helper.make_node("Softmax", ["sum"], ["probs"], axis=1),
    ]
    shape: list[Any] = [batch, CLASSES]
    outputs = [helper.make_tensor_value_info("probs", TensorProto.FLOAT, shape)]
    if map_outputs:
        nodes.append(helper.make_node("Reshape", ["probs", "as_map"], ["map"]))
        arrays["as_map"] = np.array([-1, CLASSES, 1, 1])
        outputs = [helper.make_tensor_value_info("map", TensorProto.FLOAT, [*shape, 1, 1])]
    if more_outputs:
        nodes.append(helper.make_node("Neg", ["flat"], ["features"]))
        outputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, 8]))
    inputs = [helper.make_tensor_value_info("image", kind, [batch, size, size, 3])]
    if weights_as_inputs:
        inputs.append(helper.make_tensor_value_info("bias", TensorProto.FLOAT, [CLASSES]))
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "keras", inputs, outputs, tensors)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=min(8, opset)
    )
    helper.set_model_props(model, metadata or {})
    onnx.save(
        model,
        file,
        save_as_external_data=external,
        location=f"{file.name}.weights",
        size_threshold=0,
    )
    return file


def with_functions(file: Path, calls: Mapping[str, Sequence[str]]) -> Path:
    """Give a file functions of one input: each calls others, or standard operators, in turn.

    The first is called in place of the file's Relu.
    """
    model = onnx.load(file)
    for name, called in calls.items():
        nodes = []
        for place, operator in enumerate(called):
            domain = _OWN if operator in calls else ""
            ends = (["x"] if place == 0 else [f"v{place - 1}"], [f"v{place}"])
            nodes.append(helper.make_node(operator, *ends, domain=domain))
        last = [f"v{len(called) - 1}"]
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid(_OWN, 1)]
        model.functions.append(helper.make_function(_OWN, name, ["x"], last, nodes, opsets))
    model.opset_import.append(helper.make_opsetid(_OWN, 1))
    (node,) = (node for node in model.graph.node if node.op_type == "Relu")
    node.op_type, node.domain = next(iter(calls)), _OWN
    file.write_bytes(model.SerializeToString())
    return file


_OWN = "own"
_DOUBLED: dict[str, list[str]] = {f"F{i}": [f"F{i + 1}"] * 2 for i in range(40)}
ENDLESS: tuple[tuple[dict[str, list[str]], str], ...] = (
    ({"A": ["Relu", "A"]}, "'own'.'A' calls itself"),
    ({"A": ["B"], "B": ["C"], "C": ["Relu", "A"]}, "calls itself, or another that calls it"),
    ({**_DOUBLED, "F40": ["Relu"]}, "a graph of more than 1000000 nodes"),
)
"""Functions by what they call, and what is said of them."""
