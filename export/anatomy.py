"""Where the bytes and the multiply-accumulates go: parameters, zeros and MACs of a file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from export.optimize import beside

Array = NDArray[np.generic]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Count:
    """What an .onnx file holds and computes.

    ``parameters`` are the elements of weights and biases as they are stored,
    ``zeros`` those of them that stand for 0 (in INT8: equal to the zero point).
    Running statistics, scales, zero points and the constants of a pooling are no
    parameters. ``macs`` are multiply-accumulates for one image, ``macs_by_op``
    the same for each operator type that has any; ``op_types`` counts nodes.
    """

    parameters: int
    zeros: int
    macs: int
    macs_by_op: Mapping[str, int]
    op_types: Mapping[str, int]


class _Layer(NamedTuple):
    """Which inputs of an operator are its data, weights, their zero point and bias."""

    data: int
    weights: int
    zero_point: int | None = None
    bias: int | None = None


_CONVOLUTIONS = {
    "Conv": _Layer(0, 1, bias=2),
    "ConvInteger": _Layer(0, 1, zero_point=3),
    "FusedConv": _Layer(0, 1, bias=2),
    "QLinearConv": _Layer(0, 3, zero_point=5, bias=8),
}
_PRODUCTS = {
    "DynamicQuantizeMatMul": _Layer(0, 1, zero_point=3, bias=4),
    "FusedGemm": _Layer(0, 1, bias=2),
    "FusedMatMul": _Layer(0, 1),
    "Gemm": _Layer(0, 1, bias=2),
    "MatMul": _Layer(0, 1),
    "MatMulInteger": _Layer(0, 1, zero_point=3),
    "MatMulIntegerToFloat": _Layer(0, 1, zero_point=5, bias=6),
    "QGemm": _Layer(0, 3, zero_point=5, bias=6),
    "QLinearMatMul": _Layer(0, 3, zero_point=5),
}
_LAYERS = _CONVOLUTIONS | _PRODUCTS

_FUSED = {"FusedConv": "Conv", "FusedGemm": "Gemm"}
_ELEMENTWISE = {
    "Add": (0, 1),  # a bias, behind a MatMul
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "PRelu": (1,),
}
"""Operators with parameters but without multiply-accumulates worth counting."""

_PASSING_ON = ("Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "Transpose")
"""Operators that may stand between stored weights and the layer that uses them."""

_UNCOUNTED = ("ConvTranspose", "DeformConv", "Einsum", "GRU", "If", "LSTM", "Loop", "RNN", "Scan")
_STANDARD_DOMAINS = ("", "ai.onnx")
_ORT_DOMAIN = "com.microsoft"
_WITHOUT_MACS = (
    "DequantizeLinear",
    "NhwcMaxPool",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearConcat",
    "QLinearGlobalAveragePool",
    "QLinearLeakyRelu",
    "QLinearMul",
    "QLinearSigmoid",
    "QLinearSoftmax",
    "QuantizeLinear",
)
_MAP_RANK = 4  # a product with (batch, channels, height, width) by a constant pools maps
_INLINE_BYTES = 1024
_CHUNK = 1 << 24  # elements whose zeros are counted at a time


class CannotCount(ValueError):
    """An operator whose work is not known here."""


def count(file: Path) -> Count:
    """Count the parameters, zeros and MACs of an .onnx file, quantised or not.

    Data files are mapped, not loaded. An operator whose work is not known here
    (``com.microsoft.nchwc``, which pads channels, for one) is a ``CannotCount``
    that names it: such a file is the network of the file it was made from.
    """
    model = onnx.load(file, load_external_data=False)
    for node in model.graph.node:
        _check_countable(node)
    graph = _Graph(model, file)
    sizes = [graph.size_and_zeros(stored) for stored in graph.parameters()]
    macs: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type in _LAYERS:
            macs[node.op_type] += graph.macs(node)
    return Count(
        parameters=sum(size for size, _ in sizes),
        zeros=sum(zeros for _, zeros in sizes),
        macs=macs.total(),
        macs_by_op=MappingProxyType(dict(macs)),
        op_types=MappingProxyType(dict(Counter(node.op_type for node in model.graph.node))),
    )


def initializer_array(tensor: onnx.TensorProto, file: Path) -> Array:
    """The values of a tensor of ``file``; mapped read-only where a data file holds them.

    A data file that is shorter than the tensor, or in another folder, is a ``ValueError``.
    """
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        array: Array = onnx.numpy_helper.to_array(tensor)
        return array
    place = {entry.key: entry.value for entry in tensor.external_data}
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    shape = tuple(tensor.dims)
    if 0 in shape:
        return np.zeros(shape, dtype)
    path = beside(file, place["location"])
    return np.memmap(path, dtype, mode="r", offset=int(place.get("offset", 0)), shape=shape)


def _check_countable(node: onnx.NodeProto) -> None:
    if node.domain in _STANDARD_DOMAINS:
        known = node.op_type not in _UNCOUNTED
    else:
        known = node.domain == _ORT_DOMAIN and node.op_type in (*_LAYERS, *_WITHOUT_MACS)
    if not known:
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise CannotCount(f"the work of operator {operator} can't be counted")


class _Stored(NamedTuple):
    """Parameters as they are stored: an initialiser, its zero point, and the channel axis of it."""

    tensor: str
    zero_point: str = ""
    axis: int = 0


class _Graph:
    """Look-ups in the graph of a model; takes the values out of the model to infer shapes."""

    def __init__(self, model: onnx.ModelProto, file: Path) -> None:
        self.file = file
        self.nodes = list(model.graph.node)
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self.shapes = _shapes(model)

    def parameters(self) -> list[_Stored]:
        """All that are used as weights or biases, each once."""
        found = {stored.tensor: stored for node in self.nodes for stored in self._of(node)}
        return list(found.values())

    def _of(self, node: onnx.NodeProto) -> Iterator[_Stored]:
        """The parameters of one node."""
        if node.op_type in _ELEMENTWISE:
            for index in _ELEMENTWISE[node.op_type]:
                yield from self._stored(node, index)
        elif node.op_type in _LAYERS:
            layer = _LAYERS[node.op_type]
            if node.op_type in _CONVOLUTIONS or not self._pools_maps(node, layer):
                yield from self._stored(node, layer.weights, layer.zero_point)
            if layer.bias is not None:
                yield from self._stored(node, layer.bias)

    def _pools_maps(self, node: onnx.NodeProto, layer: _Layer) -> bool:
        operands = (node.input[layer.data], node.input[layer.weights])
        return any(len(self.shapes.get(name, ())) >= _MAP_RANK for name in operands)

    def _stored(
        self, node: onnx.NodeProto, index: int, zero_point: int | None = None
    ) -> Iterator[_Stored]:
        """The initialiser behind an input, if there is one and it is no scalar."""
        name = _input(node, index)
        zeros, axis = _input(node, zero_point), -1 if node.op_type in _PRODUCTS else 0
        while name in self.producers and self.producers[name].op_type in _PASSING_ON:
            above = self.producers[name]
            if above.op_type == "DequantizeLinear":
                zeros, axis = _input(above, 2), _axis(above)
            name = above.input[0]
        if name in self.tensors and self.tensors[name].dims:
            yield _Stored(name, zeros, axis)

    def size_and_zeros(self, stored: _Stored) -> tuple[int, int]:
        """The number of elements, and of those that stand for 0."""
        array = initializer_array(self.tensors[stored.tensor], self.file)
        zero_point: Array = np.zeros(1, array.dtype)
        if stored.zero_point in self.tensors:
            zero_point = initializer_array(self.tensors[stored.zero_point], self.file)
        if array.dtype != zero_point.dtype or not zero_point.size:
            zero_point = np.zeros(1, array.dtype)  # the weights are floats, quantised at run time
        return array.size, _count_equal(array, zero_point, stored.axis)

    def macs(self, node: onnx.NodeProto) -> int:
        """Multiply-accumulates of one layer for one image."""
        layer = _LAYERS[node.op_type]
        outputs = math.prod(self._shape(node, node.output[0]))
        if node.op_type in _CONVOLUTIONS:
            return outputs * math.prod(self._shape(node, node.input[layer.weights])[1:])
        data = self._shape(node, node.input[layer.data])
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return outputs * data[-2 if transposed else -1]

    def _shape(self, node: onnx.NodeProto, name: str) -> Shape:
        if name not in self.shapes:
            raise ValueError(f"the work of {node.op_type} {node.name} has no known shape: {name}")
        return self.shapes[name]


def _input(node: onnx.NodeProto, index: int | None) -> str:
    """The name of an input, empty where it is left out."""
    return "" if index is None or index >= len(node.input) else node.input[index]


def _axis(node: onnx.NodeProto) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "axis"), 1)


def _count_equal(array: Array, zero_point: Array, axis: int) -> int:
    """How many elements equal the zero point of their channel."""
    if zero_point.size > 1 and np.ptp(zero_point.astype(np.int64)) > 0:
        shape = [1] * array.ndim
        shape[axis] = zero_point.size
        return int(np.count_nonzero(array == zero_point.reshape(shape)))
    flat, value = array.reshape(-1), zero_point.reshape(-1)[0]
    starts = range(0, flat.size, _CHUNK)
    return sum(int(np.count_nonzero(flat[i : i + _CHUNK] == value)) for i in starts)


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """The shape of every value whose shape is known, for a batch of 1."""
    graph = onnx.GraphProto()
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.functions.extend(model.functions)
    graph.node.extend(_as_standard(node) for node in model.graph.node)
    for field in ("input", "output", "value_info"):
        getattr(graph, field).extend(getattr(model.graph, field))
    graph.name = model.graph.name
    graph.initializer.extend(_without_values(tensor) for tensor in model.graph.initializer)
    batch = {value.type.tensor_type.shape.dim[0].dim_param for value in graph.input} - {""}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in batch:
                dim.dim_value = 1
    light.graph.CopyFrom(graph)
    inferred = onnx.shape_inference.infer_shapes(light).graph
    shapes: dict[str, Shape] = {t.name: tuple(t.dims) for t in model.graph.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _as_standard(node: onnx.NodeProto) -> onnx.NodeProto:
    """ONNX Runtime's fused operators as those that they began with: same shapes."""
    if node.op_type not in _FUSED:
        return node
    return onnx.helper.make_node(
        _FUSED[node.op_type],
        node.input[:3],
        node.output,
        **{a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
    )


def _without_values(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """A stand-in for large weights, so that inferring shapes does not copy them."""
    element_bytes = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    outside = tensor.data_location == onnx.TensorProto.EXTERNAL
    if not outside and math.prod(tensor.dims) * element_bytes <= _INLINE_BYTES:
        return tensor
    stand_in = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    stand_in.data_location = onnx.TensorProto.EXTERNAL
    stand_in.external_data.add(key="location", value="nowhere")
    return stand_in
