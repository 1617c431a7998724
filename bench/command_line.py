"""Command line and TOML -> typed, checked Options: what is wrong is said before anything runs."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

import runtimes
from bench import host
from bench.flags import parser
from bench.option_checks import check, check_given
from bench.options import (
    DEFAULT_BUDGET_S,
    LISTS,
    PRECISIONS,
    SCENARIOS,
    Options,
    UsageError,
    check_names,
    flag_of,
    matching,
    parse_budget,
    parse_margin,
    parse_size,
    parse_time,
    spends,
)
from bench.suites import ALL, SUITES
from export.checkpoints import CheckpointsError, check_folder
from export.recipes import RECIPES
from export.variants import ALIASES, VARIANTS

_CHECK = TypeAdapter(Options)
_NUMBERS = ("mean", "std")


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
        flag = flag_of(name)
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
    for name in LISTS:
        if isinstance(values.get(name), str):
            values[name] = [part.strip() for part in values[name].split(",") if part.strip()]
        elif isinstance(values.get(name), int):
            values[name] = [values[name]]  # `threads = 2` in a TOML file
    for name, read in (("margin", parse_margin), ("budget", parse_budget)):
        if isinstance(values.get(name), str):
            values[name] = read(values[name])
    for name in _NUMBERS:
        if isinstance(values.get(name), str):
            values[name] = _numbers(flag_of(name), values[name])
    if isinstance(values.get("size"), str):
        values["size"] = parse_size(values["size"])
    usual_s = DEFAULT_BUDGET_S if values.get("against") else 0.0
    if "latency_bound" in values:
        values["latency_bound"] = parse_time("--latency-bound", values["latency_bound"])
    try:
        options = _CHECK.validate_python({"budget": usual_s, **values})
    except ValidationError as exc:
        raise UsageError(_validation_sentence(exc)) from exc
    check_given(values, options)
    check_names("--precisions", options.precisions, PRECISIONS)
    check_names("--scenarios", options.scenarios, SCENARIOS)
    options = _completed(options)
    check(options)
    check_names("--variants", options.variants, [*VARIANTS, *ALIASES])
    check_names("--recipes", options.recipes, RECIPES)
    check_names("--runtimes", options.runtimes, [*runtimes.REGISTRY, ALL])
    try:
        check_folder(options.checkpoints, options.weights)
    except CheckpointsError as exc:
        raise UsageError(str(exc)) from exc
    return options


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


def _numbers(flag: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as exc:
        raise UsageError(f"{flag} {text}: write a number for each channel, as 0.5,0.5,0.5") from exc


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
    flag = flag_of(str(error["loc"][0]))
    return f"{flag} {error['input']!r}: {error['msg'].lower()}"
