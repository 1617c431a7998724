"""An .onnx file as a small message: large weights stay in the file and are mapped when asked for.

protobuf would hold them twice, so an .onnx of 2 GB would take 4 GB only to be looked at.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import TensorProto

from export.anatomy.contents import UnreadableFile
from export.functions import EndlessFunctions, check_functions
from export.links import leads_out
from export.optimize import _Field, _fields, beside
from export.rewrite import lift_constants
from export.subgraphs import tensors_inside

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9  # in ModelProto, GraphProto and TensorProto
_LARGE = 1 << 16
_MOST_OTHER_BYTES = 1 << 29
"""What a graph without its large weights may take: more is no classifier's."""


class _TooLarge(ValueError):
    """More than is held in memory."""


def light_model(file: Path) -> onnx.ModelProto:
    """The model with its large weights as references, those inside the file to the file itself.

    ``export.anatomy.initializer_array`` maps them. Constants of the graph have become
    initialisers, and functions have been put in place. Raises ``UnreadableFile`` for a file
    that is cut off or none, for data outside of its folder, and for tensors whose size is
    not that of their values.
    """
    try:
        with file.open("rb") as stream:
            model = _parsed(stream)
    except _TooLarge as exc:
        raise UnreadableFile(
            f"{file} takes over {_MOST_OTHER_BYTES >> 20} MiB besides its large weights: what "
            "stands in Constant nodes, or number by number, can't be mapped; save it with its "
            "weights as initialisers of raw bytes"
        ) from exc
    except (DecodeError, ValueError) as exc:
        # The names in a damaged file's message may be anything: the reason is enough.
        raise UnreadableFile(
            f"{file} is truncated, damaged or no .onnx file: fetch or export it again"
        ) from exc
    if not model.graph.node or not model.ir_version:
        raise UnreadableFile(f"{file} holds no ONNX graph: is it an .onnx file?")
    if not model.opset_import:
        raise UnreadableFile(
            f"{file} doesn't say which opset it was written for: it is cut off behind its graph; "
            "fetch or export it again"
        )
    _check_names(model, file)
    model = _without_functions(model, file)
    lift_constants(model.graph)
    inside = (tensor for node in model.graph.node for tensor in tensors_inside(node))
    for tensor in (*model.graph.initializer, *inside):
        _check(tensor, file)
    return model


def _parsed(stream: BinaryIO) -> onnx.ModelProto:
    rest, graph = bytearray(), bytearray()
    for outer in list(_fields(stream)):
        if outer.number != _GRAPH:
            rest += _whole(stream, outer)
            continue
        for inner in list(_fields(stream, outer.content, outer.end)):
            graph += _light(stream, inner)
            if len(graph) > _MOST_OTHER_BYTES:
                raise _TooLarge("the graph without its weights")
    model: onnx.ModelProto = onnx.ModelProto.FromString(bytes(rest))
    model.graph.ParseFromString(bytes(graph))
    return model


def _whole(stream: BinaryIO, field: _Field) -> bytes:
    """A field with its tag."""
    if field.end - field.start > _MOST_OTHER_BYTES:
        raise _TooLarge("a field that holds no weights")
    stream.seek(field.start)
    return stream.read(field.end - field.start)


def _light(stream: BinaryIO, field: _Field) -> bytes:
    """A field of the graph; of an initialiser with many raw bytes, all but those."""
    if field.number != _INITIALIZER or field.end - field.start < _LARGE:
        return _whole(stream, field)
    parts = _parts(stream, field)
    raw = [part for part in parts if part.number == _RAW_DATA]
    if len(raw) != 1 or raw[0].end - raw[0].content < _LARGE:
        return _whole(stream, field)
    others = b"".join(_whole(stream, part) for part in parts if part.number != _RAW_DATA)
    tensor = TensorProto.FromString(others)
    if tensor.data_location != TensorProto.EXTERNAL:
        tensor.data_location = TensorProto.EXTERNAL
        length = raw[0].end - raw[0].content
        place = {"location": Path(stream.name).name, "offset": raw[0].content, "length": length}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
    light: bytes = onnx.GraphProto(initializer=[tensor]).SerializeToString()
    return light


def _parts(stream: BinaryIO, field: _Field) -> list[_Field]:
    """The fields of a tensor; none where it holds single numbers, whose fields are of no length."""
    try:
        return list(_fields(stream, field.content, field.end))
    except ValueError:
        return []


def _without_functions(model: onnx.ModelProto, file: Path) -> onnx.ModelProto:
    """Functions of the file's own, put where they are called."""
    try:
        check_functions(model)
    except EndlessFunctions as exc:
        raise UnreadableFile(f"{file}: {exc}") from exc
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _check_names(model: onnx.ModelProto, file: Path) -> None:
    """All names are text: protobuf gives those that are none as bytes."""
    graph = model.graph
    names = [
        *(name for node in graph.node for name in (*node.input, *node.output)),
        *(name for node in graph.node for name in (node.name, node.op_type, node.domain)),
        *(value.name for value in (*graph.initializer, *graph.input, *graph.output)),
        *(dim.dim_param for x in graph.input for dim in x.type.tensor_type.shape.dim),
        *(text for entry in model.metadata_props for text in (entry.key, entry.value)),
        *(
            text
            for tensor in graph.initializer
            for entry in tensor.external_data
            for text in (entry.key, entry.value)
        ),
    ]
    wrong = next((name for name in names if not isinstance(name, str)), None)
    if wrong is not None:
        raise UnreadableFile(f"{file} has the name {wrong!r}, which is no text: it is damaged")


def _check(tensor: TensorProto, file: Path) -> None:
    """A tensor's bytes are there, and as many as its shape says."""
    name = ascii(tensor.name)
    if any(size < 0 for size in tensor.dims) or tensor.data_type not in _KNOWN:
        raise UnreadableFile(f"{file}: tensor {name} has no shape or type that ONNX knows")
    expected = (math.prod(tensor.dims) * _bits(tensor) + 7) // 8
    if tensor.data_location == TensorProto.EXTERNAL:
        _check_outside(tensor, file, expected)
    elif tensor.HasField("raw_data") and len(tensor.raw_data) != expected:
        raise UnreadableFile(
            f"{file}: tensor {name} of shape {tuple(tensor.dims)} should take {expected} bytes, "
            f"not {len(tensor.raw_data)}: the file is damaged"
        )
    elif not tensor.HasField("raw_data") and not _typed(tensor):
        raise UnreadableFile(f"{file}: tensor {name} has fewer values than its shape says")


def _check_outside(tensor: TensorProto, file: Path, expected: int) -> None:
    """A data file stands beside the .onnx file and is long enough."""
    place = {entry.key: entry.value for entry in tensor.external_data}
    try:
        data = beside(file, place.get("location", ""))
        offset = int(place.get("offset", 0))
        length = int(place.get("length", expected))
    except ValueError as exc:
        raise UnreadableFile(f"{exc}: only data files beside the .onnx file are read") from exc
    if data != file and leads_out(data, file.parent):  # the file itself is the user's choice
        raise UnreadableFile(
            f"{file}: its data file {data.name!r} is a link that leads out of its folder: refused"
        )
    if not data.is_file():
        raise UnreadableFile(f"{file} needs its data file {data.name!r} beside it: fetch that, too")
    if offset < 0 or length != expected or offset + expected > data.stat().st_size:
        raise UnreadableFile(
            f"{data} is too short for tensor {tensor.name!a}, or its shape "
            f"{tuple(tensor.dims)} is not that of the data: fetch both files again"
        )


def _typed(tensor: TensorProto) -> bool:
    """Whether values that are stored as numbers are as many as the shape says."""
    size = math.prod(tensor.dims)
    numbers = max(
        len(tensor.float_data),
        len(tensor.int32_data),
        len(tensor.int64_data),
        len(tensor.double_data),
        len(tensor.uint64_data),
        len(tensor.string_data),
    )
    return size in (numbers, 2 * numbers, 2 * numbers - 1) or _complex(tensor, numbers)


def _complex(tensor: TensorProto, numbers: int) -> bool:
    kinds = (TensorProto.COMPLEX64, TensorProto.COMPLEX128)
    return tensor.data_type in kinds and numbers == 2 * math.prod(tensor.dims)


_KNOWN = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}
_BELOW_A_BYTE = {
    getattr(TensorProto, name): bits
    for bits, names in (
        (2, ("INT2", "UINT2")),
        (4, ("INT4", "UINT4", "FLOAT4E2M1")),
        (6, ("FLOAT6E2M3", "FLOAT6E3M2")),
    )
    for name in names
    if hasattr(TensorProto, name)
}
"""Bits of the types of which several are packed in a byte."""


def is_packed(tensor: TensorProto) -> bool:
    """Whether its elements are of less than a byte, so that nothing can map them one by one."""
    return tensor.data_type in _BELOW_A_BYTE


def _bits(tensor: TensorProto) -> int:
    """Bits of one stored element."""
    if is_packed(tensor):
        return _BELOW_A_BYTE[tensor.data_type]
    if tensor.data_type == TensorProto.STRING:
        return 0
    return 8 * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def stored_bytes(tensor: TensorProto) -> int:
    """What a tensor's values take, two to a byte where its type is so small."""
    if tensor.data_type == TensorProto.STRING:
        return sum(len(text) for text in tensor.string_data)
    elements: int = math.prod(tensor.dims)
    return (elements * _bits(tensor) + 7) // 8
