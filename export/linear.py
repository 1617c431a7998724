"""Fully connected layers in an .onnx graph: which nodes they are, and how they are taken apart.

For every step that works on them alone. Weights are read one at a time and written
behind one another into a data file, so that a network of several gigabytes never
stands in memory as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from export.anatomy import initializer_array
from export.rewrite import outside, replace_nodes
from export.subgraphs import read_by

_FLAT = 2  # the rank of what a fully connected layer takes


class Linear(NamedTuple):
    """A fully connected layer: ``features @ matrix (+ bias)``.

    ``matrix`` is float32 (inputs, outputs), a view of the file where it stands there
    the other way round or outside.
    """

    node: onnx.NodeProto
    matrix: NDArray[np.float32]


def linear_layers(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that multiply flat features by a constant float32 matrix of their own.

    The ranks of inner values must stand in the graph, as ``export.quantize.prepare``
    leaves them: a MatMul on maps is another thing.
    """
    weights = {
        tensor.name
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == _FLAT
    }
    uses = Counter(name for node in graph.node for name in read_by(node))
    known = ranks(graph)
    return [
        node
        for node in graph.node
        if (node.op_type == "Gemm" and _is_plain(node))
        or (node.op_type == "MatMul" and known.get(node.input[0]) == _FLAT)
        if node.input[1] in weights and uses[node.input[1]] == 1
    ]


def linear_matrices(model: onnx.ModelProto, file: Path) -> Iterator[Linear]:
    """The fully connected layers of ``model``, which was read from ``file``, one at a time."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in linear_layers(model.graph):
        array = initializer_array(tensors[node.input[1]], file)
        matrix = np.asarray(array, np.float32)  # no copy: they are of no other type
        yield Linear(node, matrix.T if is_transposed(node) else matrix)


def split_linear(source: Path, split: Path) -> list[str]:
    """Write ``source`` with each fully connected layer as MatMul + Add; returns the MatMuls' names.

    ONNX Runtime's quantiser does the same, but holds several copies of the
    weights meanwhile and fails on one of more than 2 GB.
    """
    model = onnx.load(source, load_external_data=False)
    linear = linear_layers(model.graph)
    transposed = {node.input[1] for node in linear if is_transposed(node)}
    with split.with_suffix(".data").open("wb") as data:
        for tensor in model.graph.initializer:
            array = initializer_array(tensor, source)
            turned = array.T if tensor.name in transposed else array
            tensor.CopyFrom(outside(tensor.name, turned, data))
    names = {node.name for node in linear}
    nodes = [new for node in model.graph.node for new in _as_matmul(node, node.name in names)]
    replace_nodes(model.graph, nodes)
    del model.graph.value_info[:]
    onnx.save(model, split)
    return [node.name for node in nodes if node.op_type == "MatMul" and node.name in names]


def ranks(graph: onnx.GraphProto) -> dict[str, int]:
    """How many dimensions each value has, where the graph says it."""
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: len(value.type.tensor_type.shape.dim) for value in values}


def is_transposed(node: onnx.NodeProto) -> bool:
    """Whether a layer's matrix stands in its file as (outputs, inputs)."""
    return node.op_type == "Gemm" and bool(_attribute(node, "transB"))


def bias_of(node: onnx.NodeProto) -> str:
    """The name of a Gemm's bias; empty where it has none."""
    return node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""


def _is_plain(gemm: onnx.NodeProto) -> bool:
    """Whether it is input @ weights (+ bias), without factors."""
    factors = (_attribute(gemm, "alpha", 1.0), _attribute(gemm, "beta", 1.0))
    return factors == (1.0, 1.0) and not _attribute(gemm, "transA")


def _attribute(node: onnx.NodeProto, name: str, default: float = 0) -> float:
    found = [onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name]
    return float(found[0]) if found else default


def _as_matmul(node: onnx.NodeProto, linear: bool) -> list[onnx.NodeProto]:
    """MatMul and, where there is a bias, Add in the place of a Gemm; others as they are."""
    if not linear or node.op_type != "Gemm":
        return [node]
    bias = bias_of(node)
    product = f"{node.output[0]}_product" if bias else node.output[0]
    matmul = onnx.helper.make_node("MatMul", node.input[:2], [product], name=node.name)
    if not bias:
        return [matmul]
    add = onnx.helper.make_node("Add", [product, bias], node.output, name=f"{node.name}_bias")
    return [matmul, add]
