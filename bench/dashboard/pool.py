"""Models that stay loaded, each in a child of its own: bounded in number and in memory."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import launch
from bench.block import load_message
from bench.dashboard.models import Model
from bench.record import Parity

LOAD_LIMIT_S = 300.0
_OVERHEAD_BYTES = 200_000_000
"""A child besides its model: Python and the runtime's library."""
_PER_FILE_BYTE = 2
"""Of memory, before a model was ever loaded: the file as it is read, and what is made of it."""


class NoRoom(Exception):
    """A model can't be loaded without ending one that is at work."""


class CannotLoad(Exception):
    """The runtime has said that it can't load the model, and why; the child is well."""


@dataclass
class Warm:
    """A child with a loaded model. ``loaded`` is its answer to ``load``."""

    model: Model
    child: launch.Child
    loaded: Mapping[str, Any]
    parity: Parity | None = None
    busy: bool = True
    used: int = 0
    """The larger, the later it was used last."""


@dataclass(frozen=True)
class Resident:
    """What ``victims`` has to know of a warm model."""

    name: str
    size_bytes: int
    used: int


def victims(
    resting: Iterable[Resident], count: int, size_bytes: int, most: int, most_bytes: int
) -> list[str] | None:
    """Which resting models have to go, those first that rested longest; ``None``: it can't be.

    ``count`` models with ``size_bytes`` are wanted in all, the new one among them, of at most
    ``most`` with ``most_bytes`` (0: no bound). Where everything else is gone the new one may be
    as large as it is: its size is a guess.
    """
    gone: list[str] = []
    waiting = sorted(resting, key=lambda one: one.used)
    while count > most or (most_bytes and size_bytes > most_bytes and count > 1):
        if not waiting:
            return None
        one = waiting.pop(0)
        gone.append(one.name)
        count, size_bytes = count - 1, size_bytes - one.size_bytes
    return gone


@dataclass
class Pool:
    """Warm models by name. Any thread may use it; a model is lent to one at a time.

    ``worker`` is the module that serves a child; ``logs`` is where children write.
    """

    most: int
    most_bytes: int
    logs: Path
    worker: tuple[str, ...] = launch.WORKER
    _warm: dict[str, Warm] = field(default_factory=dict)
    _known_bytes: dict[str, int] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _turns: itertools.count[int] = field(default_factory=itertools.count)
    _closed: bool = False
    _starting: launch.Child | None = None

    def take(self, model: Model) -> Warm:
        """The warm model, loaded now if it is not yet; ``give`` it back or ``discard`` it.

        Raises :class:`NoRoom`, :class:`CannotLoad`, or :class:`bench.launch.ChildDied`.
        """
        with self._lock:
            if self._closed:
                raise launch.ChildDied("the page is being closed")
            known = self._warm.get(model.name)
            if known is None:
                self._make_room(model)
                known = self._started(model)
                self._warm[model.name] = known
            known.busy, known.used = True, next(self._turns)
            return known

    def give(self, warm: Warm) -> None:
        """It rests now; what it takes in memory is known from now on."""
        with self._lock:
            warm.busy = False
            if self._closed:
                _end(warm.child)
                return
            self._known_bytes[warm.model.name] = resident_bytes(warm.child.pid)
            self._shrink()

    def discard(self, warm: Warm) -> None:
        """End a child that is not well."""
        with self._lock:
            if self._warm.get(warm.model.name) is warm:
                del self._warm[warm.model.name]
        _end(warm.child)

    def close(self) -> None:
        """End all children, those at work too: whoever waits for one hears that it died.

        Takes no lock, which a thread may hold that waits for a model to load.
        """
        self._closed = True
        if self._starting is not None:
            _kill(self._starting)
        for warm in list(self._warm.values()):
            if warm.busy:
                _kill(warm.child)  # its thread hears of it, and clears up
            else:
                _end(warm.child)

    def names(self) -> list[str]:
        """What is warm, what was used last standing last."""
        warm = tuple(self._warm.values())
        return [one.model.name for one in sorted(warm, key=lambda one: one.used)]

    def _make_room(self, model: Model) -> None:
        known = self._known_bytes.get(model.name, 0)
        guess = known or _OVERHEAD_BYTES + _PER_FILE_BYTE * model.artifact.size_bytes
        gone = self._to_end(len(self._warm) + 1, guess)
        if gone is None:
            raise NoRoom(
                f"{model.name} finds no room beside the models that are at work: at most "
                f"{self.most} with {self.most_bytes / 1e9:.3g} GB (--most-models, --most-memory)"
            )
        self._end_all(gone)

    def _shrink(self) -> None:
        """After a guess was too low: what rested longest goes, the last used one stays."""
        gone = self._to_end(len(self._warm), 0)
        newest = max((warm.used for warm in self._warm.values()), default=0)
        self._end_all(name for name in gone or () if self._warm[name].used != newest)

    def _to_end(self, count: int, more_bytes: int) -> list[str] | None:
        sizes = {name: resident_bytes(warm.child.pid) for name, warm in self._warm.items()}
        resting = [
            Resident(name, sizes[name], warm.used)
            for name, warm in self._warm.items()
            if not warm.busy
        ]
        return victims(resting, count, sum(sizes.values()) + more_bytes, self.most, self.most_bytes)

    def _end_all(self, names: Iterable[str]) -> None:
        for name in list(names):
            _end(self._warm.pop(name).child)

    def _started(self, model: Model) -> Warm:
        """A fresh child that has loaded the model, as a block of ``bench.run`` has it load."""
        log = self.logs / f"{model.name.replace('/', '_')}.log"
        child = launch.Child(launch.Setting(model.case.threads, self.most_bytes, self.worker), log)
        self._starting = child
        if self._closed:  # since it was asked for: ``close`` may not have seen it
            _kill(child)
        try:
            answer = child.ask(load_message(model.case, model.artifact), LOAD_LIMIT_S)
        except launch.ChildDied:
            _end(child)
            raise
        finally:
            self._starting = None
        if answer["status"] != "ok":
            _end(child)
            raise CannotLoad(refusal(answer["reason"], self.most_bytes))
        return Warm(model, child, answer)


def refusal(reason: str, most_bytes: int) -> str:
    """Why a model could not be loaded, in the page's terms; of too little memory, how much it was.

    ``std::bad_alloc`` is all that a C++ library says when it gets no more.
    """
    told = reason.replace("--memory-limit", "--most-memory")
    if "bad_alloc" not in told or not most_bytes:
        return told
    return f"{told}; a model may take {most_bytes / 1e9:.3g} GB (--most-memory)"


def resident_bytes(pid: int) -> int:
    """What a process holds in memory now; 0: it has ended, or the kernel does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def _end(child: launch.Child) -> None:
    """Kill it and whatever it started: nothing that it could still say matters."""
    child.__exit__(launch.ChildDied, None, None)


def _kill(child: launch.Child) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
