"""How a run's images became what its networks take, in words.

Pure functions over measurements; ``bench.report_facts`` prints what they return.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.case import NULL
from bench.record import Measurement
from bench.rows import table_order
from export.images import Preprocess


def prepared(measurements: Iterable[Measurement]) -> str:
    """What was done to an image's shape for each variant, as Markdown; empty: not recorded."""
    known = (b for b in measurements if b.file and b.file.preprocess and b.case.runtime != NULL)
    ordered = sorted(known, key=lambda block: table_order(block.case))
    kinds = {(b.case.variant, b.file.preprocess): None for b in ordered if b.file}
    variants: dict[str, list[str]] = {}
    for variant, text in kinds:
        variants.setdefault(_resized(Preprocess.from_json(text)), []).append(f"`{variant}`")
    return "; ".join(
        f"{how} ({', '.join(dict.fromkeys(names))})" for how, names in variants.items()
    )


def _resized(done: Preprocess) -> str:
    """Of a square image and a network that is none the reader wants to know which it was."""
    size = "x".join(map(str, done.size))
    if done.resize == "crop":
        first = f"{done.first} pixels" if done.first else f"what just covers {size}"
        return f"cropped to {size}, its shorter side resized to {first} before"
    by_way_of = f", by way of {done.first}x{done.first}" if done.first else ""
    return f"stretched to {size} (height x width) whatever its proportions{by_way_of}"
