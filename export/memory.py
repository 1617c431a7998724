"""How much memory a child may take, and the sentence when that was too little. Pure.

A given file may ask for any amount in a few bytes: ConstantOfShape and Expand make tensors
of any size, which a converter computes to fold them.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

CHILD_SHARE = 0.8
"""Of the machine's memory. Not of what is free at the moment: a build beside this one gives
back what it holds. xception-flatten-wide, the largest, peaks at 11.5 GiB."""
LEAST_CHILD_BYTES = 4 << 30
"""What libraries reserve counts as well, whether it is used or not."""
_ENDLESS = resource.RLIM_INFINITY
_SIGNS = (
    "bad_alloc",
    "bad allocation",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate memory",
    "not enough memory",
    "unable to allocate",
)
"""How libraries say it that raise another exception than MemoryError, in lower case."""


def machine_bytes(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """The machine's memory, or what a container leaves of it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        text = limit.read_text().strip()
    except OSError:
        return physical
    return min(physical, int(text)) if text.isdigit() else physical


def child_bytes() -> int:
    """What a building process may allocate."""
    return max(LEAST_CHILD_BYTES, int(CHILD_SHARE * machine_bytes()))


def limit_own(most_bytes: int) -> None:
    """Let an allocation fail here rather than the kernel kill somebody else; 0: no limit.

    What this process starts has the same limit. A lower one that stands already is kept.
    """
    if not most_bytes:
        return
    standing = (one for one in resource.getrlimit(resource.RLIMIT_DATA) if one != _ENDLESS)
    most = min([most_bytes, *standing])
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def is_lacking(exc: BaseException) -> bool:
    """Whether an exception says that there was not enough memory, or one that it was made of."""
    one: BaseException | None = exc
    while one is not None:
        if isinstance(one, MemoryError) or tells_of_lack(str(one)):
            return True
        one = one.__cause__
    return False


def tells_of_lack(text: str) -> bool:
    """Whether a library's words say that there was not enough memory."""
    lowered = text.lower()
    return any(sign in lowered for sign in _SIGNS)


def lack() -> str:
    """The reason why a build failed that ran out of memory."""
    most, _ = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = "" if most == _ENDLESS else f" than the {most / 2**30:.1f} GiB allowed"
    return (
        f"it needs more memory{allowed}: build it on a larger machine; a small file that does "
        "so computes a huge tensor, and is not to be trusted"
    )
