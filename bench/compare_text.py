"""A comparison as people read it: pure functions, from outcomes to Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tabulate import tabulate

from bench import stats
from bench.outcomes import CHANGED, Compared, Comparison
from bench.resultset import ResultSet
from bench.text import NOTHING, code, fenced, number, plain, rounded

_TITLES = ("row", "base ms", "head ms", "head/base", "interval", "outcome")
_ALIGN = ("left", "right", "right", "right", "right", "left")


def tables(comparison: Comparison) -> str:
    """Everything, for a terminal: the verdict, all rows, and what it rests on."""
    parts = (headline(comparison), _rows(comparison.rows, comparison.margin), basis(comparison))
    return "\n\n".join(part for part in parts if part)


def comment(comparison: Comparison) -> str:
    """For a pull request: the verdict, what changed; what did not is folded."""
    changed = [row for row in comparison.rows if row.outcome in CHANGED]
    others = [row for row in comparison.rows if row.outcome not in CHANGED]
    folded = _folded(f"{_count(len(others), 'row')} without a proven change", others, comparison)
    parts = (
        headline(comparison),
        _rows(changed, comparison.margin),
        folded,
        basis(comparison),
    )
    return "\n\n".join(part for part in parts if part)


def headline(comparison: Comparison) -> str:
    """What came out, in a line."""
    found = ", ".join(f"{count} {outcome}" for outcome, count in comparison.counts.items())
    return (
        f"**{found}**: {_count(len(comparison.rows), 'row')} of HEAD {_side(comparison.head)} "
        f"against BASE {_side(comparison.base)}, margin {_percent(comparison.margin)}."
    )


def _side(side: ResultSet) -> str:
    place = f"{code(side.source)}, " if side.source else ""
    return f"({place}commit {plain(side.commit or 'unknown')})"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _rows(rows: Sequence[Compared], margin: float) -> str:
    """The table of some rows, and below it why some could not be judged."""
    if not rows:
        return ""
    cells = [_cells(row, margin) for row in rows]
    grid = tabulate(cells, _TITLES, tablefmt="github", disable_numparse=True, colalign=_ALIGN)
    reasons = dict.fromkeys(row.reason for row in rows if row.reason)
    notes = [
        f"- {plain(reason)}: {_names(row.name for row in rows if row.reason == reason)}"
        for reason in reasons
    ]
    return "\n\n".join([grid, *(["\n".join(notes)] if notes else [])])


def _cells(row: Compared, margin: float) -> list[str]:
    doubt = "" if row.verdict.level == "VALID" else f" ({row.verdict.level}: {_codes(row)})"
    times = [NOTHING if time is None else number(time, 1e3) for time in (row.base_s, row.head_s)]
    ratio = NOTHING if row.ratio is None else number(row.ratio)
    # A bar would end the cell, also within code: a foreign benchmark's name may have one.
    name = code(row.name).replace("|", "\\|")
    return [name, *times, ratio, interval(row, margin), f"{row.outcome}{doubt}"]


def _codes(row: Compared) -> str:
    return ", ".join(row.verdict.codes)


def interval(row: Compared, margin: float) -> str:
    """Both ends on the side of 1 and of the margins on which they lie, and the level."""
    if row.ratio is None or row.ratio.low is None or row.ratio.high is None:
        return NOTHING
    fences = (1 / (1 + margin), 1.0, 1 + margin)
    low, high = (
        fenced(end, row.ratio.half_width, fences) for end in (row.ratio.low, row.ratio.high)
    )
    return f"{low}–{high} ({rounded(100 * row.confidence, digits=4)} %)"


def _folded(title: str, rows: Sequence[Compared], comparison: Comparison) -> str:
    if not rows:
        return ""
    table = _rows(rows, comparison.margin)
    return f"<details><summary>{title}</summary>\n\n{table}\n\n</details>"


def basis(comparison: Comparison) -> str:
    """How the rows were judged, and which were not."""
    how = "paired by round" if comparison.paired else "the blocks of both sides by Welch's t"
    looks = "" if comparison.looks == 1 else f" and {comparison.looks} looks"
    rows = _count(len(comparison.rows), "row")
    text = (
        f"Ratios of block medians for an image (of what a scenario measures, where one is named), "
        f"{how}. The outcomes hold together: over {rows}{looks} they err with at most "
        f"{_percent(stats.FAMILY_ERROR)} (Holm); each interval has the level at which its row was "
        "decided."
    )
    lines = [text, *_differences(comparison)]
    for title, names in (
        ("Only in HEAD, not compared", comparison.new),
        ("Unsupported in BASE, not compared", comparison.unsupported),
    ):
        lines += [f"{title}: {_names(names)}."] if names else []
    return "\n".join(lines)


def _differences(comparison: Comparison) -> list[str]:
    """The libraries whose versions are not the same."""
    base, head = comparison.base.versions, comparison.head.versions
    changed = [
        f"{plain(name)} {plain(base.get(name, 'none'))} → {plain(head.get(name, 'none'))}"
        for name in dict.fromkeys((*base, *head))
        if base.get(name) != head.get(name)
    ]
    return [f"Libraries that differ: {', '.join(changed)}."] if changed else []


def _names(names: Iterable[str]) -> str:
    return ", ".join(code(name) for name in names)
