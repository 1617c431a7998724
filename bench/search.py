"""``python -m bench.search``: find how each variant is quantised with at most so many points lost.

Candidates are built by ``export`` and asked about the validation part of the data by the
same session as rows of a table are; each result is kept at once, so that the same command
goes on after a stop. Where no scheme keeps the limit, layers go back to fp32, the worst
first, until it is kept. The pick is asked about the test part, once; a search that goes on
to another pick looks again, which its log and choice count.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import choices, files, host
from bench.candidates import IMAGES, MOST_KEPT, NoFile, Search, grid_of
from bench.choices import Choice, Made
from bench.command_line import parse
from bench.header import ROOT, installed, without_paths
from bench.learnt import doubt
from bench.options import Options, UsageError, matching, without_flags
from bench.search_log import About, Log
from bench.search_text import verdict
from bench.search_tools import check_classes, tools
from export.build import Int8
from export.checkpoints import CheckpointsError, weights_of
from export.counts import count_or_0
from export.images import ImageFolder, ImagesError, spread
from export.printable import complain
from export.variants import VARIANTS, weights_name

_SEED = 4
_FAILURES = (UsageError, ImagesError, CheckpointsError, NoFile, files.BuildError, OSError)
"""What the search for one variant may end with and another's need not."""


@dataclass(frozen=True)
class Data:
    """Images, and the fingerprints of the parts that calibration and the last word come from."""

    folder: ImageFolder
    train: str
    test: str


@dataclass(frozen=True)
class Plan:
    """What the command line asks for. ``most_images`` of the validation part (0: all)."""

    options: Options
    out: Path
    max_drop: float
    images: tuple[int, ...]
    most_images: int
    most_kept: int
    fresh: bool
    made: Made


def main(argv: Sequence[str] | None = None) -> int:
    """Search for each variant.

    1: a limit isn't kept on either part, 2: usage, or the search for a variant failed,
    130: stopped.
    """
    try:
        plan = _parse(argv)
        return _search_all(plan, _opened(Path(plan.options.data)))
    except (UsageError, ImagesError, CheckpointsError) as exc:
        complain(exc)
        return 2
    except KeyboardInterrupt:
        print("stopped: the best so far is kept, and the same command goes on from here")
        return 130


def _opened(path: Path) -> Data:
    """The data, which must have images to decide by and to judge the choice by."""
    folder = ImageFolder.open(path)
    for part, name in (("val", "validation"), ("test", "test")):
        if not folder.part(part):
            raise UsageError(
                f"--data: {path} has no images left for a {name} part: give each class more images"
            )
    return Data(folder, *(folder.fingerprint(folder.part(part)) for part in ("train", "test")))


def _search_all(plan: Plan, data: Data) -> int:
    """One variant after the other; what fails ends its own search, and is told again at the end."""
    codes, failed = [0], []
    for variant in plan.options.variants:
        try:
            codes.append(_search_one(plan, variant, data))
        except _FAILURES as exc:
            complain(f"{variant}: {exc}")
            failed.append(f"  {variant}: {exc}")
    if failed and len(plan.options.variants) > 1:
        count = f"{len(failed)} of {len(plan.options.variants)}"
        print("\n".join([f"no choice for {count} variants:", *failed]), file=sys.stderr)
    return 2 if failed else max(codes)


def _search_one(plan: Plan, variant: str, data: Data) -> int:
    """Search, report; 1 where the limit isn't kept, be it on the test part alone."""
    options, folder = plan.options, data.folder
    check_classes(variant, options, folder)
    checkpoint = weights_of(variant, options.weights, options.checkpoints)
    weights = weights_name(checkpoint)
    warning = doubt(checkpoint, folder, data.train)
    if warning:
        print(f"WARNING: {warning}", flush=True)
    entries = spread(folder.part("val"), plan.most_images or len(folder.part("val")), _SEED)
    with_tools = tools(variant, options, folder, functools.partial(print, flush=True))
    fp32 = with_tools.build(None)
    parts = (folder.fingerprint(entries), data.train, data.test)
    about = About(variant, weights, fp32.key, *parts, made=plan.made)
    path = choices.path_of(plan.out, variant, weights).with_suffix(".jsonl")
    log = Log.open(path, about, plan.fresh)
    draft = Choice(variant, weights, Int8(), folder.path.name, plan.max_drop, warning=warning)
    search = Search(with_tools, log, draft, entries)
    print(f"{variant}@{weights}: {len(entries)} validation images", flush=True)
    search.run(grid_of(plan.images), plan.most_kept)
    choice = search.finish(folder.part("test"))
    print(f"{verdict(choice)}\nchoice: {choices.path_of(plan.out, variant, weights)}")
    return 0 if choice.met else 1


def _parse(argv: Sequence[str] | None) -> Plan:
    arguments = _parser().parse_args(argv)
    if not arguments.data:
        raise UsageError(
            "a search decides by labelled images: name them with --data (class folders, or a zip)"
        )
    if arguments.max_drop < 0:
        raise UsageError(f"--max-drop {arguments.max_drop:g}: points that may be lost, 0 or more")
    words = ["--variants", arguments.variants, "--data", arguments.data, "--threads"]
    words.append(str(arguments.threads or host.usable_cores()))
    for name in ("weights", "checkpoints", "store"):
        if getattr(arguments, name):
            words += [f"--{name}", str(getattr(arguments, name))]
    if arguments.folder_order:
        words.append("--folder-order")
    options = parse(words)
    variants = matching(options.variants, VARIANTS)
    if not variants:
        raise UsageError(f"--variants {arguments.variants} names second names only: give the first")
    return Plan(
        replace(options, variants=variants),
        arguments.out,
        arguments.max_drop,
        _counts(arguments.calibration_images),
        arguments.images,
        arguments.most_fp32,
        arguments.fresh,
        _made(sys.argv[1:] if argv is None else argv, options, arguments.out),
    )


def _made(words: Sequence[str], options: Options, out: Path) -> Made:
    """Where and by what a search is begun, without the folders of this machine."""
    command = shlex.join(["python", "-m", "bench.search", *without_flags(words, ("--store",))])
    return Made(
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=without_paths(command, replace(options, out=out)),
        commit=host.commit(ROOT),
        host=host.describe(),
        versions=installed(),
    )


def _counts(text: str) -> tuple[int, ...]:
    """Numbers of images, the smallest first."""
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError as exc:
        raise UsageError(f"--calibration-images {text}: write numbers, as 16,64") from exc
    if counts[0] < 1:
        raise UsageError(f"--calibration-images {text}: one image is the least")
    return tuple(counts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.search",
        description="Search how each variant is quantised to INT8 with at most so many points of "
        "top-1 accuracy lost on the validation part of the data; what is chosen is asked about the "
        "test part once, and written for bench.run --int8-choice.",
    )
    add = parser.add_argument
    add("-m", "--variants", required=True, metavar="GLOBS", help="for instance 'vgg19*,xception'")
    add("--data", default="", metavar="DIR_OR_ZIP", help="class folders of images")
    add("--folder-order", action="store_true", help="as for bench.run")
    add("--weights", default="", metavar="NAME_OR_FILE", help="as for bench.run")
    add("--checkpoints", default="", metavar="DIR", help="as for bench.run")
    add("--max-drop", type=float, default=1.0, metavar="POINTS", help="default: 1")
    few = ",".join(map(str, IMAGES))
    add("--calibration-images", default=few, metavar="N[,N]", help=f"to try (default: {few})")
    asked = "of the validation part (default: all)"
    add("--images", type=count_or_0, default=0, metavar="N", help=asked)
    kept = f"layers that may go back to fp32 to keep the limit (default: {MOST_KEPT})"
    add("--most-fp32", type=count_or_0, default=MOST_KEPT, metavar="N", help=kept)
    add("-t", "--threads", type=count_or_0, default=0, metavar="N", help="default: all cores")
    add("--out", type=Path, default=Path("results/search"), metavar="DIR", help="choices and logs")
    add("--store", default="", metavar="DIR", help="built files (default: the user's cache)")
    add("--fresh", action="store_true", help="search again instead of going on")
    return parser


if __name__ == "__main__":
    sys.exit(main())
