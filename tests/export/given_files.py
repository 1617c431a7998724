"""Small .onnx files as other tools write them, for tests of models that are given."""

from __future__ import annotations

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
