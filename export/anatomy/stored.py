"""What is stored for nothing, whatever the format: optimiser state, copies, float64, zeros."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from export.anatomy.contents import CHUNK, Contents, Tensor, shown
from export.anatomy.finding import Finding, Remedy, percent, several

LEAST_COPIED, LEAST_COPIED_SHARE = 1 << 20, 0.01
"""Bytes of copies from which they are worth a word, and their share of a small file."""
LEAST_ZEROS = 0.05
"""Share of zeros in a layer's weights from which they count as pruned."""
_LEAST_COPY_BYTES = 64
_LISTED = 5


def stored_findings(contents: Contents) -> Iterator[Finding]:
    """All of this file's kind."""
    yield from optimizer_state(contents)
    yield from unused(contents)
    yield from copies(contents)
    yield from doubles(contents)
    yield from zeros(contents)


def optimizer_state(contents: Contents) -> Iterator[Finding]:
    """Moments and the like, which only going on with the training needs."""
    found = [tensor for tensor in contents.tensors if tensor.role == "optimizer"]
    size = _bytes(found)
    if not size:
        return
    weights = contents.stored_bytes - size
    kinds = Counter(tensor.name.rpartition(".")[2] for tensor in found)
    named = ", ".join(shown(name) for name, _ in kinds.most_common(3))
    evidence = (
        f"{len(found)} tensors ({named}) of {size} bytes: "
        f"{size / max(1, weights):.2g} times all the others",
    )
    remedy = Remedy(
        "save the weights alone (PyTorch: model.state_dict(), Keras: model.save_weights)", size
    )
    yield Finding("optimizer-state", "the optimiser's state is in the file", evidence, (remedy,))


def unused(contents: Contents) -> Iterator[Finding]:
    """Initialisers that no node reads."""
    found = [tensor for tensor in contents.tensors if tensor.role == "unused"]
    if found:
        remedy = Remedy("remove them", _bytes(found))
        title = f"read by no node: {several(len(found), 'initialiser')}"
        yield Finding("unused-initializers", title, tuple(_listed(found)), (remedy,))


def copies(contents: Contents) -> Iterator[Finding]:
    """Tensors of equal bytes, each stored again."""
    alike: dict[tuple[str, tuple[int, ...]], list[Tensor]] = {}
    for tensor in contents.tensors:
        if tensor.role in ("parameter", "other") and tensor.size_bytes >= _LEAST_COPY_BYTES:
            alike.setdefault((tensor.dtype, tensor.shape), []).append(tensor)
    groups: dict[str, list[Tensor]] = {}
    for tensor in (t for found in alike.values() if len(found) > 1 for t in found):
        groups.setdefault(_digest(tensor), []).append(tensor)
    again = [found for found in groups.values() if len(found) > 1]
    again.sort(key=lambda found: _bytes(found[1:]), reverse=True)
    size = sum(_bytes(found[1:]) for found in again)
    if size >= min(LEAST_COPIED, LEAST_COPIED_SHARE * contents.stored_bytes) > 0:
        evidence = [_same(found) for found in again[:_LISTED]]
        title = f"stored more than once: {several(sum(len(x) - 1 for x in again), 'tensor')}"
        remedy = Remedy("keep one of each, read by all", size)
        yield Finding("duplicates", title, (*evidence, *_more(again)), (remedy,))


def _same(found: list[Tensor]) -> str:
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    names = " = ".join(shown(tensor.name) for tensor in found[:3])
    return f"{names}{more}: {found[0].size_bytes} bytes each"


def doubles(contents: Contents) -> Iterator[Finding]:
    """Weights of 64 bits."""
    found = [
        tensor
        for tensor in contents.tensors
        if tensor.dtype in ("float64", "double") and tensor.role != "optimizer"
    ]
    size = _bytes(found)
    if size:
        remedy = Remedy("store and compute in float32", size - size // 2)
        evidence = (
            f"{size} bytes of float64, {percent(size, contents.stored_bytes)} of the file's",
            *_listed(found),
        )
        yield Finding(
            "float64", f"stored as float64: {several(len(found), 'tensor')}", evidence, (remedy,)
        )


def zeros(contents: Contents) -> Iterator[Finding]:
    """Weights that pruning set to 0 and that take as much room and work as any."""
    found = [
        tensor
        for tensor in contents.tensors
        if tensor.output_axis is not None and tensor.zeros >= LEAST_ZEROS * tensor.elements > 0
    ]
    saved = sum(masked_bytes_saved(tensor) for tensor in found)
    if saved <= 0:
        return
    count = sum(tensor.zeros for tensor in found)
    found.sort(key=lambda tensor: tensor.zeros, reverse=True)
    evidence = [
        f"{shown(tensor.name)}: {percent(tensor.zeros, tensor.elements)} of {tensor.elements} are 0"
        for tensor in found[:_LISTED]
    ]
    remedy = Remedy(
        "ship it compressed: a bit for each weight and the others; no runtime here multiplies "
        "less for single zeros, only removing whole filters makes it faster",
        saved,
    )
    title = f"{count} weights are 0 and stored all the same"
    yield Finding("stored-zeros", title, (*evidence, *_more(found)), (remedy,))


def masked_bytes_saved(tensor: Tensor) -> int:
    """What a bit mask and the other weights would save of a tensor's bytes."""
    item = tensor.size_bytes // max(1, tensor.elements)
    return max(0, tensor.zeros * item - -(-tensor.elements // 8))


def _digest(tensor: Tensor) -> str:
    """A hash of a tensor's values, read in pieces."""
    found = hashlib.blake2b(f"{tensor.dtype}{tensor.shape}".encode())
    flat = tensor.values().reshape(-1)
    for start in range(0, flat.size, CHUNK):
        found.update(np.ascontiguousarray(flat[start : start + CHUNK]).tobytes())
    return found.hexdigest()


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.size_bytes for tensor in tensors)


def _listed(tensors: list[Tensor]) -> Iterator[str]:
    """The largest of them."""
    ordered = sorted(tensors, key=lambda tensor: tensor.size_bytes, reverse=True)
    yield from (f"{shown(t.name)}: {t.size_bytes} bytes" for t in ordered[:_LISTED])
    yield from _more(ordered)


def _more(found: list[Tensor] | list[list[Tensor]]) -> tuple[str, ...]:
    return (f"and {len(found) - _LISTED} more",) if len(found) > _LISTED else ()
