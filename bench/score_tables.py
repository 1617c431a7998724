"""Rows -> what they answer: accuracy, what it lost against the fp32 parent, F1 by class.

Pure functions over ``bench.rows``; ``bench.report_family`` prints what they return.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from bench import scores
from bench.case import Case
from bench.matrix import Grid, one_each
from bench.resources import NAMES, unmarked_names
from bench.rows import Compared, Row, Table, runtime_name
from bench.score_cells import mark, points
from bench.scores import Averages, ByClass, Scored
from bench.text import (
    NOTHING,
    p_value,
    percent,
    percent_interval,
    plain,
    rounded,
)
from bench.turned import Turned
from export.classes import listed

MANY_CLASSES = 5
"""With more of them the first three and five answers are worth a column."""


def any_answers(table: Table) -> bool:
    """Whether a table needs columns of accuracy."""
    return bool(table.scored)


def any_compared(table: Table) -> bool:
    """Whether any row can be set beside an fp32 parent."""
    return bool(table.compared)


def tables(table: Table) -> tuple[Grid, ...]:
    """Accuracy, both comparisons and F1 by class; none that would be empty."""
    if table.labelled is None:
        return ()
    grids = (
        accuracy(table),
        comparison("Accuracy against the fp32 parent", table, table.compared),
        comparison("Accuracy against the parent variant in fp32", table, table.derived),
        f1_by_class(table),
    )
    return tuple(grid for grid in grids if grid.lines)


def accuracy(table: Table) -> Grid:
    """How often the first answers are right, and the averages over classes."""
    many = _classes(table) > MANY_CLASSES
    head = ("images", "top-1", *(("top-3", "top-5") if many else ()), "macro P / R / F1")
    return Grid(
        "Accuracy, %, with 95 % intervals",
        (*NAMES, *head, "weighted P / R / F1"),
        tuple(
            (
                *unmarked_names(row),
                f"{'' if row.answers else '~'}{len(found)}",
                *(percent_interval(scores.top(found, k)) for k in ((1, 3, 5) if many else (1,))),
                _averages(_by_class(found, table).macro),
                _averages(_by_class(found, table).weighted),
            )
            for row, found in _answered(table)
        ),
        names=len(NAMES),
        note=assumed_order([row for row, _ in _answered(table)], table),
        cases=one_each(row for row, _ in _answered(table)),
    )


def assumed_order(shown: Iterable[Row], table: Table) -> str:
    """Of which rows' answers the classes are an assumption, in a sentence; empty: of none."""
    known = [row for row in shown if row.file and row.file.unnamed_classes]
    if table.labelled is None:
        return ""
    return assumed((row.case.variant for row in known), table.labelled.class_names)


def assumed(variants: Iterable[str], class_names: Iterable[str]) -> str:
    """That the outputs of ``variants`` are taken to mean these classes; empty: of no variant."""
    names = ", ".join(f"`{name}`" for name in dict.fromkeys(variants))
    if not names:
        return ""
    numbered = enumerate(map(plain, class_names))
    return (
        f"Assumed (`--folder-order`), not known: the weights of {names} don't name their "
        "classes, and their outputs are taken to stand in the order of the folders "
        f"({listed([f'{number}: {name}' for number, name in numbered])})."
    )


def comparison(title: str, table: Table, compared: Mapping[Case, Compared]) -> Grid:
    """Rows beside their parents, image by image: what turned, and what could have been seen."""
    return Grid(
        title,
        (
            *NAMES,
            "parent",
            "images",
            "same answer, %",
            "right → wrong",
            "wrong → right",
            "McNemar p",
            "difference, points",
            "could have shown a drop of",
        ),
        tuple(
            (*unmarked_names(row), *_comparison_cells(row, compared[row.case]))
            for row, _ in _answered(table)
            if row.case in compared
        ),
        names=len(NAMES) + 1,
        cases=one_each(row for row, _ in _answered(table) if row.case in compared),
    )


def _comparison_cells(row: Row, compared: Compared) -> tuple[str, ...]:
    parent, paired = compared.parent.case, compared.paired
    variant = "" if parent.variant == row.case.variant else f"{parent.variant} "
    return (
        f"{variant}{parent.recipe} {runtime_name(parent)}",
        str(paired.images),
        percent(scores.share_interval(paired.same, paired.images)),
        str(paired.lost),
        str(paired.won),
        p_value(paired.p_value),
        points(paired) + mark(compared),
        visible(paired),
    )


def visible(paired: Turned) -> str:
    """The smallest drop that the images would have shown, in words."""
    drop = paired.visible_drop
    return "no drop at all" if drop is None else f"{rounded(100 * drop, digits=2)} points"


def f1_by_class(table: Table) -> Grid:
    """Every class under the reference, and the smallest and the fastest that keep accuracy."""
    rows = [row for row in _chosen(table) if row.answers and row.case in table.scored]
    found = [_by_class(table.scored[row.case], table) for row in rows]
    own = [dict(zip(one.classes.tolist(), one.f1.tolist(), strict=True)) for one in found]
    images = Counter(table.labelled.labels if table.labelled else ())
    classes = table.labelled.class_names if table.labelled and rows else ()
    lines = (
        (
            plain(name).replace("|", r"\|"),
            str(images[place]),
            *(f"{100 * f1[place]:.1f}" if place in f1 else NOTHING for f1 in own),
        )
        for place, name in enumerate(classes)
    )
    head = ("class", "images", *(" ".join(unmarked_names(row)[:3]) for row in rows))
    return Grid("F1 by class, %", head, tuple(lines))


def _chosen(table: Table) -> list[Row]:
    chosen = (table.reference, table.best_small, table.best_fast)
    return list({row.case: row for row in chosen if row is not None}.values())


def _answered(table: Table) -> list[tuple[Row, Scored]]:
    """Rows with their answers to all images; where there is none, those with a sample."""
    rows = [row for row in table.rows if row.case in table.scored and not row.case.copy]
    whole = [row for row in rows if row.answers]
    return [(row, table.scored[row.case]) for row in whole or rows]


def _classes(table: Table) -> int:
    return len(table.labelled.class_names) if table.labelled else 0


def _by_class(found: Scored, table: Table) -> ByClass:
    return scores.by_class(scores.confusion(found, _classes(table)))


def _averages(found: Averages) -> str:
    return " / ".join(f"{100 * value:.1f}" for value in (found.precision, found.recall, found.f1))
