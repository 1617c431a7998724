"""``python -m bench.run``: plan, build, measure each case, append, show."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench import (
    against,
    blocks,
    compare,
    files,
    given,
    labelled,
    outcomes,
    peaks,
    report,
    rows,
    spend,
)
from bench.against import Tree
from bench.block import Effort, with_answers
from bench.blocks import Told
from bench.case import Case, crossover, left_out, plan, unsupported
from bench.command_line import parse
from bench.files import Source
from bench.header import ROOT, header, without_paths
from bench.options import ClusterLost, Options, UsageError, spends
from bench.progress import Progress
from bench.record import (
    Budget,
    Measurement,
    Recorder,
    RecordError,
    Run,
    check_runs,
    current_blocks,
)
from export.printable import complain

_PEAK_SECONDS = 0.3
"""For each figure of the host's peaks: some passes, of which the best one counts."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 if a row failed; 2 for a bad argument; 130 if interrupted.

    With ``--against`` that of the comparison instead of 0 and 1; see ``bench.outcomes``.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    heed_signals()
    trouble = 1
    try:
        options = given.opened(parse(words))
        # A gate reads 1 as "regressed": what kept a comparison from being made is another code.
        trouble = 2 if options.against else 1
        check_runs(options.out)
        report.check_page(options.out)
        _check_store(options.store)
        if options.ray:
            # Nobody imports Ray without being asked to.
            from bench import fleet

            return fleet.run(options, words, heed_signals)
        with against.opened(options.against, ROOT) as tree:
            return _run(options, words, tree)
    except (UsageError, RecordError, files.BuildError, ClusterLost) as exc:
        complain(exc)
        return 2 if isinstance(exc, UsageError) else trouble
    except KeyboardInterrupt:
        print("interrupted; what was measured is kept: the same command goes on", file=sys.stderr)
        return 130


def heed_signals() -> None:
    """End as Ctrl-C does: keep what was measured, leave no child behind. Not what nohup ignores."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def _check_store(store: Path) -> None:
    """A folder that files can't be built in is told before anything is recorded."""
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"--store {store}: {exc.strerror}; name a folder to build in") from exc
    if not os.access(store, os.W_OK | os.X_OK):
        raise UsageError(f"--store {store} can't be written; name a folder to build in")


def _run(options: Options, words: Sequence[str], tree: Tree | None) -> int:
    """One run, with the cases of another version where there is one; returns the exit code."""
    own = plan(options)
    cases, misfits, weights = files.fitting(own, options)
    pairs = rows.twins(case for case in cases if unsupported(case) is None)
    theirs = against.planned(tree, options) if tree else ()
    lost = against.gone(theirs, own)
    base = [against.base_case(row.case) for row in theirs if row.case in cases]
    images = labelled.chosen(cases, options)
    if images:
        labelled.check(images, cases, weights, options)
    # Opened before anything is built: a folder that can't be written, or in which another
    # run is measuring at this moment, is told at once.
    with (
        Recorder.open(
            options.out,
            header(
                options,
                (*cases, *pairs, *base, *lost),
                words,
                tree,
                images.labelled if images else None,
                files.int8_choices(cases, options),
            ),
        ) as recorder,
        Progress() as progress,
    ):
        for line in (*left_out(options), *files.misfit_notes(misfits)):
            progress.say(line)
        built = files.build(cases, options, progress.building)
        for text in files.size_notes(built):
            progress.say(text)
        sources = files.sources((*cases, *pairs), built) | lost
        if tree:
            sources |= against.sources(tree, theirs, cases, options, progress.building)
            against.check_inputs(tree, sources)
        if images:
            sources = _asked(sources, images, options, progress)
        return _measure_and_show(recorder, sources, options, progress)


def _asked(
    sources: Mapping[Case, Source],
    images: labelled.Images,
    options: Options,
    progress: Progress,
) -> dict[Case, Source]:
    """The sources, each with what its case is asked about the labelled images."""
    artifacts = {case: row.artifact for case, row in sources.items() if row.artifact}
    asked = labelled.questions(images, artifacts, options)
    for line in asked.notes:
        progress.say(line)
    return {
        case: replace(
            source,
            question=asked.questions.get(case),
            unasked=asked.reasons.get(case, ""),
        )
        for case, source in sources.items()
    }


def _measure_and_show(
    recorder: Recorder, sources: Mapping[Case, Source], options: Options, progress: Progress
) -> int:
    """Measure what is missing, write the tables, return the exit code."""
    interrupted = False
    try:
        for block in _blocks(recorder, sources, options, progress):
            recorder.append(replace(block, reason=without_paths(block.reason, options)))
            progress.measured(block, recorder.measurements)
    except KeyboardInterrupt:
        interrupted = True
    progress.stop()
    if not interrupted:
        recorder.finish()
    page = report.write(options.out)
    progress.summary(recorder, page, interrupted)
    if interrupted:
        return 130
    current = current_blocks(recorder.measurements)
    failed = any(block.status == "failed" for case in sources for block in current.get(case, ()))
    if options.against:
        # A row that only HEAD has, and that fails, is no row of the comparison.
        return _compared(recorder, options) or int(failed)
    return int(failed)


def _compared(recorder: Recorder, options: Options) -> int:
    """Show how this version does beside the other; the comparison's exit code."""
    run = Run(recorder.header, tuple(recorder.measurements))
    comparison = outcomes.compare_run(run, options.margin)
    compare.show(comparison, options.markdown)
    return comparison.exit_code


def _blocks(
    recorder: Recorder, sources: Mapping[Case, Source], options: Options, progress: Progress
) -> Iterator[Measurement]:
    """The blocks that this run does not have yet, in crossover order, then what is undecided."""
    effort, told = blocks.effort_of(options), Told(sources, recorder.measurements)
    usual = list(crossover(tuple(sources), options.blocks, options.seed))
    left = blocks.left(usual, recorder.measurements, sources)
    questions = [sources[case].question for number, case in left if number == 0]
    labelled.prepare(filter(None, questions), progress.say)
    threads = sorted({case.threads for _, case in left if sources[case].artifact})
    known = {one.threads for one in recorder.header.peaks}
    _measure_peaks(recorder, [count for count in threads if count not in known], options, progress)
    progress.planned(left)
    yield from _measured(left, sources, effort, told, options, progress)
    if options.against:
        for batch in against.further_rounds(recorder.header, recorder.measurements, options):
            left = blocks.left(batch, recorder.measurements, sources)
            if left:
                why = f" in round {left[0][0] + 1}, for undecided rows"
                progress.planned(left, why)
                yield from _measured(left, sources, effort, told, options, progress)
    if spends(options):
        yield from _spent(recorder, sources, effort, told, options, progress)
    # One disturbed moment before the run would make every share of the attainable too high.
    _measure_peaks(recorder, threads, options, progress)


def _spent(
    recorder: Recorder,
    sources: Mapping[Case, Source],
    effort: Effort,
    told: Told,
    options: Options,
    progress: Progress,
) -> Iterator[Measurement]:
    """Further blocks, where they decide something; then why there are no more of them."""
    further = spend.further_rounds(
        recorder.header, recorder.measurements, options.budget, options.seed
    )
    stopped = ""
    while not stopped:
        try:
            left = blocks.left(next(further), recorder.measurements, sources)
        except StopIteration as stop:
            stopped = stop.value
        else:
            if left:
                progress.planned(left, f" in round {left[0][0] + 1}, for the contenders")
                yield from _measured(left, sources, effort, told, options, progress)
    progress.say(f"no more blocks ({stopped})")
    recorder.amend(replace(recorder.header, budget=Budget(options.budget, stopped)))


def _measured(
    left: Sequence[tuple[int, Case]],
    sources: Mapping[Case, Source],
    effort: Effort,
    told: Told,
    options: Options,
    progress: Progress,
) -> Iterator[Measurement]:
    """These blocks, one after the other."""
    for number, case in left:
        progress.starting(number, case)
        source = sources[case]
        if source.artifact is None:
            yield blocks.without_file(number, case, source)
            continue
        here = blocks.asked_of(source, case, effort, told)
        block = blocks.measure(case, number, source.artifact, here, options)
        block = blocks.with_known(block, source, told)
        if blocks.unanswered(block, source) and source.question and block.answers is None:
            progress.classifying(case)
            block = with_answers(block, source.artifact, here, source.question)
        told.add(block)
        yield block


def _measure_peaks(
    recorder: Recorder, threads: Sequence[int], options: Options, progress: Progress
) -> None:
    """Measure what the host reaches with so many threads; of what is known the larger stays."""
    known = {one.threads: one for one in recorder.header.peaks}
    for count in threads:
        found = peaks.measure(count, _PEAK_SECONDS, options.store.absolute(), progress.say)
        known[count] = peaks.larger(known[count], found) if count in known else found
    if threads:
        recorder.amend(replace(recorder.header, peaks=tuple(known.values())))


if __name__ == "__main__":
    sys.exit(main())
