"""What every step shares that changes single tensors of an .onnx file: reading and writing.

Nothing is assumed of names, layouts or opsets. Values pass through memory one tensor
at a time, and all at once only where the file stays below protobuf's limit.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray

from export.optimize import LARGEST_SINGLE_FILE, carry_metadata, data_files, stored_bytes
from export.subgraphs import made_inside, read_by

INLINE_BYTES = 1024
_LISTED_INPUTS = 3
"""The last IR version that lists weights among a graph's inputs."""

Array = NDArray[np.generic]
Writer = Callable[[str, Array], onnx.TensorProto]
"""Takes a name and values; gives a tensor that holds them or says where they stand."""


@contextmanager
def tensor_writer(source: Path, target: Path) -> Iterator[Writer]:
    """Writes tensors for ``target``: inside it, or to ``<target>.data`` if ``source`` is large."""
    if stored_bytes(source) <= LARGEST_SINGLE_FILE:
        yield lambda name, array: onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        return
    with target.with_name(f"{target.name}.data").open("wb") as data:
        yield lambda name, array: outside(name, array, data)


def read_model(source: Path) -> onnx.ModelProto:
    """The model without what stands in data files, all of its weights among the initialisers."""
    model = onnx.load(source, load_external_data=False)
    lift_constants(model.graph)
    _unlist_weights(model)
    return model


def outside(name: str, array: Array, data: BinaryIO) -> onnx.TensorProto:
    """Append the values to ``data`` and say where they stand; small ones stay in the tensor."""
    if array.nbytes < INLINE_BYTES:
        return onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
    place = {"location": Path(data.name).name, "offset": data.tell(), "length": array.nbytes}
    data.write(np.ascontiguousarray(array).data)
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = onnx.TensorProto(name=name, data_type=kind, dims=array.shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in place.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def save_rewritten(model: onnx.ModelProto, source: Path, target: Path) -> None:
    """Write ``model`` with the metadata of ``source``, and check it.

    Shapes of inner values are left out: they name the batch by a symbol, which stops
    a runtime that sets it to a number (tract).
    """
    del model.graph.value_info[:]
    onnx.save(model, target)
    carry_metadata(source, target)
    for file in data_files(target):
        shutil.copymode(target, file)
    onnx.checker.check_model(target)


def replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Put ``nodes`` in the place of all that the graph has."""
    del graph.node[:]
    graph.node.extend(nodes)


def replace_tensors(graph: onnx.GraphProto, tensors: list[onnx.TensorProto]) -> None:
    """Put ``tensors`` in the place of all initialisers."""
    del graph.initializer[:]
    graph.initializer.extend(tensors)


def used_names(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """What ``nodes``, which take the place of the graph's own, and its outputs read."""
    return {name for node in nodes for name in read_by(node)} | {x.name for x in graph.output}


def lift_constants(graph: onnx.GraphProto) -> None:
    """Make initialisers of what stands in Constant nodes, as TensorFlow's exporters write them.

    Those that hold no tensor stay.
    """
    kept = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None and value.ByteSize():
            tensor = graph.initializer.add()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    if len(kept) < len(graph.node):
        replace_nodes(graph, kept)


def _unlist_weights(model: onnx.ModelProto) -> None:
    """Take the weights out of the graph's inputs, where files of before 2019 list them.

    A weight whose values a node makes can't be an input, and nobody feeds one.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, _LISTED_INPUTS + 1)


def fresh_name(wanted: str, graph: onnx.GraphProto) -> str:
    """``wanted``, with as many underscores as it takes that no value is called so.

    A value inside a body counts as well: none there may hide one from outside.
    """
    taken = {
        name for node in graph.node for name in (*read_by(node), *node.output, *made_inside(node))
    }
    taken |= {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    while wanted in taken:
        wanted += "_"
    return wanted
