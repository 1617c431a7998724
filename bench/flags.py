"""The flags of ``bench.run`` and of those who take the same, with what their help says."""

from __future__ import annotations

import argparse
from pathlib import Path

import runtimes
from bench.options import DEFAULT_OUT, PRECISIONS, SCENARIOS
from bench.suites import SUITES
from export.given import PRESETS
from export.images import CHANNEL_ORDERS, FILTERS, LAYOUTS
from export.recipes import RECIPES


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
    first = "of the shorter side before the crop (0: it just covers the size), which has to be "
    add("--first", type=int, metavar="PIXELS", help=f"{first}said; of both before a squash")
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
