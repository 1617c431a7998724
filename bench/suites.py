"""The named plans: which variants, recipes and runtimes each takes, and how long it measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from export.recipes import FILE_LEVEL, RECIPES, REMEDIES
from export.variants import ALIASES, VARIANTS

ALL = "all"
"""In place of runtimes' names: those that are installed."""


@dataclass(frozen=True)
class Selector:
    """Some cases of a suite: variants by recipes by runtimes.

    A ``fixed`` one takes no further variants, even those that a user names.
    Empty ``threads``, ``batch_sizes`` and ``precisions`` mean those of the run.
    """

    variants: tuple[str, ...]
    recipes: tuple[str, ...]
    runtimes: tuple[str, ...]
    fixed: bool = False
    threads: tuple[int, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    precisions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """A named plan. ``samples`` is the least number of images in a timed loop.

    ``precisions`` are what fp32 files are computed in, where a runtime can. One child of each
    family, runtime and recipe is watched idling for ``idle_seconds``; with ``cold_start`` a
    case's first block starts another child, which loads the file from the disk.
    """

    summary: str
    selectors: tuple[Selector, ...]
    blocks: int
    seconds: float
    samples: int
    precisions: tuple[str, ...] = ("fp32",)
    idle_seconds: float = 1.0
    cold_start: bool = True


_ONES = tuple(name for name, row in VARIANTS.items() if not row.full_suite_only)
_REVISITED = tuple(name for name in _ONES if name.startswith("revisited"))
_QUICK = tuple(name for name in _ONES if not name.startswith("vgg19") or name == "vgg19-gap")
_QUICK_BASELINES = ("vgg19-gap", "xception", "revisited-base")
_SWEPT = ("vgg19", "xception", "revisited-v6")
"""One variant of each family, for the tables of threads and batch sizes."""
_PLAIN = ("fp32",)
_ALIASED = tuple(alias.variant for alias in ALIASES.values())
_RECIPES = tuple(name for name in RECIPES if name not in ("fp32-ort-tools", *FILE_LEVEL, *REMEDIES))
_LARGE_HEADS = ("vgg19", "xception-flatten", "revisited-base")
"""One variant of each family, with fully connected layers that hold most of its weights."""

GIVEN_RECIPES = tuple(name for name in RECIPES if name not in ("fp32-ort-tools", *REMEDIES))
"""For a file of the user's: all that its graph alone can be made into."""

SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        "quick": Suite(
            "one block, no VGG but vgg19-gap, torch-eager for one variant of each family",
            (
                Selector(_QUICK_BASELINES, ("fp32",), ("torch-eager", "null")),
                Selector(_QUICK, ("fp32-opt", "int8-static"), ("ort",)),
            ),
            blocks=1,
            seconds=0.3,
            samples=6,
            idle_seconds=0.0,
            cold_start=False,
        ),
        "default": Suite(
            "torch-eager in fp32, ort in fp32-opt and int8-static, the two -quantized rows",
            (
                Selector(_ONES, ("fp32",), ("torch-eager", "null")),
                Selector(_ONES, ("fp32-opt", "int8-static"), ("ort",)),
                Selector(_ALIASED, ("int8-dynamic",), ("ort",), fixed=True),
            ),
            blocks=3,
            seconds=0.6,
            samples=6,
        ),
        "full": Suite(
            "every recipe on every variant (fp32-ort-tools on all but -wide, file-level recipes on "
            "one of each family), p99",
            (
                Selector(tuple(VARIANTS), _RECIPES, ("torch-eager", "ort", "null")),
                # That package can't write files over 2 GB.
                Selector(_ONES, ("fp32-ort-tools",), ("ort",), fixed=True),
                Selector(_LARGE_HEADS, FILE_LEVEL, ("ort",), fixed=True),
            ),
            blocks=3,
            seconds=2.0,
            samples=123,
        ),
        "runtimes": Suite(
            "every runtime in fp32, bf16, fp16-stored weights and INT8; threads and batch sizes",
            (
                Selector(_ONES, ("fp32", "fp16-weights", "int8-static"), (ALL,)),
                Selector(_SWEPT, _PLAIN, (ALL,), fixed=True, precisions=_PLAIN, threads=(1,)),
                Selector(_SWEPT, _PLAIN, (ALL,), fixed=True, precisions=_PLAIN, batch_sizes=(4, 8)),
                # It has but one thread: beside the others its INT8 would be nowhere.
                Selector(_SWEPT, ("int8-static",), ("tract",), fixed=True, threads=(1,)),
            ),
            blocks=3,
            seconds=0.6,
            samples=12,
            precisions=("fp32", "bf16"),
        ),
    }
)
