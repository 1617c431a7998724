"""``python -m bench.run``: plan, build, measure each case, append, show."""

from __future__ import annotations

import datetime
import hashlib
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from bench import files, host, load_test, report
from bench.block import Effort, run_block
from bench.case import LOADGEN, Case, crossover, left_out, plan, unsupported
from bench.files import Files, file_key
from bench.options import Options, UsageError, parse, spelt_out
from bench.progress import Progress
from bench.record import (
    SCHEMA,
    Measurement,
    Recorder,
    RecordError,
    RunHeader,
    Status,
    check_runs,
    current_blocks,
    find_runs,
)
from export.variants import weights_name
from runtimes import REGISTRY

_ROOT = Path(__file__).parent.parent
_CHILD_SHARE = 0.9
"""Of the free memory, what one child may allocate unless told otherwise."""
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
    """Exit code 0; 1 if a row failed; 2 for a bad argument; 130 if interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As Ctrl-C does: keep what was measured, leave no child behind. Not what nohup ignores.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        options = parse(words)
        check_runs(options.out)
        cases, misfits = files.fitting(plan(options), options)
        # Opened before anything is built: a folder that can't be written, or in which another
        # run is measuring at this moment, is told at once.
        with (
            Recorder.open(options.out, _header(options, cases, words)) as recorder,
            Progress() as progress,
        ):
            for line in left_out(options):
                progress.say(line)
            for variant, reason in misfits.items():
                progress.say(f"left out: {variant}, which these weights don't fit: {reason}")
            built = files.build(cases, options, progress.building)
            return _measure_and_show(recorder, cases, built, options, progress)
    except (UsageError, RecordError, files.BuildError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2 if isinstance(exc, UsageError) else 1
    except KeyboardInterrupt:
        print("interrupted; what was measured is kept: the same command goes on", file=sys.stderr)
        return 130


def _measure_and_show(
    recorder: Recorder, cases: Sequence[Case], built: Files, options: Options, progress: Progress
) -> int:
    """Measure what is missing, write the tables, return the exit code."""
    interrupted = False
    try:
        for block in _blocks(recorder, cases, built, options, progress):
            recorder.append(replace(block, reason=_without_paths(block.reason, options)))
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
    rows = current_blocks(recorder.measurements)
    return int(any(block.status == "failed" for case in cases for block in rows.get(case, ())))


def _blocks(
    recorder: Recorder, cases: Sequence[Case], built: Files, options: Options, progress: Progress
) -> Iterator[Measurement]:
    """The blocks that this run does not have yet, in crossover order."""
    effort = Effort(
        options.seconds, options.samples, _memory_limit(options), options.store.absolute() / "logs"
    )
    left = _left(recorder, cases, built, options)
    progress.planned(left)
    for number, case in left:
        progress.starting(number, case)
        reason = unsupported(case)
        artifact = built.artifacts.get(file_key(case))
        if reason is not None:
            yield Measurement(case, number, "unsupported", reason)
        elif artifact is None:
            status: Status = "unsupported" if file_key(case) in built.refused else "failed"
            yield Measurement(case, number, status, built.reasons[file_key(case)])
        elif load_test.wanted(case, options):
            yield load_test.run(case, number, artifact, effort, load_test.limits(options))
        else:
            yield run_block(case, number, artifact, effort)


def _left(
    recorder: Recorder, cases: Sequence[Case], built: Files, options: Options
) -> list[tuple[int, Case]]:
    """What still has to be measured: not what stands, measured on the same file.

    A case that can't be started needs one row, not one in every round. A failed
    block is tried again.
    """
    done = {
        (block.round, case)
        for case, blocks in current_blocks(recorder.measurements).items()
        for block in blocks
        if block.status != "failed"
        and (block.file.key if block.file else None) == _key(built, case)
    }
    hopeless = {case for case in cases if _key(built, case) is None}
    return [
        (number, case)
        for number, case in crossover(cases, options.blocks, options.seed)
        if (number, case) not in done and not (number > 0 and case in hopeless)
    ]


def _key(built: Files, case: Case) -> str | None:
    artifact = built.artifacts.get(file_key(case))
    return artifact.key if artifact and unsupported(case) is None else None


def _memory_limit(options: Options) -> int:
    return options.memory_limit or int(_CHILD_SHARE * (host.available_memory_bytes() or 0))


def _header(options: Options, cases: Sequence[Case], words: Sequence[str]) -> RunHeader:
    """What all blocks of this run share. Its name covers what makes results comparable."""
    facts = host.describe()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    installed = [row.distribution for row in REGISTRY.values() if row.distribution]
    versions = host.versions([*installed, *_TOOLS])
    named = {k: v for k, v in asdict(options).items() if k not in ("out", "store", "fresh")}
    identity = (named, host.host_id(facts), _code(), sorted(versions.items()))
    digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:8]
    name = f"{options.suite}-{digest}"
    command = shlex.join(["python", "-m", "bench.run", *spelt_out(words)])
    return RunHeader(
        schema=SCHEMA,
        run=_fresh_name(options.out, name) if options.fresh else name,
        started=now,
        command=_without_paths(command, options),
        commit=host.commit(_ROOT),
        suite=options.suite,
        weights=weights_name(options.weights),
        data=_without_paths(options.data, options) or _OWN_IMAGES,
        blocks=options.blocks,
        seconds=options.seconds,
        host=facts,
        host_id=host.host_id(facts),
        versions=versions,
        cases=tuple(cases),
    )


def _code() -> str:
    """A hash of our own source: numbers of other code are another run's."""
    whole = hashlib.sha256()
    for package in ("bench", "export", "runtimes"):
        for file in sorted((_ROOT / package).rglob("*.py")):
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


def _without_paths(text: str, options: Options) -> str:
    """``text`` without the folders of this machine: records travel."""
    places = {
        **{place: Path(place).name for place in (options.data, options.weights) if place},
        str(options.store.absolute()): "STORE",
        str(_ROOT): ".",
        str(Path.home()): "~",
    }
    for place, name in places.items():
        if place != "/":
            text = text.replace(place, name)
    return text


if __name__ == "__main__":
    sys.exit(main())
