"""Foreign text as a terminal, a page or a list may show it: nothing in it moves a cursor.

The names in a file are its author's, and libraries quote them in what they say. Pure.
"""

from __future__ import annotations

import sys

MARK = "\ufffd"
"""The replacement character: something stood there that can't be shown."""


def printable(text: str, instead: str = MARK) -> str:
    """``text`` with ``instead`` in the place of every sign that no screen shows as it is.

    Those that ``str.isprintable`` names: control characters, with which escape sequences
    begin, ends of lines, turns of writing, and every blank but the space.
    """
    return "".join(sign if sign.isprintable() else instead for sign in text)


def one_line(text: str) -> str:
    """The same with a space for any number of such signs and of spaces, none at the ends."""
    return " ".join(printable(text, " ").split())


def paragraph(text: str) -> str:
    """The same with marks, and with ends of lines where they stood: a sentence of ours has some."""
    return "\n".join(map(printable, text.split("\n")))


def escaped(text: str) -> str:
    """The same as Python writes such signs: ``\\x1b``, so that no two names look alike."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def complain(problem: object) -> None:
    """Tell on standard error why a command ends, whoever's words are quoted in it."""
    print(f"error: {paragraph(str(problem))}", file=sys.stderr)
