"""The ``deploybench`` script: the modules as subcommands."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "run": ("bench.run", "build, measure, write tables: the main job"),
        "report": ("bench.report", "write the tables anew from the records, or check them"),
        "search": ("bench.search", "find how each variant is quantised with little accuracy lost"),
        "compare": ("bench.compare", "judge one result set beside another; for gates"),
        "recommend": ("bench.recommend", "which of the measured rows to ship, under constraints"),
        "spread": ("bench.spread", "train or search on a Ray cluster, a variant a task"),
        "ship": ("bench.ship", "pack a measured row, to run elsewhere with nothing of ours"),
        "verify": ("bench.verify", "recompute a bundle's or a page's hashes, and measure again"),
        "method": ("bench.method.__main__", "experiments on the method itself, and their page"),
        "resize-cost": ("bench.resize_cost", "what another resize filter costs, next to INT8"),
        "inspect": (
            "bench.look",
            "look into a model file: where bytes and work are, what is wrong",
        ),
        "dashboard": (
            "bench.dashboard.__main__",
            "a page: upload a picture, see every variant side by side",
        ),
        "peaks": ("bench.peaks", "what this host reaches at most: products by precision, memory"),
        "runtimes": ("runtimes.__main__", "which runtimes are installed and what they open"),
        "export": ("export.run", "only build model files"),
    }
)


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the rest of the command line to a module's ``main``; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] == "--version":
        print(f"deploybench {importlib.metadata.version('deploybench')}")
        return 0
    if words[0] not in COMMANDS:
        print(f"error: there is no {words[0]!r}\n{_help()}", file=sys.stderr)
        return 2
    module = importlib.import_module(COMMANDS[words[0]][0])
    code: int = module.main(words[1:])
    return code


def _help() -> str:
    lines = [
        f"  {name:<12} {text} (python -m {_module(name)})" for name, (_, text) in COMMANDS.items()
    ]
    return "usage: deploybench COMMAND [OPTIONS] | --version\n\n" + "\n".join(lines)


def _module(command: str) -> str:
    return COMMANDS[command][0].removesuffix(".__main__")


if __name__ == "__main__":
    sys.exit(main())
