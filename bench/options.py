"""Options: what ``bench.run`` was told, typed; and how single words of it are read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict

import runtimes
from export.artifact import default_store
from export.checkpoints import DEFAULT
from export.variants import Variant

DEFAULT_OUT = Path("results")
DEFAULT_MARGIN = 0.02
DEFAULT_BUDGET_S = 600.0
SCENARIOS = ("single", "multi", "offline", "server", "workers")
"""MLPerf's four, and single-threaded workers at once."""
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
PRECISIONS = tuple(dict.fromkeys(p for row in runtimes.REGISTRY.values() for p in row.precisions))


class UsageError(ValueError):
    """A bad argument: names the flag and the remedy."""


class ClusterLost(Exception):
    """A cluster that was being used is gone; the text says what to do."""


@dataclass(frozen=True)
class Options:
    """What ``bench.run`` was told, checked. Names are those of the flags and of the TOML file.

    Empty ``variants``, ``recipes`` and ``runtimes`` mean the suite's own.
    ``precisions`` are what fp32 files are computed in, where a runtime can.
    ``seconds`` is the time of one timed loop, ``samples`` the least number of
    images in it (a batch counts as its images, and four batches are the least),
    ``idle_seconds`` how long one child of each family, runtime and recipe is watched doing
    nothing, ``cold_start`` whether a case is started once more with its file out of the page
    cache, ``memory_limit`` bytes of data a child may allocate
    (0: what the machine has free). ``against`` is a revision or a folder whose code is
    measured as well, in turns; ``budget`` the seconds that rounds beyond ``blocks`` may
    take for rows that are still undecided within ``margin`` (a share), or, with nothing to
    compare, all blocks of a run that chooses who gets more than one (0: it does not);
    ``markdown`` the file for a pull request's comment.
    ``int8_choice`` is a folder of choices (``bench.choices``).
    ``scenarios`` are measured besides our own loop, each test of LoadGen in
    ``scenario_seconds`` at most; ``latency_bound`` is what a server's p99 must stay
    under, in seconds.
    ``accuracy`` is how much of the test part of ``data`` each row is asked about, ``None``:
    all where the weights are trained ones; ``accuracy_images`` takes at most so many (0: all).
    ``model`` are .onnx files of the user's, ``preset`` and the following what flags say about
    them (``export.given.Said``); ``given`` the variants that they stand for (``bench.given``).
    ``folder_order``: weights that don't name their classes have them in the order of the
    folders of ``data``.
    ``ray`` is the address of a cluster whose machines measure, each with as many ``threads`` as it
    has cores unless they are said; ``prices`` a file of what an hour of each kind costs.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    suite: Literal["quick", "default", "full", "runtimes"] = "default"
    variants: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    batch_sizes: tuple[int, ...] = (1,)
    weights: str = DEFAULT
    checkpoints: str = ""
    data: str = ""
    accuracy: Literal["all", "sample", "none"] | None = None
    accuracy_images: int = 0
    folder_order: bool = False
    model: tuple[str, ...] = ()
    given: tuple[Variant, ...] = ()
    preset: str | None = None
    size: tuple[int, int] | None = None
    resize: str | None = None
    first: int | None = None
    filter: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scale: float | None = None
    channel_order: str | None = None
    layout: str | None = None
    output: str | None = None
    class_names: str | None = None
    calibration_method: Literal["minmax", "entropy", "percentile"] = "minmax"
    calibration_images: int = 16
    calibration_percentile: float = 99.999
    int8_choice: str = ""
    graph_level: Literal["basic", "extended", "layout", "all"] = "all"
    blocks: int = 0
    seconds: float = 0.0
    samples: int = 0
    seed: int = 0
    idle_seconds: float | None = None
    cold_start: bool | None = None
    scenarios: tuple[str, ...] = ()
    latency_bound: float = 0.0
    scenario_seconds: float = 30.0
    out: Path = DEFAULT_OUT
    store: Path = field(default_factory=default_store)
    memory_limit: int = 0
    fresh: bool = False
    against: str = ""
    margin: float = DEFAULT_MARGIN
    budget: float = 0.0
    markdown: str = ""
    ray: str = ""
    prices: str = ""


GIVEN_FLAGS = (
    "preset",
    "size",
    "resize",
    "first",
    "filter",
    "mean",
    "std",
    "scale",
    "channel_order",
    "layout",
    "output",
    "class_names",
)
"""What can be said about a given model; see ``export.given.Said``."""
LISTS = (
    "model",
    "variants",
    "recipes",
    "runtimes",
    "precisions",
    "threads",
    "batch_sizes",
    "scenarios",
)
"""What takes several words, with commas between them on the command line."""


def parse_margin(text: str) -> float:
    """A share between 0 and 1, written as 2% or 0.02; raises :class:`UsageError`."""
    words = re.fullmatch(r"([\d.]+) *(%?)", text.strip())
    try:
        value = float(words[1]) / (100 if words[2] else 1) if words else -1.0
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise UsageError(f"--margin {text}: write a share below 1, as 2% or 0.02")
    return value


def parse_budget(text: str) -> float:
    """Seconds, written as 90, 90s, 10m or 1h; raises :class:`UsageError`."""
    words = re.fullmatch(r"(\d+(?:\.\d+)?) *([smh]?)", text.strip())
    if words is None:
        raise UsageError(f"--budget {text}: write seconds, or 90s, 10m, 1h")
    return float(words[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[words[2]]


def parse_size(text: str) -> tuple[int, int]:
    """Height and width in pixels, written as 224 or 300x400; raises :class:`UsageError`."""
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text.strip())
    if found is None:
        raise UsageError(f"--size {text}: write HEIGHTxWIDTH in pixels, such as 300x400, or 224")
    return int(found[1]), int(found[2] or found[1])


def parse_time(flag: str, text: object) -> float:
    """A time with its unit in seconds; raises :class:`UsageError`."""
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(us|ms|s)\s*", str(text))
    if found is None:
        raise UsageError(f"{flag} {text} is not a time with its unit, such as 50ms or 0.5s")
    return float(found[1]) * _UNITS_S[found[2]]


def spends(options: Options) -> bool:
    """Whether blocks beyond the first of each row are given to those that they decide."""
    return options.budget > 0 and not options.against


def flag_of(name: str) -> str:
    """An option as it is written on the command line."""
    return f"--{name.replace('_', '-')}"


def without_flags(words: Sequence[str], flags: Collection[str]) -> list[str]:
    """A command's words without these flags and the word that follows each (or its ``=VALUE``)."""
    kept: list[str] = []
    skip = False
    for word in words:
        flag, equals, _ = word.partition("=")
        drop = flag in flags
        if not skip and not drop:
            kept.append(word)
        skip = not skip and drop and not equals
    return kept


def check_names(flag: str, patterns: Iterable[str], known: Iterable[str]) -> None:
    """Every pattern must match something; otherwise the nearest names are suggested."""
    names = list(known)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
            raise UsageError(f"{flag}: nothing is called {pattern!r}; {hint}")


def matching(patterns: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """The names that match any of the patterns, in the order of ``names``."""
    wanted = tuple(patterns)
    return tuple(n for n in names if any(fnmatchcase(n, pattern) for pattern in wanted))
