"""Whether a process is gone, where nobody but the kernel can have ended it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

LIMIT_S = 60.0


def gone(pid: int) -> bool:
    """Ended, or a zombie that nobody has buried; waits for it, though not for ever."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def child_of_the_killed(code: str, file: Path) -> int:
    """Run Python ``code`` until its child has written its number into ``file``; then kill it.

    Returns that number.
    """
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL) as parent:
        end = time.monotonic() + LIMIT_S
        while not file.exists():
            assert parent.poll() is None, "it ended before its child began"
            assert time.monotonic() < end, f"{file.name} was not seen in {LIMIT_S:.0f} s"
            time.sleep(0.05)
        os.kill(parent.pid, signal.SIGKILL)
    return int(file.read_text())
