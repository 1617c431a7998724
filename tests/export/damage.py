"""Changes to a file's bytes, as chance or malice makes them; drawn by hypothesis."""

from __future__ import annotations

import os

from hypothesis import settings
from hypothesis import strategies as st

VARIED = settings(derandomize="DEPLOYBENCH_FUZZ" not in os.environ, print_blob=True)
"""The same examples in every run, or others each time (``make fuzz``): damage was found that HDF5
reads for ever, which the limits of a child end, but not those of a test."""


@st.composite
def damage(draw: st.DrawFn) -> list[tuple[str, float, bytes]]:
    """Some changes: bytes overwritten, put in or cut out, at places given as shares."""
    kinds = st.sampled_from(["over", "in", "out"])
    change = st.tuples(kinds, st.floats(0, 1), st.binary(min_size=1, max_size=9))
    return draw(st.lists(change, min_size=1, max_size=4))


def damaged(content: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    """``content`` with these changes."""
    for kind, share, new in changes:
        place = int(share * len(content))
        rest = content[place:] if kind == "in" else content[place + len(new) :]
        content = content[:place] + (b"" if kind == "out" else new) + rest
    return content


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    length, size = len(content), b""
    while length >= 128:
        size, length = size + bytes([length % 128 + 128]), length // 128
    return bytes([number * 8 + 2]) + size + bytes([length]) + content
