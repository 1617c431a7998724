""".onnx -> graph-optimised .onnx, and what every step that writes .onnx files shares.

Files may be several gigabytes: nothing here holds their weights in Python.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import onnx
import onnxruntime

LARGEST_SINGLE_FILE = 1_900_000_000
"""Bytes of weights above which they are stored beside the .onnx file.

protobuf cannot hold more than 2 GiB; the graph needs some room as well.
"""

LEVELS = {
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "layout": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_LAYOUT,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}

_ORT_ERRORS_ONLY = 3
# ModelProto.graph, ModelProto.metadata_props and GraphProto.initializer in onnx.proto.
_GRAPH_FIELD, _METADATA_FIELD, _INITIALIZER_FIELD = 7, 14, 5
_REFERENCE_BYTES = 1 << 16  # a tensor that only names its data file is smaller
_COPIED_BYTES = 1 << 20
_VARINT, _LENGTH_DELIMITED = 0, 2  # protobuf's wire types


def optimize(source: Path, target: Path, level: str) -> None:
    """Write what ONNX Runtime makes of ``source`` at ``level``, ahead of time.

    From ``layout`` upwards the file holds this CPU's own memory layout: only
    ONNX Runtime on a like machine can load it. Weights over protobuf's limit go
    to ``<target>.data``. An unknown level is a ``ValueError``.
    """
    optimize_graph(source, target, level, large=stored_bytes(source) > LARGEST_SINGLE_FILE)
    carry_metadata(source, target)
    onnx.checker.check_model(target)


def optimize_graph(source: Path, target: Path, level: str, large: bool) -> None:
    """``optimize`` without metadata and check; ``large`` puts weights into ``<target>.data``."""
    if level not in LEVELS:
        raise ValueError(f"graph level {level!r} is unknown; known are {', '.join(LEVELS)}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ORT_ERRORS_ONLY
    options.graph_optimization_level = LEVELS[level]
    options.optimized_model_filepath = str(target)
    # Packed weights are for running; here they would double the memory, and are not written.
    options.add_session_config_entry("session.disable_prepacking", "1")
    if large:
        entry = "session.optimized_model_external_initializers"
        options.add_session_config_entry(f"{entry}_file_name", f"{target.name}.data")
        options.add_session_config_entry(f"{entry}_min_size_in_bytes", "1024")
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def ort_tools(source: Path, target: Path, level: int) -> None:
    """Write what the deprecated onnxruntime-tools makes of ``source``.

    ``level`` is 1 (basic), 2 (extended) or 99 (all). Its own fusions are for
    BERT, so only its call of ONNX Runtime is used. It can't write more than
    protobuf's 2 GB: such a source is a ``ValueError``.
    """
    if level not in (1, 2, 99):
        raise ValueError(f"onnxruntime-tools knows the levels 1, 2 and 99, not {level}")
    if stored_bytes(source) > LARGEST_SINGLE_FILE:
        raise ValueError(f"onnxruntime-tools can't write {source.name}: over protobuf's 2 GB")
    # Imported here: an optional extra, which puts a folder of its own on sys.path.
    from onnxruntime_tools import optimizer

    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        # It leaves its intermediate file beside the source, which is not ours to write to.
        link = Path(scratch) / "model.onnx"
        link.symlink_to(source.resolve())
        model = optimizer.optimize_model(str(link), only_onnxruntime=True, opt_level=level)
        model.save_model_to_file(str(target))
    carry_metadata(source, target)
    onnx.checker.check_model(target)


def stored_bytes(file: Path) -> int:
    """Size of an .onnx file with the data files that it names, in bytes."""
    return sum(path.stat().st_size for path in (file, *data_files(file)))


def data_files(file: Path) -> list[Path]:
    """The data files that an .onnx file names, without reading any weights."""
    with file.open("rb") as stream:
        tensors = [_content(stream, field) for field in _references(stream)]
    names = {name for tensor in tensors for name in _locations(tensor)}
    return [beside(file, name) for name in sorted(names)]


def beside(file: Path, name: str) -> Path:
    """The data file ``name`` of an .onnx file; a name that leads elsewhere is a ``ValueError``."""
    if Path(name).name != name or name in ("", ".."):
        raise ValueError(f"{file} names a data file outside of its folder: {name!r}")
    return file.with_name(name)


def carry_metadata(source: Path, target: Path) -> None:
    """Give ``target`` all of the ``source``'s ``metadata_props``; it keeps its own others."""
    metadata = read_metadata(source)
    if not metadata.items() <= read_metadata(target).items():
        stamp(target, metadata)


def read_metadata(file: Path) -> dict[str, str]:
    """The ``metadata_props`` of an .onnx file, without reading its weights."""
    with file.open("rb") as stream:
        return _metadata(stream, _fields(stream))


def stamp(file: Path, metadata: Mapping[str, str]) -> None:
    """Set ``metadata_props`` of an .onnx file in place, whatever its size.

    Keys in ``metadata`` replace those of the same name; others stay. The weights
    are copied, never parsed.
    """
    written = file.with_name(f"{file.name}.stamped")
    with file.open("rb") as stream, written.open("wb") as sink:
        fields = list(_fields(stream))
        merged = {**_metadata(stream, fields), **metadata}
        for number, start, _, end in fields:
            if number != _METADATA_FIELD:
                _copy(stream, sink, start, end)
        # A field may stand anywhere in a message, and a repeated one any number of times.
        props = [onnx.StringStringEntryProto(key=k, value=v) for k, v in merged.items()]
        sink.write(onnx.ModelProto(metadata_props=props).SerializeToString())
    written.replace(file)


class _Field(NamedTuple):
    """Where one field of a protobuf message lies in its file, in bytes."""

    number: int
    start: int
    content: int
    end: int


def _fields(stream: BinaryIO, start: int = 0, end: int | None = None) -> Iterator[_Field]:
    """The outermost fields of a message (protobuf.dev/programming-guides/encoding)."""
    end = os.fstat(stream.fileno()).st_size if end is None else end
    while start < end:
        stream.seek(start)
        number, wire_type = divmod(_varint(stream), 8)
        length = _varint(stream) if wire_type in (_VARINT, _LENGTH_DELIMITED) else -1
        content = stream.tell()
        after = content + (length if wire_type == _LENGTH_DELIMITED else 0)
        if length < 0 or number == 0 or after > end:
            raise ValueError(f"{stream.name} is not a whole .onnx file")
        yield _Field(number, start, content, after)
        start = after


def _references(stream: BinaryIO) -> Iterator[_Field]:
    """The initialisers that are small enough to be mere references to a data file."""
    for graph in list(_fields(stream)):
        if graph.number == _GRAPH_FIELD:
            for field in list(_fields(stream, graph.content, graph.end)):
                small = field.end - field.start < _REFERENCE_BYTES
                if field.number == _INITIALIZER_FIELD and small:
                    yield field


def _varint(stream: BinaryIO) -> int:
    value = shift = 0
    while shift < 64:
        byte = stream.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
    raise ValueError(f"{stream.name} is not a whole .onnx file")


def _content(stream: BinaryIO, field: _Field) -> bytes:
    stream.seek(field.content)
    return stream.read(field.end - field.content)


def _locations(tensor: bytes) -> list[str]:
    entries = onnx.TensorProto.FromString(tensor).external_data
    return [entry.value for entry in entries if entry.key == "location"]


def _metadata(stream: BinaryIO, fields: Iterable[_Field]) -> dict[str, str]:
    found = {}
    for field in fields:
        if field.number == _METADATA_FIELD:
            entry = onnx.StringStringEntryProto.FromString(_content(stream, field))
            found[entry.key] = entry.value
    return found


def _copy(stream: BinaryIO, sink: BinaryIO, start: int, end: int) -> None:
    stream.seek(start)
    while start < end:
        chunk = stream.read(min(end - start, _COPIED_BYTES))
        if not chunk:
            raise ValueError(f"{stream.name} became shorter while it was read")
        sink.write(chunk)
        start += len(chunk)
