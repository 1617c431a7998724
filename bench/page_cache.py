"""What the kernel holds of a model file in memory: read it, ask how much is there, drop it.

A cold start differs by this alone. Linux only; where the system doesn't let us,
``resident_share`` is ``None``.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 20


def read(files: Iterable[Path]) -> int:
    """Read every file from beginning to end and keep nothing; returns the bytes."""
    buffer = bytearray(_CHUNK)
    total = 0
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                total += count
    return total


def drop(files: Iterable[Path]) -> None:
    """Ask the kernel to forget the files' pages, what was not yet on the disk written first.

    A request: :func:`resident_share` tells whether it was followed.
    """
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def resident_share(files: Iterable[Path]) -> float | None:
    """The share of the files' pages that the page cache holds; ``None``: cannot be told.

    By mincore(2), which since Linux 5.2 answers "all of it" for files that the
    caller may not write: of such files nothing can be told.
    """
    resident = total = 0
    for file in files:
        if not os.access(file, os.W_OK):
            return None
        pages = _resident_pages(file)
        if pages is None:
            return None
        resident += int(pages.sum())
        total += pages.size
    return resident / total if total else None


def _resident_pages(file: Path) -> NDArray[np.uint8] | None:
    """For each page of a file, 1 if it is in memory; ``None`` where mincore refuses."""
    size = file.stat().st_size
    if size == 0:
        return np.zeros(0, np.uint8)
    library = ctypes.CDLL(None, use_errno=True)
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as view:
        whole = np.frombuffer(view, np.uint8)
        found = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
        refused = library.mincore(
            ctypes.c_void_p(whole.ctypes.data), ctypes.c_size_t(size), found.ctypes.data_as(_BYTES)
        )
        del whole  # or the map could not be closed
    return None if refused else found & np.uint8(1)


_BYTES = ctypes.POINTER(ctypes.c_ubyte)
