"""``python -m bench.recommend``: which of the measured rows to ship, under constraints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import constraints, field, pick, recommend_fleet, recommend_json, recommend_text
from bench.constraints import KINDS, Constraint
from bench.contenders import AXES
from bench.options import DEFAULT_OUT, UsageError
from bench.pick import Recommendation
from bench.record import RecordError, write_atomically
from export.printable import complain

_MEANING = {
    "--max-p50": ("TIME", "median latency of an inference, such as 60ms"),
    "--max-p90": ("TIME", "90th percentile of it"),
    "--max-p95": ("TIME", "95th percentile of it"),
    "--max-p99": ("TIME", "99th percentile of it"),
    "--max-load": ("TIME", "the runtime's reading, parsing and optimising of the file"),
    "--max-size": ("SIZE", "all that must be shipped of the model, such as 100MB"),
    "--max-memory": ("SIZE", "peak resident set of the process that ran it"),
    "--max-accuracy-drop": ("POINTS", "top-1 lost against its network in fp32 or its origin"),
    "--min-accuracy": ("PERCENT", "top-1 on the labelled images of the run"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the recommendation; its exit code, or 2 for what can't be answered."""
    given = _parser().parse_args(argv)
    try:
        if given.fleet is not None:
            return _across(given)
        found = _recommended(given)
        _show(found, given)
    except (UsageError, RecordError) as exc:
        complain(exc)
        return 2
    return found.exit_code


def _across(given: argparse.Namespace) -> int:
    """The same for each kind of machine of a fleet, and which of them to rent."""
    if given.run or given.json:
        raise UsageError(
            "--fleet names the runs itself and is told as Markdown: no --run, no --json"
        )
    runs = recommend_fleet.runs_of(given.records, given.fleet)
    limits = _limits(given)
    globs = (_globs(given.variants), _globs(given.runtimes))
    found = recommend_fleet.recommend(runs, *globs, limits, given.prefer)
    _check_preferred(given.prefer, [one.found for one in found])
    text = recommend_fleet.text(found, limits)
    print(text)
    if given.markdown not in ("", "-"):
        write_atomically(Path(given.markdown), text.encode() + b"\n")
    return recommend_fleet.exit_code(found)


def _recommended(given: argparse.Namespace) -> Recommendation:
    runs = field.find(given.records, _globs(given.run))
    rows = field.field(runs, _globs(given.variants), _globs(given.runtimes))
    found = pick.recommend(rows, _limits(given), given.prefer)
    _check_preferred(given.prefer, [found])
    return found


def _check_preferred(prefer: str, found: Sequence[Recommendation]) -> None:
    """What no row knows says nothing about any: raises :class:`UsageError`."""
    rows = [one.contender for each in found for one in each.judged]
    if rows and prefer not in pick.known_axes(rows):
        remedy = "measure with labelled images (python -m bench.run --data)"
        if prefer != "accuracy":
            remedy = "this host could not tell it: prefer something else"
        raise UsageError(f"--prefer {prefer}: no row knows its {AXES[prefer]}; {remedy}")


def _globs(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _limits(given: argparse.Namespace) -> list[Constraint]:
    """The constraints in the order of ``KINDS``."""
    values = {flag: getattr(given, flag[2:].replace("-", "_")) for flag in KINDS}
    return [constraints.parse(flag, text) for flag, text in values.items() if text is not None]


def _show(found: Recommendation, given: argparse.Namespace) -> None:
    """Print it; "-" prints that form alone. Raises ``RecordError`` for what can't be written."""
    forms = (
        (given.markdown, recommend_text.text(found)),
        (given.json, recommend_json.text(found)),
    )
    alone = [text for name, text in forms if name == "-"]
    print("\n".join(alone) or recommend_text.text(found))
    for name, text in forms:
        if name not in ("", "-"):
            write_atomically(Path(name), text.encode() + b"\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench.recommend",
        description="Which of the measured rows to ship: the best that keeps the constraints, the "
        "runner-up, what each constraint costs, and what would decide what is undecided.",
        epilog="Exit codes: 0 there is a pick; 1 no row keeps the constraints; 3 whether one does "
        "is undecided; 2 usage, or rows that can't stand beside each other.",
    )
    add = parser.add_argument
    place = f"a results folder (its newest finished run) or a record file (default: {DEFAULT_OUT})"
    add("--records", type=Path, default=DEFAULT_OUT, metavar="DIR_OR_FILE", help=place)
    runs = "these runs of the folder, or patterns; several must share host, weights and images"
    add("--run", default="", metavar="NAMES", help=runs)
    fleet = "of the kinds of machines that bench.run --ray has measured, the newest unless NAMEd: "
    add("--fleet", nargs="?", const="", metavar="NAME", help=f"{fleet}which to rent, too")
    add("-m", "--variants", default="", metavar="GLOBS", help="only these, such as 'vgg19*'")
    add("--runtimes", default="", metavar="GLOBS", help="only these")
    best = "what is best among those that keep the constraints (default: latency, p50 for an image)"
    add("--prefer", choices=list(AXES), default="latency", help=best)
    limits = parser.add_argument_group("constraints")
    for flag, (kind, text) in _MEANING.items():
        limits.add_argument(flag, metavar=kind, help=text)
    for name in ("json", "markdown"):
        add(f"--{name}", default="", metavar="FILE", help=f"also write {name}; - prints only that")
    return parser


if __name__ == "__main__":
    sys.exit(main())
