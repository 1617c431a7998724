"""``python -m bench.verify BUNDLE_OR_TABLE``: recompute the hashes, measure again, judge."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench import blocks, bundle, measure_again, selftest, verify_files
from bench.bundle import Bundle
from bench.chosen_row import Chosen, choose
from bench.claims import Claim, exit_code, held
from bench.command_line import parse
from bench.measure_again import Bounds, Subject
from bench.options import Options, UsageError, parse_budget, parse_margin
from bench.record import RecordError, find_runs, read_run
from bench.rows import fastest, tables_of
from bench.run import heed_signals
from bench.verify_chain import Places
from export.artifact import Store, default_store, folder_sha256
from export.given import check_sides
from export.images import Preprocess
from export.printable import complain

_MARGIN = "20%"
_BUDGET = "2m"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0: all reproduced; 1: something is not; 3: something can't be told; 2: usage.

    130 where it was interrupted.
    """
    options = _parser().parse_args(argv)
    heed_signals()
    found: list[Claim] = []
    try:
        for claim in _claims(options):
            print(claim, flush=True)
            found.append(claim)
    except (UsageError, RecordError) as exc:
        complain(exc)
        return 2
    except KeyboardInterrupt:
        return 130
    return exit_code(found)


def _claims(options: argparse.Namespace) -> Iterator[Claim]:
    bounds = Bounds(parse_margin(options.margin), parse_budget(options.budget))
    if bundle.is_bundle(options.place):
        if options.case:
            raise UsageError("--case picks a row of a results folder; a bundle has but one")
        yield from _of_bundle(options, bounds)
    elif options.place.is_dir() and find_runs(options.place):
        yield from _of_results(options, bounds)
    else:
        raise UsageError(
            f"{options.place} is neither a bundle ({bundle.PROVENANCE} and {bundle.SUMS} in it) "
            "nor a results folder (records/RUN.jsonl.gz in it)"
        )


def _of_bundle(options: argparse.Namespace, bounds: Bounds) -> Iterator[Claim]:
    found = bundle.read(options.place)
    files = list(verify_files.of_bundle(found, _places(options)))
    yield from files
    if not options.measure:
        return
    if any(claim.outcome == "not reproduced" for claim in files[:2]):
        # Nor is it opened: what somebody put in its place may be anything.
        yield Claim("how it runs", "cannot tell", "its files are not those that were packed")
        return
    with tempfile.TemporaryDirectory(prefix="deploybench-") as scratch:
        try:
            subject = _packed(found, Path(scratch))
        except (OSError, *verify_files.UNREADABLE) as exc:
            yield held("how it runs", [str(exc) or type(exc).__name__])
            return
        yield from _measured(subject, bounds, options)


def _places(options: argparse.Namespace) -> Places:
    """Where files behind a model may be; raises :class:`UsageError` for a --model that is none."""
    named = () if options.model is None else (options.model,)
    for path in named:
        if not path.is_file():
            raise UsageError(f"--model {path} is no file")
    return Places(Store(options.store), named)


def _packed(found: Bundle, scratch: Path) -> Subject:
    """A bundle's model, with its self-test in place of the parity images."""
    artifact = found.provenance.artifact
    preprocess = Preprocess.from_json(artifact.preprocess)
    check_sides(preprocess, str(found.folder))
    images = selftest.inputs(found.folder / bundle.SELFTEST, preprocess)
    np.save(scratch / "inputs.npy", images)
    np.save(scratch / "logits.npy", bundle.read_answers(found.folder))
    # Resolved on both sides: a bundle may be named by "..", or stand behind a link.
    folder = (found.folder / bundle.FILES).resolve()
    here = replace(artifact, folder=str(folder), reference=str(scratch))
    if folder not in here.path.resolve().parents:
        raise UsageError(f"{found.folder}: {artifact.file!r} leads out of the bundle")
    return Subject(verify_files.row_of(found)[0], found.run.header, here)


def _of_results(options: argparse.Namespace, bounds: Bounds) -> Iterator[Claim]:
    places = _places(options)
    yield from verify_files.of_results(options.place, places)
    if not options.measure:
        return
    chosen = choose(options.place, options.case) if options.case else _fastest(options.place)
    facts = chosen.row.file
    artifact = places.store.find(facts.key) if facts else None
    what = f"{chosen.case} (run {chosen.run.header.run})"
    if artifact is None or facts is None:
        yield Claim(what, "cannot tell", f"its file is not in {options.store}")
        return
    if folder_sha256(Path(artifact.folder)) != facts.sha256:
        yield Claim(what, "cannot tell", "its file is not the one that was measured")
        return
    if chosen.row.parity is None or not chosen.row.parity.passed:
        raise UsageError(f"{chosen.case} failed parity, or it was not taken: name another --case")
    yield from _measured(Subject(chosen.row, chosen.run.header, artifact), bounds, options)


def _fastest(place: Path) -> Chosen:
    """The fastest right row of the newest run that has one."""
    runs = sorted(map(read_run, find_runs(place)), key=lambda run: run.header.started, reverse=True)
    for one in runs:
        tables = tables_of(one).values()
        best = fastest(row for table in tables for row in table.rows)
        if best is not None:
            table = next(table for table in tables if best in table.rows)
            return Chosen(one, table, best)
    raise UsageError(
        f"{place} has no row that is measured and right: nothing can be measured again"
    )


def _measured(subject: Subject, bounds: Bounds, options: argparse.Namespace) -> Iterator[Claim]:
    ours = _options(options)
    limit = blocks.memory_limit(ours)
    yield from measure_again.claims(subject, bounds, ours, limit, _say)


def _options(options: argparse.Namespace) -> Options:
    """As bench.run has them: where things stand, and the images where they were given."""
    words = ["--store", str(options.store)]
    return parse([*words, "--data", options.data] if options.data else words)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench.verify",
        description="Check a bundle of bench.ship, or a results folder: recompute the hashes along "
        "the chain, see that texts follow from records, and measure again on this host.",
        epilog="Exit codes: 0 all is reproduced; 1 something is not; 3 something can't be told "
        "(another host, a file that is not there, too few blocks); 2 usage. Measuring opens the "
        "model: files of torch are code, so measure only what you trust.",
    )
    add = parser.add_argument
    add("place", type=Path, metavar="BUNDLE_OR_TABLE", help="a bundle, or a results folder")
    add(
        "--case", metavar="CASE", help="of a results folder: that row, not the newest run's fastest"
    )
    leave = "measure nothing and open no model: hashes and texts alone"
    add("--no-measure", dest="measure", action="store_false", help=leave)
    add("--data", metavar="DIR_OR_ZIP", default="", help="the run's images: accuracy as well")
    own = "the own file that the run was given, where it stands now: its hash as well"
    add("--model", type=Path, metavar="FILE", help=own)
    store = "where built files are (default: the user's cache)"
    add("--store", type=Path, default=default_store(), metavar="DIR", help=store)
    same = f"a figure within this is the same (default: {_MARGIN})".replace("%", "%%")
    add("--margin", default=_MARGIN, metavar="SHARE", help=same)
    more = f"for more blocks, five times as many at most, while undecided (default: {_BUDGET})"
    add("--budget", default=_BUDGET, metavar="TIME", help=more)
    return parser


if __name__ == "__main__":
    sys.exit(main())
