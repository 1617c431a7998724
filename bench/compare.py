"""``python -m bench.compare BASE HEAD``: read two result sets, judge them, show it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import compare_text, interchange, resultset
from bench.options import DEFAULT_MARGIN, UsageError, parse_margin
from bench.outcomes import OUTCOMES, Comparison, compare, compare_run
from bench.record import RecordError, Run, write_atomically
from bench.resultset import ResultSet
from export.printable import complain


def main(argv: Sequence[str] | None = None) -> int:
    """Print the comparison; its exit code, or 2 for what can't be compared."""
    options = _parser().parse_args(argv)
    try:
        margin = parse_margin(options.margin)
        base = _read(options.base, options.base_run)
        head = _read(options.head, options.head_run)
        comparison = _compared(base, head, margin, options)
        show(comparison, options.markdown)
    except (UsageError, RecordError) as exc:
        complain(exc)
        return 2
    return comparison.exit_code


def _read(place: Path, run: str | None) -> Run | ResultSet:
    """What a place on the command line stands for."""
    if place.suffix == ".json":
        return interchange.read(place)
    return resultset.find_run(place, run)


def _compared(
    base: Run | ResultSet, head: Run | ResultSet, margin: float, options: argparse.Namespace
) -> Comparison:
    if isinstance(base, Run) and isinstance(head, Run) and base.header == head.header:
        return compare_run(head, margin)
    before, after = (
        resultset.of_run(side, str(place)) if isinstance(side, Run) else side
        for side, place in ((base, options.base), (head, options.head))
    )
    return compare(before, after, margin)


def show(comparison: Comparison, markdown: str = "") -> None:
    """Print the tables; ``markdown`` names a file for a pull request's comment, "-" prints it.

    Raises ``RecordError`` where that file can't be written.
    """
    if markdown == "-":
        print(compare_text.comment(comparison))
        return
    print(compare_text.tables(comparison))
    if markdown:
        write_atomically(Path(markdown), compare_text.comment(comparison).encode() + b"\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench.compare",
        description=f"Judge every row of BASE beside the same row of HEAD: {', '.join(OUTCOMES)}.",
        epilog="Exit codes, the first that applies: 2 usage, or sets that can't be compared; "
        "1 a row regressed; 4 a row of BASE has no valid counterpart in HEAD; 3 a row is "
        "inconclusive; 0 all improved or equivalent.",
    )
    kinds = "a results folder (its newest finished run), a record file, or pytest-benchmark's JSON"
    parser.add_argument("base", type=Path, metavar="BASE", help=kinds)
    parser.add_argument("head", type=Path, metavar="HEAD", help="the same")
    parser.add_argument(
        "--margin",
        default=f"{DEFAULT_MARGIN:.0%}",
        metavar="SHARE",
        help="differences up to this do not matter (default: 2%%)",
    )
    parser.add_argument("--base-run", metavar="NAME", help="take this run (or pattern) of BASE")
    parser.add_argument("--head-run", metavar="NAME", help="take this run (or pattern) of HEAD")
    comment = "also write a comment for a pull request; - prints only that"
    parser.add_argument("--markdown", default="", metavar="FILE", help=comment)
    return parser


if __name__ == "__main__":
    sys.exit(main())
