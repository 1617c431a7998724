"""The raw data of one experiment: ``OUT/NAME.jsonl``, a header and then a line a unit.

Each line is written as soon as it exists, so that the same command goes on after an
interruption; a finished one is compressed, as the records of ``bench.run`` are.
"""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.method.experiment import Line, Size
from bench.record import RecordError, whole_lines, write_atomically

SCHEMA = 1


@dataclass(frozen=True)
class Header:
    """What all lines of one experiment share."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    schema: int
    experiment: str
    started: str
    command: str
    commit: str
    host: Mapping[str, str]
    host_id: str
    versions: Mapping[str, str]
    size: Size


_HEADER = TypeAdapter(Header)


@dataclass(frozen=True)
class Journal(Generic[Line]):
    """A header and the lines so far."""

    header: Header
    lines: tuple[Line, ...] = ()


def find(out: Path, name: str) -> Path | None:
    """The file of an experiment below ``out``: the one in progress before a finished one."""
    paths = (out / f"{name}.jsonl", out / f"{name}.jsonl.gz")
    return next((path for path in paths if path.exists()), None)


def read(path: Path, line: TypeAdapter[Line]) -> Journal[Line]:
    """Header and lines of a file; a torn last line is left out. Raises ``RecordError``."""
    with contextlib.closing(whole_lines(path)) as found:
        try:
            header = _HEADER.validate_json(next(found, b""))
            if header.schema != SCHEMA:
                raise RecordError(
                    f"{path}: schema {header.schema}, but this version reads {SCHEMA}"
                )
            return Journal(header, tuple(line.validate_json(text) for text in found))
        except ValidationError as exc:
            raise RecordError(f"{path} is no raw data of an experiment of ours: {exc}") from exc


def resume(out: Path, header: Header, line: TypeAdapter[Line]) -> Journal[Line]:
    """What an interrupted experiment has by now, or an empty journal with ``header``.

    Raises ``RecordError`` if the one that was interrupted measures something else.
    """
    path = out / f"{header.experiment}.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    journal: Journal[Line] = Journal(header)
    if path.exists():
        journal = read(path, line)
        for name in ("size", "host_id", "versions"):
            begun, asked = getattr(journal.header, name), getattr(header, name)
            if begun != asked:
                raise RecordError(
                    f"{path} was begun with {name} {begun}, now it is {asked}: "
                    f"finish it ({journal.header.command}), remove it, or give another --out"
                )
    write_atomically(path, _text(journal, line))
    return journal


def append(out: Path, name: str, line: TypeAdapter[Line], value: Line) -> None:
    """Keep one more line."""
    with (out / f"{name}.jsonl").open("ab") as stream:
        stream.write(line.dump_json(value) + b"\n")


def finish(out: Path, name: str) -> Path:
    """Compress a whole file; the same lines give the same bytes. Returns the new path."""
    live, packed = out / f"{name}.jsonl", out / f"{name}.jsonl.gz"
    write_atomically(packed, gzip.compress(live.read_bytes(), mtime=0))
    live.unlink()
    return packed


def _text(journal: Journal[Line], line: TypeAdapter[Line]) -> bytes:
    parts: Iterable[bytes] = (
        _HEADER.dump_json(journal.header),
        *map(line.dump_json, journal.lines),
    )
    return b"\n".join(parts) + b"\n"
