"""The sections of what opens for a row: their headings, and the heads of their tables.

All rows share them, so that they stand in a page once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench import resources

Lines = tuple[tuple[str, ...], ...]
PARTS: Mapping[str, str] = {
    "doubts": "Can it be believed?",
    "times": "Latency over time",
    "spread": "Distribution",
    "start": "Cold start",
    "memory": "Memory",
    "operators": "What ran: operators and multiply-accumulates",
    "answers": "Answers",
    "provenance": "Where it comes from",
}
"""Name -> heading, in the order in which they are shown."""
_FIGURES = tuple(f"{code} ({unit})" for code, unit in resources.UNITS.items())
HEADS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "figures": ("What was watched, block by block", ("block", "begun", "verdict", *_FIGURES)),
    "blocks": (
        "Blocks: each is a fresh process",
        ("block", "inferences", "fastest ms", "p50 ms", "slowest ms", "CPU ms", "warm-up s"),
    ),
    "percentiles": (
        "Percentiles with 95 % intervals, ms",
        ("percentile", "over inferences as if independent", "over blocks"),
    ),
    "leaves": (
        "From import to the first answer, ms",
        ("block", "import", "read", "parse, optimise, pre-pack", "first inference", "whole"),
    ),
    "held": (
        "Resident, MB",
        ("block", "runtime imported", "peak", "steady", "anonymous", "files", "a second worker"),
    ),
    "macs": (
        "Multiply-accumulates for an image, by the precision in which they run",
        ("precision", "number", "share"),
    ),
    "nodes": ("Operators that run", ("operator", "nodes", "µs a batch", "share")),
    "told": ("Compared", ("what", "result")),
    "facts": ("This row's file and runtime", ("what", "value")),
    "run": ("The run", ("what", "value")),
}
"""Table -> title and heads."""


@dataclass(frozen=True)
class Part:
    """A section of what opens: sentences, tables by their names in ``HEADS``, what is drawn."""

    said: tuple[str, ...] = ()
    tables: Mapping[str, Lines] = field(default_factory=dict)
    chart: Any = None

    @property
    def json(self) -> dict[str, Any]:
        """What of it there is."""
        found = {"said": self.said, "tables": dict(self.tables), "chart": self.chart}
        return {name: value for name, value in found.items() if value}
