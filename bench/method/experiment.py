"""What an experiment is: units of work that each leave one line of raw data, and a judgement."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter

from bench import files, host
from bench.block import Effort, run_block
from bench.case import Case
from bench.files import Event, FileKey, file_key
from bench.launch import WORKER
from bench.method import EXPERIMENTS
from bench.options import Options, UsageError
from bench.record import Measurement
from export.artifact import Artifact, default_store
from export.checkpoints import SEEDED

Line = TypeVar("Line")
BLOCK_S = 1.1
"""What a block of a small model costs beside its timed loop: child, import, load, warm-up."""


class ExperimentError(Exception):
    """An experiment can't go on; the text says why and what to do."""


@dataclass(frozen=True)
class Size:
    """How much an experiment measures, and on what; an experiment has its own defaults.

    ``pairs`` counts what it repeats (comparisons, rounds); ``blocks`` are those of one
    side of a comparison, or of a row; ``seconds`` is the time of a timed loop.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    pairs: int
    blocks: int = 3
    seconds: float = 0.2
    variants: tuple[str, ...] = ("revisited-v6",)
    recipe: str = "int8-static"
    runtime: str = "ort"
    threads: int = field(default_factory=host.usable_cores)
    seed: int = 0

    @property
    def cases(self) -> tuple[Case, ...]:
        """One case for each variant."""
        return tuple(
            Case(variant, self.recipe, self.runtime, self.threads) for variant in self.variants
        )


@dataclass(frozen=True)
class Lab:
    """Where an experiment measures: the files that it measures, and how a block is made."""

    size: Size
    artifacts: Mapping[FileKey, Artifact] = field(default_factory=dict)
    store: Path = field(default_factory=default_store)
    make_block: Callable[[Case, int, Artifact, Effort], Measurement] = run_block

    def artifact(self, case: Case) -> Artifact:
        """The file of ``case``."""
        return self.artifacts[file_key(case)]

    def block(self, case: Case, number: int, worker: tuple[str, ...] = WORKER) -> Measurement:
        """One block, in a child of its own. ``number`` counts from 0.

        Raises :class:`ExperimentError` if it could not be measured.
        """
        # Least samples as in the default suite. Rounds count from 1 here, because
        # a case's first block, 0, is also asked for its parity.
        effort = Effort(self.size.seconds, 6, logs=self.store.absolute() / "logs", worker=worker)
        block = self.make_block(case, number + 1, self.artifact(case), effort)
        if block.status != "ok":
            raise ExperimentError(f"{case}: {block.status}: {block.reason}")
        return block


@dataclass(frozen=True)
class Outcome:
    """What came out: a sentence, tables in Markdown, and whether it is as it must be.

    ``passed`` is ``None`` where nothing is demanded.
    """

    answer: str
    passed: bool | None = None
    table: str = ""


@dataclass(frozen=True)
class Experiment(Generic[Line]):
    """``measure(i, lab)`` makes line ``i`` of ``units(size)``; the rest are pure functions.

    ``draw`` puts the lines into a matplotlib figure; ``expected_s`` is a guess of the whole.
    """

    question: str
    line: TypeAdapter[Line]
    defaults: Size
    units: Callable[[Size], int]
    expected_s: Callable[[Size], float]
    measure: Callable[[int, Lab], Line]
    judge: Callable[[Size, Sequence[Line]], Outcome]
    draw: Callable[[Any, Size, Sequence[Line]], None]
    cases: Callable[[Size], tuple[Case, ...]] = lambda size: size.cases


def load(name: str) -> Experiment[Any]:
    """The experiment called ``name`` in the table of ``bench.method``."""
    experiment: Experiment[Any] = importlib.import_module(EXPERIMENTS[name]).EXPERIMENT
    return experiment


def open_lab(cases: Sequence[Case], size: Size, store: Path, show: Callable[[str], None]) -> Lab:
    """A lab with the file of each case, built where it does not stand yet.

    Raises ``UsageError`` for a file that can't be made.
    """

    def tell(event: Event) -> None:
        if event.kind == "building" and event.wanted is not None:
            show(f"building {event.wanted.variant}/{event.wanted.recipe}")

    built = files.build(cases, Options(store=store, weights=SEEDED), tell)
    for case in cases:
        if file_key(case) not in built.artifacts:
            reason = built.reasons.get(file_key(case), "no runtime of this kind opens such a file")
            raise UsageError(f"no file for {case}: {reason}")
    return Lab(size, built.artifacts, store)
