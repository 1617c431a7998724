"""What the files of a search say by now of a choice that a run's header keeps as it was then.

A header is never written anew. Where the folder ``search`` beside the records still holds just
that choice, its layers may have names since (``bench.name_layers``), and its log has what plain
min-max came to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bench import choices, search_log
from bench.choices import Choice, Score
from bench.options import UsageError
from bench.record import Run
from export.build import Int8

FOLDER = "search"


def completed(run: Run, out: Path) -> Run:
    """The run with what ``out``/search adds to its choices; any other file there adds nothing."""
    chosen = tuple(_completed(one, out / FOLDER) for one in run.header.int8_choices)
    return replace(run, header=replace(run.header, int8_choices=chosen))


def _completed(choice: Choice, folder: Path) -> Choice:
    path = choices.path_of(folder, choice.variant, choice.weights)
    try:
        known = choices.read(path)
        plain = choice.plain or _plain(path.with_suffix(".jsonl"))
    except UsageError:  # gone, or of another version: the choice says what it said then
        return choice
    if not _same(choice, known):
        return choice
    layers = {one.name: one.layer for one in known.blamed}
    blamed = (replace(one, layer=one.layer or layers[one.name]) for one in choice.blamed)
    return replace(choice, blamed=tuple(blamed), plain=plain)


def _same(one: Choice, other: Choice) -> bool:
    """Whether two choices are of the same search, whatever is told of it besides."""
    return (one.int8, one.val, one.test, _harms(one)) == (
        *(other.int8, other.val, other.test, _harms(other)),
    )


def _harms(choice: Choice) -> Iterable[tuple[str, float]]:
    return [(one.name, one.error) for one in choice.blamed]


def _plain(log: Path) -> Score | None:
    """What the usual options came to; ``None``: they were not tried, or the log is gone."""
    if not log.exists():
        return None
    _, lines = search_log.read(log)
    tried = (line.tried for line in lines if line.tried)
    return next((one.score for one in tried if one.int8 == Int8()), None)
