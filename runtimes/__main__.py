"""``python -m runtimes``: what is installed and what it can do."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence

from tabulate import tabulate

from runtimes import REGISTRY, missing


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line per runtime: version or how to get it, formats, what it is."""
    argparse.ArgumentParser(prog="python -m runtimes", description=__doc__).parse_args(argv)
    rows = [
        (name, _version(name), ", ".join(entry.formats), entry.summary)
        for name, entry in REGISTRY.items()
    ]
    print(tabulate(rows, headers=("runtime", "version", "opens", "what it is")))
    return 0


def _version(name: str) -> str:
    """The installed version, or how to install it."""
    distribution = REGISTRY[name].distribution
    if distribution is None:
        return "built in"
    return missing(name) or importlib.metadata.version(distribution)


if __name__ == "__main__":
    sys.exit(main())
