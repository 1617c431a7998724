"""The blocks of one run: how each is measured, what earlier ones have told, what is still to do.

What is asked of a block does not depend on the machine that answers: ``bench.run`` measures here,
``bench.fleet`` elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from bench import host, load_test, rows, validity
from bench.block import Effort, beside, run_block
from bench.case import Case
from bench.files import Source
from bench.options import Options
from bench.record import Answers, Measurement, current_blocks
from export.artifact import Artifact


def effort_of(options: Options) -> Effort:
    """How long each block measures, and within what."""
    return Effort(
        options.seconds,
        options.samples,
        memory_limit(options),
        options.store.absolute() / "logs",
        options.idle_seconds or 0.0,
        bool(options.cold_start),
    )


def memory_limit(options: Options) -> int:
    """Bytes of data that a child may allocate: what was asked for, or what is free."""
    return options.memory_limit or host.child_memory_bytes()


def left(
    planned: Sequence[tuple[int, Case]],
    measurements: Collection[Measurement],
    sources: Mapping[Case, Source],
) -> list[tuple[int, Case]]:
    """What still has to be measured: not what stands, measured on the same file.

    A case that can't be started needs one row, not one in every round. A failed
    block is tried again, and so is one that proves nothing (INVALID).
    """
    usual_s = validity.usual_canary_s(measurements)
    done = {
        (block.round, case)
        for case, blocks in current_blocks(measurements).items()
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


class Told:
    """What the blocks of a run have told that need not be asked again.

    It is asked before each block and told after it, in the same time however many there are.
    Answers are kept of the ``cases`` alone that stand there under two names.
    """

    def __init__(
        self, cases: Iterable[Case] = (), measurements: Iterable[Measurement] = ()
    ) -> None:
        self._twice = {replace(case, copy="") for case in cases if case.copy}
        self._explained: set[tuple[str, str, str]] = set()
        self._watched: set[tuple[object, ...]] = set()
        self._answers: dict[tuple[str, Case], Answers] = {}
        for block in measurements:
            self.add(block)

    def add(self, block: Measurement) -> None:
        """One more block of the run."""
        self._watched.update(rows.idle_cpu_s([block]))
        if block.file is None:
            return
        if block.execution is not None:
            self._explained.add(_loaded(block.case, block.file.key))
        if block.answers is not None and replace(block.case, copy="") in self._twice:
            self._answers.setdefault(_answering(block.case, block.file.key), block.answers)

    def once(self, effort: Effort, case: Case, key: str) -> Effort:
        """Without what an earlier block has told for ``case`` and the file of ``key`` as well."""
        idle_s = 0.0 if rows.pool(case) in self._watched else effort.idle_s
        return replace(effort, idle_s=idle_s, explain=_loaded(case, key) not in self._explained)

    def answers(self, case: Case, key: str) -> Answers | None:
        """What the same file has answered under this name or under its twin's."""
        return self._answers.get(_answering(case, key))


def _loaded(case: Case, key: str) -> tuple[str, str, str]:
    """What decides what a runtime makes of a file."""
    return key, case.runtime, case.precision


def _answering(case: Case, key: str) -> tuple[str, Case]:
    return key, replace(case, copy="")


def asked_of(source: Source, case: Case, effort: Effort, told: Told) -> Effort:
    """What the next block of ``case`` is asked, whose file must be there."""
    assert source.artifact is not None
    once = told.once(effort, case, source.artifact.key)
    here = replace(once, root=source.root, question=source.question)
    if source.root:  # what the other version does is no part of the tables
        here = replace(here, idle_s=0.0, explain=False)
    return here


def without_file(number: int, case: Case, source: Source) -> Measurement:
    """The row of a case that has no file, with the reason."""
    return Measurement(case, number, source.status, source.reason)


def measure(
    case: Case, number: int, artifact: Artifact, effort: Effort, options: Options
) -> Measurement:
    """One block, on this machine."""
    if load_test.wanted(case, options):
        return load_test.run(case, number, artifact, effort, load_test.limits(options))
    return run_block(case, number, artifact, effort)


def unanswered(block: Measurement, source: Source) -> bool:
    """Whether a child has still to be asked about all labelled images: of a case's first block.

    A session that could not answer a sample has said why.
    """
    question = source.question
    fine = block.round == 0 and block.status == "ok" and source.artifact is not None
    return fine and question is not None and question.whole and block.sampled is not None


def with_known(block: Measurement, source: Source, told: Told) -> Measurement:
    """A case's first block with what can be said of its answers without asking.

    Those of the same file, or why there can be none.
    """
    if block.round > 0 or block.status != "ok":
        return block
    if source.unasked:
        return beside(block, f"accuracy: {source.unasked}")
    if unanswered(block, source) and source.artifact is not None:
        return replace(block, answers=told.answers(block.case, source.artifact.key))
    return block
