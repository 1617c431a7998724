"""Two runs beside one another as the page shows them: the outcomes of ``bench.outcomes``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup, escape

from bench import compare_text
from bench.case import Case
from bench.outcomes import OUTCOMES, Compared, Comparison
from bench.report_page.prose import html, words
from bench.report_page.sheets import Cell, Head, Line, Numbers, Sheet, coloured
from bench.report_page.strip import Strips, strips
from bench.resultset import row_name
from bench.stats import Estimate
from bench.text import NOTHING, interval_text, number, rounded

_MEANINGS: Mapping[str, str] = {
    "regressed": "the whole interval lies above 1 and the margin",
    "nothing valid measured": "there is nothing on one side that could be compared",
    "inconclusive": "the interval crosses a bound: more blocks could decide it",
    "improved": "the whole interval lies below 1 and the margin",
    "equivalent": "the whole interval lies within the margin",
}
_HEADS = (
    *(("row", False), ("base ms", True), ("head ms", True), ("head/base", True)),
    *(("interval", True), ("drawn", True), ("outcome", True), ("verdict on both", False)),
)
_ROOM, _WIDEST = 1.1, 4.0
"""What the pictures of ratios show at least and at most."""


@dataclass(frozen=True)
class View:
    """The comparison as the template fills it in."""

    said: tuple[Markup, ...]
    sheet: Sheet


def view(comparison: Comparison, numbers: Numbers) -> View:
    """``numbers`` are those of the details of HEAD's rows."""
    cases = {row_name(case): case for case in numbers if not case.copy}
    margin = comparison.margin
    marks = (1 / (1 + margin), 1.0, 1 + margin)
    drawn = strips((row.ratio for row in comparison.rows), marks, _ROOM, _WIDEST)
    said = (compare_text.headline(comparison), *compare_text.basis(comparison).splitlines())
    sheet = Sheet(
        f"Comparison with {comparison.base.title}",
        tuple(Head(title, numeric) for title, numeric in _HEADS),
        tuple(
            Line(
                row.name,
                _cells(row, margin, drawn),
                _number(cases.get(row.name), numbers),
                _filters(row, cases.get(row.name)),
            )
            for row in comparison.rows
        ),
    )
    return View(tuple(map(html, said)), sheet)


def _number(case: Case | None, numbers: Numbers) -> int | None:
    return None if case is None else numbers[case]


def outcomes(comparison: Comparison, numbers: Numbers) -> Mapping[Case, str]:
    """The outcome of each row of the page that was compared."""
    found = {row.name: row.outcome for row in comparison.rows}
    own = [case for case in numbers if not case.copy and row_name(case) in found]
    return {case: found[row_name(case)] for case in own}


def _filters(row: Compared, case: Case | None) -> tuple[tuple[str, str], ...]:
    """What the page's filters compare; BASE may have rows that HEAD has not."""
    runtime, recipe = ("", "") if case is None else (case.runtime, case.recipe)
    found = {
        "runtime": runtime,
        "recipe": recipe,
        "verdict": row.verdict.level if row.ratio else "",
    }
    return tuple({**found, "outcome": row.outcome}.items())


def _cells(row: Compared, margin: float, drawn: Strips) -> tuple[Cell, ...]:
    verdict = " ".join((row.verdict.level, ", ".join(row.verdict.codes))).strip()
    ratio = NOTHING if row.ratio is None else number(row.ratio)
    order = "" if row.ratio is None else f"{row.ratio.value:.6g}"
    return (
        Cell(escape(row.name)),
        *(Cell(escape(_ms(time)), _spread(time)) for time in (row.base_s, row.head_s)),
        Cell(escape(ratio), _claim(row, margin), order),
        Cell(escape(compare_text.interval(row, margin))),
        Cell(drawn.picture(row.ratio), order=order),
        Cell(coloured(row.outcome, row.outcome), _why(row), str(list(OUTCOMES).index(row.outcome))),
        Cell(escape(verdict if row.ratio else NOTHING)),
    )


def _ms(time: Estimate | None) -> str:
    return NOTHING if time is None else number(time, 1e3)


def _spread(time: Estimate | None) -> str:
    """Of one side, with the interval over its blocks."""
    if time is None or time.half_width is None:
        return ""
    return f"{interval_text(time, 1e3)} ms: 95 % interval over its blocks"


def _claim(row: Compared, margin: float) -> str:
    """The ratio in words, with the level of its interval."""
    if row.ratio is None:
        return ""
    how = "slower" if row.ratio.value > 1 else "faster"
    share = rounded(100 * abs(row.ratio.value - 1), digits=2)
    return f"by the estimate HEAD is {share} % {how}: {compare_text.interval(row, margin)}"


def _why(row: Compared) -> str:
    """The reason that was given, or what the outcome means."""
    reason = words(row.reason)
    return f"{_MEANINGS[row.outcome]}; {reason}" if reason else _MEANINGS[row.outcome]
