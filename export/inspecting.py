"""The command line of looking into a file, which ``bench`` and the child that looks share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MEMORY_MIB = 4096
TIME_S = 600
LAYERS = 12

STATE_DICTS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
KERAS = (".h5", ".hdf5", ".keras")
SUFFIXES = (".onnx", *STATE_DICTS, *KERAS)


@dataclass(frozen=True)
class Request:
    """What is asked: ``None`` for what is not to be written, ``layers`` 0 for all of them."""

    file: Path
    layers: int = LAYERS
    treemap: Path | None = None
    json: Path | None = None
    memory_mib: int = MEMORY_MIB
    time_s: int = TIME_S


def request(argv: Sequence[str] | None, prog: str) -> Request:
    """The parsed words; a wrong one ends the program with 2, as argparse does."""
    return with_more(argv, prog, lambda parser: None)[0]


def with_more(
    argv: Sequence[str] | None, prog: str, more: Callable[[argparse.ArgumentParser], None]
) -> tuple[Request, argparse.Namespace]:
    """The same where ``more`` adds arguments; they stand in the second of the pair."""
    parser = _parser(prog)
    more(parser)
    words = parser.parse_args(argv)
    if words.file.suffix.lower() not in SUFFIXES:
        parser.error(f"{words.file} is of no kind known here: it should end in {_known()}")
    if words.treemap is not None and words.treemap.suffix != ".svg":
        parser.error(f"--treemap {words.treemap} should end in .svg")
    for flag, value, least in (
        ("--layers", words.layers, 0),
        ("--memory-limit", words.memory_limit, 256),
        ("--time-limit", words.time_limit, 1),
    ):
        if value < least:
            parser.error(f"{flag} should be at least {least}, not {value}")
    asked = Request(
        words.file,
        words.layers,
        words.treemap,
        words.json,
        words.memory_limit,
        words.time_limit,
    )
    return asked, words


def words_of(asked: Request) -> list[str]:
    """The command line that means this request."""
    words = [
        *("--layers", str(asked.layers)),
        *("--memory-limit", str(asked.memory_mib)),
        *("--time-limit", str(asked.time_s)),
    ]
    for flag, file in (("--treemap", asked.treemap), ("--json", asked.json)):
        words += [] if file is None else [f"{flag}={file}"]
    return [*words, "--", str(asked.file)]


def _known() -> str:
    return ", ".join(SUFFIXES)


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Show where the bytes and the multiply-accumulates of a model file are, "
        "what is wrong or wasteful in it, and what each remedy would save.",
    )
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help=f"{_known()}; nothing in it is run")
    what = f"how many layers to list, 0: all (default: {LAYERS})"
    add("--layers", type=int, default=LAYERS, metavar="N", help=what)
    what = "also draw bytes and multiply-accumulates as nested rectangles"
    add("--treemap", type=Path, metavar="FILE.svg", help=what)
    add("--json", type=Path, metavar="FILE", help="also write everything for machines")
    what = f"memory of the reading process, mapped files not counted (default: {MEMORY_MIB})"
    add("--memory-limit", type=int, default=MEMORY_MIB, metavar="MIB", help=what)
    what = f"when to give up (default: {TIME_S})"
    add("--time-limit", type=int, default=TIME_S, metavar="SECONDS", help=what)
    return parser
