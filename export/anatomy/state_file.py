"""What a state dict holds: .safetensors, and pickles that torch reads as mere data."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from export import memory
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
    stem,
)
from export.download import WeightsError
from export.pickled import check_archive
from export.weights import _refusing_pickles

PICKLES = (".pt", ".pth", ".bin", ".ckpt")
NO_MACS = "a state dict has no graph: multiply-accumulates are known of an .onnx only"

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net")
_OPTIMIZER_PART = re.compile(r"(^|_)(optim|optimizer|optimizers|optimizer_states?|opt)(_|$)", re.I)
_MOMENTS = (
    "exp_avg",
    "exp_avg_sq",
    "exp_inf",
    "max_exp_avg_sq",
    "momentum_buffer",
    "square_avg",
    "grad_avg",
    "acc_delta",
    "sum",
)
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_DEEPEST = 16

_SAFETENSORS_DTYPES: Mapping[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read_safetensors(file: Path) -> Contents:
    """Map a .safetensors file; an ``UnreadableFile`` where it is none."""
    try:
        with safe_open(file, framework="numpy") as checked:  # it compares offsets with the file
            metadata = dict(checked.metadata() or {})
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
    except (SafetensorError, OSError, ValueError) as exc:
        raise UnreadableFile(
            f"{file} is truncated or not a safetensors file ({exc}): fetch or save it again"
        ) from exc
    names = sorted((name for name in header if name != "__metadata__"), key=_natural)
    found = (_mapped(file, 8 + length, name, header[name]) for name in names)
    return _contents(file, "safetensors", found, metadata)


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers by their size: the file's own order is not that of the module."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(x), "") if x.isdecimal() and len(x) < 10 else (-1, x) for x in parts]


def _mapped(file: Path, start: int, name: str, entry: Mapping[str, Any]) -> Tensor:
    """One tensor, to be mapped when asked for."""
    if entry["dtype"] not in _SAFETENSORS_DTYPES:
        raise UnreadableFile(f"{file}: {name!r} is of type {entry['dtype']}, which is not known")
    dtype = np.dtype(_SAFETENSORS_DTYPES[entry["dtype"]])
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])

    def values() -> Array:
        if begin == end:
            return np.zeros(shape, dtype)
        return np.memmap(file, dtype, mode="r", offset=start + begin, shape=shape)

    return _tensor(name, name, shape, dtype.name, end - begin, values)


def read_pickle(file: Path) -> Contents:
    """Map what ``torch.save`` wrote; a file that would run code is refused.

    Files from before PyTorch 1.6 can't be mapped, and are read whole. Raises ``MemoryError``
    where that takes more than there is.
    """
    try:
        check_archive(file)
        with _refusing_pickles(file), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = _loaded(file)
    except WeightsError as exc:
        if memory.is_lacking(exc):
            raise MemoryError(f"{file} needs more memory to be read than there is") from exc
        raise UnreadableFile(str(exc)) from exc
    found = list(_walk(content, (), 0))
    if not found:
        raise UnreadableFile(f"{file} holds no tensors: is it a state dict?")
    for path, tensor in found:
        _check_stored(file, ".".join(path), tensor)
    return _contents(file, "PyTorch", _pickled(found), {})


def _check_stored(file: Path, name: str, tensor: torch.Tensor) -> None:
    """Raise ``UnreadableFile`` for a tensor that is larger than what is stored of it.

    With steps of 0 from one element to the next a few bytes make a tensor of any size.
    """
    size, stored = tensor.numel() * tensor.itemsize, tensor.untyped_storage().nbytes()
    if size > stored:
        raise UnreadableFile(
            f"{file}: tensor {name!a} of shape {tuple(tensor.shape)} would take {size} bytes, and "
            f"{stored} are stored of it: refused"
        )


def _loaded(file: Path) -> object:
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as exc:
        if "mmap can only be used" not in str(exc):
            raise
    return torch.load(file, map_location="cpu", weights_only=True)


def _walk(
    content: object, path: tuple[str, ...], depth: int
) -> Iterator[tuple[tuple[str, ...], torch.Tensor]]:
    """Every tensor of a nest of dicts and lists, with the keys that lead to it."""
    if isinstance(content, torch.Tensor):
        yield path, content
    elif depth < _DEEPEST and isinstance(content, Mapping):
        for key, value in content.items():
            yield from _walk(value, (*path, str(key)), depth + 1)
    elif depth < _DEEPEST and isinstance(content, list | tuple):
        for key, value in enumerate(content):
            yield from _walk(value, (*path, str(key)), depth + 1)


def _pickled(found: list[tuple[tuple[str, ...], torch.Tensor]]) -> Iterator[Tensor]:
    """Tensors with the bytes of their storages, each counted once: tied weights share one."""
    seen: set[int] = set()
    for path, tensor in found:
        storage = tensor.untyped_storage()
        known = storage.data_ptr() in seen
        seen.add(storage.data_ptr())
        keys = path[1:] if len(path) > 1 and path[0] in _WRAPPERS else path
        dtype = str(tensor.dtype).removeprefix("torch.")
        size = 0 if known else storage.nbytes()
        shape = tuple(tensor.shape)
        yield _tensor(".".join(keys), ".".join(path), shape, dtype, size, _numpy_of(tensor))


def _numpy_of(tensor: torch.Tensor) -> Callable[[], Array]:
    def values() -> Array:
        plain = tensor.detach()
        if plain.dtype == torch.bfloat16:
            halves: Array = plain.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
            return halves
        array: Array = plain.numpy()
        return array

    return values


def _tensor(
    name: str, path: str, shape: tuple[int, ...], dtype: str, size: int, values: Callable[[], Array]
) -> Tensor:
    last = path.rpartition(".")[2]
    role: Role = "parameter" if "float" in dtype and 0 not in shape else "other"
    if last in _STATISTICS:
        role = "other"
    if _is_optimizer(path, last):
        role = "optimizer"
    layer = OPTIMIZER if role == "optimizer" else stem(name)
    axis = 0 if role == "parameter" and len(shape) > 1 else None
    return Tensor(name, shape, dtype, size, values, layer, role, axis)


def _is_optimizer(path: str, last: str) -> bool:
    parts = path.split(".")
    return any(_OPTIMIZER_PART.search(part) for part in parts[:-1]) or (
        last in _MOMENTS and len(parts) > 1
    )


def _contents(
    file: Path, kind: str, tensors: Iterator[Tensor], metadata: Mapping[str, str]
) -> Contents:
    found = tuple(_counted(tensor) for tensor in tensors)
    if not found:
        raise UnreadableFile(f"{file} holds no tensors: is it a state dict?")
    return Contents(
        file=file,
        format=kind,
        size_bytes=file.stat().st_size,
        tensors=found,
        layers=layers_of(found, kinds(found)),
        metadata=metadata,
        no_macs=NO_MACS,
    )


def _counted(tensor: Tensor) -> Tensor:
    """With its zeros, which only parameters are asked for."""
    if tensor.role != "parameter":
        return tensor
    return replace(tensor, zeros=count_zeros(tensor.values()))
