"""The plots of a run: which there are, what their files are called, drawing and checking them.

What a plot shows follows from the records alone (``of_run``), and so does whether a page has it:
pages are the same whether or not matplotlib, which is the extra ``plots``, is installed. Where it
is not, no plot is drawn and none is removed, and whoever asked is told so. The files are checked
like pages, byte for byte, as long as the matplotlib that drew them is the one that is installed:
another version draws otherwise, and then the check says that it could not check them.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from bench import paper, part_plots, time_plots, tradeoff
from bench.figure import Figure
from bench.record import RunHeader
from bench.shown import Tables

PLOTS: Mapping[str, Callable[[RunHeader, Tables], Figure]] = MappingProxyType(
    {
        "tradeoff": tradeoff.figure,
        "times": time_plots.times,
        "latencies": time_plots.distributions,
        "scaling": time_plots.scaling,
        "bytes": part_plots.file_bytes,
        "cold-start": part_plots.cold_starts,
    }
)
LEAST_DRAWN = 2
"""Marks, curves or bars of a row of panels: fewer compare nothing."""
MADE_FROM = "Made from the files in records/ by python -m bench.report"
"""Stands in each plot, and tells ours from other people's."""
MISSING = "matplotlib is not installed: pip install 'deploybench[plots]'"
_DRAWN_BY = re.compile(r"Matplotlib v([^,<\s]+)")


def of_run(header: RunHeader, tables: Tables) -> dict[str, Figure]:
    """Kind -> figure, of those that have anything to compare."""
    found = {kind: make(header, tables) for kind, make in PLOTS.items()}
    for (_, weights), table in tables.items():
        if paper.applies(table):
            found[paper_kind(weights)] = paper.figure(header, table)
    filled = {kind: _filled(figure) for kind, figure in found.items()}
    return {kind: figure for kind, figure in filled.items() if figure.rows}


def paper_kind(weights: str) -> str:
    """The plot of the eight networks with these weights."""
    return f"paper-{weights}"


def _filled(figure: Figure) -> Figure:
    """Without the rows of panels that have nothing to compare."""
    rows = (row for row in figure.rows if any(panel.drawn >= LEAST_DRAWN for panel in row))
    return replace(figure, rows=tuple(rows))


def plot_file(run: str, kind: str) -> str:
    """The name of a plot's file, beside the page of its run."""
    return f"{run}-{kind}.svg"


def embedded(run: str, figures: Mapping[str, Figure], kinds: Iterable[str]) -> str:
    """Those of ``kinds`` that there are, as Markdown shows them."""
    chosen = ((kind, figures[kind]) for kind in kinds if kind in figures)
    return "\n\n".join(f"![{figure.title}]({plot_file(run, kind)})" for kind, figure in chosen)


# --- the files


def not_drawn() -> str:
    """Why no plot can be drawn here; empty: they can."""
    return "" if importlib.util.find_spec("matplotlib") else MISSING


def drawn(figures: Mapping[str, Figure]) -> dict[str, str]:
    """File -> SVG; nothing where matplotlib is not installed."""
    if not_drawn():
        return {}
    from bench.drawing import svg

    return {name: svg(figure, name, MADE_FROM) for name, figure in figures.items()}


@dataclass(frozen=True)
class Checked:
    """``wrong``: a sentence for each plot that does not follow from its records.

    ``unchecked`` says why the others, or some of them, could not be checked; empty: all were.
    """

    wrong: tuple[str, ...] = ()
    unchecked: str = ""


def checked(out: Path, figures: Mapping[str, Figure]) -> Checked:
    """Whether the plots below ``out`` are what ``figures``, by file name, say."""
    if not figures:
        return Checked()
    if reason := not_drawn():
        return Checked(unchecked=f"plots were not checked: {reason}")
    from bench.drawing import VERSION

    found = {name: _text(out / name) for name in figures}
    others = {
        name: version for name, text in found.items() if (version := drawn_by(text)) != VERSION
    }
    foreign = {name: version for name, version in others.items() if version}
    ours = {name: figure for name, figure in figures.items() if name not in foreign}
    wrong = [
        _wrong(out / name, missing=not found[name])
        for name, text in drawn(ours).items()
        if text != found[name]
    ]
    return Checked(tuple(wrong), _unchecked(foreign, len(figures), VERSION))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def drawn_by(text: str) -> str:
    """The version of matplotlib that a plot names; empty: none."""
    found = _DRAWN_BY.search(text)
    return found[1] if found else ""


def _wrong(path: Path, missing: bool) -> str:
    return f"{path} is missing" if missing else f"{path} is not what its records draw"


def _unchecked(foreign: Mapping[str, str], plots: int, installed: str) -> str:
    if not foreign:
        return ""
    versions = ", ".join(sorted(set(foreign.values())))
    return (
        f"plots were not checked ({len(foreign)} of {plots}): drawn by matplotlib {versions}, "
        f"and {installed} is installed"
    )


def stale(out: Path, files: Iterable[str]) -> list[Path]:
    """Plots of ours below ``out`` that are none of ``files``."""
    known = frozenset(files)
    return [
        path
        for path in sorted(out.glob("*.svg"))
        if path.name not in known and MADE_FROM in _text(path)
    ]
