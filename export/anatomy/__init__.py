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

from export import nbits
from export.artifact import LayerWork
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
    ``layers`` are the nodes that have any, in the order of the graph.
    """

    parameters: int
    zeros: int
    macs: int
    macs_by_op: Mapping[str, int]
    op_types: Mapping[str, int]
    layers: tuple[LayerWork, ...]


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
    nbits.OPERATOR: _Layer(0, 1, bias=5),  # what its zero points are like, export.nbits knows
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

_FOLLOWING = ("BatchNormalization", "Relu")
"""What a runtime is expected to fuse into the convolution before it."""
_ACTIVATIONS = (*_FOLLOWING, "Clip")
"""Operators that may stand between a layer and the quantising of its output."""
_QUANTIZERS = ("DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear")
_INTEGER = tuple(name for name, layer in _LAYERS.items() if layer.zero_point is not None)
_FLOAT_BYTES = 4
_STORED_IN = {1: "int8", 2: "fp16", 4: "fp32", 8: "fp64"}
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
    nodes = [node for node in model.graph.node if node.op_type in _LAYERS]
    layers = tuple(graph.layer(node) for node in nodes)
    macs: Counter[str] = Counter()
    for node, layer in zip(nodes, layers, strict=True):
        macs[node.op_type] += layer.macs
    return Count(
        parameters=sum(size for size, _ in sizes),
        zeros=sum(zeros for _, zeros in sizes),
        macs=macs.total(),
        macs_by_op=MappingProxyType(dict(macs)),
        op_types=MappingProxyType(dict(Counter(node.op_type for node in model.graph.node))),
        layers=layers,
    )


def stored_parameters(file: Path) -> int:
    """The elements of all initialisers that are no scalars, whatever they are used for."""
    graph = onnx.load(file, load_external_data=False).graph
    return sum(math.prod(tensor.dims) for tensor in graph.initializer if tensor.dims)


@dataclass(frozen=True)
class Structure:
    """Names of nodes by which one sees in a runtime's own graph what it has fused.

    ``behind_convolutions`` are BatchNormalization and Relu nodes whose input is a
    convolution's output, quantised or not; ``quantizers`` quantise or dequantise.
    """

    behind_convolutions: tuple[str, ...]
    quantizers: tuple[str, ...]


def structure(file: Path) -> Structure:
    """The structure of an .onnx file, whatever its operators."""
    nodes = list(onnx.load(file, load_external_data=False).graph.node)
    producers = {name: node for node in nodes for name in node.output}

    def follows(node: onnx.NodeProto) -> bool:
        above = producers.get(_input(node, 0))
        if above is None or above.op_type in _CONVOLUTIONS:
            return above is not None
        return above.op_type in (*_FOLLOWING, *_PASSING_ON) and follows(above)

    return Structure(
        tuple(_name(node) for node in nodes if node.op_type in _FOLLOWING and follows(node)),
        tuple(_name(node) for node in nodes if node.op_type in _QUANTIZERS),
    )


def _name(node: onnx.NodeProto) -> str:
    """A node's name, which may be left out; then that of its output, which may not."""
    return node.name or node.output[0]


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
        known = known and (node.op_type != nbits.OPERATOR or nbits.is_known(node))
    if not known:
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise CannotCount(f"the work of operator {operator} can't be counted")


class _Stored(NamedTuple):
    """Parameters as they are stored: an initialiser, its zero point, and the channel axis of it."""

    tensor: str
    zero_point: str = ""
    axis: int = 0
    packed_for: str = ""
    """The output of the node that unpacks it, where it is not stored value by value."""


class _Graph:
    """Look-ups in the graph of a model; takes the values out of the model to infer shapes."""

    def __init__(self, model: onnx.ModelProto, file: Path) -> None:
        self.file = file
        self.nodes = list(model.graph.node)
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        self.shapes, self.element_bytes = _shapes(model)

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
            if node.op_type == nbits.OPERATOR:
                yield _Stored(node.input[1], _input(node, 3), packed_for=node.output[0])
            elif node.op_type in _CONVOLUTIONS or not self._pools_maps(node, layer):
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
        if stored.packed_for:
            return self._packed(self.producers[stored.packed_for], array, stored.zero_point)
        zero_point: Array = np.zeros(1, array.dtype)
        if stored.zero_point in self.tensors:
            zero_point = initializer_array(self.tensors[stored.zero_point], self.file)
        if array.dtype != zero_point.dtype or not zero_point.size:
            zero_point = np.zeros(1, array.dtype)  # the weights are floats, quantised at run time
        return array.size, _count_equal(array, zero_point, stored.axis)

    def _packed(self, node: onnx.NodeProto, array: Array, zero_point: str) -> tuple[int, int]:
        """``size_and_zeros`` of 4-bit weights."""
        points = self.tensors.get(zero_point)
        held = None if points is None else initializer_array(points, self.file)
        return math.prod(nbits.shape(node)), nbits.zeros(node, array, held)

    def layer(self, node: onnx.NodeProto) -> LayerWork:
        """The work of one node of ``_LAYERS``."""
        layer = _LAYERS[node.op_type]
        weights = self._weights(node, layer)
        bias = [] if layer.bias is None else self._tensors(node, layer.bias)
        data, output = node.input[layer.data], node.output[0]
        data_bytes, output_bytes = self._read_bytes(data), self._written_bytes(output)
        # Weights of a byte make no INT8 layer where they are multiplied with floats.
        operands = max(data_bytes, *(_item_bytes(tensor.data_type) for tensor in weights), 1)
        return LayerWork(
            name=_name(node),
            macs=self.macs(node),
            weight_bytes=sum(_tensor_bytes(tensor) for tensor in (*weights, *bias)),
            activation_bytes=math.prod(self._shape(node, data)) * data_bytes
            + math.prod(self._shape(node, output)) * output_bytes,
            precision=_computed_in(node, operands),
        )

    def _weights(self, node: onnx.NodeProto, layer: _Layer) -> list[onnx.TensorProto]:
        """A layer's weights; the scales and zero points of small blocks with them.

        A scale for every 32 of 4 bits is a fifth of the bytes; one for a whole output is nothing.
        """
        if node.op_type != nbits.OPERATOR:
            return self._tensors(node, layer.weights)
        return [self.tensors[name] for name in node.input[1:4] if name in self.tensors]

    def _tensors(self, node: onnx.NodeProto, index: int) -> list[onnx.TensorProto]:
        return [self.tensors[stored.tensor] for stored in self._stored(node, index)]

    def _read_bytes(self, name: str) -> int:
        """Bytes of an element that a layer reads: before it is dequantised for it."""
        above = self.producers.get(name)
        if above is not None and above.op_type == "DequantizeLinear":
            return self.element_bytes.get(above.input[0], 1)
        return self.element_bytes.get(name, _FLOAT_BYTES)

    def _written_bytes(self, name: str) -> int:
        """Bytes of an element that a layer writes: after it was quantised, if it is at once."""
        consumers = self.consumers.get(name, [])
        if len(consumers) == 1 and consumers[0].op_type in (*_ACTIVATIONS, "QuantizeLinear"):
            return self._written_bytes(consumers[0].output[0])
        return self.element_bytes.get(name, _FLOAT_BYTES)

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
            raise CannotCount(f"the work of {node.op_type} {node.name} has no known shape: {name}")
        return self.shapes[name]


def _computed_in(node: onnx.NodeProto, operand_bytes: int) -> str:
    """The precision of a layer whose wider operand has elements of so many bytes."""
    if node.op_type == nbits.OPERATOR:
        return nbits.precision(node)
    return "int8" if node.op_type in _INTEGER else _STORED_IN[operand_bytes]


def _item_bytes(data_type: int) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    """What the values of a tensor take in the file."""
    elements: int = math.prod(tensor.dims)
    return elements * _item_bytes(tensor.data_type)


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


def _shapes(model: onnx.ModelProto) -> tuple[dict[str, Shape], dict[str, int]]:
    """For a batch of 1, of every value of which it is known: its shape; bytes of an element."""
    graph = onnx.GraphProto()
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.functions.extend(model.functions)
    graph.node.extend(_as_standard(node) for node in model.graph.node)
    for field in ("input", "output", "value_info"):
        getattr(graph, field).extend(getattr(model.graph, field))
    graph.name = model.graph.name
    graph.initializer.extend(_without_values(tensor) for tensor in model.graph.initializer)
    graph.initializer.extend(
        _nowhere(_unpacked_name(node), onnx.TensorProto.FLOAT, nbits.shape(node))
        for node in model.graph.node
        if node.op_type == nbits.OPERATOR
    )
    batch = {value.type.tensor_type.shape.dim[0].dim_param for value in graph.input} - {""}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in batch:
                dim.dim_value = 1
    light.graph.CopyFrom(graph)
    inferred = onnx.shape_inference.infer_shapes(light).graph
    shapes: dict[str, Shape] = {t.name: tuple(t.dims) for t in model.graph.initializer}
    element_bytes: dict[str, int] = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        tensor = value.type.tensor_type
        if tensor.elem_type:
            element_bytes[value.name] = _item_bytes(tensor.elem_type)
        known = tensor.HasField("shape")
        if known and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
    return shapes, element_bytes


def _as_standard(node: onnx.NodeProto) -> onnx.NodeProto:
    """ONNX Runtime's own operators as those that they began with: same shapes."""
    if node.op_type == nbits.OPERATOR:
        return onnx.helper.make_node("MatMul", [node.input[0], _unpacked_name(node)], node.output)
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
    outside = tensor.data_location == onnx.TensorProto.EXTERNAL
    if not outside and _tensor_bytes(tensor) <= _INLINE_BYTES:
        return tensor
    return _nowhere(tensor.name, tensor.data_type, tuple(tensor.dims))


def _unpacked_name(node: onnx.NodeProto) -> str:
    return f"{node.output[0]}:unpacked"


def _nowhere(name: str, data_type: int, shape: Shape) -> onnx.TensorProto:
    """A tensor of which only type and shape are known."""
    stand_in = onnx.TensorProto(name=name, data_type=data_type, dims=shape)
    stand_in.data_location = onnx.TensorProto.EXTERNAL
    stand_in.external_data.add(key="location", value="nowhere")
    return stand_in
