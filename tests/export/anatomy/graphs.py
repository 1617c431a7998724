"""Small .onnx files that the tests of looking into files take apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.anatomy.contents import UnreadableFile
from export.anatomy.examine import examine
from export.anatomy.show import as_json


def write_graph(
    file: Path,
    nodes: Sequence[onnx.NodeProto],
    tensors: Mapping[str, Any],
    *,
    shape: Sequence[int | str] = ("batch", 3, 8, 8),
    opset: int = 18,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a graph from input ``input`` of ``shape`` to what its last node gives out."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, file)
    return file


def refusal(file: Path) -> str:
    """Why a file is not examined; empty where it is. Other errors than the one are the test's."""
    try:
        as_json(examine(file))
    except UnreadableFile as exc:
        return str(exc)
    return ""


def weights(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Random numbers, the same for the same arguments."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def convolutional(file: Path, filters: Mapping[str, np.ndarray[Any, Any]], **more: Any) -> Path:
    """conv (n, 3, 3, 3) - Relu - second (m, n, 3, 3) - Relu - Flatten - head."""
    first, second = filters["conv.weight"], filters["second.weight"]
    nodes = [
        helper.make_node("Conv", ["input", "conv.weight", "conv.bias"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "second.weight"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "head.weight", "head.bias"], ["logits"], transB=1),
    ]
    head = filters.get("head.weight", weights(10, len(second) * 16, seed=3))
    tensors = {
        "conv.bias": weights(len(first), seed=4),
        "head.bias": weights(10, seed=5),
        **filters,
        "head.weight": head,
    }
    return write_graph(file, nodes, tensors, **more)
