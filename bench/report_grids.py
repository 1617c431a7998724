"""Grids as Markdown: plain, below a title or a heading, or to open with a click."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from bench.matrix import Grid


def aligned(titles: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[str]) -> str:
    """Titles and rows of text as a Markdown table; ``align``: a word for each column."""
    return tabulate(rows, titles, tablefmt="github", disable_numparse=True, colalign=align)


def folded(grid: Grid) -> str:
    """A table that opens with a click."""
    head = f"<details><summary>{grid.title}</summary>"
    return f"{head}\n\n{grid_lines(grid)}\n\n</details>"


def grid_text(grid: Grid) -> str:
    """A table under its title."""
    return f"**{grid.title}**\n\n{grid_lines(grid)}"


def grid_lines(grid: Grid) -> str:
    """The table alone: names to the left, figures to the right, its note below."""
    align = ["left"] * grid.names + ["right"] * (len(grid.head) - grid.names)
    lines = aligned(grid.head, grid.lines, align)
    return f"{lines}\n\n{grid.note}" if grid.note else lines


def headed(grid: Grid, align: Sequence[str]) -> str:
    """A table under a heading of its own, its note above it; empty: it has no line."""
    if not grid.lines:
        return ""
    return f"### {grid.title}\n\n{grid.note}\n\n{aligned(grid.head, grid.lines, align)}"
