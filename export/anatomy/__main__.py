"""``python -m export.anatomy FILE``: look into a model file, within limits of memory and time."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from export import memory
from export.anatomy.contents import UnreadableFile, shown
from export.inspecting import Request, request
from export.printable import complain

_MAPPED_PRIVATELY = (".pt", ".pth", ".bin", ".ckpt")
_LONGEST = 1000
"""Characters of an error: a library's words may quote the file at any length."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print tables and findings; 2: usage, or a file that can't be read."""
    asked = request(argv, "python -m export.anatomy")
    _limit(asked)
    try:
        _look(asked)
    except Exception as exc:  # the child begins here, and a file made to harm may do anything
        complain(_why(exc, asked))
        return 2
    return 0


def _why(exc: Exception, asked: Request) -> str:
    """Why a file can't be read, as a sentence about it."""
    if memory.is_lacking(exc):
        return (
            f"{asked.file} needs more than {asked.memory_mib} MiB to be read: is it damaged? "
            "--memory-limit raises the limit"
        )
    if isinstance(exc, UnreadableFile | OSError):
        return shown(str(exc), _LONGEST)
    return (
        f"{asked.file} can't be taken apart ({type(exc).__name__}: {str(exc)!a}): it is damaged, "
        "or of a kind that is not known here"
    )


def _look(asked: Request) -> None:
    from export.anatomy.examine import examine
    from export.anatomy.show import show, write_json

    found = examine(asked.file)
    if asked.json is not None:
        write_json(found, asked.json)
    if asked.treemap is not None:
        from export.anatomy.treemap import write_treemap

        write_treemap(found, asked.treemap)
    show(found, asked.layers)


def _limit(asked: Request) -> None:
    """Hold this process to its memory and time: what it reads may be made to harm."""
    most = asked.memory_mib << 20
    if asked.file.suffix.lower() in _MAPPED_PRIVATELY and asked.file.is_file():
        # torch maps a pickle's tensors writable, which counts as memory whether used or not.
        most += asked.file.stat().st_size
    memory.limit_own(most)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(asked.time_s)


if __name__ == "__main__":
    sys.exit(main())
