"""Records -> rows and tables: what follows from the blocks of a case, and what is doubtful.

Pure functions; nothing here knows how a table is printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType

from bench import scores, stats, validity
from bench.accuracy import judged_precision
from bench.case import AGAIN, BASE, NULL, Case
from bench.options import PRECISIONS
from bench.record import (
    ANOTHER_TIME_S,
    Answers,
    FileFacts,
    Labelled,
    Measurement,
    Memory,
    Parity,
    Peaks,
    Run,
    apart_s,
    current_blocks,
)
from bench.scores import Paired, Scored
from bench.stats import Estimate
from bench.text import plain, rounded, top1
from bench.validity import Verdict
from export.build import size_note
from export.images import Preprocess
from export.recipes import RECIPES
from export.variants import OWN, VARIANTS
from runtimes import REGISTRY

MOST_CORES = 1.1
LEAST_CORES = 0.75
"""Cores that may be busy for a thread that was set; beyond them a row is marked."""
LEAST_WALL_S = 0.05
"""With less measured time than this, CPU time says nothing about cores."""
_REFERENCES = (("fp32", "torch-eager"), ("fp32", "ort"), ("fp32-opt", "ort"))
_VARYING = ("threads", "batch_size")
MOST_LOST = 1
"""Points of top-1 that a row may lose by what was done to it and still be named as the best."""
PLAIN_RECIPES = ("fp32", "fp32-opt")
"""What INT8 has to beat: the exporter's file and the runtime's own optimisation of it."""


@dataclass(frozen=True)
class Row:
    """All blocks of one case that count, by round, and what follows from them.

    ``usual_canary_s`` is the run's, which a block's own is judged by, and ``place`` where the
    variant stands among those of the run that are none of ours, as they were given.
    """

    case: Case
    blocks: tuple[Measurement, ...]
    usual_canary_s: float | None = None
    place: int = 0

    @cached_property
    def timed(self) -> tuple[Measurement, ...]:
        """The blocks that have latencies."""
        return tuple(block for block in self.blocks if block.status == "ok" and block.latencies_ns)

    @property
    def order(self) -> tuple[object, ...]:
        """Sorting key: by runtime first, as the registry has them."""
        place = (_place(self.case.runtime, REGISTRY), _place(self.case.recipe, RECIPES))
        return (*place, self.case.precision != "fp32", self.table_order)

    @property
    def table_order(self) -> tuple[object, ...]:
        """Sorting key: as the tables show them; see :func:`table_order`."""
        return table_order(self.case, self.place)

    @property
    def is_null(self) -> bool:
        """Whether this row shows the harness rather than a model."""
        return self.case.runtime == NULL

    @property
    def right(self) -> bool:
        """Whether its answers were seen to be right."""
        return self.parity is not None and self.parity.passed

    @property
    def candidate(self) -> bool:
        """Whether this row could be shipped: it ran, it is right, and it is no second copy."""
        return bool(self.timed) and not self.is_null and self.right and not self.case.copy

    @cached_property
    def verdict(self) -> Verdict:
        """Whether its numbers can be believed: the worst of its blocks."""
        return validity.of_row(self.timed, self.usual_canary_s)

    @property
    def file(self) -> FileFacts | None:
        """The file that was measured last."""
        return next((block.file for block in reversed(self.blocks) if block.file), None)

    @property
    def parity(self) -> Parity | None:
        """The first one taken; a failed one, if there is any."""
        taken = [block.parity for block in self.blocks if block.parity]
        return min(taken, key=lambda parity: parity.passed, default=None)

    @property
    def answers(self) -> Answers | None:
        """To all labelled images."""
        return next((block.answers for block in self.blocks if block.answers), None)

    @property
    def sampled(self) -> Answers | None:
        """To a few labelled images, by the session that was timed."""
        return next((block.sampled for block in self.blocks if block.sampled), None)

    @property
    def answers_differ(self) -> int:
        """For how many images the session that was timed names another class than the child
        that was asked about all: what is fast must be what is right."""
        if self.answers is None or self.sampled is None:
            return 0
        whole = self.answers.predicted
        pairs = zip(self.sampled.indices, self.sampled.predicted, strict=True)
        return sum(whole[place] != predicted for place, predicted in pairs)

    def over_blocks(self, measure: Callable[[Measurement], float]) -> Estimate | None:
        """The median over the timed blocks with its interval; ``None``: no timed block."""
        values = [measure(block) for block in self.timed]
        return _with_spread(stats.percentile(values, 0.5), values) if values else None

    def latency_s(self, p: float) -> Estimate | None:
        """The percentile over all inferences, with the blocks' interval; ``None``: unsupported."""
        pooled = [latency for block in self.timed for latency in block.latencies_ns]
        if not stats.supported(p, len(pooled)):
            return None
        own = [stats.percentile(block.latencies_ns, p) / 1e9 for block in self.timed]
        return _with_spread(stats.percentile(pooled, p) / 1e9, own)

    @cached_property
    def image_medians_s(self) -> Mapping[tuple[int, str], float]:
        """Median latency for one image of the batch by what blocks are paired by."""
        return {
            block.pairing: stats.percentile(block.latencies_ns, 0.5) / 1e9 / self.case.batch_size
            for block in self.timed
        }

    def memory_bytes(self, part: Callable[[Memory], int]) -> Estimate | None:
        """One of the memory figures over the blocks."""
        if not all(block.memory for block in self.timed):
            return None
        return self.over_blocks(lambda block: part(block.memory) if block.memory else 0)


def _with_spread(value: float, values: Sequence[float]) -> Estimate:
    """``value`` with the interval that the blocks' own values give."""
    if min(values) <= 0:
        return Estimate(value)
    spread = stats.geometric_estimate(values)
    return Estimate(value, spread.low, spread.high)


def speedup(reference: Row, row: Row) -> Estimate | None:
    """How many times faster ``row`` is for an image, paired by round; ``None``: no shared round."""
    return stats.ratio_interval(reference.image_medians_s, row.image_medians_s)


def held_together(pairs: Sequence[tuple[Row, Row]]) -> tuple[bool, ...]:
    """Which speed-ups are told from 1 with the claims of all of them held to 5 % (Holm).

    ``pairs`` are reference and row. One with too few shared rounds for an interval claims
    nothing: it doesn't hold, and makes the others no weaker.
    """
    spreads = [
        stats.paired_log_ratio(reference.image_medians_s, row.image_medians_s)
        for reference, row in pairs
    ]
    chances = [2 * min(one.p_above(0), one.p_below(0)) for one in spreads if one is not None]
    claims = zip(chances, stats.holm_levels(chances), strict=True)
    held = iter([chance <= level for chance, level in claims])
    return tuple(spread is not None and next(held) for spread in spreads)


# --- a table


@dataclass(frozen=True)
class Compared:
    """A row's answers beside those of its parent, on the same images.

    ``told`` is whether McNemar's test tells them apart, over all images and with all such
    comparisons of the table held to 5 % together (Holm).
    """

    parent: Row
    paired: Paired
    told: bool


@dataclass(frozen=True)
class Table:
    """The rows of one family with one set of weights, as they are shown.

    ``varying`` names the fields of ``Case`` that get a column of their own;
    ``blocks`` is how many were planned for a row; ``peaks`` are the host's.
    ``scenarios`` are rows of other scenarios than our own loop's, which are never
    compared with the ``rows``. ``labelled`` are the images that answers belong to, and
    ``idle_cpu_s`` is what the run's thread pools burn, by ``pool``. ``budgeted``: after a first
    block of each row, more were given to those on which they decide something.
    """

    rows: tuple[Row, ...]
    varying: frozenset[str]
    blocks: int
    peaks: tuple[Peaks, ...] = ()
    scenarios: tuple[Row, ...] = ()
    labelled: Labelled | None = None
    budgeted: bool = False
    idle_cpu_s: Mapping[tuple[object, ...], float] = field(default_factory=dict)

    @cached_property
    def reference(self) -> Row | None:
        """The row that speed-ups are against; ``None`` where none can be."""
        candidates = {row.case: row for row in self.rows if row.candidate}
        chosen = reference_case(candidates, {row.case.variant: row.place for row in self.rows})
        return None if chosen is None else candidates[chosen]

    @cached_property
    def fastest(self) -> Row | None:
        """The fastest of all rows; see :func:`fastest`."""
        return fastest(self.rows)

    @cached_property
    def smallest(self) -> Row | None:
        """The smallest of all rows; see :func:`smallest`."""
        return smallest(self.rows)

    @cached_property
    def accurate(self) -> tuple[Row, ...]:
        """The rows that were not seen to lose more than ``MOST_LOST`` by what was done to them.

        By the estimate, over all images; see ``judged``. A row that has no such comparison is
        among them.
        """
        return tuple(row for row in self.rows if not loses(self.judged.get(row.case)))

    @cached_property
    def judged(self) -> Mapping[Case, Compared]:
        """What each row loses most against, where both answered all images.

        Its own network in fp32, or the one that this was made from: a smaller input or a
        pruned filter counts as INT8 does.
        """
        whole = {row.case for row in self.rows if row.answers}
        worst: dict[Case, Compared] = {}
        for case, found in (*self.compared.items(), *self.derived.items()):
            if case not in whole or not found.parent.answers:
                continue
            if case not in worst or _lost(found) > _lost(worst[case]):
                worst[case] = found
        return worst

    @cached_property
    def best_fast(self) -> Row | None:
        """The fastest of the ``accurate`` rows: what is named, and in bold."""
        return fastest(self.accurate)

    @cached_property
    def best_small(self) -> Row | None:
        """The first of the ``accurate`` rows with the smallest file."""
        return smallest(self.accurate)

    @cached_property
    def twin(self) -> tuple[Row, Row] | None:
        """The row that was measured twice under two names, and the second of the two."""
        for again in self.rows:
            own = replace(again.case, copy="")
            first = next((row for row in self.rows if row.case == own), None)
            if again.case.copy == AGAIN and first and again.timed and first.timed:
                return first, again
        return None

    @cached_property
    def told_apart(self) -> float:
        """The smallest ratio that this run could have told from 1; 1 where that is unknown."""
        return stats.told_apart(speedup(*self.twin) if self.twin else None) or 1.0

    @cached_property
    def held_together(self) -> frozenset[Case]:
        """The rows whose speed-up is told from 1 with all rows' claims held to 5 % (Holm)."""
        if self.reference is None:
            return frozenset()
        rows = [row for row in self.rows if row is not self.reference and not row.is_null]
        held = held_together([(self.reference, row) for row in rows])
        return frozenset(row.case for row, holds in zip(rows, held, strict=True) if holds)

    @cached_property
    def scored(self) -> Mapping[Case, Scored]:
        """Answers of the rows that gave any: to all images, or else the sampled ones.

        Raises ``RecordError`` for answers that cannot be to the run's images.
        """
        given = {row.case: row.answers or row.sampled for row in self.rows if not row.is_null}
        if self.labelled is None:
            return {}
        return {
            case: scores.scored(self.labelled, answers)
            for case, answers in given.items()
            if answers is not None
        }

    @cached_property
    def compared(self) -> Mapping[Case, Compared]:
        """Every row with answers beside its fp32 parent."""
        return self._compared(fp32_parent)

    @cached_property
    def derived(self) -> Mapping[Case, Compared]:
        """Every row with answers beside the variant that its own was made from, in fp32."""
        return self._compared(origin)

    def _compared(self, parent_of: Callable[[Row, Table], Row | None]) -> dict[Case, Compared]:
        rows = [row for row in self.rows if row.case in self.scored and not row.case.copy]
        found = {
            row.case: (parent, pair)
            for row in rows
            if (parent := parent_of(row, self))
            and (pair := scores.paired(self.scored[parent.case], self.scored[row.case]))
        }
        # A sample of a few images claims nothing, and must not weaken the others' claims.
        whole = [row.case for row in rows if row.answers and row.case in found]
        chances = [found[case][1].p_value for case in whole]
        levels = stats.holm_levels(chances)
        claims = zip(whole, chances, levels, strict=True)
        told = {case for case, chance, level in claims if chance <= level}
        return {
            case: Compared(parent, pair, case in told) for case, (parent, pair) in found.items()
        }

    def proven(self, ratio: Estimate) -> bool:
        """Whether a ratio differs from 1: its interval, and by more than an A/A pair does."""
        far = max(ratio.value, 1 / ratio.value)
        return ratio.excludes(1) and far > self.told_apart

    @cached_property
    def begun(self) -> Mapping[int, str]:
        """Round -> when the middle one of its blocks was begun."""
        found: dict[int, list[str]] = {}
        for row in self.rows:
            for block in row.timed:
                found.setdefault(block.round, []).append(block.started)
        # One format and one time zone: texts are in the order of the moments.
        return {number: sorted(texts)[(len(texts) - 1) // 2] for number, texts in found.items()}

    @cached_property
    def notes(self) -> Mapping[str, int]:
        """Note -> its number, in the order in which the rows need them."""
        texts = dict.fromkeys(text for row in self.rows for text in doubts(row, self))
        return {text: place for place, text in enumerate(texts, 1)}


def fastest(rows: Iterable[Row]) -> Row | None:
    """The candidate with the lowest p50 for an image, of those whose numbers prove anything."""
    shown = [
        (p50.value / row.case.batch_size, place, row)
        for place, row in enumerate(rows)
        if row.candidate and row.verdict.level != "INVALID" and (p50 := row.latency_s(0.5))
    ]
    return min(shown, default=(0, 0, None))[2]


def smallest(rows: Iterable[Row]) -> Row | None:
    """The first candidate with the smallest file."""
    shown = [row for row in rows if row.candidate and row.file]
    return min(shown, key=lambda row: row.file.size_bytes if row.file else 0, default=None)


def loses(found: Compared | None) -> bool:
    """In whole images, so that a loss of just the limit is none."""
    return found is not None and 100 * _lost(found) > MOST_LOST


def _lost(found: Compared) -> Fraction:
    """The share of the images, exactly."""
    paired = found.paired
    return Fraction(paired.lost - paired.won, paired.images)


def runtime_name(case: Case) -> str:
    """The runtime as a table names it: what it is told to compute in, unless that is fp32."""
    precision = "" if case.precision == "fp32" else f"+{case.precision}"
    scenario = "" if case.scenario == "single" else f" ({case.scenario})"
    return f"{case.runtime}{precision}{scenario}{f' ({case.copy})' if case.copy else ''}"


def twins(cases: Iterable[Case]) -> tuple[Case, ...]:
    """Second names for the reference case of each table: the A/A pairs of a run."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((family_of(case), case.weights), []).append(case)
    references = [reference_case(group) for group in groups.values()]
    return tuple(replace(case, copy=AGAIN) for case in references if case is not None)


def main_setting(cases: Iterable[Case]) -> tuple[int, int]:
    """Threads and batch size of most cases, others being a sweep; of several the first."""
    counts = Counter((case.threads, case.batch_size) for case in cases)
    return counts.most_common(1)[0][0] if counts else (1, 1)


def reference_case(
    cases: Iterable[Case], places: Mapping[str, int] = MappingProxyType({})
) -> Case | None:
    """Which of ``cases`` (of one family) the others are compared with.

    Of the family's first variant, at the setting of most cases: torch-eager
    fp32, else ort's fp32 or fp32-opt, else its first row. Never ``null``. ``places`` says in
    which order variants were given that are none of ours.
    """
    own = (case for case in cases if case.runtime != NULL and not case.copy)
    ordered = sorted(
        (case for case in own if case.scenario == "single"),
        key=lambda case: table_order(case, places.get(case.variant, 0)),
    )
    if not ordered:
        return None
    setting = main_setting(ordered)
    usual = [case for case in ordered if (case.threads, case.batch_size) == setting]
    first = [case for case in usual if case.variant == usual[0].variant]
    for wanted in _REFERENCES:
        for case in first:
            if (case.recipe, case.runtime) == wanted and case.precision == "fp32":
                return case
    return first[0]


def table_order(case: Case, place: int = 0) -> tuple[object, ...]:
    """Sorting key: the harness last, then as VARIANTS, RECIPES and REGISTRY have it.

    ``place`` orders those that VARIANTS doesn't know; known ones have 0.
    """
    return (
        case.runtime == NULL,
        _place(case.variant, VARIANTS),
        place,
        _place(case.recipe, RECIPES),
        _place(case.runtime, REGISTRY),
        _place(case.precision, PRECISIONS),
        case,
    )


def _place(name: str, names: Collection[str]) -> int:
    """Where a name stands; at the end for one that we no longer know."""
    return list(names).index(name) if name in names else len(names)


def family_of(case: Case) -> str:
    """The family of a case's table; see ``Case.family``."""
    return case.family


def tables_of(run: Run) -> dict[tuple[str, str], Table]:
    """(family, weights) -> its table, in the order in which they are shown."""
    header = run.header
    found = _grouped(run.measurements, header.cases, header.blocks)
    return {
        key: replace(
            table,
            peaks=header.peaks,
            labelled=header.labelled,
            budgeted=header.budget is not None,
        )
        for key, table in found.items()
    }


def _grouped(
    measurements: Iterable[Measurement], cases: Sequence[Case], blocks: int
) -> dict[tuple[str, str], Table]:
    measurements = tuple(measurements)
    usual = validity.usual_canary_s(measurements)
    idle = idle_cpu_s(measurements)
    strangers = (case.variant for case in cases if case.variant not in VARIANTS)
    places = {name: place for place, name in enumerate(dict.fromkeys(strangers))}
    rows = [
        Row(case, own, usual, places.get(case.variant, 0))
        for case, own in current_blocks(measurements).items()
    ]
    rows.sort(key=lambda row: row.table_order)
    known = {*cases, *(row.case for row in rows)}
    varying = frozenset(
        field for field in _VARYING if len({getattr(case, field) for case in known}) > 1
    )
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((family_of(row.case), row.case.weights), []).append(row)
    # The harness's own row sorts last, which must not decide the order of the tables.
    order = sorted(groups, key=lambda key: groups[key][0].table_order[1:])
    found = {key: _reference_first(_table(groups[key], varying, blocks)) for key in order}
    return {key: replace(table, idle_cpu_s=idle) for key, table in found.items()}


def pool(case: Case) -> tuple[object, ...]:
    """What a thread pool depends on: it idles the same whatever model it has run."""
    return family_of(case), case.runtime, case.recipe, case.precision, case.threads


def idle_cpu_s(measurements: Iterable[Measurement]) -> Mapping[tuple[object, ...], float]:
    """CPU seconds that pools burnt while idle, each watched in one child of any of its rows.

    Not in one of the other version's code: its pools may idle otherwise.
    """
    found: dict[tuple[object, ...], float] = {}
    for block in measurements:
        if block.idle_cpu_s is not None and block.case.copy != BASE:
            found.setdefault(pool(block.case), block.idle_cpu_s)
    return found


def _table(rows: Iterable[Row], varying: frozenset[str], blocks: int) -> Table:
    """The rows of our own loop, and apart from them those of other scenarios."""
    apart: dict[bool, list[Row]] = {True: [], False: []}
    for row in rows:
        apart[row.case.scenario == "single"].append(row)
    return Table(tuple(apart[True]), varying, blocks, scenarios=tuple(apart[False]))


def _reference_first(table: Table) -> Table:
    first = [row for row in table.rows if row is table.reference]
    others = [row for row in table.rows if row is not table.reference]
    return replace(table, rows=(*first, *others))


def whereabouts(case: Case, measurements: Iterable[Measurement]) -> tuple[Table, Row]:
    """The table that a case stands in, and its row there."""
    found = _grouped(measurements, cases=(), blocks=0)
    table = found[family_of(case), case.weights]
    return table, next(row for row in (*table.rows, *table.scenarios) if row.case == case)


def best_fp32(row: Row, table: Table) -> Row | None:
    """What an INT8 row has to beat: the fastest fp32 row of its variant, runtime and settings.

    ``None`` for a row that is not INT8, not a candidate, or has nobody to beat.
    """
    if not row.candidate or judged_precision(row.case) != "int8":
        return None
    rivals = [
        (p50.value, place, other)
        for place, other in enumerate(table.rows)
        if other.candidate
        and other.case.recipe in PLAIN_RECIPES
        and other.case.precision == "fp32"
        and _setting(other.case) == _setting(row.case)
        and (p50 := other.latency_s(0.5))
    ]
    return min(rivals, default=(0, 0, None))[2]


def same_setting(one: Case, other: Case) -> bool:
    """Whether two cases differ in their files or precision alone."""
    return _setting(one)[1:] == _setting(other)[1:] and one.copy == other.copy


def _setting(case: Case) -> tuple[object, ...]:
    """What two rows share if only their files differ."""
    return case.variant, case.runtime, case.threads, case.batch_size, case.scenario


# --- whose answers a row's are compared with


def fp32_parent(row: Row, table: Table) -> Row | None:
    """The fp32 row of the same variant and weights; ``None``: there is none, or it is this one.

    In the same runtime if it gave answers there, else in ort, else in any. An fp32 row's own
    is the one in ort, so that runtimes are compared as well.
    """
    own = fp32_rows(row.case.variant, table)
    if row not in own:
        same = [other for other in own if other.case.runtime == row.case.runtime]
        return next(iter((*same, *own)), None)
    return None if row is own[0] else own[0]


def origin(row: Row, table: Table) -> Row | None:
    """The fp32 row, in ort if there, of the variant that the row's own was made from."""
    known = VARIANTS.get(row.case.variant)
    if known is None or known.parent is None:
        return None
    return next(iter(fp32_rows(known.parent, table)), None)


def fp32_rows(variant: str, table: Table) -> list[Row]:
    """Those of a variant that have answers and were not seen to be wrong.

    Those that answered all images come first, of them ort's, of these those at the table's
    main setting.
    """
    usual = main_setting(row.case for row in table.rows)
    found = [
        row
        for row in table.rows
        if row.case in table.scored
        and (row.case.variant, row.case.recipe, row.case.precision) == (variant, "fp32", "fp32")
        and not row.case.copy
        and (row.parity is None or row.parity.passed)
    ]
    return sorted(
        found,
        key=lambda row: (
            row.answers is None,
            row.case.runtime != "ort",
            (row.case.threads, row.case.batch_size) != usual,
        ),
    )


# --- what is doubtful about a row


def doubts(row: Row, table: Table) -> list[str]:
    """Notes under the table, each a reason code and a sentence; empty: nothing to say."""
    if not row.timed:
        last = row.blocks[-1]
        return [f"`{last.status}`: {plain(last.reason) or 'no reason was given'}"]
    found = (
        *(_missing_blocks, _kept_reason, _no_interval, _another_time),
        *(_other_cores, _other_precision, _wrong),
        *(_other_answers, _other_size, _note_on_file),
    )
    return [text for doubt in found if (text := doubt(row, table))]


def _other_size(row: Row, table: Table) -> str:
    """What accuracy is to be read with: a network that sees more or fewer pixels than it learnt."""
    if row.case not in table.scored or row.file is None or not row.file.preprocess:
        return ""
    used = Preprocess.from_json(row.file.preprocess).size
    text = size_note(row.file.learnt_size, used)
    return f"`input`: its weights, {text}" if text else ""


def _note_on_file(row: Row, table: Table) -> str:
    """What the step that made its file has to say: how far it may be off, or what it left alone."""
    del table
    return f"`file`: {plain(row.file.note)}" if row.file and row.file.note else ""


def _missing_blocks(row: Row, table: Table) -> str:
    failed = [block for block in row.blocks if block not in row.timed]
    if failed:
        reason = plain(failed[-1].reason)
        return f"`blocks`: {len(failed)} of {len(row.blocks)} blocks {failed[-1].status}: {reason}"
    if table.budgeted:
        return _fewer_blocks(row, table)
    if len(row.blocks) < table.blocks:
        return f"`blocks`: {len(row.blocks)} of {table.blocks} blocks measured so far"
    return ""


def _fewer_blocks(row: Row, table: Table) -> str:
    """Of a budget, which goes where it decides something."""
    most = max(len(other.blocks) for other in table.rows)
    if row.is_null or len(row.blocks) == most:
        return ""
    interval = "" if len(row.timed) >= stats.LEAST_BLOCKS else ", and no interval"
    count = f"{len(row.blocks)} block{'' if len(row.blocks) == 1 else 's'}{interval}"
    return f"`blocks`: {count}, where others have up to {most}: the budget decided more there"


def _kept_reason(row: Row, table: Table) -> str:
    """What went wrong beside the timed loop, which it does not touch."""
    del table
    reasons = [block.reason for block in row.timed if block.reason]
    return f"`beside`: {plain(reasons[-1])}" if reasons else ""


def _no_interval(row: Row, table: Table) -> str:
    if table.reference is None or row is table.reference or row.is_null:
        return ""
    estimate = speedup(table.reference, row)
    if estimate is None or estimate.half_width is not None:
        return ""
    return (
        f"`no-interval`: fewer than {stats.LEAST_BLOCKS} blocks can be paired with the "
        "reference: the speed-up has no interval and may be chance"
    )


def _another_time(row: Row, table: Table) -> str:
    """Ratios are paired by round, as if all of a round had been measured in one go."""
    late = {
        block.round: gap_s
        for block in row.timed
        if abs(gap_s := apart_s(block.started, table.begun[block.round])) > ANOTHER_TIME_S
    }
    if not late:
        return ""
    rounds = ", ".join(str(number + 1) for number in late)
    far_s = max(late.values(), key=abs)
    when = f"{rounded(abs(far_s) / 3600, digits=2)} hours {'after' if far_s > 0 else 'before'}"
    return (
        f"`another-time`: of round {rounds} it was begun up to {when} most rows, "
        "with which its ratios pair it all the same"
    )


def _other_cores(row: Row, table: Table) -> str:
    """Threads that were set are threads that work: neither more cores nor fewer."""
    del table
    around = [(b.cpu_s, b.surroundings.wall_s) for b in row.timed if b.surroundings]
    wall_s = sum(wall for _, wall in around)
    if row.is_null or wall_s < LEAST_WALL_S:
        return ""
    threads = row.case.threads
    used = sum(cpu for cpu, _ in around) / wall_s
    if threads * LEAST_CORES <= used <= threads * MOST_CORES:
        return ""
    only = "only " if used < threads else ""
    return f"`cores`: {only}{used:.1f} cores were busy where {threads} threads were set"


def _other_precision(row: Row, table: Table) -> str:
    """An fp32 file is computed in what the case says, or the row says otherwise."""
    del table
    ran = row.timed[-1].precision
    if row.is_null or not ran or judged_precision(row.case) == "int8":
        return ""
    if ran == row.case.precision:
        return ""
    return f"`precision`: computed in {plain(ran)}, not in {row.case.precision}"


def _wrong(row: Row, table: Table) -> str:
    del table
    parity = row.parity
    if row.is_null and parity and parity.passed:
        return "`parity`: a constant passed for right: parity proves nothing in this run"
    if not row.is_null and parity is None:
        return "`parity`: not taken, because the first block failed: never best, never recommended"
    if row.is_null or parity is None or parity.passed:
        return ""
    return (
        f"`parity`: the outputs are not those of the {parity_with(row.case)} (largest error "
        f"{parity.max_error:.2g} of the largest output, centred cosine {parity.cosine:.3f}, "
        f"{top1(parity)}): never best, never recommended{_tried(row.case)}"
    )


def parity_with(case: Case) -> str:
    """Whose answers a row's are held against: nobody has the code of a given file."""
    return "given file, unoptimised" if case.weights == OWN else "fp32 torch module"


def _other_answers(row: Row, table: Table) -> str:
    """The accuracy of another child is that of what was timed, or the row says otherwise."""
    del table
    if not row.answers_differ or row.sampled is None:
        return ""
    return (
        f"`answers`: for {row.answers_differ} of {len(row.sampled.predicted)} images the session "
        "that was timed names another class than the child that was asked about all of them: "
        "its accuracy may be another"
    )


def _tried(case: Case) -> str:
    """What else was tried to make a file that answers rightly."""
    recipe = RECIPES.get(case.recipe)
    text = recipe.tried.get(case.runtime) if recipe else None
    return f" ({text})" if text else ""
