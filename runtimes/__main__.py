"""``python -m runtimes``: what is installed and what it can do."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tabulate import tabulate

from export.recipes import RECIPES
from runtimes import REGISTRY, missing

_TITLES = (
    "runtime",
    "version",
    "opens",
    "computes in",
    "threads",
    "instruction sets",
    "what it is",
)
_ASK = """
import os, sys
from runtimes import adapter
os.write(int(sys.argv[2]), adapter(sys.argv[1]).instruction_sets().encode())
os._exit(0)
"""
_LIMIT_S = 120.0


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line a runtime: version or how to get it, formats, precisions, threads."""
    parser = argparse.ArgumentParser(
        prog="python -m runtimes",
        description="Which runtimes are installed, what they open, and what they say of this CPU.",
    )
    parser.parse_args(argv)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        rows = list(pool.map(_row, REGISTRY))
    print(tabulate(rows, headers=_TITLES))
    return 0


def _row(name: str) -> tuple[str, ...]:
    entry = REGISTRY[name]
    reason = missing(name)
    threads = f"at most {entry.most_threads}" if entry.most_threads else "any"
    return (
        name,
        reason or _version(name),
        ", ".join(entry.formats),
        ", ".join(precisions(name)),
        threads,
        "" if reason else _instruction_sets(name),
        entry.summary,
    )


def precisions(name: str) -> tuple[str, ...]:
    """What a runtime computes in: what it can be told, and INT8 if a recipe makes such files."""
    entry = REGISTRY[name]
    whole = any(
        recipe.precision == "int8"
        and set(recipe.chains) & set(entry.formats)
        and name not in recipe.impossible
        and (recipe.runtimes is None or name in recipe.runtimes)
        for recipe in RECIPES.values()
    )
    return (*entry.precisions, *(["int8"] if whole and entry.distribution else []))


def _version(name: str) -> str:
    """The installed version of the distribution."""
    distribution = REGISTRY[name].distribution
    return "built in" if distribution is None else importlib.metadata.version(distribution)


def _instruction_sets(name: str) -> str:
    """What the library says, asked in a child: not all of them share a process, and most print."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as answer:
        try:
            done = subprocess.run(
                [sys.executable, "-c", _ASK, name, str(writer)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(writer,),
                timeout=_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {_LIMIT_S:.0f} s"
        finally:
            os.close(writer)
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            return f"can't be imported: {lines[-1]}"
        return answer.read().decode() or "doesn't say"


if __name__ == "__main__":
    sys.exit(main())
