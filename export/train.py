"""``python -m export.train``: train, fine-tune, prune and distil the variants on images.

Training is never a step of a build: it writes checkpoints, and ``--weights`` or
``--checkpoints`` of the other commands read them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from export.download import WeightsError
from export.images import ImagesError
from export.train_plan import PAPER_BATCH, SCRATCH, TrainingError
from export.training import Job, Said, train
from export.variants import VARIANTS

_EXPECTED = (ImagesError, TrainingError, WeightsError)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, train; returns the exit code.

    1: a training went wrong, 2: usage, 130: interrupted (the same command goes on).
    """
    try:
        options = _parser().parse_args(argv)
        jobs = _jobs(options)
    except TrainingError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    try:
        failures = train_all(jobs, options.jobs)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last whole epoch", file=sys.stderr)
        return 130
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures else 0


def train_all(jobs: Sequence[Job], at_once: int) -> list[str]:
    """Train them, so many at a time; returns what went wrong, one sentence each."""
    with _Board() as board:
        if at_once == 1 or len(jobs) == 1:
            return [text for job in jobs if (text := _attempt(job, board.hear))]
        return _side_by_side(jobs, at_once, board)


def _attempt(job: Job, tell: Callable[[Said], object]) -> str | None:
    """What went wrong with one training, or None."""
    try:
        train(job, tell)
    except _EXPECTED as exc:
        return str(exc)
    return None


# --- in processes of their own ------------------------------------------------


def _side_by_side(jobs: Sequence[Job], at_once: int, board: _Board) -> list[str]:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        said: Any = manager.Queue()
        listener = threading.Thread(target=_listen, args=(said, board), daemon=True)
        listener.start()
        pool = ProcessPoolExecutor(at_once, context, initializer=_begin, initargs=(said,))
        with pool:
            futures = {pool.submit(_in_child, job): job for job in jobs}
            failures = [text for done in as_completed(futures) if (text := _outcome(done, futures))]
        said.put(None)
        listener.join()
        return failures


def _outcome(done: Future[str | None], futures: dict[Future[str | None], Job]) -> str | None:
    try:
        return done.result()
    except BrokenProcessPool:
        return f"{futures[done].variant}: its process was killed; out of memory? Try --jobs 1"


_said: Any = None
"""In a child: where it tells its parent."""


def _begin(said: Any) -> None:
    global _said
    _said = said


def _in_child(job: Job) -> str | None:
    return _attempt(job, _Sender())


class _Sender:
    """Tells the parent, steps in bundles; ends this process when the parent is gone."""

    def __init__(self, bundle: int = 20) -> None:
        self._bundle, self._steps = bundle, 0

    def __call__(self, said: Said) -> None:
        if said.done == 1 and not said.text and said.total is None:
            self._steps += 1
            if self._steps < self._bundle:
                return
            said = Said(said.variant, done=self._steps)
            self._steps = 0
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            os._exit(1)  # lest two trainings write the same files
        _said.put(said)


def _listen(said: Any, board: _Board) -> None:
    while (message := said.get()) is not None:
        board.hear(message)


# --- what is shown --------------------------------------------------------------


class _Board:
    """Bars with the time left, one a variant, and a line for each epoch above them."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(soft_wrap=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Board:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def hear(self, said: Said) -> None:
        """Show what a training says."""
        if said.text:
            self._progress.console.print(f"{said.variant}: {said.text}", highlight=False)
        elif said.total is not None:
            task = self._progress.add_task(said.variant, total=said.total, completed=said.done or 0)
            self._tasks[said.variant] = task
        elif said.variant in self._tasks:
            self._progress.advance(self._tasks[said.variant], said.done or 0)


# --- the command line -------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export.train",
        description="Train variants on an image folder and write checkpoints.",
    )
    add = parser.add_argument
    add("--variants", required=True, metavar="NAMES", help="names or patterns: 'revisited-*,vgg19'")
    add("--data", required=True, type=Path, help="a directory or a .zip of class folders")
    add("--out", required=True, type=Path, metavar="DIR", help="where the checkpoints go")
    add("--name", help="of the checkpoints: VARIANT_NAME.safetensors (default: that of --data)")
    add("--epochs", type=_count, help="default: the recipe's")
    add(
        "--batch-size",
        type=_count,
        metavar="N",
        help="default: the recipe's. The paper of the revisited networks used "
        f"{PAPER_BATCH}; ours is {SCRATCH['revisited'].batch_size}, which is faster",
    )
    add("--lr", type=float, help="learning rate (default: the recipe's)")
    add("--size", type=_size, metavar="HxW", help="input size (default: the variant's)")
    add("--seed", type=int, default=0)
    add("--precision", choices=("fp32", "bf16"), help="default: the recipe's")
    add(
        "--compile",
        action=argparse.BooleanOptionalAction,
        dest="compiled",
        help="torch.compile: twice as fast for the small networks (default where there is a g++)",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--jobs", type=_count, default=1, metavar="N", help="variants trained side by side")
    add("--threads", type=_count, metavar="N", help="of each (default: the cores over --jobs)")
    add("--patience", type=_count, metavar="N", help="stop after N epochs without a better one")
    add("--limit", type=_count, metavar="N", help="of each part use N images only, to try it out")
    return parser


def _jobs(options: argparse.Namespace) -> list[Job]:
    """One job a variant; a ``TrainingError`` where the command line can't be meant."""
    threads = options.threads or max(1, len(os.sched_getaffinity(0)) // options.jobs)
    return [
        Job(
            variant=variant,
            data=options.data,
            out=options.out,
            name=options.name or options.data.stem,
            epochs=options.epochs,
            batch_size=options.batch_size,
            lr=options.lr,
            size=options.size,
            seed=options.seed,
            precision=options.precision,
            compiled=options.compiled,
            device=options.device,
            threads=threads,
            patience=options.patience,
            limit=options.limit,
        )
        for variant in _variants(options.variants)
    ]


def _variants(text: str) -> list[str]:
    """The variants that names and patterns mean, in the order of the table."""
    patterns = [part.strip() for part in text.split(",") if part.strip()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in VARIANTS):
            raise TrainingError(
                f"--variants: no variant is called {pattern!r}; there are {', '.join(VARIANTS)}"
            )
    return [name for name in VARIANTS if any(fnmatchcase(name, p) for p in patterns)]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.partition("x")
    if not (cross and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write HEIGHTxWIDTH, like 224x224")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
