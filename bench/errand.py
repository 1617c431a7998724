"""One ordinary command on a machine of a cluster, a training or a search, and what it has written.

It has a folder of its own there, and ends with the worker that started it. What it wrote is
answered as a whole, so that it needs neither the folder nor the machine afterwards.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import kinds, on_host, parcel
from bench.kinds import Machine, Node
from bench.on_host import Described, Sent
from bench.options import UsageError
from bench.parcel import Fetch, Parcel
from export.artifact import default_store
from export.tied import tied

_PREFIX = "spread-"
_LOCK = "lock"
_MOST_SAID = 20_000


@dataclass(frozen=True)
class Errand:
    """``python -m MODULE WORDS``; ``sent`` are flags with what they name."""

    module: str
    words: tuple[str, ...]
    sent: Mapping[str, Sent | str]
    known: Sent | None = None
    """What an earlier start has written into the folder of ``--out``."""


@dataclass(frozen=True)
class Done:
    """How a command ended, what it said last, and what it wrote: ``data`` as ``written.parts``.

    Arrays of bytes, which Ray hands on without a copy.
    """

    code: int
    said: str
    written: Parcel = field(default_factory=lambda: Parcel(()))
    data: tuple[NDArray[np.uint8], ...] = ()


def run(errand: Errand, driver: Described, fetch: Fetch) -> Done:
    """Run a command here, unless this machine is unlike the ``driver``. Raises ``OSError``.

    Exit code 2 then: it may have joined the cluster after the others were looked at.
    """
    if reason := _unlike(driver):
        return Done(2, reason)
    store = default_store().absolute()
    with _folder(store) as (out, lock):
        if errand.known is not None:
            shutil.copytree(
                on_host.arrived_apart(errand.known, store, fetch), out, dirs_exist_ok=True
            )
        places = [
            word
            for flag, one in errand.sent.items()
            for word in (flag, one if isinstance(one, str) else on_host.arrived(one, store, fetch))
        ]
        code, said = _run([errand.module, *errand.words, *places, "--out", str(out)], lock)
        written = parcel.packed(out)
        data = tuple(np.fromfile(out / part.name, np.uint8) for part in written.parts)
    return Done(code, said, written, data)


def _unlike(driver: Described) -> str:
    """What this machine has in other versions than the driver."""
    here = Node(id="", address=socket.gethostname(), cpus=0)
    try:
        kinds.check_same([Machine(here, on_host.describe(""))], driver)
    except UsageError as exc:
        return str(exc)
    return ""


def _run(words: Sequence[str], lock: int) -> tuple[int, str]:
    """The exit code of a module, as a shell would say it, and the last that it said."""
    done = subprocess.run(
        [*tied(), sys.executable, "-m", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        # While it lives nobody removes its folder, even if our own end comes first.
        pass_fds=(lock,),
    )
    code = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return code, done.stdout.decode(errors="replace")[-_MOST_SAID:]


# --- folders


@contextlib.contextmanager
def _folder(store: Path) -> Iterator[tuple[Path, int]]:
    """An empty folder for one command, and the lock that says that it is in use."""
    store.mkdir(parents=True, exist_ok=True)
    _sweep(store)
    # Its name is one that is swept once the lock is held, and not before.
    aside = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=store))
    lock = os.open(aside / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = aside.rename(store / aside.name.removeprefix("."))
        try:
            (place / "out").mkdir()
            yield place / "out", lock
        finally:
            shutil.rmtree(place, ignore_errors=True)
    finally:
        os.close(lock)


def _sweep(store: Path) -> None:
    """Remove the folders of commands that ended with their worker, and had nobody to do it."""
    for file in store.glob(f"{_PREFIX}*/{_LOCK}"):
        # In use, or another sweeps it just now.
        with contextlib.suppress(BlockingIOError, FileNotFoundError), file.open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(file.parent, ignore_errors=True)
