"""Command line -> typed, checked Settings of the page; needs none of its libraries."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import given as given_models
from bench import host
from bench.command_line import parse
from bench.constraints import size_bytes
from bench.flags import add_model_flags
from bench.options import GIVEN_FLAGS, Options, UsageError, flag_of
from export.recipes import RECIPES
from runtimes import REGISTRY

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LEAST_RUNS, MOST_RUNS = 3, 1000
_OF_A_RUN = (
    "variants",
    "recipes",
    "runtimes",
    "weights",
    "checkpoints",
    "data",
    "store",
    "threads",
    "model",
)
_MEMORY_SHARE = 0.6
"""Of what the machine has free, for all children together."""
_GIVEN_RUNTIME = "ort"
"""Of given models where no other is named: each recipe in each runtime is too much to wait for."""
_LIBRARIES = ("fastapi", "uvicorn", "swagger_ui_bundle")


@dataclass(frozen=True)
class Settings:
    """What the page was told, checked. ``options`` are those of ``bench.run``: what to build.

    ``named``: models, variants, recipes or runtimes were named; otherwise it offers what stands in
    the store. ``runs`` are the timed inferences of a card; ``most_memory_bytes`` bounds each child,
    and is a target for all of them together (0: no bound), ``most_models`` their number;
    ``most_upload_bytes`` and ``most_pixels`` bound a picture before it is decoded. ``names`` are
    host names, besides IP addresses and ``localhost``, under which the page may be asked for.
    """

    options: Options = field(default_factory=Options)
    named: bool = False
    records: Path | None = None
    host: str = LOOPBACK[0]
    port: int = 8787
    names: tuple[str, ...] = ()
    runs: int = 72
    most_models: int = 8
    most_memory_bytes: int = 0
    most_upload_bytes: int = 20 << 20
    most_pixels: int = 40_000_000
    argv: tuple[str, ...] = ()
    """The part of the command line that ``bench.run`` knows: what a child that builds gets."""

    @property
    def exposed(self) -> bool:
        """Whether other machines may reach the page."""
        return self.host not in LOOPBACK


def read(argv: Sequence[str] | None = None) -> Settings:
    """Settings from the command line; raises :class:`UsageError` for a bad argument."""
    given = parser().parse_args(argv)
    words = _for_run(given)
    _check(given)
    memory = given.most_memory
    return Settings(
        options=parse(words),
        named=bool(given.model or given.variants or given.recipes or given.runtimes),
        records=given.records,
        host=given.host,
        port=given.port,
        names=tuple(name.strip().lower() for name in given.names.split(",") if name.strip()),
        runs=given.runs,
        most_models=given.most_models,
        most_memory_bytes=int(size_bytes("--most-memory", memory)) if memory else _usual_memory(),
        most_upload_bytes=int(size_bytes("--most-upload", given.most_upload)),
        most_pixels=given.most_pixels,
        argv=tuple(words),
    )


def opened(settings: Settings) -> Settings:
    """With the variants that ``--model`` stands for, which this process knows from now on.

    Takes a child for each file; raises :class:`UsageError` for one that can't be used.
    """
    return replace(settings, options=given_models.opened(settings.options))


def missing_libraries() -> str:
    """Which libraries of the page are not installed, and how to get them; empty: none."""
    absent = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if not absent:
        return ""
    return f"the page needs {', '.join(absent)}: pip install 'deploybench[dashboard]'"


def _usual_memory() -> int:
    return int(_MEMORY_SHARE * (host.available_memory_bytes() or 0))


def _for_run(given: argparse.Namespace) -> list[str]:
    """The flags that mean what they mean to ``bench.run``."""
    if given.model and not given.runtimes:
        given.runtimes = _GIVEN_RUNTIME
    values = {flag_of(name): getattr(given, name) for name in (*_OF_A_RUN, *GIVEN_FLAGS)}
    # With "=": a value may begin with a minus.
    words = [f"{flag}={value}" for flag, value in values.items() if value not in (None, "")]
    return [*words, *(["--folder-order"] if given.folder_order else [])]


def _check(given: argparse.Namespace) -> None:
    limits = {
        "--port": (given.port, 0, 65535),
        "--runs": (given.runs, LEAST_RUNS, MOST_RUNS),
        "--most-models": (given.most_models, 1, 1000),
        "--most-pixels": (given.most_pixels, 1, 64_000_000),
    }
    for flag, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise UsageError(f"{flag} {value} is not between {low} and {high}")
    if given.folder_order and not given.model:
        raise UsageError("--folder-order says how the classes of --model stand: name a file")
    if given.records is not None and not (given.records / "records").is_dir():
        raise UsageError(
            f"--records {given.records} has no records: name a folder that python -m bench.run "
            "wrote with --out"
        )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m bench.dashboard",
        description="Serve a page where a picture is uploaded and every chosen variant answers, "
        "side by side: classes, latency, size, memory, agreement. Offers the files that stand in "
        "the store; where none do, builds five of VGG-19.",
    )
    _what(result.add_argument_group("what to offer"))
    _given(result.add_argument_group("models of your own"))
    _where(result.add_argument_group("where it is served"))
    _limits(result.add_argument_group("limits"))
    return result


def _what(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-m", "--variants", metavar="GLOBS", help="build and offer these: 'vgg19*,xception'")
    add("--recipes", metavar="GLOBS", help=", ".join(RECIPES))
    add("--runtimes", metavar="GLOBS", help=f"{', '.join(REGISTRY)}; or all")
    add("--weights", metavar="NAME_OR_FILE", help="as of python -m bench.run")
    add("--checkpoints", metavar="DIR", help="trained weights, VARIANT_NAME.safetensors each")
    calibration = "class folders of images to calibrate INT8 with (default: two photographs)"
    add("--data", metavar="DIR_OR_ZIP", help=calibration)
    add("--store", metavar="DIR", help="built files (default: the user's cache)")
    add("-t", "--threads", type=int, metavar="N", help="for every runtime (default: all cores)")
    rows = "a results folder whose rows stand beside the cards, accuracy among them"
    add("--records", type=Path, metavar="DIR", help=rows)
    runs = "timed inferences of a card (default: 72, the fewest that a p95 can be told from)"
    add("--runs", type=int, default=72, metavar="N", help=runs)


def _given(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    own = f"offer your .onnx classifiers, in {_GIVEN_RUNTIME} unless --runtimes names others"
    add("--model", metavar="FILE[,FILE]", help=own)
    add_model_flags(group)
    order = "models that don't name their classes have them in the order of the data's folders"
    add("--folder-order", action="store_true", help=order)


def _where(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    only = "default: 127.0.0.1, this machine only; nobody is asked who they are"
    add("--host", default=LOOPBACK[0], metavar="ADDRESS", help=only)
    add("--port", type=int, default=8787, metavar="N", help="default: 8787; 0: any free one")
    names = "further host names under which the page may be asked for, as behind a proxy"
    add("--names", default="", metavar="NAME[,NAME]", help=names)


def _limits(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    warm = "models kept loaded, the one that rested longest goes first (default: 8)"
    add("--most-models", type=int, default=8, metavar="N", help=warm)
    memory = "of one, and what all should stay below, such as 4GB (default: 60 %% of what is free)"
    add("--most-memory", metavar="SIZE", help=memory)
    add("--most-upload", default="20MiB", metavar="SIZE", help="of a picture (default: 20MiB)")
    add("--most-pixels", type=int, default=40_000_000, metavar="N", help="default: 40000000")
