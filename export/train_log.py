"""The log of a training: one JSON object a line, a header and then every epoch.

Schema history
--------------
1  first one; its header has no number
2  the header has its ``schema``, and ``half``, which later logs of schema 1 have as well:
   without it the checkpoint's filters are stored as fp32
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SCHEMA = 2
READABLE = (1, 2)


class LogError(ValueError):
    """A file that is no training log, or one of a schema that is not known here."""


@dataclass(frozen=True)
class EpochLine:
    """What one epoch came to; ``best``: the best validation accuracy so far, and kept.

    ``lr`` is the rate at the epoch's last step, ``size`` the images' (height, width).
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    size: tuple[int, int]
    best: bool
    seconds: float

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> EpochLine:
        """From the JSON of ``asdict``."""
        return cls(**{**fields, "size": tuple(fields["size"])})

    def text(self) -> str:
        """One line for people."""
        kept = ", kept" if self.best else ""
        return (
            f"epoch {self.epoch}: loss {self.train_loss:.3f}, train {self.train_accuracy:.1%}, "
            f"val {self.val_accuracy:.2%} (loss {self.val_loss:.3f}), "
            f"lr {self.lr:g}, {self.seconds:.0f} s{kept}"
        )


@dataclass(frozen=True)
class TrainLog:
    """A log as it was read; ``done``: the training came to its end."""

    header: Mapping[str, Any]
    epochs: tuple[EpochLine, ...] = ()
    done: bool = False

    @property
    def schema(self) -> int:
        """Which of the ``READABLE`` ones it is written in."""
        return int(_schema(self.header))

    @property
    def half(self) -> bool:
        """Whether the checkpoint's filters and matrices are stored as fp16."""
        return bool(self.header.get("half", False))


class LogFile:
    """Writes a log; every line is on the disk when the call returns."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path, self._header = path, header
        self._written = -1

    def record(self, epochs: Sequence[EpochLine]) -> None:
        """Bring the file up to these epochs; the first call rewrites it, later ones append."""
        if self._written < 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append("w", {"kind": "training", "schema": SCHEMA, **self._header})
            self._written = 0
        for line in epochs[self._written :]:
            self._append("a", {"kind": "epoch", **asdict(line)})
        self._written = len(epochs)

    def finish(self, facts: Mapping[str, Any]) -> None:
        """The last line."""
        self._append("a", {"kind": "done", **facts})

    def _append(self, mode: str, row: Mapping[str, Any]) -> None:
        with self.path.open(mode, encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_log(path: Path) -> TrainLog:
    """The log in a file; a ``LogError`` where it is none, or of another schema."""
    rows: list[Any] = []
    for line in _lines(path):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break  # cut off in the middle: what came before counts
    if not rows or not isinstance(rows[0], dict) or rows[0].get("kind") != "training":
        raise LogError(f"{path} is no training log: its first line should say what was trained")
    if _schema(rows[0]) not in READABLE:
        raise LogError(
            f"{path} is a training log of schema {_schema(rows[0])!r}, but this version reads "
            f"up to schema {SCHEMA}: read it with the version that wrote it"
        )
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or "kind" not in row:
            raise LogError(f"{path} line {number} is no line of a training log: it has no kind")
    done = any(row["kind"] == "done" for row in rows)
    return TrainLog(rows[0], tuple(_epochs(rows, path)), done)


def _schema(header: Mapping[str, Any]) -> Any:
    """The number that a header has; the first one had none."""
    return header.get("schema", 1)


def _epochs(rows: Sequence[Mapping[str, Any]], path: Path) -> Iterator[EpochLine]:
    """The epochs of a log; a ``LogError`` for one with other fields than we know."""
    for number, row in enumerate(rows, 1):
        if row["kind"] != "epoch":
            continue
        try:
            yield EpochLine.of({name: value for name, value in row.items() if name != "kind"})
        except (TypeError, KeyError) as exc:
            raise LogError(f"{path} line {number} is no epoch of a training: {exc}") from exc


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise LogError(f"{path} can't be read: {exc}") from exc
