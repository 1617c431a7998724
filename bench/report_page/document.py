"""The page: one run, perhaps beside another one, as one file that needs no network.

The same records give the same bytes. All of the page's own text is escaped by Jinja2; what
comes from records and is not shown at once stands in a block of JSON.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench import report_facts
from bench.how_to_read import how_to_read
from bench.outcomes import Comparison
from bench.record import RecordError, Run, write_atomically
from bench.report_page import charts, comparison, further
from bench.report_page.details import details
from bench.report_page.families import Family, Outcomes, family
from bench.report_page.parts import HEADS, PARTS
from bench.report_page.prose import bullets, html, words
from bench.report_page.samples import SHARES, points_of_a_block
from bench.rows import Row, Table, tables_of

_TEMPLATES = Path(__file__).parents[1] / "templates"
_MADE_BY = '<meta name="generator" content="deploybench">'
_SCRIPTS = ("report-tables.js", "report-tips.js", "report-charts.js", "report-row.js")
"""In the order in which one needs what another has."""
_HEAD_BYTES = 4096
"""In which a page of ours says whose it is."""


@dataclass(frozen=True)
class _Filter:
    """A choice among the values that occur in a page's rows."""

    name: str
    values: tuple[str, ...]


def write(path: Path, run: Run, compared: Comparison | None = None) -> Path:
    """Write the page of ``run`` to ``path``; ``compared`` is the run judged beside another.

    Raises ``RecordError`` where the file can't be written, or is not one of ours.
    """
    check_target(path)
    write_atomically(path, page(run, compared).encode())
    return path


def check_target(path: Path) -> None:
    """Make sure that ``path`` may be written; raises ``RecordError``.

    A file that somebody else wrote stays: ``--html results/README.md`` would take the tables.
    """
    if path.is_dir():
        raise RecordError(f"{path} is a folder: --html takes the name of a file")
    if path.exists():
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        if _MADE_BY.encode() not in head:
            raise RecordError(
                f"{path} was not written by deploybench and is kept: give --html another name"
            )


def page(run: Run, compared: Comparison | None = None) -> str:
    """The whole page as HTML; see ``write``."""
    found = tables_of(run)
    rows = [(row, table) for table in found.values() for row in _rows(table)]
    numbers = {row.case: place for place, (row, _) in enumerate(rows)}
    outcomes: Outcomes = {} if compared is None else comparison.outcomes(compared, numbers)
    families = tuple(
        family(f"family-{place}", f"{name} (weights: {weights})", table, numbers, outcomes)
        for place, ((name, weights), table) in enumerate(found.items(), 1)
    )
    style, ours, theirs = _text("report.css"), _script(), charts.script()
    return (
        _environment()
        .get_template("report.html")
        .render(
            policy=_policy(ours, theirs),
            title=words(report_facts.title(run)),
            run=run.header.run,
            facts=[(name, html(text)) for name, text in report_facts.facts(run).items()],
            interrupted=html(report_facts.interruption(run)),
            how_to_read=bullets(how_to_read(report_facts.judged(run))),
            families=families,
            said=further.said_of_run(run, found.values()),
            further=further.of_run(run, found.values(), numbers),
            comparison=None if compared is None else comparison.view(compared, numbers),
            filters=tuple(_filters(families, compared)),
            rows=len(rows),
            parts=PARTS,
            charts=tuple(charts.CHARTS),
            style=Markup(style),
            script=Markup(ours),
            library=_packed(theirs),
            data=Markup(_json(_data(run, rows))),
        )
    )


def _rows(table: Table) -> tuple[Row, ...]:
    return (*table.rows, *table.scenarios)


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _script() -> str:
    """Our own files as one script, in a block that keeps their names to themselves."""
    return "\n".join(['"use strict";', "{", *map(_text, _SCRIPTS), "}"])


def _packed(text: str) -> str:
    """In base64 what gzip makes of a text; without a date, so that it is always the same."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _policy(*scripts: str) -> str:
    """The Content-Security-Policy: nothing is fetched, and no script but these two is run.

    BokehJS writes style elements, whose text depends on the size of a chart, so that no list of
    hashes could name them: styles may stand in the page. It needs no ``unsafe-eval``.
    """
    hashes = " ".join(f"'sha256-{_hash(text)}'" for text in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: Any) -> str:
    """JSON that can't end the script element in which it stands, whatever a name may be."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _data(run: Run, rows: Sequence[tuple[Row, Table]]) -> dict[str, Any]:
    """What the page's script fills in when a row is opened."""
    points = points_of_a_block(sum(len(row.timed) for row, _ in rows))
    return {
        "heads": HEADS,
        "run": [(name, words(text)) for name, text in report_facts.facts(run).items()],
        "shares": [0, *SHARES, 1],
        "leaves": charts.LEAVES,
        "turns": charts.TURNS,
        "charts": charts.items(),
        "rows": [details(row, table, points) for row, table in rows],
    }


def _filters(families: Iterable[Family], compared: Comparison | None) -> Iterable[_Filter]:
    """Of each kind the values that occur; of outcomes only where two runs are compared."""
    lines = [
        dict(line.filters)
        for shown in families
        for sheet in (shown.main, shown.scenarios)
        for line in (sheet.lines if sheet else ())
    ]
    for name in ("runtime", "recipe", "verdict"):
        values = tuple(dict.fromkeys(line[name] for line in lines))
        yield _Filter(name, values)
    if compared is not None:
        yield _Filter("outcome", tuple(compared.counts))
