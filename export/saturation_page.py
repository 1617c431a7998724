"""``python -m export.saturation_page``: a page of what ``export.saturation`` has kept of files.

Of each file the layers that would suffer most on x86 CPUs without VNNI, and how many would. The
figures are counted, not timed: the same on any machine, but for the last digits of ranges that
were calibrated on another one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError
from tabulate import tabulate

from export.printable import complain
from export.recipes import REMEDIES

WORST = 5
"""Layers that a file is shown with."""
_TITLES = ("layer", "sums of", "sums that saturate, %", "outputs touched, %", "possible, %")
MADE_FROM = "Made from the files beside it by `python -m export.saturation_page`: not to be edited."


@dataclass(frozen=True)
class Saturation:
    """What would happen in one layer, from some outputs of some images.

    ``pairs`` sums of two products were looked at, of which ``saturated`` leave 16 bits;
    ``outputs`` accumulations, ``touched`` of which have such a sum. ``possible`` is the
    share of the layer's pairs of weights that some input could take out of range.
    ``immune`` says why none can, whatever the numbers. ``name`` is that of the node, ``layer``
    what its weight is called.
    """

    name: str
    op_type: str
    reduction: int
    outputs: int = 0
    touched: int = 0
    pairs: int = 0
    saturated: int = 0
    possible: float = 0.0
    immune: str = ""
    layer: str = ""

    @property
    def share(self) -> float:
        """Of the outputs, those with a sum that saturates."""
        return self.touched / self.outputs if self.outputs else 0.0

    @property
    def pair_share(self) -> float:
        """Of the sums of two products, those that saturate."""
        return self.saturated / self.pairs if self.pairs else 0.0

    @property
    def shown(self) -> str:
        """For people: a node's number says nothing to them."""
        return self.layer or self.name


@dataclass(frozen=True)
class Found:
    """What was found in one file: which one, by which images, and its layers in their order.

    ``data`` is empty for crops of the photographs that scikit-learn ships; ``effect`` is what
    ``--effect`` said, empty where nobody asked.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    variant: str
    weights: str
    recipe: str
    key: str
    data: str
    images: int
    positions: int
    layers: tuple[Saturation, ...]
    effect: str = ""


_FOUND = TypeAdapter(Found)


def read(path: Path) -> Found:
    """What ``--json`` wrote; anything else is a ``ValueError``."""
    try:
        return _FOUND.validate_json(path.read_bytes())
    except ValidationError as exc:
        error = exc.errors()[0]
        place = ".".join(map(str, error["loc"])) or "it"
        raise ValueError(
            f"{path} is nothing that python -m export.saturation --json wrote: {place}: "
            f"{error['msg']}"
        ) from exc


def page(found: Sequence[Found]) -> str:
    """The whole page, as Markdown."""
    remedies = " and ".join(f"`{name}`" for name in REMEDIES)
    parts = [
        "# What would saturate without VNNI",
        MADE_FROM,
        "On x86 CPUs without VNNI products of INT8 are added two at a time in 16 bits, and a sum "
        "that leaves these is cut off. How often that would happen in these files was counted on "
        f"images of their training parts, at some places of every layer's output; {remedies} rule "
        "it out. Touched is an output with such a sum; possible are the pairs of weights that "
        "some input could take out of range.",
        *(_section(one) for one in found),
    ]
    return "\n\n".join(parts) + "\n"


def _section(found: Found) -> str:
    """One file: how many layers are hit, and the worst of them."""
    hit = [one for one in found.layers if one.saturated]
    immune = sum(bool(one.immune) for one in found.layers)
    worst = sorted(hit, key=lambda one: -one.pair_share)[:WORST]
    data = found.data or "crops of the photographs that scikit-learn ships"
    said = (
        f"{len(hit)} of {len(found.layers)} layers have sums that saturate on {found.images} "
        f"images ({data}); {immune} can't have any, whatever the numbers. File `{found.key}`."
    )
    parts = [f"## `{found.variant}` ({found.weights}), `{found.recipe}`", said]
    if worst:
        parts += [f"The worst {len(worst)} of these {len(hit)}:", _table(worst)]
    return "\n\n".join([*parts, *([f"{found.effect}."] if found.effect else [])])


def _table(layers: Sequence[Saturation]) -> str:
    lines = [
        (
            one.shown.replace("|", r"\|"),
            str(one.reduction),
            f"{100 * one.pair_share:.4f}",
            f"{100 * one.share:.2f}",
            f"{100 * one.possible:.2f}",
        )
        for one in layers
    ]
    align = ("left", *["right"] * (len(_TITLES) - 1))
    return tabulate(lines, _TITLES, tablefmt="github", disable_numparse=True, colalign=align)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; 2: usage."""
    arguments = _parser().parse_args(argv)
    try:
        text = page([read(path) for path in arguments.files])
        arguments.out.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as exc:
        complain(exc)
        return 2
    print(arguments.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export.saturation_page",
        description="Write a page of what python -m export.saturation --json found in some files.",
    )
    add = parser.add_argument
    add("files", type=Path, nargs="+", metavar="FOUND.json")
    add("--out", type=Path, default=Path("results/saturation.md"), metavar="FILE", help="the page")
    return parser


if __name__ == "__main__":
    sys.exit(main())
