"""A child that dies with whoever started it, however that ends. Pure.

``finally`` ends children where a process is interrupted; where it is killed, only the kernel can.
"""

from __future__ import annotations

import shutil

_TIE = ("setpriv", "--pdeathsig", "KILL")
"""Of util-linux: it becomes the child, which the kernel then kills when its parent dies.

More exactly, when the thread ends that started it: that thread has to wait for the child.
"""


def tied() -> tuple[str, ...]:
    """What stands before a child's command to tie it; nothing where the system has no such tool."""
    return _TIE if shutil.which(_TIE[0]) else ()
