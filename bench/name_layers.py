"""``python -m bench.name_layers``: give the layers that a search blamed the names of their weights.

Searches keep them by themselves; this is for choices that were written before they did. A node
is called ``Conv_2`` in the prepared graph, its weight ``conv2.weight``: the fp32 .onnx of the
same variant knows both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench import choices
from bench.choices import Choice
from bench.options import UsageError
from export.printable import complain


def main(argv: Sequence[str] | None = None) -> int:
    """Write the choice anew; 2: usage, or a file that isn't of the same network."""
    arguments = _parser().parse_args(argv)
    try:
        choice = named(choices.read(arguments.choice), layers(arguments.file), arguments.file)
    except UsageError as exc:
        complain(exc)
        return 2
    choices.write(arguments.choice.parent, choice)
    print(", ".join(f"{one.name} is {one.layer}" for one in choice.blamed))
    return 0


def named(choice: Choice, names: Mapping[str, str], file: Path) -> Choice:
    """The choice with what ``names`` (node -> layer) say of its layers.

    Raises :class:`UsageError` where ``file``, which they are of, has no such node.
    """
    absent = [one.name for one in choice.blamed if one.name not in names]
    if absent:
        raise UsageError(
            f"{file} has no layer {', '.join(absent)}, which the choice for {choice.variant} "
            "names: give the fp32 .onnx of that variant"
        )
    blamed = (replace(one, layer=names[one.name]) for one in choice.blamed)
    return replace(choice, blamed=tuple(blamed))


def layers(file: Path) -> Mapping[str, str]:
    """Node -> layer of an fp32 ``.onnx``, by ``python -m export.sensitivity --names``.

    Raises :class:`UsageError` with its words where that fails.
    """
    words = [sys.executable, "-m", "export.sensitivity", str(file), "--names"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise UsageError(f"{file}: its layers can't be read: {last[0].removeprefix('error: ')}")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.name_layers",
        description="Name the layers that a choice of python -m bench.search blames after their "
        "weights, which the fp32 .onnx file of the same variant knows.",
    )
    parser.add_argument("choice", type=Path, metavar="CHOICE.json")
    parser.add_argument("file", type=Path, metavar="FP32.onnx")
    return parser


if __name__ == "__main__":
    sys.exit(main())
