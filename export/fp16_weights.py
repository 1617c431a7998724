"""Weights stored in fp16 and computed with in fp32: a Cast stands behind each of them.

Half the file, for every runtime that opens .onnx files; the answers differ by the
rounding of the weights alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.anatomy import initializer_array
from export.build import CannotShrink
from export.rewrite import (
    fresh_name,
    read_model,
    replace_nodes,
    replace_tensors,
    save_rewritten,
    tensor_writer,
)

LEAST_BYTES = 1024
"""A smaller tensor stays as it is: shapes and scales, whose bytes are nothing."""
LARGEST_ERROR = 1e-3
"""Of a tensor, over its norm. fp16 has 11 bits, so rounding alone takes 3e-4 at most; more
means that values were too small for it, or too large, which makes it infinite."""
_CHUNK = 1 << 22  # elements that are rounded at a time
_VECTOR = 1  # the rank of biases and of what a norm holds


def fp16_weights(source: Path, target: Path) -> dict[str, Any]:
    """Store the float32 matrices and kernels of ``source`` that take over 1 kB in fp16.

    What loses more than ``LARGEST_ERROR`` by it stays in fp32, and a note says so; so do
    vectors, silently: a hundredth of the bytes, among them variances that fp16 would round
    to 0. A file without a tensor to round is a ``CannotShrink``. Returns the facts:
    ``halved`` counts tensors, ``kept_fp32`` names those that fp16 can't hold.
    """
    model = read_model(source)
    graph = model.graph
    casts: list[onnx.NodeProto] = []
    tensors: list[onnx.TensorProto] = []
    kept: list[str] = []
    with tensor_writer(source, target) as write:
        for tensor in graph.initializer:
            array = initializer_array(tensor, source)
            half = _rounded(array) if _is_heavy(array) else None
            if _is_heavy(array) and half is None:
                kept.append(tensor.name)
            if half is None:
                tensors.append(write(tensor.name, array))
                continue
            name = fresh_name(f"{tensor.name}_fp16", graph)
            tensors.append(write(name, half))
            casts.append(_cast(name, tensor.name))
    if not casts:
        raise CannotShrink(f"{source.name} has no weights that could be stored in fp16")
    replace_tensors(graph, tensors)
    replace_nodes(graph, [*casts, *graph.node])
    save_rewritten(model, source, target)
    facts: dict[str, Any] = {"halved": len(casts), "kept_fp32": kept}
    return facts | ({"note": _note(kept)} if kept else {})


def _is_heavy(array: NDArray[np.generic]) -> bool:
    return array.dtype == np.float32 and array.ndim > _VECTOR and array.nbytes > LEAST_BYTES


def _rounded(array: NDArray[np.generic]) -> NDArray[np.float16] | None:
    """The values in fp16; ``None`` where it can't hold them."""
    half = np.empty(array.shape, np.float16)
    into, error, norm = half.reshape(-1), 0.0, 0.0
    for start, exact in _chunks(array):
        with np.errstate(over="ignore"):  # infinity is seen below
            into[start : start + exact.size] = exact
        lost = exact - into[start : start + exact.size]
        error += float(np.dot(lost, lost))
        norm += float(np.dot(exact, exact))
    # Written so that NaN fails as well; a tensor of zeros loses nothing.
    return half if error <= LARGEST_ERROR**2 * norm else None


def _chunks(array: NDArray[np.generic]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """The values in float64, a part at a time, each with the number of its first."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        yield start, flat[start : start + _CHUNK].astype(np.float64)


def _cast(stored: str, used: str) -> onnx.NodeProto:
    return onnx.helper.make_node(
        "Cast", [stored], [used], name=f"{stored}_to_fp32", to=onnx.TensorProto.FLOAT
    )


def _note(kept: list[str]) -> str:
    return f"{', '.join(kept)}: stored in fp32, because fp16 can't hold the values"
