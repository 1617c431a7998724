"""Records -> Markdown and plots: pure functions, and ``python -m bench.report``.

The same records always give the same text. Seconds and bytes become
milliseconds and megabytes here, in ``bench.text`` and where plots are described, nowhere else.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from bench import (
    client_table,
    executed,
    fleet_page,
    int8_tables,
    interchange,
    matrix,
    own_quantisers,
    paper,
    plots,
    prepared,
    resize_table,
    resources,
    resultset,
    scenario_tables,
    score_cells,
    score_tables,
    search_found,
    stats,
    turned,
    validity,
)
from bench.accuracy import LIMITS, parity_limit
from bench.case import NULL, Case
from bench.figure import Figure
from bench.measure import (
    SETTLED_WITHIN,
    WARMUP_LEAST_NS,
    WARMUP_MOST_NS,
    WINDOW_LEAST_INFERENCES,
    WINDOW_LEAST_NS,
)
from bench.options import DEFAULT_OUT, SCENARIOS, UsageError
from bench.record import (
    Checkpoint,
    FileFacts,
    Labelled,
    Measurement,
    RecordError,
    Run,
    RunHeader,
    find_runs,
    read_header,
    read_run,
    write_atomically,
)
from bench.roofline import share_of_attainable
from bench.rows import (
    MOST_LOST,
    Row,
    Table,
    best_fp32,
    doubts,
    family_of,
    held_together,
    reference_case,
    runtime_name,
    speedup,
    table_order,
    tables_of,
    whereabouts,
)
from bench.stats import Estimate
from bench.text import (
    ALONE,
    AS_AN_AA_PAIR,
    NOTHING,
    code,
    megabytes,
    millions,
    number,
    plain,
    rounded,
    speedup_text,
    top1,
    unescaped,
)
from export.printable import one_line
from export.recipes import RECIPES
from export.variants import ALIASES, VARIANTS

_PAGE = "README.md"
_DIFF_LINES = 20
_RIVALS = 3
_COUNTED = ("onnx", "pt2")
"""Formats whose files are opened and counted."""


# --- columns: each is listed here and nowhere else


@dataclass(frozen=True)
class Column:
    """A title, what stands in a row, and whether a table needs the column at all."""

    title: str
    cell: Callable[[Row, Table], str]
    needed: Callable[[Table], bool] = lambda table: True
    align: str = "right"


def _size(row: Row, table: Table) -> str:
    if row.file is None or row.is_null:
        return NOTHING
    text = megabytes(row.file.size_bytes)
    return f"**{text}**" if _is_smallest(row, table) else text


def _is_smallest(row: Row, table: Table) -> bool:
    """Whether a row could be shipped, keeps its accuracy, and no such row has a smaller file."""
    least = table.best_small
    if least is None or least.file is None or row.file is None:
        return False
    best = row.candidate and row in table.accurate
    return best and row.file.size_bytes == least.file.size_bytes


def _parameters(row: Row, table: Table) -> str:
    del table
    if row.file is None or row.is_null:
        return NOTHING
    return f"{millions(row.file.parameters)} ({millions(row.file.nonzero_parameters)})"


def _rounded_to_zero(row: Row, table: Table) -> str:
    del table
    if row.file is None or row.is_null or row.file.format not in _COUNTED:
        return NOTHING
    return millions(row.file.rounded_to_zero)


def _any_rounded(table: Table) -> bool:
    return any(row.file and row.file.rounded_to_zero for row in table.rows if not row.is_null)


def _time(measure: Callable[[Measurement], float]) -> Callable[[Row, Table], str]:
    """A column of milliseconds from one figure a block, in seconds."""

    def cell(row: Row, table: Table) -> str:
        del table
        estimate = row.over_blocks(measure)
        return NOTHING if estimate is None else number(estimate, 1e3)

    return cell


def _latency(p: float) -> Callable[[Row, Table], str]:
    """A column of milliseconds for one percentile."""

    def cell(row: Row, table: Table) -> str:
        if not row.timed:
            return row.blocks[-1].status if p == 0.5 else NOTHING
        estimate = row.latency_s(p)
        if estimate is None:
            return NOTHING
        text = number(estimate, 1e3)
        return f"**{text}**" if p == 0.5 and row is table.best_fast else text

    return cell


def _memory(row: Row, table: Table) -> str:
    del table
    peak = row.memory_bytes(lambda memory: memory.peak_bytes)
    imported = row.memory_bytes(lambda memory: memory.imported_bytes)
    if peak is None or imported is None:
        return NOTHING
    return f"{number(peak, 1e-6)} ({number(imported, 1e-6)})"


def _speedup(row: Row, table: Table) -> str:
    if row is table.reference:
        return "reference"
    if row.is_null or table.reference is None:
        return NOTHING
    ratio = speedup(table.reference, row)
    return _marked(ratio, table, holds=row.case in table.held_together)


def _marked(ratio: Estimate | None, table: Table, *, holds: bool) -> str:
    """A speed-up, with the mark of one that is proven by itself and not beside the others."""
    text = speedup_text(ratio, table.told_apart)
    alone = ratio is not None and table.proven(ratio) and not holds
    return f"{text} {ALONE}" if alone else text


def _verdict(row: Row, table: Table) -> str:
    del table
    return verdict_text(row.verdict) if row.timed else NOTHING


def verdict_text(verdict: validity.Verdict) -> str:
    """The level, and what spoke against it."""
    return " ".join((verdict.level, ", ".join(verdict.codes))).strip()


def _parity(row: Row, table: Table) -> str:
    del table
    parity = row.parity
    if parity is None:
        return NOTHING
    if row.is_null:
        return "ok?" if parity.passed else "FAIL, as it must"
    limit = LIMITS.get(parity_limit(row.case))
    by_cosine = limit is not None and limit.min_cosine > -1
    short = f"cos {parity.cosine:.4f}" if by_cosine else f"err {parity.max_error:.1e}"
    agree = "" if parity.top1_agreement == 1 else f", {top1(parity)}"
    return f"{'ok' if parity.passed else 'FAIL'}, {short}{agree}"


def _attainable(row: Row, table: Table) -> str:
    share = share_of_attainable(row, table)
    return NOTHING if share is None else number(share, 100)


def _note_numbers(row: Row, table: Table) -> str:
    return ", ".join(str(table.notes[text]) for text in doubts(row, table))


def _named(text: Callable[[Row], str]) -> Callable[[Row, Table], str]:
    """A column that the harness's own row leaves empty: it measures no file."""
    return lambda row, table: NOTHING if row.is_null else text(row)


COLUMNS = (
    Column("variant", _named(lambda row: row.case.shown_variant), align="left"),
    Column("recipe", _named(lambda row: row.case.recipe), align="left"),
    Column("runtime", lambda row, table: runtime_name(row.case), align="left"),
    Column(
        "threads",
        lambda row, table: str(row.case.threads),
        lambda table: "threads" in table.varying,
    ),
    Column(
        "batch",
        lambda row, table: str(row.case.batch_size),
        lambda table: "batch_size" in table.varying,
    ),
    Column("file MB", _size),
    Column("parameters M (non-zero)", _parameters),
    Column("rounded to 0, M", _rounded_to_zero, _any_rounded),
    Column("load ms", _time(lambda block: block.load_s)),
    Column("first ms", _time(lambda block: block.first_s)),
    *(Column(f"p{100 * p:g} ms", _latency(p)) for p in resources.PERCENTILES),
    Column("CPU ms", _time(lambda block: block.cpu_s / len(block.latencies_ns))),
    Column("% of attainable", _attainable, lambda table: bool(table.peaks)),
    Column("peak MB (import)", _memory),
    Column("speed-up (95 %)", _speedup),
    Column("parity", _parity, align="left"),
    Column("top-1 %", score_cells.top1, score_tables.any_answers),
    Column("vs fp32 parent", score_cells.against_parent, score_tables.any_compared),
    Column("verdict", _verdict, align="left"),
    Column("notes", _note_numbers, lambda table: bool(table.notes), align="left"),
)


def _grid(titles: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[str]) -> str:
    return tabulate(rows, titles, tablefmt="github", disable_numparse=True, colalign=align)


COMPACT = frozenset(column.title for column in COLUMNS) - {
    "parameters M (non-zero)",
    "rounded to 0, M",
    "first ms",
    "p90 ms",
    "p99 ms",
    "CPU ms",
    "% of attainable",
    "peak MB (import)",
}
"""The columns that a terminal has room for."""


def _table_text(table: Table, compact: bool = False) -> str:
    """The table with what it is compared with above, and its notes below."""
    columns = [column for column in COLUMNS if column.needed(table)]
    columns = [column for column in columns if not compact or column.title in COMPACT]
    cells = [[column.cell(row, table) for column in columns] for row in table.rows]
    grid = _grid([c.title for c in columns], cells, [c.align for c in columns])
    notes = "\n".join(f"{place}. {text}" for text, place in table.notes.items())
    return "\n\n".join(part for part in (against(table), grid, notes) if part)


def against(table: Table) -> str:
    """What the speed-ups of a table are against, and what its A/A pair says, as Markdown."""
    reference = "Speed-ups: none, no row can be a reference."
    if table.reference is not None:
        name = _row_name(table.reference, table)
        reference = f"Speed-ups are against {name}{resources.mark(table.reference)}."
    return reference + _told_apart(table)


def _told_apart(table: Table) -> str:
    """What the A/A pair says about this host and this run."""
    if table.twin is None:
        return ""
    first, again = table.twin
    ratio = speedup(first, again)
    assert ratio is not None or not first.image_medians_s.keys() & again.image_medians_s.keys()
    who = f"{_row_name(first, table)}{resources.mark(first, again)}"
    name = f" A/A: {who}, measured twice under two names,"
    if ratio is None or ratio.half_width is None:
        known = "" if ratio is None else f" came out {number(ratio)}x as fast the second time;"
        return f"{name}{known} fewer than {stats.LEAST_BLOCKS} blocks give no interval."
    ends = "–".join(rounded(end or 0, digits=4) for end in (ratio.low, ratio.high))
    least = 100 * (table.told_apart - 1)
    factor = rounded(table.told_apart)
    unknown = f"below {least:.1f} %" if least < 100 else f"of less than {factor} times"
    different = "; it came out different from itself" if ratio.excludes(1) else ""
    return (
        f"{name} came out {number(ratio)}x as fast the second time ({ends}){different}: "
        f"a difference {unknown} could not have been told from none."
    )


def _row_name(row: Row, table: Table) -> str:
    """A row in a sentence."""
    return f"`{label(row, table.varying)}`"


def label(row: Row, varying: Collection[str]) -> str:
    """How a sentence names a row; ``varying`` are the fields of its case that tell rows apart."""
    names = [
        "" if row.is_null else f"{row.case.shown_variant} {row.case.recipe}",
        runtime_name(row.case),
    ]
    names += [f"t{row.case.threads}"] if "threads" in varying else []
    names += [f"b{row.case.batch_size}"] if "batch_size" in varying else []
    return " ".join(name for name in names if name)


def family_table(run: Run, family: str) -> str:
    """The Markdown of one family: a heading and a table for each set of weights.

    Raises ``KeyError`` for a family of which nothing was measured.
    """
    found = {key: table for key, table in tables_of(run).items() if key[0] == family}
    if not found:
        raise KeyError(family)
    return "\n\n".join(_family_text(*key, table) for key, table in found.items())


def tables(header: RunHeader, measurements: Sequence[Measurement], compact: bool = False) -> str:
    """The Markdown of all tables of one run, finished or not; ``compact``: for a terminal."""
    found = tables_of(Run(header, tuple(measurements)))
    text = "\n\n".join(_family_text(*key, table, compact) for key, table in found.items())
    return unescaped(text) if compact else text


def disturbed(header: RunHeader, measurements: Sequence[Measurement]) -> str:
    """How many rows of a run can't be believed, and what to do; empty if all can."""
    found = tables_of(Run(header, tuple(measurements))).values()
    levels = [row.verdict.level for table in found for row in table.rows if row.timed]
    doubtful, void = levels.count("SUSPECT"), levels.count("INVALID")
    if not doubtful and not void:
        return ""
    again = (
        " On a quiet machine the same command measures the blocks that are INVALID again."
        if void
        else ""
    )
    return (
        f"{doubtful} of {len(levels)} rows are SUSPECT and {void} INVALID: the codes say what "
        f"disturbed them, the page what they mean.{again}"
    )


def _family_text(family: str, weights: str, table: Table, compact: bool = False) -> str:
    heading = f"### {family} (weights: {weights})"
    scenarios = scenario_tables.text(table)
    if compact:
        parts = [heading, _table_text(table, compact), scenarios]
    else:
        grids = (*score_tables.tables(table), *resources.tables(table))
        further = [_folded(grid) for grid in grids]
        parts = [heading, *_small_tables(table), _table_text(table), scenarios, *further]
    return "\n\n".join(part for part in parts if part)


def _small_tables(table: Table) -> list[str]:
    """Which runtime for which variant, and what threads and batches do, before all columns."""
    grids = (*matrix.matrices(table), *matrix.sweeps(table))
    return [*map(_grid_text, grids), *(f"- {text}" for text in matrix.surprises(table))]


def _folded(grid: matrix.Grid) -> str:
    """A table that opens with a click."""
    head = f"<details><summary>{grid.title}</summary>"
    return f"{head}\n\n{_lines(grid)}\n\n</details>"


def _grid_text(grid: matrix.Grid) -> str:
    return f"**{grid.title}**\n\n{_lines(grid)}"


def _lines(grid: matrix.Grid) -> str:
    align = ["left"] * grid.names + ["right"] * (len(grid.head) - grid.names)
    lines = _grid(grid.head, grid.lines, align)
    return f"{lines}\n\n{grid.note}" if grid.note else lines


def row_line(case: Case, measurements: Iterable[Measurement], planned: Sequence[Case] = ()) -> str:
    """One row in a line: name, p50, and its speed-up as far as it is known by now.

    ``measurements`` are all of the run so far; ``case`` must be among them. As long as
    the reference of the ``planned`` cases is not, there is no speed-up: against another
    row it would be another number.
    """
    measurements = tuple(measurements)
    table, row = whereabouts(case, measurements)
    name = f"{label(row, table.varying):<42}"
    if not row.timed:
        last = row.blocks[-1]
        return f"{name} {last.status}: {one_line(last.reason)}"
    if case.scenario != "single":
        return f"{name} {scenario_tables.summary(row)}"
    p50 = row.latency_s(0.5)
    line = f"{name} p50 {NOTHING if p50 is None else number(p50, 1e3):>7} ms{_right(row)}"
    if table.reference is None or row is table.reference or row.is_null:
        return line
    known = (*planned, *(block.case for block in measurements)) if planned else ()
    if known and table.reference.case != reference_case(_relatives(case, known)):
        return line
    ratio = speedup(table.reference, row)
    if ratio is not None:
        line = f"{line}  {number(ratio)}x"
    return line if row.verdict.level == "VALID" else f"{line}  {verdict_text(row.verdict)}"


def _right(row: Row) -> str:
    """For how many labelled images a row's first answer is right, as far as it was asked."""
    answers = row.answers or row.sampled
    if answers is None:
        return ""
    share = answers.ranks.count(0) / len(answers.ranks)
    few = f" of {len(answers.ranks)}" if answers.indices else ""
    return f"  top-1 {share:.1%}{few}".replace("%", " %")


def _relatives(case: Case, cases: Iterable[Case]) -> list[Case]:
    """Those that stand in one table with ``case``."""
    ours = (family_of(case), case.weights)
    return [one for one in cases if (family_of(one), one.weights) == ours]


# --- at a glance


def at_a_glance(table: Table) -> str:
    """The smallest file and the fastest row of a table, against its reference.

    Where accuracy was taken, of the rows that keep it; who was passed over is named.
    """
    small, fast, reference = table.best_small, table.best_fast, table.reference
    found = []
    if small is not None and small.file is not None:
        found.append(
            f"Smallest file: {_row_name(small, table)}, {megabytes(small.file.size_bytes)} MB"
            f"{_times_smaller(small, reference)}{_accuracy(small, table)}"
            f"{_passed_over('smaller', table.smallest, table)}."
        )
    if fast is not None and (p50 := fast.latency_s(0.5)):
        found.append(
            f"Fastest: {_row_name(fast, table)}{resources.mark(fast)}, p50 {number(p50, 1e3)} ms"
            f"{_times_faster(fast, table)}{_accuracy(fast, table)}{_rivals(fast, table)}"
            f"{_passed_over('faster', table.fastest, table)}."
        )
    if found and table.judged:
        found.append(_CONDITION)
    if reference is not None and found:
        facts = f"{_reference_facts(reference)}{_accuracy(reference, table)}"
        found.append(f"(Reference: {_row_name(reference, table)}{facts}.)")
    return " ".join(found) or (_NOTHING_KEPT if table.smallest else _NOTHING_RIGHT)


def _accuracy(row: Row, table: Table) -> str:
    """How often a row's answers are right: small and fast is not all that counts."""
    return f", top-1 {score_cells.top1(row, table)} %" if row.answers else ""


_NOTHING_RIGHT = "No row is both measured and right."
_NOTHING_KEPT = (
    f"No row that is measured and right is within {MOST_LOST} point of top-1 of its network in "
    "fp32 and of the one that this was made from."
)
_CONDITION = (
    f"Chosen among the rows not seen to lose more than {MOST_LOST} point of top-1 to their own "
    "network in fp32, or to the one that this was made from."
)


def _passed_over(how: str, best: Row | None, table: Table) -> str:
    """The row that is better but loses too much, if the best one does."""
    if best is None or best in table.accurate:
        return ""
    found = table.judged[best.case]
    lost = score_cells.points(found.paired)
    name, parent = _row_name(best, table), _row_name(found.parent, table)
    return f"; {how} but passed over for its accuracy: {name}, {lost} points against {parent}"


def _times_smaller(row: Row, reference: Row | None) -> str:
    if reference is None or row.file is None or reference.file is None or row is reference:
        return ""
    ratio = reference.file.size_bytes / row.file.size_bytes
    return f", {rounded(ratio)} times smaller than the reference" if ratio > 1 else ""


def _times_faster(row: Row, table: Table) -> str:
    reference = table.reference
    if reference is None:
        return ""
    if row is reference:
        return ", the reference itself"
    estimate = speedup(reference, row)
    if estimate is None:
        return ""
    if estimate.half_width is None:
        return f", {speedup_text(estimate)} the speed of the reference, without an interval"
    text = _marked(estimate, table, holds=row.case in table.held_together)
    if not table.proven(estimate):
        return f", against the reference {text}"
    return f", {text} the speed of the reference"


def _rivals(fast: Row, table: Table) -> str:
    """Those that may be just as fast: their ratio's interval contains 1, or the A/A pair's does."""
    names = []
    known = (fast, table.reference)  # the sentence already says how fast it is against that
    for row in table.accurate:
        ratio = speedup(row, fast) if row.candidate and row not in known else None
        if ratio and ratio.half_width is not None and not table.proven(ratio):
            names.append(f"{_row_name(row, table)}{resources.mark(row)}")
    more = f" and {len(names) - _RIVALS} more" if len(names) > _RIVALS else ""
    return f"; not distinguishable from {', '.join(names[:_RIVALS])}{more}" if names else ""


def _reference_facts(row: Row) -> str:
    p50 = row.latency_s(0.5)
    size = f", {megabytes(row.file.size_bytes)} MB" if row.file else ""
    return size + (f", p50 {number(p50, 1e3)} ms" if p50 else "")


# --- the page


@dataclass(frozen=True)
class _Chapter:
    """What pages show of one run: whole, and in a few lines; its plots by file name."""

    started: str
    run: str
    whole: str
    brief: str
    cases: frozenset[Case]
    judged: bool
    figures: Mapping[str, Figure]

    @property
    def page(self) -> str:
        """The file of its own page."""
        return f"{self.run}.md"


def _chapter(run: Run) -> _Chapter:
    header, found = run.header, tables_of(run)
    figures = plots.of_run(header, found)
    shown = {*header.cases, *(block.case for block in run.measurements)}
    return _Chapter(
        header.started,
        header.run,
        _section(run, found, figures),
        _brief(run, found),
        frozenset(shown),
        judged(run),
        {plots.plot_file(header.run, kind): figure for kind, figure in figures.items()},
    )


def _newest_first(runs: Iterable[Run]) -> list[_Chapter]:
    """``runs`` is gone through once, so that a generator keeps one in memory."""
    return sorted(map(_chapter, runs), key=lambda found: (found.started, found.run), reverse=True)


def pages(runs: Iterable[Run], resized: resize_table.ResizeCost | None = None) -> dict[str, str]:
    """Every page, name -> text; runs are never mixed.

    The first has the newest run whole, what other resize filters cost, and a few lines
    of each earlier run, which has a page of its own: all in one would be too long to be
    shown by those who show Markdown. Plots are named, not drawn.
    """
    return _pages(_newest_first(runs), resized)


def _pages(
    chapters: Sequence[_Chapter],
    resized: resize_table.ResizeCost | None,
    fleets: Iterable[str] = (),
) -> dict[str, str]:
    first = _first_page(chapters, resized, fleets)
    return {_PAGE: first} | {found.page: _own_page(found) for found in chapters[1:]}


def page(runs: Iterable[Run], resized: resize_table.ResizeCost | None = None) -> str:
    """The first of the pages: see ``pages``."""
    return pages(runs, resized)[_PAGE]


def _first_page(
    chapters: Sequence[_Chapter],
    resized: resize_table.ResizeCost | None,
    fleets: Iterable[str],
) -> str:
    newest = [found.whole for found in chapters[:1]]
    earlier = "\n\n".join(found.brief for found in chapters[1:])
    cases = frozenset[Case]().union(*(found.cases for found in chapters))
    parts = [
        _introduction("Results"),
        *(newest or ["Nothing has been measured yet: `make bench`."]),
        _resized(resized),
        _across_machines(fleets),
        f"## Earlier runs\n\n{earlier}" if earlier else "",
        _stories(cases),
        how_to_read(resized is not None or any(found.judged for found in chapters)),
    ]
    return _joined(parts)


def _across_machines(fleets: Iterable[str]) -> str:
    """Where the tables across kinds of machines stand."""
    links = "\n".join(f"- [{name.removesuffix('.md')}]({name})" for name in fleets)
    return f"## Across kinds of machines\n\n{links}" if links else ""


def _own_page(chapter: _Chapter) -> str:
    """One earlier run."""
    head = f"{_introduction('One run')}\nThe other runs: [{_PAGE}]({_PAGE})."
    return _joined([head, chapter.whole, _stories(chapter.cases), how_to_read(chapter.judged)])


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def how_to_read(judged: bool) -> str:
    """What the columns mean, as Markdown; ``judged``: those of accuracy, too."""
    return _HOW_TO_READ + (f"\n{_ACCURACY}" if judged else "")


_MADE_FROM = "Made from the files in `records/` by `python -m bench.report`: not to be edited."


def _introduction(title: str) -> str:
    meaning = "What the columns mean stands [at the end](#how-to-read-the-tables)."
    return f"# {title}\n\n{_MADE_FROM}\n{meaning}"


_PARITY_LIMITS = ", ".join(
    f"err {limit.max_error:g} ({name})"
    if limit.min_cosine < -1
    else f"below cos {limit.min_cosine:g} ({name})"
    for name, limit in LIMITS.items()
)
_LEAST_SAMPLES = ", ".join(
    f"p{100 * p:g} needs {stats.least_samples(p)}" for p in resources.PERCENTILES
)


def _limit(code: str, limit: validity.Limit) -> str:
    """One code, from when it counts and what it is."""
    if limit.invalid == validity.NEVER:
        return f"`{code}` ({limit.meaning})"
    doubt = f"SUSPECT from {limit.suspect:g}, INVALID from {limit.invalid:g}"
    return f"`{code}` ({limit.meaning}: {doubt})"


_VERDICTS = ", ".join(_limit(code, limit) for code, limit in validity.LIMITS.items())
_VERDICTS += f", `{validity.FEW_SAMPLES}` (fewer than {validity.LEAST_SAMPLES} in all blocks)"
_WARM_UP = f"""\
- Before anything is timed a block is warmed up, none of which enters a percentile: until the
  medians of two windows in a row, of at least {WINDOW_LEAST_INFERENCES} inferences and
  {WINDOW_LEAST_NS / 1e6:g} ms each, differ by at most {100 * SETTLED_WITHIN:g} %,
  for {WARMUP_LEAST_NS / 1e9:g} s at least and {WARMUP_MOST_NS / 1e9:g} s at most."""
_HOW_TO_READ = f"""\
## How to read the tables

- MB is 10^6 bytes. File MB is all that must be shipped. Peak MB is the measuring process's
  peak resident set; in brackets, what importing the runtime alone took.
- Parameters are those stored in the file: an exporter that folds a BatchNorm into its convolution
  leaves fewer than the torch module has. Of untrained networks the biases are zero.
  Files of other formats than .onnx and .pt2 are not taken apart: their parameters are those of the
  network that they were made from. "Rounded to 0" are weights that quantising made zero.
{_WARM_UP}
- Load is the runtime's own reading, parsing and optimising of the file, without importing its
  library; first is the first inference. CPU ms is processor time over all threads for an inference.
- p50 to p99 are nearest-rank percentiles over all inferences of all blocks; a block is a fresh
  process. `{NOTHING}` stands where there are too few samples for a 95 % interval:
  {_LEAST_SAMPLES}.
- Percentiles with intervals: of the median once Student's t over the blocks' medians, and of every
  percentile the two inferences between which it lies by order statistics, whatever the
  distribution. The latter holds for independent inferences: where blocks differ among themselves,
  the interval over blocks is the one to believe.
- Printed digits are what the spread over the blocks supports.
- Speed-up is the reference's time for an image over the row's, block medians paired by round:
  geometric mean and 95 % interval (Student's t over logarithms). "≈1" and "not distinguishable":
  the interval contains 1. {AS_AN_AA_PAIR}: its own interval excludes 1, but the A/A pair above the
  table (one row measured twice under two names) leaves as large a difference open between two
  measurements of the same, so that it proves nothing. {ALONE}: told from 1 by its own interval,
  but not when all claims of its kind are held to 5 % together (Holm's method): the
  speed-ups of a family's table, or the ratios of INT8 against the best fp32 in a run. Sentences
  that say why rows are so fast name only such as hold together.
- Verdict is whether the numbers of a row can be believed, by its worst block:
  {_VERDICTS}.
  What the host cannot tell speaks neither way. The limits are held against quiet and disturbed
  blocks in [results/method](method/README.md).
- A cold start is import of the library, reading the file (from the page cache), the runtime's own
  parsing, optimising and pre-packing, and the first inference: times that follow one another
  without a gap (of the block whose whole is the middle one). The runtime reads the file once more
  while it parses; the start of the interpreter is not part of it. "From disk, once" is no part of
  the whole: reading in one more child of one round, the file's pages dropped before
  (posix_fadvise) and seen to be gone (mincore). One child has no interval, and nothing is derived
  from it. "Pays after" is how many images it takes until a slower start than the
  reference's is made up for; "until": it is ahead only so far.
- A second worker costs what is resident less the clean pages of files, which both would share (the
  sum of two workers' PSS grows by this). Idle CPU is processor time in the second after the last
  inference: what a thread pool spins away, watched once for each runtime, recipe and
  number of threads of a family and shown on every row of these.
- "% of attainable" is the least time that this host needs over the measured p50. The least time is
  the sum over the layers of the longer of two: the multiply-accumulates at the host's peak in the
  layer's precision, and weights, input and output at its read bandwidth. Peaks are measured with
  the same number of threads before a run and, in newer ones, again behind it, of which the larger
  figure counts: matrix products in the fastest of ort and OpenVINO, and reading an array larger
  than the caches. More than 100 is possible: a convolution may keep the units busier than these
  products do, Winograd's algorithm (ncnn, MNN) needs fewer multiplications for a 3x3 convolution
  than are counted, and what a cache keeps from one inference to the next is read faster than from
  memory.
- Parity compares the outputs for real images with those of the fp32 torch module (of a file that
  was given: with its own, by ONNX Runtime without any optimisation): err is the
  largest error over the largest output, cos the cosine after the mean output was subtracted.
  It fails beyond {_PARITY_LIMITS}; top-1 is how often the first answer is the same. Where a table
  has no column for it, `WRONG` stands behind a row that failed.
- The best p50 and the smallest file of a table are in bold, where it has accuracy those of the rows
  not seen to lose more than {MOST_LOST} point of top-1 to their own network in fp32, or to the one
  that this was made from. `{NULL}` answers a constant: its row is the harness's own overhead.
- Plots are made from the same rows as the tables, of one setting of threads and batch size unless
  they are about these; bars are 95 % intervals, and below each plot stand its host, its date and n.
  A row that is INVALID or whose answers are wrong is drawn hollow or left out. Each plot is a file
  beside the page, drawn by matplotlib (extra `plots`); without that it is missing."""


_ACCURACY = f"""\
- Top-1 % is how often the answer is right, over all images of the split that the run names, by the
  same runtime, session options and preprocessing that are timed; ~: over the few that the timed
  session itself was asked about. Its interval is Clopper and Pearson's, exact for a share.
  Precision, recall (P, R) and F1 are scikit-learn's, a share of nothing being 0. F1 by class is
  that of the reference, of the smallest file and of the fastest row: the two that are in bold.
- `{matrix.LOSES}` behind a time in a matrix: the row is not WRONG, but was seen to lose more than
  {MOST_LOST} point of top-1 to its own network in fp32, or to the one that this was made from: it
  is never in bold, however fast. The matrix of top-1 says by how much.
- "vs fp32 parent" is the row's accuracy less that of the fp32 row of the same variant and weights
  (in the same runtime if measured, else in ort; of an fp32 row: in ort), in points, with the 95 %
  interval of a difference of paired shares (Tango 1998). {score_cells.WORSE} and
  {score_cells.BETTER}: McNemar's exact test of the images that turned wrong against those that
  turned right tells it from none, all rows of the table held to 5 % together (Holm's method).
- "Could have shown a drop of": the smallest true loss that McNemar's test would have found
  significant at 5 % with a chance of {100 * turned.POWER:g} %, with as many images and as many of
  them told apart as there were (Duffy 1984). A smaller loss may well be there."""


def judged(run: Run) -> bool:
    """Whether a run has answers to labelled images."""
    return run.header.labelled is not None and any(
        block.answers or block.sampled for block in run.measurements
    )


def _section(
    run: Run, found: Mapping[tuple[str, str], Table], figures: Mapping[str, Figure]
) -> str:
    """Where and how, at a glance, the tables; then what explains them, what building cost."""
    parts = [
        f"## {title(run)}",
        "\n".join(f"- {name}: {text}" for name, text in facts(run).items()),
        interruption(run),
        *_at_the_front(run, _glance(found), figures),
        *(_family_text(*key, table) for key, table in found.items()),
        _further_plots(run, figures),
        int8_tables.saturation(run.header.host, found.values()),
        own_quantisers.remark(run.header, found.values()),
        _int8_choices(run, found.values()),
        *(_old_against_new(table) for table in found.values()),
        *(_beside_paper(run, figures, *key, table) for key, table in found.items()),
        _quantisation(found.values()),
        _executed(found.values()),
        _building(found.values()),
    ]
    return "\n\n".join(part for part in parts if part)


def _at_the_front(run: Run, glance: str, figures: Mapping[str, Figure]) -> tuple[str, str]:
    """What answers the question: the sentences, and the two plots that show what they choose of."""
    sentences = f"### At a glance\n\n{glance}" if glance else ""
    return sentences, plots.embedded(run.header.run, figures, ("tradeoff", "times"))


def _further_plots(run: Run, figures: Mapping[str, Figure]) -> str:
    """What the tables say in detail, as pictures."""
    shown = plots.embedded(run.header.run, figures, ("latencies", "scaling", "bytes", "cold-start"))
    return f"### Further plots\n\n{shown}" if shown else ""


def _brief(run: Run, found: Mapping[tuple[str, str], Table]) -> str:
    """One run in a few lines, and where the rest of it stands."""
    link = f"### [{title(run)}]({run.header.run}.md)"
    return "\n\n".join(filter(None, [link, code(run.header.command), _glance(found)]))


def title(run: Run) -> str:
    """When a run was begun, of which suite and scenarios, as Markdown."""
    header = run.header
    return f"Run of {plain(header.started)}, suite {plain(header.suite)}{_scenarios(run)}"


def _glance(found: Mapping[tuple[str, str], Table]) -> str:
    """The sentences of every family, a line each."""
    return "\n".join(
        f"- **{family}** ({weights}): {at_a_glance(table)}"
        for (family, weights), table in found.items()
    )


def _scenarios(run: Run) -> str:
    """Which scenarios a run is of besides our own loop, so that none is taken for the usual one."""
    names = {case.scenario for case in run.header.cases} - {"single"}
    names |= {block.case.scenario for block in run.measurements if block.load_test}
    found = [name for name in SCENARIOS if name in names]
    return f", scenarios {', '.join(found)}" if found else ""


def _int8_choices(run: Run, found: Iterable[Table]) -> str:
    """How the static INT8 files of a run came about, where a search had chosen."""
    chosen = run.header.int8_choices
    if not chosen:
        return ""
    said = "\n".join(f"- {text}" for text in int8_tables.remarks(chosen, found))
    return f"### How INT8 was chosen\n\n{_lines(int8_tables.choices(chosen))}\n\n{said}"


def _old_against_new(table: Table) -> str:
    """What a client is shown, where both models answered."""
    grids = [_grid_text(grid) for grid in client_table.tables(table)]
    if not grids:
        return ""
    return "\n\n".join(["### Old model against new", *grids, client_table.explanation(table)])


def _beside_paper(
    run: Run, figures: Mapping[str, Figure], family: str, weights: str, table: Table
) -> str:
    """The published figures of the networks, where ours answered the same kind of images."""
    if not paper.applies(table):
        return ""
    findings = "\n".join(f"- {text}" for text in paper.findings(table))
    plot = plots.embedded(run.header.run, figures, (plots.paper_kind(weights),))
    parts = [f"### {family} beside the paper", _grid_text(paper.beside(table)), findings, plot]
    return "\n\n".join(part for part in parts if part)


def _resized(cost: resize_table.ResizeCost | None) -> str:
    """What another resize filter costs, where that was asked."""
    if cost is None:
        return ""
    header = cost.header
    lines = {
        "Command": code(header.command),
        "Asked": f"{plain(header.started)}, commit {plain(header.commit)}",
        "Versions": ", ".join(f"{plain(k)} {plain(v)}" for k, v in header.versions.items()),
        **_labelled(header.labelled),
    }
    facts = "\n".join(f"- {name}: {text}" for name, text in lines.items())
    return (
        f"## What another resize filter costs\n\n{facts}\n\n{_grid_text(resize_table.table(cost))}"
    )


def facts(run: Run) -> dict[str, str]:
    """Host, versions, date, commit, command, as Markdown: what the numbers hold for."""
    header = run.header
    cases = header.cases or tuple({block.case for block in run.measurements})
    threads = ", ".join(str(n) for n in sorted({case.threads for case in cases}))
    batches = ", ".join(str(n) for n in sorted({case.batch_size for case in cases}))
    return {
        "Command": code(header.command),
        "Code": f"commit {plain(header.commit)}{_base(header)}",
        "Measured": f"{_blocks(header)}, threads {threads}, batch {batches}",
        "Weights": f"{plain(header.weights)}; images: {plain(header.data)}",
        **_checkpoints(header.checkpoints),
        **_prepared(run.measurements),
        **_labelled(header.labelled),
        "Host": "; ".join(f"{plain(k)} {plain(v)}" for k, v in header.host.items()),
        "Versions": ", ".join(f"{plain(k)} {plain(v)}" for k, v in header.versions.items()),
    }


def _blocks(header: RunHeader) -> str:
    """How many blocks a row got; of a budget, why there were no more."""
    each = f"{header.blocks} block{'' if header.budget else 's'} of {header.seconds:g} s a row"
    if header.budget is None:
        return each
    end = plain(header.budget.stopped) or "interrupted"
    return (
        f"{each}, then further ones in pairs of rounds for the rows on which they decide something "
        f"(--budget of {header.budget.seconds:g} s; ended: {end})"
    )


def _checkpoints(found: Iterable[Checkpoint]) -> dict[str, str]:
    """Which files the weights came from: whoever measures again needs those of the user."""
    texts = [
        f"`{plain(one.variant)}`: {plain(one.file)} (sha256 {plain(one.sha256[:12])}, "
        f"{'comes with the package' if one.packaged else 'not part of the project'})"
        for one in found
    ]
    return {"Checkpoints": ", ".join(texts)} if texts else {}


def _prepared(measurements: Iterable[Measurement]) -> dict[str, str]:
    """What was done to an image before a network saw it."""
    text = prepared.prepared(measurements)
    return {"Images": text} if text else {}


def _labelled(found: Labelled | None) -> dict[str, str]:
    """Which images the accuracy is of."""
    if found is None:
        return {}
    what = f"{len(found.labels)} images in {len(found.class_names)} classes"
    where = f"{plain(found.data)}, split {plain(found.split)}"
    return {"Accuracy": f"of {what}: {where} (fingerprint {plain(found.images[:12])})"}


def _base(header: RunHeader) -> str:
    """Which other code the rows called base come from."""
    if header.against is None:
        return ""
    name, commit = plain(header.against.name), plain(header.against.commit)
    return f"; of the rows called base: {name}, commit {commit}"


def interruption(run: Run) -> str:
    """Which cases of the plan have no block yet."""
    measured = {block.case for block in run.measurements}
    missing = [f"`{case}`" for case in run.header.cases if case not in measured]
    if not missing:
        return ""
    return (
        f"**Interrupted**: {len(missing)} of {len(run.header.cases)} cases have no block yet "
        f"(the same command goes on with them): {', '.join(missing)}."
    )


def against_fp32(found: Iterable[Table]) -> matrix.Grid:
    """Each INT8 row against the fastest fp32 row of the same variant in the same runtime.

    All claims of the run's ``found`` tables are held to 5 % together.
    """
    pairs = [
        (table, best, row)
        for table in found
        for row in table.rows
        if (best := best_fp32(row, table)) is not None and row.file and best.file
    ]
    held = held_together([(best, row) for _, best, row in pairs])
    return matrix.Grid(
        "INT8 against the best fp32",
        ("row", "best fp32", "speed-up (95 %)", "smaller file", "verdict on both"),
        tuple(_quantised(*pair, holds=holds) for pair, holds in zip(pairs, held, strict=True)),
        names=2,
        note=_QUANTISED,
        cases=matrix.one_each(row for _, _, row in pairs),
    )


_QUANTISED = (
    "Each INT8 row against the faster of `fp32` and `fp32-opt` of the same variant, runtime, "
    "threads and batch size, paired by round like every speed-up."
)


def _quantisation(found: Iterable[Table]) -> str:
    return _headed(against_fp32(found), ("left", "left", "right", "right", "left"))


def _headed(grid: matrix.Grid, align: Sequence[str]) -> str:
    """A table under a heading of its own, its note above it; empty: it has no line."""
    if not grid.lines:
        return ""
    return f"### {grid.title}\n\n{grid.note}\n\n{_grid(grid.head, grid.lines, align)}"


def _quantised(table: Table, best: Row, row: Row, *, holds: bool) -> tuple[str, ...]:
    """A line of that table; both rows have a file."""
    assert row.file is not None and best.file is not None
    return (
        label(row, table.varying),
        best.case.recipe,
        _marked(speedup(best, row), table, holds=holds),
        f"{rounded(best.file.size_bytes / row.file.size_bytes)}x",
        verdict_text(validity.overall((row.verdict, best.verdict))),
    )


def _executed(found: Iterable[Table]) -> str:
    """What the runtimes made of the files, and why a row is not faster than its parent."""
    parts = []
    for table in found:
        grid = executed.grid(table)
        told = executed.sentences(table)
        parts += [_grid_text(grid)] if grid else []
        parts += ["\n".join(f"- {text}" for text in told)] if told else []
    return "\n\n".join([f"### Did the optimisation happen?\n\n{EXECUTED}", *parts] if parts else [])


EXECUTED = f"""\
Asked of the runtimes in a child in which nothing is timed: ort's profile of one inference,
OpenVINO's runtime model. Quantisers left are nodes that only quantise or dequantise
({executed.EDGES} at least, at the two ends of an INT8 file); unfused are BatchNorm and Relu nodes
that stand alone behind a convolution. Zeros stored are pruned weights that were not removed, and
the biases of untrained networks. A sentence names rows that are not faster than the row of what
they were made from: their speed-up's interval contains 1 or lies below it, and ends below
{executed.TELLING}."""


def building(found: Iterable[Table]) -> matrix.Grid:
    """What making each file took; one that several runtimes opened stands once."""
    files: dict[str, list[tuple[Row, FileFacts]]] = {}
    for table in found:
        for row in sorted(table.rows, key=lambda row: table_order(row.case)):
            if row.file is not None and not row.is_null:
                files.setdefault(row.file.key, []).append((row, row.file))
    return matrix.Grid(
        "What building cost",
        ("variant", "recipe", "format", "build s", "peak MB"),
        tuple(_built(*known[0]) for known in files.values()),
        names=3,
        note=_BUILT,
        cases=tuple(tuple(row.case for row, _ in known) for known in files.values()),
    )


_BUILT = (
    "The last step of each file's recipe, when it was made; the peak is the building "
    "process's resident set during that step."
)


def _built(row: Row, file: FileFacts) -> tuple[str, ...]:
    return (
        row.case.shown_variant,
        row.case.recipe,
        file.format,
        rounded(file.build_s),
        rounded(file.build_peak_bytes / 1e6) if file.build_peak_bytes else NOTHING,
    )


def _building(found: Iterable[Table]) -> str:
    return _headed(building(found), ("left", "left", "left", "right", "right"))


def _stories(cases: Collection[Case]) -> str:
    """What the variants and recipes that occur are, a line each."""
    shown = {case.shown_variant for case in cases} | {case.variant for case in cases}
    known = {name: row for name, row in VARIANTS.items() if name in shown and not row.given}
    variants = {name: row.story for name, row in known.items()}
    variants |= {name: row.story for name, row in ALIASES.items() if name in shown}
    used = {case.recipe for case in cases}
    recipes = {name: row.summary for name, row in RECIPES.items() if name in used}
    parts = [
        f"## {title}\n\n" + "\n".join(f"- `{name}`: {story}" for name, story in lines.items())
        for title, lines in (("Variants", variants), ("Recipes", recipes))
        if lines
    ]
    return "\n\n".join(parts)


# --- the command


def render(out: Path) -> str:
    """The first page that follows from the records below ``out``; raises ``RecordError``."""
    return _files(out).pages[_PAGE]


@dataclass(frozen=True)
class _Files:
    """What should stand below a folder: pages, name -> text, and plots, name -> what they show."""

    pages: Mapping[str, str]
    figures: Mapping[str, Figure]

    def stale(self, out: Path) -> list[Path]:
        """Pages and plots of runs whose records are gone, or pages that are the newest now."""
        return [*_stale(out, self.pages), *plots.stale(out, self.figures)]


def _files(out: Path) -> _Files:
    """What follows from the records. One run at a time is kept in memory."""
    chapters = _newest_first(search_found.completed(read_run(path), out) for path in find_runs(out))
    figures = {name: figure for found in chapters for name, figure in found.figures.items()}
    fleets = {fleet_page.page_name(name): text for name, text in _fleets(out).items()}
    return _Files(_pages(chapters, resize_table.read(out), fleets) | fleets, figures)


def _fleets(out: Path) -> dict[str, str]:
    """Name -> the page of each fleet, whose runs are in memory together."""
    members = [path for path in find_runs(out) if read_header(path).fleet is not None]
    found = fleet_page.fleets(map(read_run, members))
    return {
        name: _joined(
            [
                f"{_introduction(f'Fleet {name}')}\nThe runs: [{_PAGE}]({_PAGE}).",
                fleet_page.page(runs),
                how_to_read(any(map(judged, runs))),
            ]
        )
        for name, runs in found.items()
    }


def write(out: Path) -> Path:
    """Write the pages below ``out`` and their plots, each as a whole; raises ``RecordError``.

    Without matplotlib the pages are the same, and their plots stay what they were:
    ``plots.not_drawn`` says so.
    """
    check_page(out)
    files = _files(out)
    for name, text in files.pages.items():
        write_atomically(out / name, text.encode())
    for name, text in plots.drawn(files.figures).items():
        write_atomically(out / name, text.encode())
    for path in files.stale(out):
        path.unlink()
    return out / _PAGE


def _stale(out: Path, files: Collection[str]) -> list[Path]:
    return [
        path
        for path in sorted(out.glob("*.md"))
        if path.name not in files and _MADE_FROM in path.read_text(encoding="utf-8")
    ]


def check_page(out: Path) -> None:
    """Make sure that the page below ``out`` may be written; raises ``RecordError``.

    One that somebody else wrote stays: ``--out .`` would take a project's own README.
    """
    path = out / _PAGE
    if path.exists() and _MADE_FROM not in path.read_text(encoding="utf-8", errors="replace"):
        raise RecordError(f"{path} was not written by deploybench and is kept: give another --out")


@dataclass(frozen=True)
class Checked:
    """How pages and plots differ from what their records say; empty: none does.

    ``unchecked`` says why plots could not be checked; empty: they were.
    """

    difference: str
    unchecked: str = ""


def checked(out: Path) -> Checked:
    """Whether what stands below ``out`` follows from its records; raises ``RecordError``."""
    files = _files(out)
    drawn = plots.checked(out, files.figures)
    found = [page_difference(out / name, text) for name, text in files.pages.items()]
    found += [*drawn.wrong, *(f"{path} has no record" for path in files.stale(out))]
    return Checked("\n".join(text for text in found if text), drawn.unchecked)


def page_difference(path: Path, text: str) -> str:
    """How the page at ``path`` differs from ``text``, which follows from its records."""
    stands = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    lines = list(
        difflib.unified_diff(
            stands.splitlines(), text.splitlines(), str(path), "its records", lineterm=""
        )
    )
    more = len(lines) - _DIFF_LINES
    return "\n".join([*lines[:_DIFF_LINES], *([f"... {more} more lines"] if more > 0 else [])])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check pages and plots. 0: done, 1: one does not follow, 2: unreadable records.

    With ``--plots`` 1 as well where plots could not be checked.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.plots and not options.check:
        parser.error("--plots goes with --check")
    try:
        if options.html or options.base or options.base_run:
            # It takes its tables from here.
            from bench.report_page import command

            print(command.write(options))
            return 0
        if options.pytest_benchmark:
            run = resultset.find_run(options.out, options.run)
            print(interchange.write(run, options.pytest_benchmark))
            return 0
        if options.check:
            return _check(options.out, options.plots)
        print(write(options.out))
    except (RecordError, UsageError) as exc:
        print(exc, file=sys.stderr)
        return 2
    if reason := plots.not_drawn():
        print(f"plots were not drawn: {reason}", file=sys.stderr)
    return 0


def _check(out: Path, plots_too: bool) -> int:
    """Say whether everything follows, what does not, and what could not be checked.

    ``plots_too``: plots that could not be checked are a failure.
    """
    found = checked(out)
    if found.unchecked:
        print(found.unchecked)
    if found.difference:
        print(f"{out / _PAGE} does not follow from its records; make it again with")
        print(f"  python -m bench.report --out {out}\n{found.difference}")
        return 1
    if found.unchecked and plots_too:
        print(f"{out / _PAGE} follows from its records, but --plots wants its plots checked")
        return 1
    print(f"{out / _PAGE} follows from its records")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench.report", description="Tables and plots from records."
    )
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="where records/ stands"
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit 1 if pages and plots do not follow from the records",
    )
    parser.add_argument(
        "--plots",
        action="store_true",
        help="with --check: exit 1 as well if plots can't be checked, as without matplotlib",
    )
    kinds.add_argument(
        "--pytest-benchmark",
        type=Path,
        metavar="FILE",
        help="write no page, but a run as pytest-benchmark saves one",
    )
    parser.add_argument(
        "--run", metavar="NAME", help="that run (or pattern), not the newest finished one"
    )
    kinds.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write no page, but a run as one HTML file to click through, which needs no network",
    )
    parser.add_argument(
        "--base",
        type=Path,
        metavar="PLACE",
        help="with --html: compare with this results folder (its newest finished run) or file",
    )
    parser.add_argument(
        "--base-run",
        metavar="NAME",
        help="with --html: compare with that run (or pattern), of --base or of --out",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
