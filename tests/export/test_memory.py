"""How much memory a child may take: one function sets it, everywhere alike."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from export import memory

ROOT = Path(__file__).parents[2]
_CHILD = """
import resource, sys
from export.memory import limit_own
soft, hard, asked = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
limit_own(asked)
print(*resource.getrlimit(resource.RLIMIT_DATA))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "asked", "then"),
    [
        (-1, -1, 3 << 30, (3 << 30, 3 << 30)),
        (2 << 30, 2 << 30, 3 << 30, (2 << 30, 2 << 30)),
        (1 << 30, -1, 3 << 30, (1 << 30, 1 << 30)),
        (1 << 30, 2 << 30, 512 << 20, (512 << 20, 512 << 20)),
        (-1, -1, 0, (-1, -1)),
    ],
    ids=["none stands", "a lower hard one", "a lower soft one", "a higher one", "no limit"],
)
def test_the_lowest_limit_holds(soft: int, hard: int, asked: int, then: tuple[int, int]) -> None:
    """Raising what somebody has set would be an error, or theirs to know better."""
    words = map(str, (soft, hard, asked))
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert tuple(map(int, done.stdout.split())) == then


def test_there_is_one_function_for_it() -> None:
    """Another one would do otherwise where a limit stands already."""
    sources = (
        path for layer in ("bench", "export", "runtimes") for path in (ROOT / layer).rglob("*.py")
    )
    setting = [path.name for path in sources if "setrlimit(" in path.read_text(encoding="utf-8")]
    assert setting == ["memory.py"]


def test_lack_is_told_through_what_was_made_of_it() -> None:
    """A sentence of ours about a damaged file, raised from an allocation that failed."""
    damaged = ValueError("a.pt is truncated or damaged")
    assert not memory.is_lacking(damaged)
    damaged.__cause__ = RuntimeError("unable to mmap 9 bytes: Cannot allocate memory (12)")
    assert memory.is_lacking(damaged)
    damaged.__cause__ = MemoryError()
    assert memory.is_lacking(damaged)
