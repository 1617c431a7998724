"""What another resize filter costs, next to what INT8 costs: its record and its table.

``OUT/accuracy/resize.jsonl`` is written by ``python -m bench.resize_cost``: a header, then a
line for each case and filter. Pure functions but for reading the file.

Schema history
--------------
1  first one
2  the header names the variants whose classes are assumed
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench import scores
from bench.case import Case
from bench.matrix import Grid
from bench.record import Answers, Labelled, RecordError, whole_lines
from bench.rows import runtime_name, table_order
from bench.score_tables import assumed, visible
from bench.scores import Paired, Scored
from bench.text import NOTHING, difference_text, p_value, percent_interval

SCHEMA = 2
READABLE = (1, 2)
PLACE = Path("accuracy") / "resize.jsonl"
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")
"""Pillow's, all of which but nearest average over the source pixels when they shrink."""


@dataclass(frozen=True)
class Header:
    """What all lines share; as in a run's header.

    ``assumed``: variants whose weights name no classes, so that only ``--folder-order`` says
    what their answers mean.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    schema: int
    started: str
    command: str
    commit: str
    host: Mapping[str, str]
    versions: Mapping[str, str]
    labelled: Labelled
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """What one file answered to images that were resized with ``filter``.

    ``own``: with that filter its network was trained, calibrated and is shipped.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    case: Case
    filter: str
    own: bool
    answers: Answers


HEADER = TypeAdapter(Header)
LINE = TypeAdapter(Line)


@dataclass(frozen=True)
class ResizeCost:
    """The whole file."""

    header: Header
    lines: tuple[Line, ...]


def dumped(cost: ResizeCost) -> bytes:
    """The file's content."""
    rows = [HEADER.dump_json(cost.header), *map(LINE.dump_json, cost.lines)]
    return b"".join(row + b"\n" for row in rows)


def read(out: Path) -> ResizeCost | None:
    """What stands below ``out``; ``None``: nothing. Raises ``RecordError``."""
    path = out / PLACE
    if not path.exists():
        return None
    with contextlib.closing(whole_lines(path)) as found:
        try:
            header = HEADER.validate_json(next(found, b""))
            if header.schema in READABLE:
                return ResizeCost(header, tuple(LINE.validate_json(line) for line in found))
        except ValidationError as exc:
            raise RecordError(f"{path} is no file of bench.resize_cost: {exc}") from exc
    raise RecordError(f"{path}: schema {header.schema}, but this version reads up to {SCHEMA}")


def table(cost: ResizeCost) -> Grid:
    """A line for each filter that an fp32 file was not made for, and for each other recipe."""
    own = {line.case: line for line in cost.lines if line.own}
    ordered = sorted(cost.lines, key=lambda line: table_order(line.case))
    return Grid(
        "Another resize filter, and INT8, against the same network in fp32 with its own filter",
        (
            "variant",
            "runtime",
            "what is changed",
            "from",
            "top-1, %: as shipped",
            "changed",
            "same answer, %",
            "difference, points",
            "McNemar p",
            "could have shown a drop of",
        ),
        tuple(
            _cells(line, parent, cost.header.labelled)
            for line in ordered
            if (parent := _parent(line, own.values())) is not None
        ),
        names=4,
        note=assumed(cost.header.assumed, cost.header.labelled.class_names),
    )


def _parent(line: Line, own: Iterable[Line]) -> Line | None:
    """The fp32 file with its own filter, unless it is this line."""
    for other in own:
        one, case = other.case, line.case
        same = (one.variant, one.weights, one.runtime) == (case.variant, case.weights, case.runtime)
        if same and one.recipe == "fp32":
            return None if other is line else other
    return None


def _cells(line: Line, parent: Line, labelled: Labelled) -> tuple[str, ...]:
    was, is_now = (scores.scored(labelled, one.answers) for one in (parent, line))
    recipe = line.case.recipe != parent.case.recipe
    return (
        line.case.variant,
        runtime_name(line.case),
        line.case.recipe if recipe else f"resized by {line.filter}",
        parent.case.recipe if recipe else parent.filter,
        *(_top1(one) for one in (was, is_now)),
        *_difference(scores.paired(was, is_now)),
    )


def _top1(found: Scored) -> str:
    return percent_interval(scores.top(found, 1))


def _difference(paired: Paired | None) -> tuple[str, ...]:
    if paired is None:
        return (NOTHING,) * 4
    return (
        f"{100 * paired.agreement:.1f}",
        difference_text(paired.difference, 100),
        p_value(paired.p_value),
        visible(paired),
    )
