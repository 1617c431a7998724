"""What a Keras file holds: .h5, .weights.h5 and .keras, read with h5py; no TensorFlow.

A .keras file is a zip with ``model.weights.h5`` and ``config.json`` in it. Nothing in it is
run: of the configuration only the names and classes of layers are looked at.
"""

from __future__ import annotations

import io
import json
import re
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from export.anatomy.contents import (
    OPTIMIZER,
    Array,
    Contents,
    Role,
    Tensor,
    UnreadableFile,
    count_zeros,
    kinds,
    layers_of,
)

WEIGHTS, CONFIG = "model.weights.h5", "config.json"
NO_MACS = "weights only: multiply-accumulates are known of an .onnx only (tf2onnx makes one)"

_MOST_CONFIG_BYTES = 64 << 20
_MOST_UNPACKED_BYTES = 4 << 30
"""Of a compressed .keras, in a temporary file, which counts as nobody's memory."""
_MOST_RATIO = 200  # of unpacked to stored bytes; weights hardly compress
_MOST_OBJECTS = 100_000
_COPIED_BYTES = 1 << 20
_OPTIMIZER_GROUPS = ("optimizer", "optimizer_weights")
_STATISTICS = re.compile(r"(moving_mean|moving_variance)(:\d+)?$")


@dataclass(frozen=True)
class _Place:
    """Where the bytes of an HDF5 file lie: an offset in a file that can be mapped."""

    file: Path | IO[bytes]
    offset: int = 0


def read_keras(file: Path) -> Contents:
    """Take a Keras file apart; an ``UnreadableFile`` where that is not possible."""
    try:
        import h5py
    except ImportError as exc:
        raise UnreadableFile(f"{file} needs h5py: pip install 'deploybench[keras]'") from exc
    try:
        if zipfile.is_zipfile(file):
            return _read_zip(file, h5py)
        with h5py.File(file, "r") as opened:
            config = str(opened.attrs.get("model_config", ""))
            return _contents(file, opened, config, _Place(file))
    except UnreadableFile:
        raise
    except (OSError, ValueError, zipfile.BadZipFile, KeyError, RuntimeError, EOFError) as exc:
        raise UnreadableFile(
            f"{file} is truncated, damaged or no Keras file ({_first_line(exc)}): "
            "fetch or save it again"
        ) from exc


def _first_line(exc: BaseException) -> str:
    return ascii(str(exc).partition("\n")[0])[1:-1]


def _read_zip(file: Path, h5py: Any) -> Contents:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if WEIGHTS not in names:
            raise UnreadableFile(f"{file} is a zip without {WEIGHTS}: is it a .keras file?")
        config = archive.read(CONFIG) if _is_modest(archive, CONFIG) else b""
        info = archive.getinfo(WEIGHTS)
        if info.compress_type == zipfile.ZIP_STORED:
            place = _Place(file, _data_offset(file, info))
            stream: IO[bytes] = _Segment(file, place.offset, info.file_size)  # type: ignore[assignment]
        else:
            stream = _unpacked(file, archive, info)
            place = _Place(stream)
    with h5py.File(stream, "r") as opened:
        return _contents(file, opened, config.decode("utf-8", "replace"), place)


def _is_modest(archive: zipfile.ZipFile, name: str) -> bool:
    return name in archive.namelist() and archive.getinfo(name).file_size <= _MOST_CONFIG_BYTES


def _data_offset(file: Path, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a stored member begin (APPNOTE.TXT 4.3.7, local file header)."""
    with file.open("rb") as stream:
        stream.seek(info.header_offset)
        header = stream.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise UnreadableFile(f"{file} is a damaged zip: fetch or save it again")
    name, extra = struct.unpack("<HH", header[26:30])
    return info.header_offset + 30 + int(name) + int(extra)


def _unpacked(file: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """A compressed member in a temporary file, if it is no zip bomb."""
    likely = _MOST_RATIO * max(1, info.compress_size)
    most = min(_MOST_UNPACKED_BYTES, likely)
    why = "which no weights do" if likely <= most else "the most that is: save it uncompressed"
    target = tempfile.TemporaryFile()  # noqa: SIM115 mapped as long as its values are
    with archive.open(info) as source:
        while chunk := source.read(_COPIED_BYTES):
            if target.tell() + len(chunk) > most:
                raise UnreadableFile(f"{file}: {WEIGHTS} unpacks to more than {most} bytes, {why}")
            target.write(chunk)
    target.flush()
    return target


class _Segment(io.RawIOBase):
    """A part of a file as a file of its own, for h5py."""

    def __init__(self, file: Path, start: int, length: int) -> None:
        self._stream = file.open("rb")
        self._start, self._length, self._at = start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        self._stream.seek(self._start + self._at)
        part = self._stream.read(min(len(buffer), max(0, self._length - self._at)))
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _contents(file: Path, opened: Any, config: str, place: _Place) -> Contents:
    found = []
    for path, dataset in _datasets(opened, file):
        tensor = _tensor(path, dataset, _values(file, dataset, place))
        zeros = count_zeros(tensor.values()) if tensor.role == "parameter" else 0
        found.append(replace(tensor, zeros=zeros))
    if not found:
        raise UnreadableFile(f"{file} holds no weights: is it a Keras file?")
    order = _order(opened, config)  # only now: all links are known to lead nowhere else
    found.sort(key=lambda tensor: order.get(tensor.layer.split("/")[-1], len(order)))
    return Contents(
        file=file,
        format="Keras",
        size_bytes=file.stat().st_size,
        tensors=tuple(found),
        layers=layers_of(found, kinds(tuple(found))),
        no_macs=NO_MACS,
    )


def _datasets(opened: Any, file: Path) -> Iterator[tuple[str, Any]]:
    """Every array of numbers, each once; what leads out of the file is refused."""
    import h5py

    left: list[tuple[str, Any]] = [("", opened)]
    seen: set[int] = set()
    while left:
        path, group = left.pop()
        for name in group:
            where = f"{path}/{name}" if path else name
            # A soft link is none, either: it may go through an external one, and is followed
            # before anybody could ask where to.
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                raise UnreadableFile(
                    f"{file}: {where!a} is a link that leads to another file, or could: refused"
                )
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > _MOST_OBJECTS:
                raise UnreadableFile(f"{file} has over {_MOST_OBJECTS} parts: no classifier has")
            if isinstance(item, h5py.Group):
                left.append((where, item))
            elif isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub":
                yield where, _checked(item, where, file)


def _checked(dataset: Any, where: str, file: Path) -> Any:
    if dataset.is_virtual or dataset.external:
        raise UnreadableFile(f"{file}: {where!a} keeps its values in another file: refused")
    if dataset.nbytes > max(1 << 20, _MOST_RATIO * dataset.id.get_storage_size()):
        raise UnreadableFile(
            f"{file}: {where!a} unpacks to {dataset.nbytes} bytes, which no weights do"
        )
    return dataset


def _values(file: Path, dataset: Any, place: _Place) -> Callable[[], Array]:
    """Mapped where the array lies in the file as it is; else read now, for the file is closed."""
    offset = dataset.id.get_offset()
    shape, dtype = dataset.shape, dataset.dtype
    if offset is None or not dataset.size:
        array: Array = np.asarray(dataset[()])
        return lambda: array
    end = place.offset + offset + dataset.nbytes
    if isinstance(place.file, Path) and end > file.stat().st_size:
        raise UnreadableFile(f"{file} is truncated: fetch or save it again")
    return lambda: np.memmap(place.file, dtype, "r", place.offset + offset, shape)


def _tensor(path: str, dataset: Any, values: Callable[[], Array]) -> Tensor:
    parts = path.split("/")
    shape = tuple(int(size) for size in dataset.shape)
    role: Role = "parameter" if dataset.dtype.kind == "f" else "other"
    if _STATISTICS.search(path) or _is_statistic(parts):
        role = "other"
    if parts[0] in _OPTIMIZER_GROUPS:
        role = "optimizer"
    layer = OPTIMIZER if role == "optimizer" else _layer(parts)
    axis = len(shape) - 1 if role == "parameter" and len(shape) > 1 else None
    stored = int(dataset.id.get_storage_size())
    return Tensor(path, shape, dataset.dtype.name, stored, values, layer, role, axis)


def _is_statistic(parts: list[str]) -> bool:
    """Keras 3 numbers its variables: of a BatchNormalization, 2 and 3 are statistics."""
    return parts[-1] in ("2", "3") and any(p.startswith("batch_normalization") for p in parts)


def _layer(parts: list[str]) -> str:
    """``layers/dense`` of ``layers/dense/vars/0``; doubled parts once, as Keras 2 has them."""
    kept = [p for p in parts[:-1] if p not in ("model_weights", "vars")]
    unique = [p for i, p in enumerate(kept) if i == 0 or p != kept[i - 1]]
    return "/".join(unique) or parts[-1]


def _order(opened: Any, config: str) -> dict[str, int]:
    """Where each layer stands in the network, as far as the file says."""
    group = opened.get("model_weights", opened)
    names = [x.decode() if isinstance(x, bytes) else str(x) for x in _words(group, "layer_names")]
    if names:
        return {name: i for i, name in enumerate(names)}
    try:
        layers = json.loads(config)["config"]["layers"] if config else []
        return _numbered([(str(x["class_name"]), str(x["config"]["name"])) for x in layers])
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}  # the order only helps to guess what follows what


def _words(group: Any, name: str) -> Any:
    """An attribute if it is text: of what claims to be anything else HDF5 may read for ever."""
    import h5py

    if name not in group.attrs:
        return []
    kind = group.attrs.get_id(name).get_type()
    return group.attrs[name] if isinstance(kind, h5py.h5t.TypeStringID) else []


def _numbered(layers: list[tuple[str, str]]) -> dict[str, int]:
    """Both names by which Keras 3 stores a layer: its own, and its class's with a number."""
    found: dict[str, int] = {}
    used: dict[str, int] = {}
    for i, (kind, name) in enumerate(layers):
        # As keras.src.utils.naming.to_snake_case: conv2d, batch_normalization, p_re_lu.
        snake = re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", kind).lower()
        number = used.get(snake, 0)
        used[snake] = number + 1
        found.setdefault(f"{snake}_{number}" if number else snake, i)
        found.setdefault(name, i)
    return found
