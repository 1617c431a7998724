"""Old model against new, as a client is shown it: accuracy, averages, classes, sizes.

Pure functions over ``bench.rows``; ``bench.report_sections`` prints what they return.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from bench import scores
from bench.matrix import Grid, mark, wrong
from bench.rows import Row, Table, main_setting, runtime_name
from bench.score_tables import assumed_order, visible
from bench.scores import ByClass, Scored
from bench.text import (
    NOTHING,
    difference_text,
    megabytes,
    millions,
    p_value,
    percent_interval,
    rounded,
)

Side = tuple[str, tuple[str, ...]]
"""A variant, and the recipes of which the first that was measured counts."""
_FP32 = ("fp32", "fp32-opt")
PAIRS: tuple[tuple[Side, Side], ...] = (
    (("xception-flatten", _FP32), ("xception-gap", _FP32)),
    (("xception-flatten", _FP32), ("xception-gap", ("int8-static",))),
)
"""Old and new."""
BYTES = 4
COPIES = 3
"""What a training checkpoint keeps of each weight: itself and Adam's two moments."""
INHERITED_BYTES = 6.92e9
"""Of the model that this comparison was first made for."""
WIDE = "xception-flatten-wide"
PARAMETERS: Mapping[str, int] = MappingProxyType({WIDE: 566_150_480})
"""Where no row tells: those of the built module."""


@dataclass(frozen=True)
class Pair:
    """The old and the new model in one runtime."""

    old: Row
    new: Row

    @property
    def runtime(self) -> str:
        """As tables name it."""
        return runtime_name(self.old.case)


def tables(table: Table) -> tuple[Grid, ...]:
    """Answers and sizes for each of the ``PAIRS`` of which any runtime has both rows."""
    found = ((_title(*sides), _pairs(table, *sides)) for sides in PAIRS)
    return tuple(
        make(title, pairs, table) for title, pairs in found if pairs for make in (answers, sizes)
    )


def _title(old: Side, new: Side) -> str:
    return " → ".join(f"{variant} {recipes[0]}" for variant, recipes in (old, new))


def _pairs(table: Table, old: Side, new: Side) -> list[Pair]:
    """One for every runtime, and what it computes in, that answered all images as both models."""
    was, is_now = _best_rows(table, *old), _best_rows(table, *new)
    return [Pair(row, is_now[name]) for name, row in was.items() if name in is_now]


def _best_rows(table: Table, variant: str, recipes: tuple[str, ...]) -> dict[str, Row]:
    """Runtime -> its row in the first of the recipes, at the main setting if measured there."""
    usual = main_setting(row.case for row in table.rows)
    rows = [
        row
        for row in table.rows
        if row.case.variant == variant
        and row.case.recipe in recipes
        and not row.case.copy
        and row.answers
        and row.file
        and row.case in table.scored
    ]
    rows.sort(
        key=lambda row: (
            row.order[0],
            recipes.index(row.case.recipe),
            (row.case.threads, row.case.batch_size) != usual,
        )
    )
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(runtime_name(row.case), row)
    return found


def answers(title: str, pairs: Sequence[Pair], table: Table) -> Grid:
    """Both models on the same images, a runtime a line; differences with their intervals."""
    return Grid(
        f"{title}: answers, in % and points",
        (
            "runtime",
            "recipes",
            "images",
            "accuracy",
            "difference",
            "McNemar p",
            "could have shown a drop of",
            "weighted precision",
            "weighted recall (the accuracy, by definition)",
            "weighted F1",
            "classes with higher F1",
            "equal F1",
        ),
        tuple(_answer_cells(pair, table) for pair in pairs),
        names=2,
        note=assumed_order([row for pair in pairs for row in (pair.old, pair.new)], table),
        cases=tuple((pair.old.case, pair.new.case) for pair in pairs),
    )


def _answer_cells(pair: Pair, table: Table) -> tuple[str, ...]:
    old, new = scores.common(table.scored[pair.old.case], table.scored[pair.new.case])
    accuracy = (percent_interval(scores.top(one, 1)) for one in (old, new))
    return (
        pair.runtime,
        _change(*(f"{row.case.recipe}{mark(row)}" for row in (pair.old, pair.new))),
        str(len(new)),
        _change(*accuracy),
        *_difference(old, new),
        *_averages(old, new, _classes(table)),
        *_classes_won(old, new, _classes(table)),
    )


def _change(old: str, new: str) -> str:
    return f"{old} → {new}"


def _classes(table: Table) -> int:
    return len(table.labelled.class_names) if table.labelled else 0


def _difference(old: Scored, new: Scored) -> tuple[str, str, str]:
    """Of accuracy, image by image: points, the test, and what it could have shown."""
    paired = scores.paired(old, new)
    if paired is None:
        return NOTHING, NOTHING, NOTHING
    return difference_text(paired.difference, 100), p_value(paired.p_value), visible(paired)


def _averages(old: Scored, new: Scored, classes: int) -> tuple[str, str, str]:
    """Weighted precision, recall and F1; the difference of recall is that of accuracy."""
    precision, _, f1 = scores.weighted_differences(old, new, classes)
    was, is_now = (_by_class(found, classes).weighted for found in (old, new))
    return (
        f"{_shares(was.precision, is_now.precision)}: {difference_text(precision, 100)}",
        _shares(was.recall, is_now.recall),
        f"{_shares(was.f1, is_now.f1)}: {difference_text(f1, 100)}",
    )


def _shares(old: float, new: float) -> str:
    return _change(f"{100 * old:.2f}", f"{100 * new:.2f}")


def _classes_won(old: Scored, new: Scored, classes: int) -> tuple[str, str]:
    """In how many classes each of the two has the higher F1, and in how many neither has."""
    was, is_now = (_f1(_by_class(found, classes), classes) for found in (old, new))
    equal = np.isclose(was, is_now, rtol=0, atol=1e-12)
    seen = np.zeros(classes, dtype=bool)
    seen[old.truth] = True
    higher, lower = (int(np.sum(seen & ~equal & one)) for one in (is_now > was, was > is_now))
    return f"old {lower}, new {higher}, of {int(seen.sum())}", str(int(np.sum(seen & equal)))


def _f1(found: ByClass, classes: int) -> scores.Shares:
    """Of every class, also those that nobody named."""
    values = np.zeros(classes)
    values[found.classes] = found.f1
    return values


def _by_class(found: Scored, classes: int) -> ByClass:
    return scores.by_class(scores.confusion(found, classes))


def sizes(title: str, pairs: Sequence[Pair], table: Table) -> Grid:
    """The files as they are shipped, each once, and the checkpoints that training would leave.

    Doubts about times are none about sizes, but a new file that answers wrongly is no gain.
    """
    openers: dict[tuple[str, int, int], list[str]] = {}
    for pair in pairs:
        if pair.old.file and pair.new.file:
            facts = (pair.new.file.format, pair.old.file.size_bytes, pair.new.file.size_bytes)
            openers.setdefault(facts, []).append(pair.runtime + wrong(pair.new))
    counts = [parameters(row.case.variant, table) for row in (pairs[0].old, pairs[0].new)]
    of = " and ".join(f"{millions(count)} M" for count in counts)
    trained = (BYTES * COPIES * count for count in counts)
    return Grid(
        f"{title}: sizes, MB",
        ("file", "old", "new", "size reduction, %", "times smaller", ""),
        (
            *(
                (f"{suffix} as shipped", *_size_cells(old, new), f"opened by {', '.join(names)}")
                for (suffix, old, new), names in openers.items()
            ),
            (
                "with optimiser state",
                *_size_cells(*trained),
                f"the networks' {of} parameters, {BYTES} bytes, times three: Adam keeps two "
                "moments",
            ),
        ),
    )


def _size_cells(old: int, new: int) -> tuple[str, ...]:
    saved, ratio = 100 * (1 - new / old), old / new
    return megabytes(old), megabytes(new), rounded(saved, digits=4), rounded(ratio, digits=4)


def parameters(variant: str, table: Table) -> int:
    """Of a variant's network, as its rows tell: an exporter may fold some away, none adds any."""
    known = [row.file.parameters for row in table.rows if row.file and _is(row, variant)]
    return max(known, default=PARAMETERS.get(variant, 0))


def _is(row: Row, variant: str) -> bool:
    return row.case.variant == variant and not row.is_null


def explanation(table: Table) -> str:
    """Where the size of the first such model may have come from, as a computed sentence."""
    count = parameters(WIDE, table)
    size = count * BYTES * COPIES
    off = 100 * (size / INHERITED_BYTES - 1)
    return (
        f"The {INHERITED_BYTES / 1e9:.2f} GB of the model that this comparison was first made for: "
        f"{millions(count)} M parameters (`{WIDE}`), {BYTES} bytes each, times three for a "
        f"checkpoint that keeps Adam's two moments, are {size / 1e9:.2f} GB ({off:+.1f} %)."
    )
