"""Old model against new, as a client is shown it: accuracy, averages, classes, sizes.

Pure functions over ``bench.rows``; ``bench.report`` prints what they return.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from bench import scores
from bench.matrix import Grid
from bench.rows import Row, Table, main_setting, runtime_name
from bench.score_tables import visible
from bench.scores import ByClass, Scored
from bench.text import difference_text, megabytes, millions, p_value, percent_interval, rounded

_FP32 = ("fp32", "fp32-opt")
PAIRS = (
    (("xception-flatten", _FP32), ("xception-gap", _FP32)),
    (("xception-flatten", _FP32), ("xception-gap", ("int8-static",))),
)
"""Old and new: a variant, and the recipes of which the first that was measured counts."""
RUNTIME = "ort"
BYTES = 4
COPIES = 3
"""What a training checkpoint keeps of each weight: itself and Adam's two moments."""
INHERITED_BYTES = 6.92e9
"""Of the model that this comparison was first made for."""
WIDE = "xception-flatten-wide"
PARAMETERS: Mapping[str, int] = MappingProxyType({WIDE: 566_150_480})
"""Where no row tells: those of the built module."""


def tables(table: Table) -> tuple[Grid, ...]:
    """One for each of the pairs of which both rows answered all images."""
    found = ((_row(table, *old), _row(table, *new)) for old, new in PAIRS)
    return tuple(client_table(old, new, table) for old, new in found if old and new)


def _row(table: Table, variant: str, recipes: tuple[str, ...]) -> Row | None:
    """Ort's at the main setting, else at the first."""
    usual = main_setting(row.case for row in table.rows)
    rows = [
        row
        for row in table.rows
        if (row.case.variant, row.case.runtime) == (variant, RUNTIME)
        and row.case.recipe in recipes
        and not row.case.copy
        and row.answers
        and row.file
        and row.case in table.scored
    ]
    return min(
        rows,
        key=lambda row: (
            recipes.index(row.case.recipe),
            (row.case.threads, row.case.batch_size) != usual,
        ),
        default=None,
    )


def client_table(old: Row, new: Row, table: Table) -> Grid:
    """Both rows on the same images; every difference of a score with its interval."""
    theirs, ours = scores.common(table.scored[old.case], table.scored[new.case])
    lines = (
        ("model", old.case.shown_variant, new.case.shown_variant, ""),
        ("recipe, runtime", _how(old), _how(new), ""),
        _accuracy(theirs, ours),
        *_averages(theirs, ours, _classes(table)),
        *_classes_won(theirs, ours, _classes(table)),
        *_sizes(old, new, table),
    )
    names = " → ".join(f"{row.case.shown_variant} {row.case.recipe}" for row in (old, new))
    title = f"{names}, {len(ours)} images in {_classes(table)} classes"
    return Grid(title, ("", "old", "new", "new against old"), lines)


def _how(row: Row) -> str:
    return f"{row.case.recipe}, {runtime_name(row.case)}"


def _classes(table: Table) -> int:
    return len(table.labelled.class_names) if table.labelled else 0


def _accuracy(old: Scored, new: Scored) -> tuple[str, ...]:
    paired = scores.paired(old, new)
    remark = (
        f"{difference_text(paired.difference, 100)} points, McNemar p {p_value(paired.p_value)}, "
        f"could have shown a drop of {visible(paired)}"
        if paired
        else ""
    )
    return "accuracy, %", *(percent_interval(scores.top(one, 1)) for one in (old, new)), remark


def _averages(old: Scored, new: Scored, classes: int) -> list[tuple[str, ...]]:
    """Weighted precision, recall and F1."""
    differences = scores.weighted_differences(old, new, classes)
    one, other = (_by_class(found, classes).weighted for found in (old, new))
    rows = (
        ("precision", one.precision, other.precision),
        ("recall", one.recall, other.recall),
        ("F1", one.f1, other.f1),
    )
    return [
        (
            f"weighted {name}, %",
            f"{100 * was:.2f}",
            f"{100 * is_now:.2f}",
            "the accuracy, by definition"
            if name == "recall"
            else f"{difference_text(difference, 100)} points",
        )
        for (name, was, is_now), difference in zip(rows, differences, strict=True)
    ]


def _classes_won(old: Scored, new: Scored, classes: int) -> list[tuple[str, ...]]:
    """In how many classes each of the two has the higher F1."""
    was, is_now = (_f1(_by_class(found, classes), classes) for found in (old, new))
    equal = np.isclose(was, is_now, rtol=0, atol=1e-12)
    seen = np.zeros(classes, dtype=bool)
    seen[old.truth] = True
    higher, lower = (int(np.sum(seen & ~equal & one)) for one in (is_now > was, was > is_now))
    both = str(int(np.sum(seen & equal)))
    return [
        ("classes with higher F1", str(lower), str(higher), f"of {int(seen.sum())}"),
        ("classes with equal F1", both, both, ""),
    ]


def _f1(found: ByClass, classes: int) -> scores.Shares:
    """Of every class, also those that nobody named."""
    values = np.zeros(classes)
    values[found.classes] = found.f1
    return values


def _by_class(found: Scored, classes: int) -> ByClass:
    return scores.by_class(scores.confusion(found, classes))


def _sizes(old: Row, new: Row, table: Table) -> list[tuple[str, ...]]:
    """The files as they are shipped, and the checkpoints that training would leave."""
    counts = [parameters(row.case.variant, table) for row in (old, new)]
    shipped = [row.file.size_bytes if row.file else 0 for row in (old, new)]
    trained = [BYTES * COPIES * count for count in counts]
    of = " and ".join(f"{millions(count)} M" for count in counts)
    return [
        ("size as shipped, MB", *map(megabytes, shipped), ""),
        (
            "size with optimiser state, MB",
            *map(megabytes, trained),
            f"the networks' {of} parameters, {BYTES} bytes, times three: Adam keeps two moments",
        ),
        _both("size reduction, %", shipped, trained, lambda was, now: 100 * (1 - now / was)),
        _both("times smaller", shipped, trained, lambda was, now: was / now),
    ]


def _both(
    name: str, shipped: list[int], trained: list[int], of: Callable[[int, int], float]
) -> tuple[str, ...]:
    by_file, by_checkpoint = (rounded(of(*sizes), digits=4) for sizes in (shipped, trained))
    return name, "", by_file, f"with optimiser state {by_checkpoint}"


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
