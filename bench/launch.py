"""The parent side of a measurement: start a child, wait without spinning, tell how it ended."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.tied import tied

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LOAD_LIMIT_S = 900.0
WORKER = ("bench.worker",)
_END_LIMIT_S = 10.0


class ChildDied(Exception):
    """The child ended or stayed silent; the text says how, for a table's notes."""


@dataclass(frozen=True)
class Setting:
    """What a child is started with. ``memory_bytes`` 0: no limit; ``root``: see ``code_of``.

    ``worker`` is the module that serves the pipe, with words for it: an experiment
    on the method itself has one of its own. A ``tied`` child dies with whoever started it,
    however that ends.
    """

    threads: int
    memory_bytes: int = 0
    worker: tuple[str, ...] = WORKER
    root: Path | None = None
    tied: bool = False


def code_of(root: Path | None) -> dict[str, str]:
    """What makes a child of ours take its code from the checkout ``root``; ``None``: from ours.

    The working folder stays, for relative paths mean the same then.
    """
    if root is None:
        return {}
    places = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(places), "PYTHONSAFEPATH": "1"}


def unpacked(text: str) -> NDArray[np.float32]:
    """The array in an answer: base64 of a .npy."""
    raw = io.BytesIO(base64.b64decode(text))
    array: NDArray[np.float32] = np.load(raw, allow_pickle=False)
    return array


class Child:
    """A fresh ``bench.worker`` process in a session of its own. Use it as a context."""

    def __init__(self, setting: Setting, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        # What a library unpacks and a child that is ended at once can't clear away.
        self._scratch = tempfile.TemporaryDirectory(
            prefix="deploybench-", ignore_cleanup_errors=True
        )
        ours, theirs = Pipe(duplex=True)
        self.log = log
        self._connection: Connection = ours
        self._asked = ""
        tie = tied() if setting.tied else ()
        command = [*tie, sys.executable, "-m", *setting.worker]
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(setting.memory_bytes)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=os.environ
                | dict.fromkeys(THREAD_VARIABLES, str(setting.threads))
                | code_of(setting.root)
                | {
                    "TMPDIR": self._scratch.name,
                    # Its loader compiles a probe of the CPU once, and not anew for every child.
                    "TORCHINDUCTOR_CACHE_DIR": str(log.parent.absolute() / "torchinductor"),
                },
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        theirs.close()

    def ask(self, message: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """Send one message and wait for its answer.

        Raises :class:`ChildDied` if the child ends, or is silent for ``limit_s`` seconds.
        """
        self.tell(message)
        return self.hear(limit_s)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send one message and don't wait; ``hear`` must follow. Raises as ``ask`` does."""
        self._asked = message["do"]
        try:
            self._connection.send_bytes(json.dumps(message).encode())
        except OSError as exc:
            raise ChildDied(f"{self._ending()} during {self._asked}") from exc

    def hear(self, limit_s: float) -> dict[str, Any]:
        """The answer to what was told. Raises as ``ask`` does."""
        try:
            if not self._connection.poll(limit_s):
                raise ChildDied(f"no answer to {self._asked} within {limit_s:.0f} s")
            answer: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError) as exc:
            raise ChildDied(f"{self._ending()} during {self._asked}") from exc
        return answer

    @property
    def pid(self) -> int:
        """The process's number, for what the kernel tells of it."""
        return self._process.pid

    def infer(self, inputs: Path, limit_s: float) -> NDArray[np.float32]:
        """Logits for the images (N, 3, H, W) in a .npy file."""
        answer = self.ask({"do": "infer", "inputs": str(inputs)}, limit_s)
        if answer["status"] != "ok":
            raise ChildDied(answer["reason"])
        return unpacked(answer["outputs"])

    def _ending(self) -> str:
        """How the child ended, in words."""
        try:
            code = self._process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        if code >= 0:
            return f"ended with exit code {code} (its output: {self.log})"
        name = signal.Signals(-code).name
        return f"killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the child and whatever it started; a healthy one is asked first."""
        if kind is None and self._process.poll() is None:
            self._ask_to_close()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._connection.close()
        self._scratch.cleanup()

    def _ask_to_close(self) -> None:
        try:
            self._connection.send_bytes(b'{"do": "close"}')
            self._process.wait(_END_LIMIT_S)
        except (OSError, subprocess.TimeoutExpired):
            # It is killed next; nothing that it could still say matters.
            return
