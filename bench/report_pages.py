"""Runs -> the text of the pages: the newest run whole, earlier ones on pages of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench import plots, resize_table
from bench.case import Case
from bench.figure import Figure
from bench.how_to_read import how_to_read
from bench.record import Run
from bench.report_facts import judged
from bench.report_sections import brief, resized_section, section
from bench.rows import tables_of
from export.recipes import RECIPES
from export.variants import ALIASES, VARIANTS

PAGE = "README.md"
MADE_FROM = "Made from the files in `records/` by `python -m bench.report`: not to be edited."


@dataclass(frozen=True)
class Chapter:
    """What pages show of one run: whole, and in a few lines; its plots by file name."""

    started: str
    run: str
    whole: str
    brief: str
    cases: frozenset[Case]
    judged: bool
    figures: Mapping[str, Figure]

    @property
    def page(self) -> str:
        """The file of its own page."""
        return f"{self.run}.md"


def _chapter(run: Run) -> Chapter:
    header, found = run.header, tables_of(run)
    figures = plots.of_run(header, found)
    shown = {*header.cases, *(block.case for block in run.measurements)}
    return Chapter(
        header.started,
        header.run,
        section(run, found, figures),
        brief(run, found),
        frozenset(shown),
        judged(run),
        {plots.plot_file(header.run, kind): figure for kind, figure in figures.items()},
    )


def newest_first(runs: Iterable[Run]) -> list[Chapter]:
    """``runs`` is gone through once, so that a generator keeps one in memory."""
    return sorted(map(_chapter, runs), key=lambda found: (found.started, found.run), reverse=True)


def pages(runs: Iterable[Run], resized: resize_table.ResizeCost | None = None) -> dict[str, str]:
    """Every page, name -> text; runs are never mixed.

    The first has the newest run whole, what other resize filters cost, and a few lines
    of each earlier run, which has a page of its own: all in one would be too long to be
    shown by those who show Markdown. Plots are named, not drawn.
    """
    return of_chapters(newest_first(runs), resized)


def of_chapters(
    chapters: Sequence[Chapter],
    resized: resize_table.ResizeCost | None,
    fleets: Iterable[str] = (),
) -> dict[str, str]:
    """Every page of these, name -> text; ``fleets`` are the names of pages beside them."""
    first = _first_page(chapters, resized, fleets)
    return {PAGE: first} | {found.page: _own_page(found) for found in chapters[1:]}


def page(runs: Iterable[Run], resized: resize_table.ResizeCost | None = None) -> str:
    """The first of the pages: see ``pages``."""
    return pages(runs, resized)[PAGE]


def _first_page(
    chapters: Sequence[Chapter],
    resized: resize_table.ResizeCost | None,
    fleets: Iterable[str],
) -> str:
    newest = [found.whole for found in chapters[:1]]
    earlier = "\n\n".join(found.brief for found in chapters[1:])
    cases = frozenset[Case]().union(*(found.cases for found in chapters))
    parts = [
        introduction("Results"),
        *(newest or ["Nothing has been measured yet: `make bench`."]),
        resized_section(resized),
        _across_machines(fleets),
        f"## Earlier runs\n\n{earlier}" if earlier else "",
        _stories(cases),
        how_to_read(resized is not None or any(found.judged for found in chapters)),
    ]
    return joined(parts)


def _across_machines(fleets: Iterable[str]) -> str:
    """Where the tables across kinds of machines stand."""
    links = "\n".join(f"- [{name.removesuffix('.md')}]({name})" for name in fleets)
    return f"## Across kinds of machines\n\n{links}" if links else ""


def _own_page(chapter: Chapter) -> str:
    """One earlier run."""
    head = f"{introduction('One run')}\nThe other runs: [{PAGE}]({PAGE})."
    return joined([head, chapter.whole, _stories(chapter.cases), how_to_read(chapter.judged)])


def joined(parts: Iterable[str]) -> str:
    """Parts of a page, without those that are empty, as a whole."""
    return "\n\n".join(part for part in parts if part) + "\n"


def introduction(title: str) -> str:
    """The head of a page: its title, and where the text comes from."""
    meaning = "What the columns mean stands [at the end](#how-to-read-the-tables)."
    return f"# {title}\n\n{MADE_FROM}\n{meaning}"


def _stories(cases: Collection[Case]) -> str:
    """What the variants and recipes that occur are, a line each."""
    shown = {case.shown_variant for case in cases} | {case.variant for case in cases}
    known = {name: row for name, row in VARIANTS.items() if name in shown and not row.given}
    variants = {name: row.story for name, row in known.items()}
    variants |= {name: row.story for name, row in ALIASES.items() if name in shown}
    used = {case.recipe for case in cases}
    recipes = {name: row.summary for name, row in RECIPES.items() if name in used}
    parts = [
        f"## {title}\n\n" + "\n".join(f"- `{name}`: {story}" for name, story in lines.items())
        for title, lines in (("Variants", variants), ("Recipes", recipes))
        if lines
    ]
    return "\n\n".join(parts)
