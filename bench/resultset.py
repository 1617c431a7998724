"""Result sets: the rows of one run as a comparison sees them, whatever file they come from.

A set is a run of ours (a results folder, or one record file) or the JSON that
pytest-benchmark writes (``bench.interchange``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from bench import stats, validity
from bench.case import BASE, NULL, ONCE, Case
from bench.record import (
    LoadTest,
    Measurement,
    RecordError,
    Run,
    current_blocks,
    find_runs,
    read_header,
    read_run,
)
from bench.validity import Verdict

VALID = Verdict()


@dataclass(frozen=True)
class Block:
    """One fresh process: its median time for an image (s), and how far that can be believed."""

    round: int
    median_s: float
    verdict: Verdict = VALID
    started: str = ""


@dataclass(frozen=True)
class Entry:
    """One row of a set: its measured blocks.

    ``reason`` says why there is none; ``unsupported``: nothing that could be
    measured. ``right`` is what parity said, ``None`` where it was not taken.
    ``preprocess`` is how its inputs were made, as JSON; empty: not recorded.
    """

    blocks: tuple[Block, ...] = ()
    reason: str = ""
    unsupported: bool = False
    right: bool | None = None
    preprocess: str = ""

    @cached_property
    def valid(self) -> tuple[Block, ...]:
        """The blocks that count."""
        return tuple(block for block in self.blocks if block.verdict.level != "INVALID")


@dataclass(frozen=True)
class ResultSet:
    """What is compared: rows by name, and what has to be the same on both sides.

    ``source`` names the file (empty: this very run), ``run`` the run in it.
    """

    source: str
    run: str
    host_id: str
    schema: str
    weights: str
    data: str
    entries: Mapping[str, Entry]
    commit: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """How a sentence names this set."""
        return f"{self.source} ({self.run})" if self.run else self.source


def of_run(run: Run, source: str, copy: str = "") -> ResultSet:
    """The rows of ``run`` that are such a copy: "" its own, ``BASE`` those of the other code.

    The harness's own row is left out: a regression of nothing is none. So is a search
    for a rate, which is made once and has no interval. A case that was planned and has
    no block is a row without blocks.
    """
    header = run.header
    usual = validity.usual_canary_s(run.measurements)
    current = current_blocks(run.measurements)
    cases = dict.fromkeys((*header.cases, *current))
    repeated = (case for case in cases if case.scenario not in ONCE and case.runtime != NULL)
    chosen = [case for case in repeated if case.copy == copy]
    commit = header.against.commit if copy == BASE and header.against else header.commit
    return ResultSet(
        source=source,
        run=header.run,
        host_id=header.host_id,
        schema=f"schema {header.schema}",
        weights=header.weights,
        data=header.data,
        entries={row_name(case): _entry(current.get(case, ()), usual) for case in chosen},
        commit=commit,
        versions=header.versions,
    )


def row_name(case: Case) -> str:
    """The name under which a case is looked for on the other side."""
    return str(replace(case, copy=""))


def _entry(blocks: Sequence[Measurement], usual_canary_s: float | None) -> Entry:
    """What counts of the blocks of a case."""
    if not blocks:
        return Entry(reason="not measured yet")
    measured = [
        Block(block.round, seconds, _verdict(block, usual_canary_s), block.started)
        for block in blocks
        if block.status == "ok" and (seconds := _seconds(block))
    ]
    last = blocks[-1]
    parities = [block.parity.passed for block in blocks if block.parity]
    return Entry(
        tuple(measured),
        reason=f"{last.status}: {last.reason or 'no reason was given'}",
        unsupported=all(block.status == "unsupported" for block in blocks),
        right=all(parities) if parities else None,
        preprocess=preprocess(blocks),
    )


def preprocess(blocks: Sequence[Measurement]) -> str:
    """How the inputs of a case's current file were made, as JSON; empty: not recorded."""
    return next((block.file.preprocess for block in reversed(blocks) if block.file), "")


def _seconds(block: Measurement) -> float | None:
    """Seconds for an image: the block's median, or what another scenario reports, as a time."""
    test = _deciding_test(block)
    if block.workers is not None and block.workers.images_per_s > 0:
        return 1 / block.workers.images_per_s
    if test is not None and test.value > 0:
        return 1 / test.value if test.metric.endswith("_per_s") else test.value
    if not block.latencies_ns:
        return None
    return stats.percentile(block.latencies_ns, 0.5) / 1e9 / block.case.batch_size


def _deciding_test(block: Measurement) -> LoadTest | None:
    """LoadGen's test where the row is one; a single stream's is beside our own loop's numbers."""
    return None if block.case.scenario == "single" else block.load_test


def _verdict(block: Measurement, usual_canary_s: float | None) -> Verdict:
    test = _deciding_test(block)
    if test is not None and not test.valid:
        return Verdict("INVALID", ("loadgen",))
    return validity.judge(block, usual_canary_s)


def find_run(place: Path, name: str | None) -> Run:
    """The run that ``place`` stands for: the file itself, or of a results folder the newest.

    The newest is the finished run that was started last; ``name`` (a name or a
    pattern) picks among all of them, unfinished ones included. Raises
    ``RecordError``.
    """
    if not place.is_dir():
        return read_run(place)
    paths = [path for path in find_runs(place) if name is None or _is_called(path, name)]
    finished = [path for path in paths if name is not None or path.suffix == ".gz"]
    if not finished:
        raise RecordError(_no_run(place, name, find_runs(place)))
    return read_run(max(finished, key=_age))


def _age(path: Path) -> tuple[str, str]:
    header = read_header(path)
    return header.started, header.run


def run_of(path: Path) -> str:
    """The name of the run that a record file holds."""
    return path.name.partition(".jsonl")[0]


def _is_called(path: Path, name: str) -> bool:
    return fnmatchcase(run_of(path), name)


def _no_run(place: Path, name: str | None, paths: Iterable[Path]) -> str:
    """Why there is nothing to take, and what there is."""
    names = ", ".join(run_of(path) for path in paths)
    if not names:
        return f"{place} holds no records (records/RUN.jsonl.gz below it)"
    if name is None:
        return f"{place} holds no finished run; name one of: {names}"
    return f"{place} holds no run {name!r}; there are: {names}"
