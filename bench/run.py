"""``python -m bench.run``: plan, build, measure each case, append, show."""

from __future__ import annotations

import datetime
import hashlib
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from bench import (
    against,
    compare,
    files,
    given,
    host,
    labelled,
    load_test,
    outcomes,
    peaks,
    report,
    rows,
    spend,
    validity,
)
from bench.against import Tree
from bench.block import Effort, beside, run_block, with_answers
from bench.case import LOADGEN, Case, crossover, left_out, plan, unsupported
from bench.choices import Choice
from bench.files import Source
from bench.options import Options, UsageError, parse, spelt_out, spends
from bench.progress import Progress
from bench.record import (
    SCHEMA,
    Answers,
    Budget,
    Labelled,
    Measurement,
    Recorder,
    RecordError,
    Run,
    RunHeader,
    check_runs,
    current_blocks,
    find_runs,
)
from export.checkpoints import DEFAULT, SEEDED, weights_of
from export.variants import OWN, VARIANTS, Variant, weights_name
from runtimes import REGISTRY

_ROOT = Path(__file__).parent.parent
_ELSEWHERE = ("out", "store", "fresh", "markdown")
"""Options that say where things go: a run is the same whatever they are."""
_PEAK_SECONDS = 0.3
"""For each figure of the host's peaks: some passes, of which the best one counts."""
_OWN_IMAGES = "crops of the photographs that scikit-learn ships"
_TOOLS = (
    "numpy",
    "onnx",
    "onnxscript",
    "onnxruntime-tools",
    "torchao",
    "torch-pruning",
    "pnnx",
    "litert-torch",
    "litert-converter",
    "ai-edge-quantizer",
    LOADGEN,
)


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
        with against.opened(options.against, _ROOT) as tree:
            return _run(options, words, tree)
    except (UsageError, RecordError, files.BuildError) as exc:
        print(f"error: {exc}", file=sys.stderr)
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
            _header(
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
        for line in left_out(options):
            progress.say(line)
        for variant, reason in misfits.items():
            progress.say(f"left out: {variant}, which these weights don't fit: {reason}")
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
    effort = Effort(
        options.seconds,
        options.samples,
        memory_limit(options),
        options.store.absolute() / "logs",
        options.idle_seconds or 0.0,
        bool(options.cold_start),
    )
    usual = list(crossover(tuple(sources), options.blocks, options.seed))
    left = _left(usual, recorder, sources)
    questions = [sources[case].question for number, case in left if number == 0]
    labelled.prepare(filter(None, questions), progress.say)
    threads = sorted({case.threads for _, case in left if sources[case].artifact})
    known = {one.threads for one in recorder.header.peaks}
    _measure_peaks(recorder, [count for count in threads if count not in known], options, progress)
    progress.planned(left)
    yield from _measured(left, recorder, sources, effort, options, progress)
    if options.against:
        for batch in against.further_rounds(recorder.header, recorder.measurements, options):
            left = _left(batch, recorder, sources)
            if left:
                why = f" in round {left[0][0] + 1}, for undecided rows"
                progress.planned(left, why)
                yield from _measured(left, recorder, sources, effort, options, progress)
    if spends(options):
        yield from _spent(recorder, sources, effort, options, progress)
    # One disturbed moment before the run would make every share of the attainable too high.
    _measure_peaks(recorder, threads, options, progress)


def _spent(
    recorder: Recorder,
    sources: Mapping[Case, Source],
    effort: Effort,
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
            left = _left(next(further), recorder, sources)
        except StopIteration as stop:
            stopped = stop.value
        else:
            if left:
                progress.planned(left, f" in round {left[0][0] + 1}, for the contenders")
                yield from _measured(left, recorder, sources, effort, options, progress)
    progress.say(f"no more blocks ({stopped})")
    recorder.amend(replace(recorder.header, budget=Budget(options.budget, stopped)))


def _measured(
    left: Sequence[tuple[int, Case]],
    recorder: Recorder,
    sources: Mapping[Case, Source],
    effort: Effort,
    options: Options,
    progress: Progress,
) -> Iterator[Measurement]:
    """These blocks, one after the other."""
    for number, case in left:
        progress.starting(number, case)
        source = sources[case]
        if source.artifact is None:
            yield Measurement(case, number, source.status, source.reason)
        else:
            once = _once(effort, case, source.artifact.key, recorder.measurements)
            here = replace(once, root=source.root, question=source.question)
            if source.root:  # what the other version does is no part of the tables
                here = replace(here, idle_s=0.0, explain=False)
            if load_test.wanted(case, options):
                limits = load_test.limits(options)
                block = load_test.run(case, number, source.artifact, here, limits)
            else:
                block = run_block(case, number, source.artifact, here)
            yield _answered(block, source, here, recorder.measurements, progress)


def _answered(
    block: Measurement,
    source: Source,
    effort: Effort,
    measurements: Sequence[Measurement],
    progress: Progress,
) -> Measurement:
    """A case's first block with the answers to all labelled images, or why there are none."""
    if block.round > 0 or block.status != "ok":
        return block
    if source.unasked:
        return beside(block, f"accuracy: {source.unasked}")
    question, artifact = source.question, source.artifact
    # A session that could not answer a sample has said why.
    if question is None or not question.whole or artifact is None or block.sampled is None:
        return block
    known = _known_answers(block.case, artifact.key, measurements)
    if known is not None:
        return replace(block, answers=known)
    progress.classifying(block.case)
    return with_answers(block, artifact, effort, question)


def _known_answers(case: Case, key: str, measurements: Sequence[Measurement]) -> Answers | None:
    """What the same file has answered under this name or under its twin's."""
    found = (
        block.answers
        for block in measurements
        if block.file is not None and block.file.key == key
        if replace(block.case, copy="") == replace(case, copy="")
    )
    return next(filter(None, found), None)


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


def _once(effort: Effort, case: Case, key: str, measurements: Sequence[Measurement]) -> Effort:
    """Without what an earlier block has told for this case as well."""
    told = any(
        block.execution is not None
        and block.file is not None
        and (block.file.key, block.case.runtime, block.case.precision)
        == (key, case.runtime, case.precision)
        for block in measurements
    )
    watched = rows.pool(case) in rows.idle_cpu_s(measurements)
    return replace(effort, idle_s=0.0 if watched else effort.idle_s, explain=not told)


def _left(
    planned: Sequence[tuple[int, Case]], recorder: Recorder, sources: Mapping[Case, Source]
) -> list[tuple[int, Case]]:
    """What still has to be measured: not what stands, measured on the same file.

    A case that can't be started needs one row, not one in every round. A failed
    block is tried again, and so is one that proves nothing (INVALID).
    """
    usual_s = validity.usual_canary_s(recorder.measurements)
    done = {
        (block.round, case)
        for case, blocks in current_blocks(recorder.measurements).items()
        for block in blocks
        if block.status != "failed"
        and validity.judge_with_test(block, usual_s).level != "INVALID"
        and case in sources
        and (block.file.key if block.file else None) == sources[case].key
    }
    return [
        (number, case)
        for number, case in planned
        if (number, case) not in done and not (number > 0 and sources[case].key is None)
    ]


def memory_limit(options: Options) -> int:
    """Bytes of data that a child may allocate: what was asked for, or what is free."""
    return options.memory_limit or host.child_memory_bytes()


def _header(
    options: Options,
    cases: Sequence[Case],
    words: Sequence[str],
    tree: Tree | None,
    images: Labelled | None,
    int8_choices: tuple[Choice, ...],
) -> RunHeader:
    """What all blocks of this run share. Its name covers what makes results comparable."""
    facts = host.describe()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    installed = [row.distribution for row in REGISTRY.values() if row.distribution]
    versions = host.versions([*installed, *_TOOLS])
    named = {k: v for k, v in asdict(options).items() if k not in _ELSEWHERE}
    code = (_code(_ROOT), *([_code(tree.root)] if tree else []))
    judged_by = (images.images,) if images else ()
    # A search may choose anew in the same folder.
    built_as = tuple((choice.variant, choice.int8) for choice in int8_choices)
    named_by = (*judged_by, *built_as)
    identity = (named, host.host_id(facts), *code, sorted(versions.items()), *named_by)
    digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:8]
    name = f"{options.suite}-{digest}"
    command = shlex.join(["python", "-m", "bench.run", *spelt_out(words)])
    return RunHeader(
        schema=SCHEMA,
        run=_fresh_name(options.out, name) if options.fresh else name,
        started=now,
        command=without_paths(command, options),
        commit=host.commit(_ROOT),
        suite=options.suite,
        weights=_weights(options),
        data=without_paths(options.data, options) + _fingerprint(options.data) or _OWN_IMAGES,
        blocks=options.blocks,
        seconds=options.seconds,
        host=facts,
        host_id=host.host_id(facts),
        versions=versions,
        cases=tuple(cases),
        against=against.header_entry(tree, options) if tree else None,
        labelled=images,
        int8_choices=int8_choices,
        budget=Budget(options.budget) if spends(options) else None,
    )


def _weights(options: Options) -> str:
    """The weights, with what tells files from others of the same names.

    Of checkpoints by variant all that there are, so that it does not depend on the plan.
    """
    if options.weights != DEFAULT:
        return weights_name(options.weights) + _fingerprint(options.weights)
    chosen = {name: weights_of(name, DEFAULT, options.checkpoints) for name in VARIANTS}
    own = "; ".join(f"{row.name} (sha256 {_digest(row)})" for row in options.given)
    texts = [
        name + _fingerprint(place) for name, place in chosen.items() if place not in (SEEDED, OWN)
    ]
    if own:
        return f"{OWN}: {own}"
    if not texts:
        return SEEDED
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
    return f"of each variant its own, trained for {len(texts)} of {len(chosen)} (sha256 {digest})"


def _digest(row: Variant) -> str:
    return row.given.sha256[:12] if row.given else ""


def _fingerprint(place: str) -> str:
    """What tells a file or folder from another one of the same name; empty for what is neither.

    Of a file its contents, of a folder the names and sizes of its files.
    """
    path = Path(place)
    if place and path.is_file():
        with path.open("rb") as stream:
            return f" (sha256 {hashlib.file_digest(stream, 'sha256').hexdigest()[:12]})"
    if place and path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        text = "\n".join(f"{file.relative_to(path)} {file.stat().st_size}" for file in files)
        return f" (names and sizes {hashlib.sha256(text.encode()).hexdigest()[:12]})"
    return ""


def _code(root: Path) -> str:
    """A hash of the source in a checkout: numbers of other code are another run's."""
    whole = hashlib.sha256()
    for package in ("bench", "export", "runtimes"):
        for file in sorted((root / package).rglob("*.py")):
            whole.update(file.read_bytes())
    return whole.hexdigest()


def _fresh_name(out: Path, name: str) -> str:
    """The first unused ``NAME-1``, ``NAME-2``, ...; an interrupted one is gone on with."""
    taken = {path.name.partition(".jsonl")[0] for path in find_runs(out)}
    number = 1
    while f"{name}-{number}" in taken:
        if (out / "records" / f"{name}-{number}.jsonl").exists():
            break
        number += 1
    return f"{name}-{number}"


def _is_folder(place: str) -> bool:
    return bool(place) and Path(place).is_dir()


def without_paths(text: str, options: Options) -> str:
    """``text`` without the folders of this machine: records travel."""
    places = {
        **{
            place: Path(place).name
            for place in (
                *(options.data, options.weights, options.checkpoints, options.class_names),
                *options.model,
            )
            if place
        },
        **{place: Path(place).name for place in [options.against] if _is_folder(place)},
        **{
            str(place): place.name
            for place in (options.out, Path(options.int8_choice))
            if place.is_absolute()
        },
        str(options.store.absolute()): "STORE",
        str(_ROOT): ".",
        str(Path.home()): "~",
    }
    for place, name in places.items():
        if place != "/":
            # As a whole folder: /tmp/walk is no part of /tmp/walk-out.
            text = re.sub(rf"{re.escape(place)}(?![\w.-])", name.replace("\\", r"\\"), text)
    return text


if __name__ == "__main__":
    sys.exit(main())
