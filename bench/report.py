"""Records -> Markdown and plots: ``python -m bench.report``.

The same records always give the same text: ``bench.report_pages`` makes it, of what
``bench.report_sections`` says of a run and ``bench.report_family`` of a family. Seconds and
bytes become milliseconds and megabytes there, in ``bench.row_text`` and ``bench.text``, and where
plots are described, nowhere else.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import fleet_page, interchange, plots, resize_table, resultset, search_found
from bench.figure import Figure
from bench.how_to_read import how_to_read
from bench.options import DEFAULT_OUT, UsageError
from bench.record import RecordError, find_runs, read_header, read_run, write_atomically
from bench.report_facts import judged
from bench.report_page import command
from bench.report_pages import MADE_FROM, PAGE, introduction, joined, newest_first, of_chapters

_DIFF_LINES = 20


def render(out: Path) -> str:
    """The first page that follows from the records below ``out``; raises ``RecordError``."""
    return _files(out).pages[PAGE]


@dataclass(frozen=True)
class _Files:
    """What should stand below a folder: pages, name -> text, and plots, name -> what they show."""

    pages: Mapping[str, str]
    figures: Mapping[str, Figure]

    def stale(self, out: Path) -> list[Path]:
        """Pages and plots of runs whose records are gone, or pages that are the newest now."""
        return [*_stale(out, self.pages), *plots.stale(out, self.figures)]


def _files(out: Path) -> _Files:
    """What follows from the records. One run at a time is kept in memory."""
    chapters = newest_first(search_found.completed(read_run(path), out) for path in find_runs(out))
    figures = {name: figure for found in chapters for name, figure in found.figures.items()}
    newest = chapters[0].run if chapters else ""
    fleets = {fleet_page.page_name(name): text for name, text in _fleets(out, newest).items()}
    return _Files(of_chapters(chapters, resize_table.read(out), fleets) | fleets, figures)


def _fleets(out: Path, newest: str) -> dict[str, str]:
    """Name -> the page of each fleet, whose runs are in memory together.

    ``newest`` is the run that stands on the first page.
    """
    members = [path for path in find_runs(out) if read_header(path).fleet is not None]
    found = fleet_page.fleets(map(read_run, members))
    return {
        name: joined(
            [
                f"{introduction(f'Fleet {name}')}\nThe runs: [{PAGE}]({PAGE}).",
                fleet_page.page(runs, newest),
                how_to_read(any(map(judged, runs))),
            ]
        )
        for name, runs in found.items()
    }


def write(out: Path) -> Path:
    """Write the pages below ``out`` and their plots, each as a whole; raises ``RecordError``.

    Without matplotlib the pages are the same, and their plots stay what they were:
    ``plots.not_drawn`` says so.
    """
    check_page(out)
    files = _files(out)
    for name, text in files.pages.items():
        write_atomically(out / name, text.encode())
    for name, text in plots.drawn(files.figures).items():
        write_atomically(out / name, text.encode())
    for path in files.stale(out):
        path.unlink()
    return out / PAGE


def _stale(out: Path, files: Collection[str]) -> list[Path]:
    return [
        path
        for path in sorted(out.glob("*.md"))
        if path.name not in files and MADE_FROM in path.read_text(encoding="utf-8")
    ]


def check_page(out: Path) -> None:
    """Make sure that the page below ``out`` may be written; raises ``RecordError``.

    One that somebody else wrote stays: ``--out .`` would take a project's own README.
    """
    path = out / PAGE
    if path.exists() and MADE_FROM not in path.read_text(encoding="utf-8", errors="replace"):
        raise RecordError(f"{path} was not written by deploybench and is kept: give another --out")


@dataclass(frozen=True)
class Checked:
    """How pages and plots differ from what their records say; empty: none does.

    ``unchecked`` says why plots could not be checked; empty: they were.
    """

    difference: str
    unchecked: str = ""


def checked(out: Path) -> Checked:
    """Whether what stands below ``out`` follows from its records; raises ``RecordError``."""
    files = _files(out)
    drawn = plots.checked(out, files.figures)
    found = [page_difference(out / name, text) for name, text in files.pages.items()]
    found += [*drawn.wrong, *(f"{path} has no record" for path in files.stale(out))]
    return Checked("\n".join(text for text in found if text), drawn.unchecked)


def page_difference(path: Path, text: str) -> str:
    """How the page at ``path`` differs from ``text``, which follows from its records."""
    stands = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    lines = list(
        difflib.unified_diff(
            stands.splitlines(), text.splitlines(), str(path), "its records", lineterm=""
        )
    )
    more = len(lines) - _DIFF_LINES
    return "\n".join([*lines[:_DIFF_LINES], *([f"... {more} more lines"] if more > 0 else [])])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check pages and plots. 0: done, 1: one does not follow, 2: unreadable records.

    With ``--plots`` 1 as well where plots could not be checked.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.plots and not options.check:
        parser.error("--plots goes with --check")
    of_a_run = (options.html, options.base, options.base_run, options.pytest_benchmark)
    if options.run and not any(of_a_run):
        parser.error("--run goes with --html, --base or --pytest-benchmark")
    try:
        if options.html or options.base or options.base_run:
            print(command.write(options))
            return 0
        if options.pytest_benchmark:
            run = resultset.find_run(options.out, options.run)
            print(interchange.write(run, options.pytest_benchmark))
            return 0
        if options.check:
            return _check(options.out, options.plots)
        print(write(options.out))
    except (RecordError, UsageError) as exc:
        print(exc, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: each page is the old one or the new one, whole", file=sys.stderr)
        return 130
    if reason := plots.not_drawn():
        print(f"plots were not drawn: {reason}", file=sys.stderr)
    return 0


def _check(out: Path, plots_too: bool) -> int:
    """Say whether everything follows, what does not, and what could not be checked.

    ``plots_too``: plots that could not be checked are a failure.
    """
    found = checked(out)
    if found.unchecked:
        print(found.unchecked)
    if found.difference:
        print(f"{out / PAGE} does not follow from its records; make it again with")
        print(f"  python -m bench.report --out {out}\n{found.difference}")
        return 1
    if found.unchecked and plots_too:
        print(f"{out / PAGE} follows from its records, but --plots wants its plots checked")
        return 1
    print(f"{out / PAGE} follows from its records")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench.report", description="Tables and plots from records."
    )
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="where records/ stands"
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit 1 if pages and plots do not follow from the records",
    )
    parser.add_argument(
        "--plots",
        action="store_true",
        help="with --check: exit 1 as well if plots can't be checked, as without matplotlib",
    )
    kinds.add_argument(
        "--pytest-benchmark",
        type=Path,
        metavar="FILE",
        help="write no page, but a run as pytest-benchmark saves one",
    )
    parser.add_argument(
        "--run", metavar="NAME", help="that run (or pattern), not the newest finished one"
    )
    kinds.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write no page, but a run as one HTML file to click through, which needs no network",
    )
    parser.add_argument(
        "--base",
        type=Path,
        metavar="PLACE",
        help="with --html: compare with this results folder (its newest finished run) or file",
    )
    parser.add_argument(
        "--base-run",
        metavar="NAME",
        help="with --html: compare with that run (or pattern), of --base or of --out",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
