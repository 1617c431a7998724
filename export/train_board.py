"""What is seen of trainings, and trainings in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
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

from export.train_job import Job, Said, Tell

Attempt = Callable[[Job, Tell], str | None]
_MESSAGES = 200
"""So many of a bar reach the parent at most: each costs more than a small network's step."""
_SILENCE_S = 20.0
"""How far apart the lines are that stand for bars in a log."""


class Board:
    """Bars with the time left, and above them a line for each epoch."""

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._said = clock, clock()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console or Console(soft_wrap=True),
        )
        self._bars: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> Board:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def hear(self, said: Said) -> None:
        """Show what a training says."""
        if said.text:
            text = f"{said.variant}: {said.text}"
            self._progress.console.print(text, highlight=False, markup=False)
            return
        key = (said.variant, said.what)
        if key not in self._bars:
            self._bars[key] = self._progress.add_task(": ".join(key), total=said.total)
        self._advance(self._bars[key], said.done)

    def _advance(self, bar: TaskID, done: int) -> None:
        """Move a bar on; in a log, which shows no bars, a line now and then."""
        self._progress.advance(bar, done)
        now = self._clock()
        if self._progress.console.is_terminal or now < self._said + _SILENCE_S:
            return
        self._said = now
        task = self._progress.tasks[bar]
        gone = f"{task.percentage:.0f} % after {task.elapsed or 0:.0f} s"
        self._progress.console.print(f"{task.description}: {gone}", highlight=False)


def side_by_side(attempt: Attempt, jobs: Sequence[Job], at_once: int, board: Board) -> list[str]:
    """Make ``attempt`` at all jobs, so many at a time; returns what went wrong."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        queue: Any = manager.Queue()
        listener = threading.Thread(target=_listen, args=(queue, board), daemon=True)
        listener.start()
        with ProcessPoolExecutor(at_once, context) as pool:
            futures = {pool.submit(_in_child, attempt, job, queue): job for job in jobs}
            failures = [text for done in as_completed(futures) if (text := _outcome(done, futures))]
        queue.put(None)
        listener.join()
        return failures


def _outcome(done: Future[str | None], jobs: Mapping[Future[str | None], Job]) -> str | None:
    """What went wrong with one; the others' outcomes are told whatever it was."""
    try:
        return done.result()
    except BrokenProcessPool:
        return f"{jobs[done].variant}: its process was killed; out of memory? Try --jobs 1"
    except Exception as exc:
        # The child's own traceback is this one's cause.
        return f"{jobs[done].variant}: {''.join(traceback.format_exception(exc)).rstrip()}"


def _in_child(attempt: Attempt, job: Job, queue: Any) -> str | None:
    sender = Sender(queue.put, _leave_if_alone)
    failure = attempt(job, sender)
    sender.flush()
    return failure


def _leave_if_alone() -> None:
    """End this process when its parent is gone, lest a second start write the same files."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)


def _listen(queue: Any, board: Board) -> None:
    while (message := queue.get()) is not None:
        board.hear(message)


class Sender:
    """Passes on what is said, steps in bundles."""

    def __init__(self, put: Callable[[Said], object], before: Callable[[], object]) -> None:
        self._put, self._before = put, before
        self._held: Said | None = None

    def __call__(self, said: Said) -> None:
        """Hold a step back until there is a bundle, or something else to say."""
        held = self._held
        if held and not said.text and (held.variant, held.what) == (said.variant, said.what):
            said = Said(said.variant, what=said.what, total=said.total, done=held.done + said.done)
        else:
            self.flush()
        self._held = said
        if said.text or said.done > said.total / _MESSAGES:
            self.flush()

    def flush(self) -> None:
        """Say what was held back."""
        if self._held:
            self._before()
            self._put(self._held)
            self._held = None
