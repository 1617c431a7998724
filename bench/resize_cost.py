"""``python -m bench.resize_cost --data DIR --variants NAMES``: what another resize filter costs.

Every fp32 file classifies the labelled images resized with each of Pillow's filters, every
other file those of its own. Takes the flags of ``bench.run``; nothing is timed.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench import files, given, host, labelled, launch, report
from bench.block import load_message
from bench.blocks import memory_limit
from bench.case import NULL, Case, plan, unsupported
from bench.command_line import parse
from bench.flags import parser
from bench.header import without_paths
from bench.options import Options, UsageError, without_flags
from bench.progress import Progress
from bench.record import Answers, Labelled, RecordError, write_atomically
from bench.resize_table import FILTERS, PLACE, SCHEMA, Header, Line, ResizeCost, dumped
from bench.run import heed_signals
from export.artifact import Artifact
from export.printable import complain
from runtimes import REGISTRY

_DEFAULTS = ("--recipes", "fp32,int8-static", "--runtimes", "ort")
_ROOT = Path(__file__).parents[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 if no file can be asked; 2 for a bad argument; 130 if interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    heed_signals()
    try:
        options = given.opened(parse([*_DEFAULTS, *words], _command()))
        if options.ray:
            raise UsageError("--ray: filters are compared on this machine; leave it out")
        report.check_page(options.out)
        with Progress() as progress:
            cost = _measured(options, words, progress)
        print(report.write(options.out) if cost.lines else "nothing was answered")
        return 0 if cost.lines else 1
    except (UsageError, RecordError, files.BuildError, launch.ChildDied, OSError) as exc:
        complain(exc)
        return 2 if isinstance(exc, UsageError) else 1
    except KeyboardInterrupt:
        print("interrupted; what was answered is kept", file=sys.stderr)
        return 130


def _command() -> argparse.ArgumentParser:
    """The flags of ``bench.run``, of which those of timing mean nothing here."""
    command = parser()
    command.prog = "python -m bench.resize_cost"
    command.description = (
        "Ask every fp32 file about the labelled images of --data, resized with each of Pillow's "
        "filters, and every other file with its own, and write a table of what it costs. Nothing "
        "is timed: flags of blocks, budgets and comparisons mean nothing. Unless told otherwise, "
        f"{' '.join(_DEFAULTS)}."
    )
    return command


def _measured(options: Options, words: Sequence[str], progress: Progress) -> ResizeCost:
    """Build, ask, and keep every answer as soon as it is there."""
    cases, misfits, weights = files.fitting(plan(options), options)
    cases = tuple(case for case in cases if unsupported(case) is None and case.runtime != NULL)
    images = labelled.chosen(cases, options)
    if images is None:
        raise UsageError("--data: give labelled images, and weights that were trained on such")
    labelled.check(images, cases, weights, options)
    for text in files.misfit_notes(misfits):
        progress.say(text)
    built = files.build(cases, options, progress.building)
    sources = files.sources(cases, built)
    artifacts = {case: row.artifact for case, row in sources.items() if row.artifact}
    asked = labelled.questions(images, artifacts, options)
    for text in (*asked.notes, *(f"not asked: {x}" for x in dict.fromkeys(asked.reasons.values()))):
        progress.say(text)
    header = _header(cases, options, words, images.labelled)
    cost = ResizeCost(replace(header, assumed=_assumed(asked.questions, artifacts)), ())
    for line in _lines(asked.questions, artifacts, options, progress):
        cost = replace(cost, lines=(*cost.lines, line))
        (options.out / PLACE).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(options.out / PLACE, dumped(cost))
    return cost


def _assumed(asked: Iterable[Case], artifacts: Mapping[Case, Artifact]) -> tuple[str, ...]:
    """The variants of which only somebody's word says what classes their outputs stand for."""
    unnamed = (x for x in asked if artifacts[x].placeholder_names or artifacts[x].assumed_names)
    return tuple(dict.fromkeys(case.variant for case in unnamed))


def _lines(
    questions: Mapping[Case, labelled.Question],
    artifacts: Mapping[Case, Artifact],
    options: Options,
    progress: Progress,
) -> Iterator[Line]:
    """The answers of every file, by filter; its own filter first."""
    for case, question in questions.items():
        usual = question.preprocess.filter
        others = [name for name in FILTERS if name != usual and case.recipe == "fp32"]
        for name in (usual, *others):
            changed = replace(question, preprocess=replace(question.preprocess, filter=name))
            labelled.prepare([changed], progress.say)
            progress.say(f"{case}: resized by {name}")
            answers = _answers(case, artifacts[case], changed, options)
            yield Line(case, name, name == usual, answers)


def _answers(
    case: Case, artifact: Artifact, question: labelled.Question, options: Options
) -> Answers:
    """Of a child of its own. Raises :class:`launch.ChildDied`."""
    log = options.store.absolute() / "logs" / f"{str(case).replace('/', '_')}.log"
    with launch.Child(launch.Setting(case.threads, memory_limit(options)), log) as child:
        loaded = child.ask(load_message(case, artifact), launch.LOAD_LIMIT_S)
        if loaded["status"] != "ok":
            raise launch.ChildDied(loaded["reason"])
        return labelled.ask(child, question, loaded["first_s"] / case.batch_size)


def _header(
    cases: Sequence[Case], options: Options, words: Sequence[str], images: Labelled
) -> Header:
    libraries = [REGISTRY[name].distribution for name in dict.fromkeys(c.runtime for c in cases)]
    command = shlex.join(
        ["python", "-m", "bench.resize_cost", *without_flags(words, ("--store", "--out"))]
    )
    return Header(
        schema=SCHEMA,
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=without_paths(command, options),
        commit=host.commit(_ROOT),
        host=host.describe(),
        versions=host.versions(["numpy", "Pillow", *filter(None, libraries)]),
        labelled=images,
    )


if __name__ == "__main__":
    raise SystemExit(main())
