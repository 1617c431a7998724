"""The layers of a static INT8 ``.onnx`` (QDQ), and the integers that they multiply.

Products are in the order in which ONNX Runtime (MLAS) sums them: of a convolution kernel
position by kernel position, its channels together (its qlinearconv.cc reorders the filter
so, and its input is NHWC); of a fully connected layer as stored. Padding is the zero point.
Signed activations are shifted to unsigned, as QDQS8ToU8Transformer does on x86.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

_LAYERS = ("Conv", "Gemm", "MatMul")
Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Layer:
    """One quantised layer: its node, and the integers that it multiplies.

    ``weights`` are (groups, outputs of each, reduction), in the order of summing;
    ``input`` is the name of its quantised input, ``zero_point`` that input's as u8.
    """

    node: onnx.NodeProto
    input: str
    zero_point: int
    signed: bool
    weights: Integers
    kernel: tuple[int, ...] = ()

    @property
    def immune(self) -> str:
        """Why no sum can saturate, however the numbers are; empty where one can."""
        if self.weights.dtype == np.uint8:
            return "unsigned weights"
        depthwise = self.kernel and self.weights.shape[1] == 1 and len(self.weights) > 1
        return "depthwise" if depthwise and self.reduction == math.prod(self.kernel) else ""

    @property
    def reduction(self) -> int:
        """How many products make one output."""
        return int(self.weights.shape[2])

    def unsigned(self, values: Integers) -> NDArray[np.uint8]:
        """The layer's input as the kernel takes it."""
        return (values.astype(np.int16) + (128 if self.signed else 0)).astype(np.uint8)


def quantised_layers(model: onnx.ModelProto) -> Iterator[Layer]:
    """The layers of a QDQ graph whose input and constant weights both come quantised."""
    tensors = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}
    given = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        if node.op_type in _LAYERS and all(name in given for name in node.input[:2]):
            source, weights = (given[name] for name in node.input[:2])
            if weights.input[0] in tensors:
                yield _layer(node, source, tensors[weights.input[0]], tensors)


def _layer(
    node: onnx.NodeProto,
    source: onnx.NodeProto,
    weights: Integers,
    tensors: Mapping[str, NDArray[Any]],
) -> Layer:
    zero = tensors[source.input[2]]
    signed = zero.dtype == np.int8
    place = int(zero) + (128 if signed else 0)
    attributes = _attributes(node)
    if node.op_type != "Conv":
        flat = weights if attributes.get("transB") else weights.T
        return Layer(node, source.input[0], place, signed, flat[None])
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ValueError(f"{node.name} pads by {attributes['auto_pad']!r}: export it with numbers")
    groups = attributes.get("group", 1)
    outputs, channels, *kernel = weights.shape
    ordered = weights.reshape(outputs, channels, -1).transpose(0, 2, 1)
    grouped = ordered.reshape(groups, outputs // groups, -1)
    return Layer(node, source.input[0], place, signed, grouped, tuple(kernel))


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {x.name: onnx.helper.get_attribute_value(x) for x in node.attribute}


def unfused(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session in which nothing is fused, so that every tensor exists: layers are computed in
    fp32 from the values that the integers stand for, and quantised after.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def windows(layer: Layer, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A view of (channels, height, width): (out height, out width, channels, *kernel)."""
    attributes = _attributes(layer.node)
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    strides, spread_by = (attributes.get(x, [1, 1]) for x in ("strides", "dilations"))
    padded = np.pad(
        values, ((0, 0), (top, bottom), (left, right)), constant_values=layer.zero_point
    )
    reach = [(k - 1) * d + 1 for k, d in zip(layer.kernel, spread_by, strict=True)]
    views = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(1, 2))
    taken = views[:, :: strides[0], :: strides[1], :: spread_by[0], :: spread_by[1]]
    return taken.transpose(1, 2, 0, 3, 4)


def grouped(layer: Layer, patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Patches (n, channels, *kernel) in the order of summing: (groups, n, reduction)."""
    groups = len(layer.weights)
    split = patches.reshape(len(patches), groups, -1, math.prod(layer.kernel))
    return split.transpose(1, 0, 3, 2).reshape(groups, len(patches), -1)
