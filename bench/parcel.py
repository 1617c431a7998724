"""Files on their way from one machine to another, by what is in them.

A parcel is a list of files with their hashes. Who lacks it fetches its pieces, checks every
file on arrival, and renames the whole into place: nobody ever sees a part of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

PIECE_BYTES = 32 << 20
"""What a process reads, sends or writes at a time.

All pieces of a folder are in the store of the machine that sends it until it has arrived: in
memory, or on its disk where they are too many.
"""

Fetch = Callable[[Any], Any]
"""What turns a reference into what it stands for: the bytes of a piece, say."""


class ParcelError(Exception):
    """What arrived is not what was sent, or can't be kept; the text says which file."""


@dataclass(frozen=True)
class Part:
    """One file of a parcel: its name below the parcel's folder, bytes, and SHA-256."""

    name: str
    size: int
    sha256: str

    @property
    def pieces(self) -> tuple[tuple[int, int], ...]:
        """Offset and length of each piece; an empty file has none."""
        starts = range(0, self.size, PIECE_BYTES)
        return tuple((start, min(PIECE_BYTES, self.size - start)) for start in starts)


@dataclass(frozen=True)
class Parcel:
    """Some files that belong together, in the order of their names."""

    parts: tuple[Part, ...]

    @property
    def digest(self) -> str:
        """Names the contents: parcels with the same files have the same one."""
        facts = [(part.name, part.size, part.sha256) for part in self.parts]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(part.size for part in self.parts)


def packed(place: Path) -> Parcel:
    """What stands at ``place``: a folder's files, or one file by its own name.

    Reads all of it once. Raises ``OSError``.
    """
    files = sorted(_files(place))
    base = place if place.is_dir() else place.parent
    return Parcel(tuple(_part(file, base) for file in files))


def chosen(folder: Path, names: Iterable[str]) -> Parcel:
    """Some files of a folder, by their names below it. Raises ``OSError``."""
    return Parcel(tuple(_part(file, folder) for file in sorted(folder / name for name in names)))


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    yield from (file for file in place.rglob("*") if file.is_file())


def _part(file: Path, base: Path) -> Part:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Part(file.relative_to(base).as_posix(), file.stat().st_size, digest)


def piece(place: Path, name: str, offset: int, length: int) -> bytes:
    """A piece of one file of the parcel at ``place``. Raises ``OSError``."""
    file = place / name if place.is_dir() else place
    with file.open("rb") as stream:
        stream.seek(offset)
        return stream.read(length)


def check(part: Part, data: bytes) -> None:
    """Raise :class:`ParcelError` where ``data`` is not that file."""
    _check(part, hashlib.sha256(data).hexdigest())


def unpack(parcel: Parcel, pieces: Sequence[Any], fetch: Fetch, target: Path) -> None:
    """Put a parcel at ``target``, from references to its pieces in order; nothing if it is there.

    A file on its own becomes ``target/NAME`` as well. Raises :class:`ParcelError` for what is
    not what was sent, and ``OSError`` where it can't be kept: then nothing stands at ``target``.
    """
    if is_whole(parcel, target):
        return
    work = target.parent / f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    work.mkdir(parents=True)
    left = iter(pieces)
    try:
        for part in parcel.parts:
            _write(part, left, fetch, work)
        _settle(parcel, work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def stands_in(parcel: Parcel, folder: Path) -> bool:
    """Whether the files of a parcel stand in a folder, among others perhaps. Reads no other."""
    return _sizes_fit(parcel, folder) and all(
        _part(folder / part.name, folder) == part for part in parcel.parts
    )


def is_whole(parcel: Parcel, target: Path) -> bool:
    """Whether just the files of a parcel stand at ``target``, byte for byte."""
    return target.is_dir() and _sizes_fit(parcel, target) and packed(target) == parcel


def _sizes_fit(parcel: Parcel, folder: Path) -> bool:
    files = [(folder / part.name, part.size) for part in parcel.parts]
    return all(file.is_file() and file.stat().st_size == size for file, size in files)


def _write(part: Part, pieces: Iterator[Any], fetch: Fetch, work: Path) -> None:
    name = PurePosixPath(part.name)
    if name.is_absolute() or ".." in name.parts:
        raise ParcelError(f"a parcel names {part.name!r}, which is outside of its folder")
    file = work / name
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = hashlib.sha256()
    with file.open("wb") as stream:
        for _ in part.pieces:
            data = fetch(next(pieces))
            whole.update(data)
            stream.write(data)
    _check(part, whole.hexdigest())


def _check(part: Part, digest: str) -> None:
    if digest != part.sha256:
        raise ParcelError(
            f"{part.name} arrived with sha256 {digest[:12]}, was sent with {part.sha256[:12]}: it "
            "was changed on the way or where it stood"
        )


def _settle(parcel: Parcel, work: Path, target: Path) -> None:
    """Rename into place; what stands there and is not whole gives way."""
    if target.exists() and not is_whole(parcel, target):
        shutil.rmtree(target)
    try:
        work.rename(target)
    except OSError:
        # Another process put the same there just now.
        if not is_whole(parcel, target):
            raise
