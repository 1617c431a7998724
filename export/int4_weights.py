"""Fully connected layers with weights of 4 bits, which ONNX Runtime unpacks as it multiplies.

Its operator MatMulNBits reads an eighth of the bytes, and a scale for every block of 32
weights: 4.5 to 5 bits a weight in all. Inputs and products stay fp32, and so do the
convolutions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from export import nbits
from export.anatomy import initializer_array
from export.build import CannotShrink
from export.linear import bias_of, linear_matrices
from export.rewrite import (
    fresh_name,
    read_model,
    replace_nodes,
    replace_tensors,
    save_rewritten,
    tensor_writer,
    used_names,
)

BLOCK = 32
SYMMETRIC = False
"""Zero points cost an eighth of a bit for each weight. On fully connected layers of trained
networks (VGG-19, xception-flatten) the error of the weights is 6.3 to 6.7 % with them, 6.5 to
7.6 % without, and 6.7 to 8.5 % in blocks of 128."""
_DOMAIN = "com.microsoft"
_SLICE_BYTES = 1 << 28
_PARTS = {"Q4": "_Q4", "scales": "_scales", "zero_points": "_zero_points"}
"""What the quantiser writes for a matrix -> how the names of that end."""

Parts = dict[str, NDArray[np.generic]]


def int4_weights(source: Path, target: Path) -> None:
    """Round the matrices of all fully connected layers of ``source`` to 4 bits.

    ``source`` comes from ``export.quantize.prepare``. A network without a fully
    connected layer is a ``CannotShrink``.
    """
    model = read_model(source)
    graph = model.graph
    nodes = list(graph.node)
    written: list[onnx.TensorProto] = []
    with tensor_writer(source, target) as write:
        for layer in list(linear_matrices(model, source)):
            inputs, outputs = layer.matrix.shape
            base = layer.node.name or layer.node.output[0]
            parts = {fresh_name(f"{base}_{k}", graph): v for k, v in rounded(layer.matrix).items()}
            written += [write(name, array) for name, array in parts.items()]
            place = nodes.index(layer.node)
            nodes[place : place + 1] = _as_nbits(layer.node, list(parts), inputs, outputs, graph)
        if not written:
            raise CannotShrink(f"{source.name} has no fully connected layer to round to 4 bits")
        used = used_names(graph, nodes)
        for tensor in graph.initializer:
            if tensor.name in used:
                written.append(write(tensor.name, initializer_array(tensor, source)))
    replace_nodes(graph, nodes)
    replace_tensors(graph, written)
    if all(entry.domain != _DOMAIN for entry in model.opset_import):
        model.opset_import.add(domain=_DOMAIN, version=1)
    save_rewritten(model, source, target)


def rounded(matrix: NDArray[np.float32]) -> Parts:
    """Packed values, scales and zero points of a matrix (inputs, outputs).

    By ONNX Runtime's quantiser, some outputs at a time: they are independent, and it
    makes several copies of what it is given.
    """
    inputs, outputs = matrix.shape
    step = max(1, _SLICE_BYTES // (4 * inputs))
    slices = [_rounded_slice(matrix[:, i : i + step]) for i in range(0, outputs, step)]
    return {part: np.concatenate([done[part] for done in slices]) for part in slices[0]}


def _rounded_slice(matrix: NDArray[np.float32]) -> Parts:
    """``rounded`` for a matrix that may be copied: a network of one product goes through it."""
    helper = onnx.helper
    value = helper.make_tensor_value_info
    product = helper.make_graph(
        [helper.make_node("MatMul", ["x", "matrix"], ["y"], name="product")],
        "one product",
        [value("x", onnx.TensorProto.FLOAT, [1, matrix.shape[0]])],
        [value("y", onnx.TensorProto.FLOAT, [1, matrix.shape[1]])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(matrix), "matrix")],
    )
    quantizer = MatMulNBitsQuantizer(
        helper.make_model(product), bits=nbits.BITS, block_size=BLOCK, is_symmetric=SYMMETRIC
    )
    quantizer.process()
    made = {t.name: t for t in quantizer.model.model.graph.initializer}
    return {
        part: onnx.numpy_helper.to_array(made[f"matrix{ending}"])
        for part, ending in _PARTS.items()
        if f"matrix{ending}" in made
    }


def _as_nbits(
    node: onnx.NodeProto, parts: list[str], inputs: int, outputs: int, graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    """MatMulNBits and, where there is a bias, Add in a layer's place.

    No ``accuracy_level``: at 4 it would round the inputs to INT8 as well.
    """
    bias = bias_of(node)
    base = node.name or node.output[0]
    product = fresh_name(f"{base}_product", graph) if bias else node.output[0]
    made = onnx.helper.make_node(
        nbits.OPERATOR,
        [node.input[0], *parts],
        [product],
        name=base,
        domain=_DOMAIN,
        K=inputs,
        N=outputs,
        bits=nbits.BITS,
        block_size=BLOCK,
    )
    if not bias:
        return [made]
    return [
        made,
        onnx.helper.make_node("Add", [product, bias], node.output, name=f"{base}_bias"),
    ]
