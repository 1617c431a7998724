"""What a search has found out so far: one line of JSON for each result, kept at once.

Schema history
--------------
1  first one; its first line has no number
2  the first line has its ``schema``; looks at the test part that an earlier log of the same
   place had counted
3  the first line says where and by what command the search was begun; a layer that is ranked
   has the name of its weight
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.choices import Blamed, Made, Score
from bench.options import UsageError
from export.build import Int8

SCHEMA = 3
READABLE = (1, 2, 3)


@dataclass(frozen=True)
class About:
    """What the results of one file are about; the first line.

    ``fp32`` is the key of the file that candidates are compared with, ``images`` a
    fingerprint of the validation images that decide; ``train`` and ``test`` are those of
    the parts that ranges are taken from and that the choice is judged by. ``made`` says where it
    was begun; it may go on elsewhere.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    variant: str
    weights: str
    fp32: str
    images: str
    train: str
    test: str
    schema: int = 1
    made: Made | None = None


@dataclass(frozen=True)
class Tried:
    """One candidate: its file's key and score, or the reason why there is none."""

    int8: Int8
    artifact: str = ""
    score: Score | None = None
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Line:
    """One line: a candidate, a ranking of layers under a scheme, or a look at the test part.

    ``verdict`` says of the last whether the limit of that time is kept on either part.
    ``looks`` stands alone, first: how often the same test part was looked at by searches
    whose log this one took the place of.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    tried: Tried | None = None
    int8: Int8 | None = None
    ranking: tuple[Blamed, ...] | None = None
    test: Score | None = None
    verdict: str = ""
    looks: int = 0


_ABOUT = TypeAdapter(About)
_LINE = TypeAdapter(Line)


@dataclass
class Log:
    """The results of one variant's search, in memory and in a file."""

    path: Path
    lines: list[Line] = field(default_factory=list)
    made: Made | None = None

    @classmethod
    def open(cls, path: Path, about: About, fresh: bool = False) -> Log:
        """Go on with what ``path`` holds of the same search, or begin it.

        Raises :class:`UsageError` where it holds another one, unless ``fresh``.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh or not path.exists():
            return cls._begun(path, about)
        known, lines = _read(path)
        if _compared(known) != _compared(about):
            raise UsageError(
                f"{path} is about {_differing(known, about)}: say --fresh to begin anew, or "
                "--out for another folder"
            )
        return cls(path, lines, known.made)

    @classmethod
    def _begun(cls, path: Path, about: About) -> Log:
        """A new file; of the one in its place only the looks at the same test part are kept."""
        looks = _looks(path, about)
        path.write_bytes(_ABOUT.dump_json(replace(about, schema=SCHEMA)) + b"\n")
        log = cls(path, made=about.made)
        if looks:
            log._append(Line(looks=looks))
        return log

    def add(self, tried: Tried) -> None:
        """Keep a candidate's result."""
        self._append(Line(tried=tried))

    def find(self, int8: Int8) -> Tried | None:
        """What is known of a candidate, the last time that it was tried."""
        found = (line.tried for line in reversed(self.lines) if line.tried)
        return next((tried for tried in found if tried.int8 == int8), None)

    def add_ranking(self, int8: Int8, ranking: tuple[Blamed, ...]) -> None:
        """Keep which layers suffer most under a scheme."""
        self._append(Line(int8=int8, ranking=ranking))

    def ranking(self, int8: Int8) -> tuple[Blamed, ...] | None:
        """The layers that suffer most, as far as they were ranked under this scheme."""
        return next(
            (x.ranking for x in self.lines if x.int8 == int8 and x.ranking is not None), None
        )

    def add_test(self, int8: Int8, score: Score, verdict: str) -> None:
        """Keep what the test part said, and what follows, unless that stands there already."""
        line = Line(int8=int8, test=score, verdict=verdict)
        if line not in self.lines:
            self._append(line)

    def test(self, int8: Int8) -> Score | None:
        """What the test part said of a candidate, if it was asked."""
        return next((x.test for x in self.lines if x.int8 == int8 and x.test), None)

    @property
    def looks(self) -> int:
        """How often the test part was looked at: each pick that it was asked about is one look.

        To read an answer again is none: nothing new is learnt from it.
        """
        picks = {line.int8 for line in self.lines if line.test}
        return sum(line.looks for line in self.lines) + len(picks)

    @property
    def finished(self) -> bool:
        """Whether a pick was asked about the test part, so that a whole choice was made."""
        return any(line.test for line in self.lines)

    def _append(self, line: Line) -> None:
        self.lines.append(line)
        with self.path.open("ab") as stream:
            stream.write(_LINE.dump_json(line, exclude_defaults=True) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())


def _compared(about: About) -> About:
    """What two searches share that are the same one, wherever they were begun."""
    return replace(about, schema=SCHEMA, made=None)


def _read(path: Path) -> tuple[About, list[Line]]:
    """As ``read``; a line that was cut off is removed from the file."""
    text = path.read_bytes()
    end = text.rfind(b"\n") + 1
    if end != len(text):
        os.truncate(path, end)
    return read(path)


def read(path: Path) -> tuple[About, list[Line]]:
    """A log's first line and the others, but for one that was cut off.

    Raises :class:`UsageError` for a file that is no log, or one of a later schema.
    """
    text = path.read_bytes()
    # A last line without its end was being written when the search was killed.
    first, *rest = text[: text.rfind(b"\n") + 1].splitlines() or [b""]
    if (schema := _schema(first)) not in READABLE:
        raise UsageError(
            f"{path} is a search's log of schema {schema!r}, but this version reads up to schema "
            f"{SCHEMA}: go on with the version that wrote it, or say --out for another folder"
        )
    try:
        return _ABOUT.validate_json(first), [_LINE.validate_json(line) for line in rest]
    except ValidationError as exc:
        message = exc.errors()[0]["msg"]
        raise UsageError(f"{path} is no log of a search ({message}): say --fresh") from exc


def _schema(first: bytes) -> Any:
    """The number in a first line; what is no JSON, which is told later, has that of the first."""
    try:
        known = json.loads(first)
    except ValueError:
        return 1
    return known.get("schema", 1) if isinstance(known, dict) else 1


def _looks(path: Path, about: About) -> int:
    """How often the log at ``path`` says that the test part of ``about`` was looked at."""
    if not path.exists():
        return 0
    try:
        known, lines = _read(path)
    except UsageError:  # it is to be replaced just because nobody can read it
        return 0
    return Log(path, lines).looks if known.test == about.test else 0


def _differing(known: About, about: About) -> str:
    """In what two searches differ."""
    names = {
        "variant": "variant",
        "weights": "weights",
        "fp32": "fp32 files",
        "images": "images",
        "train": "training images",
        "test": "test images",
    }
    return ", ".join(
        f"other {words}"
        for name, words in names.items()
        if getattr(known, name) != getattr(about, name)
    )
