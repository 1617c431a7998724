"""``python -m bench.dashboard.building HOW WORDS``: build what the page will offer.

A child of the page, so that a build can be ended with it. HOW is ``named`` or ``five``,
WORDS are flags of ``bench.run``; each line of its output is a ``bench.files.Event``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pydantic import TypeAdapter

from bench import files, given
from bench.case import NULL, Case, plan, unsupported
from bench.command_line import parse
from bench.dashboard.models import FIVE, FIVE_RUNTIME
from bench.files import Event, FileKey, Wanted
from bench.options import Options, UsageError
from bench.run import heed_signals
from export.printable import complain

NAMED, USUAL = "named", "five"
EVENT = TypeAdapter(Event)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 whatever could be built; 2 for a bad argument; 130 if ended."""
    how, *words = sys.argv[1:] if argv is None else argv
    heed_signals()
    told: set[FileKey] = set()
    try:
        options = given.opened(parse(words))
        found = files.build_files(keys(options, how), options, lambda event: _tell(event, told))
    except UsageError as exc:
        complain(exc)
        return 2
    except KeyboardInterrupt:
        return 130
    for key, reason in found.reasons.items():
        # What the exporter did not live to say.
        if key not in told:
            _tell(Event("failed", Wanted(*key), reason), told)
    return 0


def keys(options: Options, how: str) -> tuple[FileKey, ...]:
    """Which files the offered models need."""
    if how == USUAL:
        return FIVE
    return tuple(dict.fromkeys(files.file_key(case) for case in cases(options)))


def cases(options: Options) -> tuple[Case, ...]:
    """What flags name, of what can be built here; the harness's own row only by its name.

    Raises :class:`UsageError` where that is nothing.
    """
    for row in options.given:
        if row.given is not None and row.given.batch not in (None, 1):
            raise UsageError(
                f"--model: {row.name} takes batches of {row.given.batch} only, and the page asks "
                "about one picture at a time: export it with a batch of 1, or an open one"
            )
    named = NULL in options.runtimes
    planned = [case for case in plan(options) if named or case.runtime != NULL]
    reasons = {case: unsupported(case) for case in planned}
    found = tuple(case for case in planned if reasons[case] is None)
    if not found:
        why = next((f"; {case}: {reason}" for case, reason in reasons.items()), "")
        raise UsageError(
            f"nothing that --model, -m, --recipes and --runtimes name can be built here{why}"
        )
    return found


def case_of(key: FileKey, threads: int, weights: str) -> Case:
    """One of the five."""
    variant, recipe, _ = key
    return Case(variant, recipe, FIVE_RUNTIME, threads, weights=weights)


def _tell(event: Event, told: set[FileKey]) -> None:
    if event.wanted is not None and event.kind in ("built", "failed"):
        told.add((event.wanted.variant, event.wanted.recipe, event.wanted.format))
    print(EVENT.dump_json(event).decode(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
