"""What a MatMulNBits node of ONNX Runtime holds: 4-bit weights in blocks, two to a byte.

A block is of consecutive inputs of one output; the last one is filled up. Layout:
github.com/microsoft/onnxruntime, docs/ContribOperators.md, com.microsoft.MatMulNBits.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

OPERATOR = "MatMulNBits"
BITS = 4
_MIDDLE = 8
"""What stands for 0 where a node has no zero points."""
_INT8_LEVEL = 4
"""From this ``accuracy_level`` on the inputs are rounded to INT8, block by block."""


def shape(node: onnx.NodeProto) -> tuple[int, int]:
    """Inputs and outputs of the layer."""
    return _attribute(node, "K"), _attribute(node, "N")


def is_known(node: onnx.NodeProto) -> bool:
    """Whether its weights have the four bits that are counted here."""
    return _attribute(node, "bits", BITS) == BITS


def precision(node: onnx.NodeProto) -> str:
    """What its products are computed in."""
    return "int8" if _attribute(node, "accuracy_level") >= _INT8_LEVEL else "fp32"


def zeros(
    node: onnx.NodeProto, packed: NDArray[np.generic], zero_points: NDArray[np.generic] | None
) -> int:
    """How many weights stand for 0; what fills up the last block is no weight.

    ``packed`` is uint8 (outputs, blocks, bytes of a block), ``zero_points`` uint8
    (outputs, half as many as blocks), or ``None``.
    """
    inputs, outputs = shape(node)
    values = _unpacked(packed).reshape(outputs, -1)[:, :inputs]
    if zero_points is None:
        return int(np.count_nonzero(values == _MIDDLE))
    points = _unpacked(zero_points.reshape(outputs, -1))
    of_each = np.repeat(points, _attribute(node, "block_size"), axis=1)[:, :inputs]
    return int(np.count_nonzero(values == of_each))


def _unpacked(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Two values for each byte, the lower half first."""
    pairs = np.asarray(array, np.uint8)[..., None] >> np.array([0, BITS], np.uint8)
    return np.asarray(pairs & 0x0F, np.uint8).reshape(*array.shape[:-1], -1)


def _attribute(node: onnx.NodeProto, name: str, default: int = 0) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)
