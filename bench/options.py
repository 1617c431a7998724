"""Command line and TOML -> typed, checked Options: what is wrong is said before anything runs."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

import runtimes
from bench import host
from export.artifact import default_store
from export.checkpoints import DEFAULT, CheckpointsError, check_folder
from export.given import PRESETS
from export.images import CHANNEL_ORDERS, FILTERS, LAYOUTS
from export.recipes import FILE_LEVEL, RECIPES, REMEDIES
from export.variants import ALIASES, VARIANTS, Variant

DEFAULT_OUT = Path("results")
DEFAULT_MARGIN = 0.02
DEFAULT_BUDGET_S = 600.0
ALL = "all"
"""In place of runtimes' names: those that are installed."""
SCENARIOS = ("single", "multi", "offline", "server", "workers")
"""MLPerf's four, and single-threaded workers at once."""
_MOST_THREADS = 4096
"""Of another machine, whose cores are not known yet."""
_NOT_COMPARED = {
    "single": "what is compared there is our own loop, which is measured anyway",
    "server": "a search for a rate is made once a run and has no interval",
}
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
PRECISIONS = tuple(dict.fromkeys(p for row in runtimes.REGISTRY.values() for p in row.precisions))


class UsageError(ValueError):
    """A bad argument: names the flag and the remedy."""


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


_CHECK = TypeAdapter(Options)
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
_NUMBERS = ("mean", "std")
_LISTS = (
    "model",
    "variants",
    "recipes",
    "runtimes",
    "precisions",
    "threads",
    "batch_sizes",
    "scenarios",
)


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


def _numbers(flag: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as exc:
        raise UsageError(f"{flag} {text}: write a number for each channel, as 0.5,0.5,0.5") from exc


def parse(
    argv: Sequence[str] | None = None, command: argparse.ArgumentParser | None = None
) -> Options:
    """Options from the command line over those of ``--config`` over the suite's own.

    ``command``: a parser of the same flags that goes by another name (default: ``parser()``).
    Raises :class:`UsageError`; ``--help`` and unknown flags end the process as argparse does.
    """
    _, values = _read(argv, command or parser())
    return _checked(values)


def spelt_out(argv: Sequence[str]) -> list[str]:
    """``argv`` with the flags that a ``--config`` file stands for in its place."""
    config, values = _read(argv, parser())
    if config is None:
        return list(argv)
    words: list[str] = []
    for name, value in values.items():
        flag = _flag(name)
        if isinstance(value, bool):
            words += [flag] if value else ["--no-cold-start"] if name == "cold_start" else []
        elif isinstance(value, list | tuple):
            words += [flag, ",".join(map(str, value))]
        else:
            words += [flag, str(value)]
    return words


def _read(
    argv: Sequence[str] | None, command: argparse.ArgumentParser
) -> tuple[Path | None, dict[str, Any]]:
    """The configuration file, if any, and what was said there and on the command line."""
    given = vars(command.parse_args(argv))
    config = given.pop("config")
    if given.pop("quick"):
        given["suite"] = "quick"
    return config, {**(_from_toml(config) if config else {}), **given}


def _checked(values: dict[str, Any]) -> Options:
    """Types, ranges and names."""
    for name in _LISTS:
        if isinstance(values.get(name), str):
            values[name] = [part.strip() for part in values[name].split(",") if part.strip()]
        elif isinstance(values.get(name), int):
            values[name] = [values[name]]  # `threads = 2` in a TOML file
    for name, read in (("margin", parse_margin), ("budget", parse_budget)):
        if isinstance(values.get(name), str):
            values[name] = read(values[name])
    for name in _NUMBERS:
        if isinstance(values.get(name), str):
            values[name] = _numbers(_flag(name), values[name])
    if isinstance(values.get("size"), str):
        values["size"] = parse_size(values["size"])
    usual_s = DEFAULT_BUDGET_S if values.get("against") else 0.0
    if "latency_bound" in values:
        values["latency_bound"] = parse_time("--latency-bound", values["latency_bound"])
    try:
        options = _CHECK.validate_python({"budget": usual_s, **values})
    except ValidationError as exc:
        raise UsageError(_validation_sentence(exc)) from exc
    _check_given(values, options)
    check_names("--precisions", options.precisions, PRECISIONS)
    check_names("--scenarios", options.scenarios, SCENARIOS)
    options = _completed(options)
    _check_ranges(options)
    _check_bound(options)
    _check_against(options)
    _check_ray(options)
    check_names("--variants", options.variants, [*VARIANTS, *ALIASES])
    check_names("--recipes", options.recipes, RECIPES)
    check_names("--runtimes", options.runtimes, [*runtimes.REGISTRY, ALL])
    try:
        check_folder(options.checkpoints, options.weights)
    except CheckpointsError as exc:
        raise UsageError(str(exc)) from exc
    return options


def _check_given(values: Mapping[str, Any], options: Options) -> None:
    """What was said in so many words must mean something."""
    for name in ("blocks", "seconds", "samples", "accuracy_images"):
        # 0 means "not given" inside, so that a user's own 0 has to be refused here.
        if name in values and not getattr(options, name) > 0:
            raise UsageError(f"{_flag(name)} {getattr(options, name):g} is not above 0")
    for name in ("accuracy", "accuracy_images", "folder_order"):
        if name in values and not options.data:
            raise UsageError(f"{_flag(name)} is about labelled images: it needs --data")
    if options.accuracy == "none" and options.accuracy_images:
        raise UsageError("--accuracy-images is for --accuracy all or sample, not for none")
    for name in GIVEN_FLAGS:
        if name in values and not options.model:
            raise UsageError(f"{_flag(name)} is about a file of yours: it needs --model")
    _check_budget(values, options)
    for name in ("margin", "markdown"):
        if name in values and not options.against:
            raise UsageError(f"--{name} is about a comparison: it needs --against")
    for name in _LISTS:
        if name in values and not getattr(options, name):
            raise UsageError(f"{_flag(name)} names nothing: leave it out for the usual")


def _check_budget(values: Mapping[str, Any], options: Options) -> None:
    """Without a comparison a budget takes the place of a number of blocks."""
    if "budget" not in values or options.against:
        return
    if not options.budget > 0:
        raise UsageError("--budget 0 leaves no time; leave it out for a fixed number of --blocks")
    if "blocks" in values:
        raise UsageError("--blocks and --budget both say how many blocks there are: leave out one")
    if options.scenarios:
        raise UsageError(
            "--budget is spent on our own loop alone, which would leave one block for --scenarios: "
            "measure these in a run of their own"
        )


def _flag(name: str) -> str:
    """An option as it is written on the command line."""
    return f"--{name.replace('_', '-')}"


def _completed(options: Options) -> Options:
    """Fill in what the suite and the host decide."""
    suite = SUITES[options.suite]
    return replace(
        options,
        precisions=matching(options.precisions or suite.precisions, PRECISIONS),
        threads=options.threads or (() if options.ray else (host.usable_cores(),)),
        blocks=options.blocks or (1 if spends(options) else suite.blocks),
        seconds=options.seconds or suite.seconds,
        samples=options.samples or suite.samples,
        idle_seconds=suite.idle_seconds if options.idle_seconds is None else options.idle_seconds,
        cold_start=suite.cold_start if options.cold_start is None else options.cold_start,
        scenarios=matching(options.scenarios, SCENARIOS),
    )


def spends(options: Options) -> bool:
    """Whether blocks beyond the first of each row are given to those that they decide."""
    return options.budget > 0 and not options.against


def _check_ranges(options: Options) -> None:
    cores = host.usable_cores()
    limits: dict[str, tuple[Iterable[float], float, float]] = {
        "--threads": (options.threads, 1, _MOST_THREADS if options.ray else cores),
        "--batch-sizes": (options.batch_sizes, 1, 1024),
        "--blocks": ([options.blocks], 1, 1000),
        "--seconds": ([options.seconds], 0.01, 3600),
        "--samples": ([options.samples], 1, 1000),
        "--idle-seconds": ([options.idle_seconds or 0.0], 0, 60),
        "--scenario-seconds": ([options.scenario_seconds], 0.1, 3600),
        "--calibration-images": ([options.calibration_images], 1, 10_000),
        "--accuracy-images": ([options.accuracy_images], 0, 10_000_000),
        "--calibration-percentile": ([options.calibration_percentile], 50, 100),
        "--memory-limit": ([options.memory_limit], 0, 1 << 50),
        "--margin": ([options.margin], 0, 0.99),
        "--budget": ([options.budget], 0, 7 * 24 * 3600),
    }
    for flag, (values, low, high) in limits.items():
        for value in values:
            if not low <= value <= high:
                cause = f" (this process may use {cores} cores)" if flag == "--threads" else ""
                raise UsageError(f"{flag} {value:g} is not between {low:g} and {high:g}{cause}")


def _check_bound(options: Options) -> None:
    """A server is searched for the rate that keeps a bound, and nothing else has one."""
    if "server" in options.scenarios and not options.latency_bound > 0:
        raise UsageError(
            "--scenarios server needs --latency-bound: what the p99 latency must stay under, "
            "for instance --latency-bound 50ms"
        )
    if options.latency_bound and "server" not in options.scenarios:
        raise UsageError("--latency-bound is for --scenarios server, which was not asked for")


def _check_against(options: Options) -> None:
    """A scenario that is measured for one version only would look compared and is not."""
    if options.against and options.model:
        raise UsageError(
            "--model can't be had with --against: another version of the code may not know how to "
            "take a given file; measure it with each version and use python -m bench.compare"
        )
    for name, why in _NOT_COMPARED.items():
        if options.against and name in options.scenarios:
            raise UsageError(
                f"--scenarios {name} can't be had with --against: {why}; leave it out here, or "
                "measure each version by itself and set the two pages side by side (of what can be "
                "compared, python -m bench.compare does it)"
            )


def _check_ray(options: Options) -> None:
    """What a fleet can't do, or what is said of one where there is none."""
    if options.prices and not options.ray:
        raise UsageError("--prices is about the machines of a fleet: it needs --ray")
    if not options.ray:
        return
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--ray needs Ray: pip install 'deploybench[ray]'")
    if options.against:
        raise UsageError(
            "--against can't be had with --ray: the other version would have to stand on every "
            "machine; compare versions on one machine"
        )
    if spends(options):
        raise UsageError(
            "--budget can't be had with --ray: each machine has blocks of its own to give; say "
            "--blocks"
        )


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


def parse_time(flag: str, text: object) -> float:
    """A time with its unit in seconds; raises :class:`UsageError`."""
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(us|ms|s)\s*", str(text))
    if found is None:
        raise UsageError(f"{flag} {text} is not a time with its unit, such as 50ms or 0.5s")
    return float(found[1]) * _UNITS_S[found[2]]


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


def _from_toml(path: Path) -> dict[str, Any]:
    """A TOML file with the flags' names; hyphens and underscores are the same."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise UsageError(f"--config {path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"--config {path} is not TOML: {exc}") from exc
    values = {key.replace("-", "_"): value for key, value in table.items()}
    if values.pop("quick", False):
        values["suite"] = "quick"
    known = [row.name for row in fields(Options)]
    for key in values:
        if key not in known:
            check_names(f"--config {path}", [key], known)
    return values


def _validation_sentence(exc: ValidationError) -> str:
    """pydantic's first complaint as one sentence that names the flag."""
    error = exc.errors()[0]
    flag = _flag(str(error["loc"][0]))
    return f"{flag} {error['input']!r}: {error['msg'].lower()}"


def parser() -> argparse.ArgumentParser:
    """The command line. Absent flags stay absent, so that a TOML file can supply them."""
    result = argparse.ArgumentParser(
        prog="python -m bench.run",
        description="Build every variant, run it on every chosen runtime, and write tables of "
        "load time, latency percentiles, file size, memory and parity.",
        epilog="Suites: " + "; ".join(f"{name}: {row.summary}" for name, row in SUITES.items()),
        argument_default=argparse.SUPPRESS,
    )
    _what(result.add_argument_group("what to measure"))
    _given(result.add_argument_group("a model of your own"))
    _how(result.add_argument_group("how to build and measure"))
    _against(result.add_argument_group("comparing with another version of this project"))
    _fleet(result.add_argument_group("a cluster of machines"))
    _where(result.add_argument_group("where things go"))
    return result


def _what(group: argparse._ArgumentGroup) -> None:
    suite = group.add_mutually_exclusive_group().add_argument
    suite("--suite", choices=SUITES, help="a named plan (default: default)")
    suite("--quick", action="store_true", default=False, help="short for --suite quick")
    add = group.add_argument
    add("-m", "--variants", metavar="GLOBS", help="for instance 'vgg19*,xception'")
    add("--recipes", metavar="GLOBS", help=", ".join(RECIPES))
    add("--runtimes", metavar="GLOBS", help=f"{', '.join(runtimes.REGISTRY)}; or all")
    add("--precisions", metavar="GLOBS", help=f"compute fp32 files in: {', '.join(PRECISIONS)}")
    add("-t", "--threads", metavar="N[,N]", help="threads for every runtime (default: all cores)")
    add("-b", "--batch-sizes", metavar="N[,N]", help="images in one inference (default: 1)")
    add("--scenarios", metavar="GLOBS", help=f"besides our own loop: {', '.join(SCENARIOS)}")


def _given(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--model", metavar="FILE[,FILE]", help=".onnx classifiers of yours, instead of variants")
    add_model_flags(group)


def add_model_flags(group: argparse._ArgumentGroup) -> None:
    """What can be said about a given model; see ``GIVEN_FLAGS``."""
    add = group.add_argument
    preset = "what the pixels become, by Keras' names or as 0 to 1, 0 to 255: "
    add("--preset", metavar="NAME", help=f"{preset}{', '.join(PRESETS)}")
    add("--size", metavar="HxW", help="height and width, where the graph leaves them open")
    crop = "squash: straight to the size; crop: the shorter side to --first, then the middle"
    add("--resize", metavar="HOW", help=crop)
    add("--first", type=int, metavar="PIXELS", help="of the resize before the crop (256)")
    add("--filter", metavar="NAME", help=", ".join(FILTERS))
    add("--mean", metavar="N,N,N", help="taken from each channel after --scale")
    add("--std", metavar="N,N,N", help="each channel is divided by it")
    add("--scale", type=float, metavar="N", help="of a pixel's 0 to 255, for instance 0.00392157")
    add("--channel-order", metavar="NAME", help=", ".join(CHANNEL_ORDERS))
    add("--layout", metavar="NAME", help=f"{' or '.join(LAYOUTS)}, where the graph leaves it open")
    add("--output", metavar="NAME", help="the output with the classes, where there are several")
    names = "of the outputs in their order: a line each, or JSON"
    add("--class-names", metavar="FILE", help=names)


def _how(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    weights = "for all variants: seeded, imagenet or a checkpoint (default: each variant's own "
    add("--weights", metavar="NAME_OR_FILE", help=f"{weights}trained ones, or seeded ones)")
    own = "trained weights of your own, VARIANT_NAME.safetensors each"
    add("--checkpoints", metavar="DIR", help=own)
    data = "class folders of images: the train part for calibration and parity, the test part for "
    add("--data", metavar="DIR_OR_ZIP", help=f"{data}accuracy")
    accuracy = (
        "ask about all of the test part (a timed session: about a sample); default: all with "
    )
    guess = "trained weights, none with seeded ones, which guess"
    add("--accuracy", choices=["all", "sample", "none"], help=f"{accuracy}{guess}")
    fewer = "at most so many of the test part, spread over the classes"
    add("--accuracy-images", type=int, metavar="N", help=fewer)
    order = "weights that don't name their classes have them in the order of the data's folders"
    add("--folder-order", action="store_true", help=order)
    add("--calibration-method", choices=["minmax", "entropy", "percentile"])
    add("--calibration-images", type=int, metavar="N", help="default: 16")
    kept = "of the absolute values, with the method of that name (default: 99.999)"
    add("--calibration-percentile", type=float, metavar="P", help=kept)
    chosen = "build int8-static as `python -m bench.search --out DIR` found best for each variant"
    add("--int8-choice", metavar="DIR", help=chosen)
    add("--graph-level", choices=["basic", "extended", "layout", "all"], help="for fp32-opt")
    add("--blocks", type=int, metavar="N", help="fresh processes for each case")
    budget = (
        "90s, 10m, 1h in place of --blocks: one block for each case, more for those that are not "
        "beaten; with --against: for further rounds of undecided rows (default: 10m; 0: none)"
    )
    add("--budget", metavar="TIME", help=budget)
    add("--seconds", type=float, metavar="S", help="time of one timed loop")
    add("--samples", type=int, metavar="N", help="least images in one timed loop")
    add("--idle-seconds", type=float, metavar="S", help="watch each first child do nothing")
    cold = "load each file from the disk once more, with the page cache dropped"
    add("--cold-start", action=argparse.BooleanOptionalAction, help=cold)
    bound = "what p99 must stay under in --scenarios server: 50ms"
    add("--latency-bound", metavar="TIME", help=bound)
    longest = "most time of one MLPerf LoadGen test (default: 30)"
    add("--scenario-seconds", type=float, metavar="S", help=longest)
    add("--seed", type=int, help="of the order in which cases are measured")
    add("--memory-limit", type=int, metavar="BYTES", help="data a child may allocate")


def _against(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--against", metavar="REV_OR_DIR", help="measure this checkout's code too, in turns")
    add("--margin", metavar="SHARE", help="differences up to this do not matter (default: 2%%)")
    add("--markdown", metavar="FILE", help="write a pull request's comment; - prints it")


def _fleet(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    ray = "measure on every kind of machine in a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or "
    add("--ray", metavar="ADDRESS", help=f"{ray}local (this machine)")
    add("--prices", metavar="FILE", help="TOML of what an hour of each kind costs")


def _where(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--out", type=Path, metavar="DIR", help=f"tables and records (default: {DEFAULT_OUT})")
    add("--store", type=Path, metavar="DIR", help="built files (default: the user's cache)")
    add("--fresh", action="store_true", help="measure again instead of resuming")
    add("--config", type=Path, default=None, metavar="FILE", help="TOML with these flags' names")
