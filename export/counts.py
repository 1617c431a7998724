"""Whole numbers on a command line, refused where they can't be meant. Pure."""

from __future__ import annotations

import argparse


def count(text: str) -> int:
    """A whole number above 0; ``argparse`` is told where it is none."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def count_or_0(text: str) -> int:
    """The same, or 0, which means all, none or the usual number, as each flag says."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number, nor 0")
    return int(text)
