"""``python -m export.train``: train, fine-tune, prune and distil the variants on images.

Training is never a step of a build: it writes checkpoints, which the other
commands read. ``docs/training.md`` has the commands behind ours.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from fnmatch import fnmatchcase
from pathlib import Path

from export.checkpoints import RESERVED_NAMES
from export.counts import count, count_or_0
from export.download import WeightsError
from export.images import ImagesError
from export.printable import complain
from export.train_board import Board, side_by_side
from export.train_job import Job, Said, check
from export.train_log import LogError, read_log
from export.train_plan import PAPER_BATCH, SCRATCH, TrainingError
from export.train_plot import PlotError, plot
from export.variants import VARIANTS

_EXPECTED = (ImagesError, TrainingError, WeightsError)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, train; returns the exit code.

    1: a training went wrong, 2: usage, 130: interrupted (the same command goes on).
    """
    options = _parser().parse_args(argv)
    try:
        if options.plot:
            return _plot(options.plot, options.out)
        jobs = _jobs(options)
    except (TrainingError, LogError, PlotError) as exc:
        complain(exc)
        return 2
    try:
        failures = train_all(jobs, options.jobs)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last whole epoch", file=sys.stderr)
        return 130
    for failure in failures:
        complain(failure)
    return 1 if failures else 0


def train_all(jobs: Sequence[Job], at_once: int) -> list[str]:
    """Train them, so many at a time; returns what went wrong, one sentence each."""
    with Board() as board:
        if at_once == 1 or len(jobs) == 1:
            return [text for job in jobs if (text := attempt(job, board.hear))]
        return side_by_side(attempt, jobs, at_once, board)


def attempt(job: Job, tell: Callable[[Said], object]) -> str | None:
    """Train one; what went wrong in a sentence, or None."""
    # Not above: --help and what is wrong with a command don't need torch.
    import torch

    from export.training import train

    try:
        train(job, tell)
    except _EXPECTED as exc:
        return str(exc)
    except OSError as exc:
        return (
            f"{job.variant}: a file can't be read or written ({exc}): make room, or name another "
            "--out or --scratch"
        )
    except (MemoryError, torch.OutOfMemoryError) as exc:
        said = f" ({exc})" if str(exc) else ""
        return (
            f"{job.variant}: out of memory{said}: try a smaller --batch-size or --size, or --jobs 1"
        )
    with contextlib.suppress(PlotError):  # it comes as a present where it can
        plot([read_log(job.log)], job.log.with_suffix(".svg"))
    return None


def _plot(logs: Sequence[Path], out: Path | None) -> int:
    """Draw what some logs say into one file."""
    if out is None:
        out = logs[0].with_suffix(".svg")
    elif out.suffix != ".svg":
        out = out / "training.svg"
    plot([read_log(log) for log in logs], out)
    print(f"wrote {out}")
    return 0


# --- the command line -------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export.train",
        description="Train variants on an image folder and write checkpoints: the best epoch by "
        "its accuracy on the validation part. The test part is never read. After an "
        "interruption the same command goes on, with the same result.",
    )
    _add_what(parser)
    _add_start(parser)
    _add_how(parser)
    _add_teacher(parser)
    _add_where(parser)
    return parser


def _add_what(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--variants", metavar="NAMES", help="names or patterns: 'revisited-*,vgg19-gap'")
    add("--data", type=Path, metavar="DIR_OR_ZIP", help="class folders of images")
    add("--out", type=Path, metavar="DIR", help="where the checkpoints and their logs go")
    add("--name", help="of the checkpoints, VARIANT_NAME.safetensors (default: that of --data)")
    add("--half", action="store_true", help="store filters and matrices as fp16: half the size")
    add(
        "--plot",
        nargs="+",
        type=Path,
        metavar="LOG",
        help="train nothing: draw the losses and accuracies of these logs (to --out FILE.svg)",
    )


def _add_start(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("where a training starts").add_argument
    add(
        "--from",
        dest="parent",
        type=Path,
        metavar="FILE",
        help="go on from this checkpoint: its backbone, and its head where it fits; an operated "
        "variant is cut out of it first. One epoch of Adam 1e-4 where nothing else is said",
    )
    add("--new-head", action="store_true", help="leave the head of --from, and its classes, aside")
    add(
        "--head-only",
        action="store_true",
        help="freeze the backbone, store what it makes of each image once, train the head on that",
    )
    add("--freeze-before", metavar="LAYER", help="learn from this layer on: features.16")
    add(
        "--recalibrate-norms",
        dest="recalibrate",
        action="store_true",
        help="take the BatchNorm statistics anew at this input size first (in --precision)",
    )
    add("--size", type=_size, metavar="HxW", help="input size (default: the variant's)")
    add(
        "--first",
        type=count,
        metavar="N",
        help="squash images to N x N before that (default: as --from was, at square sizes)",
    )


def _add_how(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how it goes on (default: as the recipe says)").add_argument
    add("--epochs", type=count_or_0, metavar="N", help="0: only what comes before learning")
    add(
        "--batch-size",
        type=count,
        metavar="N",
        help="images a step. The paper of the revisited networks has "
        f"{PAPER_BATCH}, our recipe for them {SCRATCH['revisited'].batch_size}: with --jobs 2 "
        "on two shared cores all eight take about an hour, which 32 or 64 hardly shorten",
    )
    add("--lr", type=float, help="learning rate")
    add("--patience", type=count, metavar="N", help="stop after N epochs without a better one")
    add("--views", type=count, metavar="N", help="variations of each image, then they repeat")
    add("--seed", type=int, default=0, help="of everything random (default: 0)")
    add(
        "--precision",
        choices=("fp32", "bf16"),
        help="of training and statistics; validation is always fp32",
    )
    add(
        "--compile",
        action=argparse.BooleanOptionalAction,
        dest="compiled",
        help="torch.compile: twice as fast for small networks (default: theirs, where there is a "
        "g++ and no --limit)",
    )


def _add_teacher(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("taught by a larger network").add_argument
    add("--teacher", type=Path, metavar="FILE", help="its checkpoint")
    add("--teacher-variant", metavar="NAME", help="what it is (default: as its file says)")
    add("--teacher-size", type=_size, metavar="HxW", help="its input size (default: the same)")
    add("--temperature", type=float, default=4.0, help="of both softmaxes (default: 4)")
    add("--alpha", type=float, default=0.9, help="the teacher's share of the loss (default: 0.9)")


def _add_where(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("on what").add_argument
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--jobs", type=count, default=1, metavar="N", help="variants side by side (default: 1)")
    add("--threads", type=count, metavar="N", help="of each (default: the cores over --jobs)")
    add("--scratch", type=Path, metavar="DIR", help="for stored features, gigabytes at most")
    add("--limit", type=count, metavar="N", help="N images of each part only, to try it out")


def _jobs(options: argparse.Namespace) -> list[Job]:
    """One job a variant; a ``TrainingError`` where the command line can't be meant."""
    for flag in ("variants", "data", "out"):
        if getattr(options, flag) is None:
            raise TrainingError(f"--{flag} is missing")
    said = vars(options)
    said["name"] = _name(options.name or options.data.stem)
    said["threads"] = options.threads or max(1, _cores() // options.jobs)
    names = [field.name for field in fields(Job) if field.name != "variant"]
    jobs = [
        Job(variant, **{name: said[name] for name in names})
        for variant in _variants(options.variants)
    ]
    for job in jobs:
        check(job)
    return jobs


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _name(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+", text) or text in RESERVED_NAMES:
        raise TrainingError(f"--name: {text!r} can't be in a file's name, or means something else")
    return text


def _variants(text: str) -> list[str]:
    """The variants that names and patterns mean, in the order of the table."""
    patterns = [part.strip() for part in text.split(",") if part.strip()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in VARIANTS):
            raise TrainingError(
                f"--variants: no variant is called {pattern!r}; there are {', '.join(VARIANTS)}"
            )
    return [name for name in VARIANTS if any(fnmatchcase(name, p) for p in patterns)]


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.partition("x")
    if not (cross and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write HEIGHTxWIDTH, like 224x224")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
