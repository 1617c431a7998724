"""Which rows lose accuracy by a quantiser that no search has told anything, and what is known.

Pure functions; ``bench.report_sections`` prints what they return.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from bench.case import statically_quantised
from bench.record import RunHeader
from bench.rows import MOST_LOST, Compared, Row, Table, loses, runtime_name
from bench.score_cells import points
from bench.text import difference_text
from export.build import Options

RANGES: Mapping[str, str] = MappingProxyType(
    {
        "torch-inductor": "PyTorch's histogram observer",
        "mnn": "moving averages (EMA)",
        "litert": "the least and the largest value",
        "executorch": "PyTorch's histogram observer",
    }
)
"""Runtime -> where its quantiser takes an activation's range from; see ``export.convert``."""


def remark(header: RunHeader, tables: Iterable[Table]) -> str:
    """Which rows lose too much by a quantiser of their runtime's own, as Markdown; empty: none."""
    found = [pair for table in tables for pair in _losing(table)]
    if not found:
        return ""
    rows = "; ".join(
        f"`{row.case.shown_variant}` {runtime_name(row.case)} {points(compared.paired)}"
        for row, compared in found
    )
    names = dict.fromkeys(row.case.runtime for row, _ in found)
    ranges = ", ".join(f"{name}: {RANGES[name]}" for name in names)
    variants = dict.fromkeys(row.case.variant for row, _ in found)
    many = _images(header)
    return (
        f"INT8 rows that lose more than {MOST_LOST} point of top-1 against fp32 by quantisers of "
        f"their runtimes' own: {rows}. These take the ranges of activations from "
        f"{f'{many} images' if many else 'calibration images'} ({ranges}), and no choice of "
        "layers from a search. "
        f"{_plain(header, variants)}Which of their layers lose it is not known."
    )


def _losing(table: Table) -> Iterable[tuple[Row, Compared]]:
    """Rows with all answers, each with its comparison."""
    for row in table.rows:
        compared = table.compared.get(row.case)
        own = row.case.runtime in RANGES and statically_quantised(row.case.recipe)
        if own and row.answers and compared and compared.parent.answers and loses(compared):
            yield row, compared


def _images(header: RunHeader) -> str:
    """How many images were calibrated on; empty: a file that --config names may say it."""
    said = re.search(r"--calibration-i[a-z]*[ =](\d+)", header.command)
    if said:
        return said[1]
    return "" if re.search(r"--conf[a-z]*[ =]", header.command) else str(Options.calibration_images)


def _plain(header: RunHeader, variants: Iterable[str]) -> str:
    """What a search saw plain min-max lose of the same networks, where there was one."""
    known = {one.variant: one.plain for one in header.int8_choices}
    seen = [
        f"`{name}` {difference_text(score.turned.difference, 100)}"
        for name in variants
        if (score := known.get(name)) is not None
    ]
    if not seen:
        return ""
    return (
        f"In ort plain min-max over {Options.calibration_images} images loses, by the search's "
        f"log and on the validation part: {'; '.join(seen)}. "
    )
