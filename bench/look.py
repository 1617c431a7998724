"""``deploybench inspect FILE``: look into a model file, in a child that may come to grief.

With ``--data`` it also finds which output stands for which class (``bench.lost_names``).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from bench import lost_names
from bench.run import heed_signals
from export.inspecting import Request, with_more, words_of
from export.printable import complain

COMMAND = (sys.executable, "-m", "export.anatomy")
"""Who reads: a process of its own, with limits of memory and time, for a file is not trusted."""

_GRACE_S = 10.0
"""After its own alarm should have ended the child."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print what the child prints; 2: usage, or a file that can't be read; 130 if interrupted.

    With ``--data`` also 1: the model was not trained on these classes; 3: it gave no answers;
    4: the images are too few to tell.
    """
    asked, words = with_more(argv, "deploybench inspect", lost_names.add_to)
    if reason := lost_names.without_data(words):
        complain(reason)
        return 2
    # The child is in a session of its own: only we can end it.
    heed_signals()
    try:
        code = _run(asked)
    except KeyboardInterrupt:
        return 130
    if code == 0 and words.data:
        print()
        return lost_names.find(asked.file, words)
    if code in (0, 2):  # all is well, or the child said itself what is not
        return code
    complain(f"{asked.file}: {_ending(code, asked)}")
    return 2


def _run(asked: Request) -> int:
    """The child's exit code, below 0 for a signal; its output goes where ours does."""
    sys.stdout.flush()
    process = subprocess.Popen([*COMMAND, *words_of(asked)], start_new_session=True)
    try:
        return process.wait(asked.time_s + _GRACE_S)
    except subprocess.TimeoutExpired:
        return -signal.SIGALRM
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _ending(code: int, asked: Request) -> str:
    """What went wrong that the child could not say itself."""
    if code == -signal.SIGALRM:
        return f"not read within {asked.time_s} s: is it damaged? --time-limit raises the limit"
    if code < 0:
        return (
            f"reading it ended with {signal.Signals(-code).name}: it is damaged, or needs more "
            f"than {asked.memory_mib} MiB (--memory-limit raises the limit)"
        )
    return f"reading it ended with exit code {code}"


if __name__ == "__main__":
    sys.exit(main())
