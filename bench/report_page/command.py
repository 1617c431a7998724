"""What ``python -m bench.report --html`` does: check, read, compare, write."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench import resultset, search_found
from bench.options import DEFAULT_MARGIN, UsageError
from bench.outcomes import Comparison, compare, compare_run
from bench.record import Run
from bench.report_page import missing


def write(options: argparse.Namespace) -> Path:
    """Write a run as a page, beside another one if that was asked for; returns where.

    Raises ``UsageError`` for what can't be made or compared, and ``RecordError``.
    """
    if not options.html:
        raise UsageError("--base and --base-run are for a page: give --html FILE as well")
    if absent := missing():
        raise UsageError(absent)
    # Only who wants the page needs its libraries.
    from bench.report_page import document

    document.check_target(options.html)
    run = resultset.find_run(options.out, options.run)
    shown = search_found.completed(run, options.out)
    return document.write(options.html, shown, _compared(run, options))


def _compared(run: Run, options: argparse.Namespace) -> Comparison | None:
    """With another run, or of both versions of the code in this one; ``None``: with nothing."""
    if options.base or options.base_run:
        return _with_another(run, options.out, options.base or options.out, options.base_run)
    return compare_run(run, DEFAULT_MARGIN) if run.header.against else None


def _with_another(run: Run, out: Path, place: Path, name: str | None) -> Comparison:
    base = resultset.find_run(place, name)
    if base.header == run.header:
        raise UsageError(
            f"{run.header.run} would be compared with itself: name another run with --base-run"
        )
    sides = resultset.of_run(base, str(place)), resultset.of_run(run, str(out))
    return compare(*sides, DEFAULT_MARGIN)
