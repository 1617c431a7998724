"""The runs of a fleet beside each other: one table across the kinds of machines. Pure functions.

Rows of different machines are never compared as ratios; what stands side by side is what a person
who rents one of them gets: latency, throughput, cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tabulate import tabulate

from bench.case import Case
from bench.record import Measurement, Run
from bench.report_pages import PAGE
from bench.rows import Row, Table, tables_of
from bench.scores import top
from bench.stats import Estimate, geometric_estimate
from bench.text import NOTHING, code, interval_text, percent_interval, plain
from bench.validity import overall

MILLION = 1e6
_HOUR_S = 3600.0
_MOST_NAMED = 3
_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Latency bounds that the page answers for; ``bench.recommend --fleet`` takes any."""


@dataclass(frozen=True)
class Offer:
    """One row on one kind of machine: what somebody could rent."""

    kind: str
    row: Row
    table: Table
    price_per_hour: float | None
    by_threads: bool = False
    """Whether a kind has the case with several numbers of threads, which tell its rows apart."""

    @property
    def case(self) -> Case:
        """Without its threads where they are the machine's: what is the same on all kinds."""
        return self.row.case if self.by_threads else replace(self.row.case, threads=1)

    @property
    def name(self) -> str:
        """Of the case, as it is the same on all kinds."""
        return str(self.case) if self.by_threads else str(self.case).replace("/t1/", "/")

    @property
    def images_per_s(self) -> Estimate | None:
        """Of a row under load what was counted; of our own loop one batch after another."""
        rates = [rate for block in self.row.timed if (rate := _counted(block))]
        if rates:
            return geometric_estimate(rates)
        p50 = self.row.latency_s(0.5)
        return None if p50 is None else _inverse(p50, float(self.row.case.batch_size))

    @property
    def cost(self) -> Estimate | None:
        """Of a million images, in the currency of the fleet's prices; ``None``: nobody knows."""
        rate = self.images_per_s
        if rate is None or self.price_per_hour is None:
            return None
        return _inverse(rate, self.price_per_hour / _HOUR_S * MILLION)


def _counted(block: Measurement) -> float | None:
    """Images a second, where a block was about nothing else."""
    if block.workers is not None:
        return block.workers.images_per_s
    test = block.load_test
    return test.value if test is not None and test.metric == "images_per_s" else None


def _inverse(estimate: Estimate, over: float) -> Estimate:
    """``over`` divided by an estimate, its interval with it."""
    low = None if estimate.high is None else over / estimate.high
    high = None if estimate.low is None else over / estimate.low
    return Estimate(over / estimate.value, low, high)


# --- which runs belong together


def fleets(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """By fleet its runs, of each kind the newest, in the order of the kinds' names."""
    found: dict[str, dict[str, Run]] = {}
    for run in sorted(runs, key=lambda run: run.header.started):
        if run.header.fleet is not None:
            found.setdefault(run.header.fleet.name, {})[run.header.fleet.kind] = run
    return {name: [kinds[kind] for kind in sorted(kinds)] for name, kinds in found.items()}


def offers(runs: Sequence[Run]) -> dict[tuple[str, str], list[Offer]]:
    """(family, weights) -> what its rows are on each kind, in the order of the tables."""
    found: dict[tuple[str, str], list[Offer]] = {}
    for run in runs:
        fleet = run.header.fleet
        assert fleet is not None
        for key, table in tables_of(run).items():
            rows = (
                row for row in (*table.rows, *table.scenarios) if row.timed and not row.case.copy
            )
            found.setdefault(key, []).extend(
                Offer(fleet.kind, row, table, fleet.price_per_hour) for row in rows
            )
    return {key: _told_apart(own) for key, own in found.items()}


def _told_apart(found: Sequence[Offer]) -> list[Offer]:
    """Offers that say whether their case needs its threads to be told from others."""
    threads: dict[tuple[str, Case], set[int]] = {}
    for one in found:
        threads.setdefault((one.kind, one.case), set()).add(one.row.case.threads)
    several = {case for (_, case), counts in threads.items() if len(counts) > 1}
    return [replace(one, by_threads=one.case in several) for one in found]


# --- the page


def page_name(fleet: str) -> str:
    """The file of its page."""
    return f"fleet-{fleet}.md"


def page(runs: Sequence[Run], on_first: str = "") -> str:
    """The body of one fleet's page, as Markdown. ``on_first``: the run of the folder's first page.

    Every other run has a page of its own.
    """
    kinds = [run.header.fleet.kind for run in runs if run.header.fleet]
    parts = [_machines(runs, on_first), _lost(runs)]
    for (family, weights), found in offers(runs).items():
        parts += [
            f"## {family} (weights: {plain(weights)})",
            *_family(found, kinds, _currency(runs)),
        ]
    return "\n\n".join(part for part in parts if part)


def _machines(runs: Sequence[Run], on_first: str) -> str:
    rows = []
    for run in runs:
        fleet, host = run.header.fleet, run.header.host
        assert fleet is not None
        price = (
            NOTHING
            if fleet.price_per_hour is None
            else f"{fleet.price_per_hour:g} {fleet.currency}"
        )
        rows.append(
            [
                f"[{plain(fleet.kind)}]({_page_of(run, on_first)})",
                str(len(fleet.machines)),
                plain(host.get("CPU", NOTHING)),
                plain(host.get("usable cores", NOTHING)),
                plain(host.get("memory", NOTHING)),
                price,
            ]
        )
    titles = ["kind", "machines", "CPU", "cores used", "memory", "an hour"]
    return tabulate(rows, titles, tablefmt="github", disable_numparse=True)


def _lost(runs: Sequence[Run]) -> str:
    """The machines that could not go on, and why: others of their kind had their work."""
    return "\n".join(
        f"- {plain(fleet.kind)}: machine {name} was lost: {plain(why)}"
        for run in runs
        if (fleet := run.header.fleet) is not None
        for name, why in fleet.lost.items()
    )


def _page_of(run: Run, on_first: str) -> str:
    return PAGE if run.header.run == on_first else f"{run.header.run}.md"


def _currency(runs: Sequence[Run]) -> str:
    named = {
        run.header.fleet.currency for run in runs if run.header.fleet and run.header.fleet.currency
    }
    return named.pop() if len(named) == 1 else ""


Cell = Callable[[Offer], str]


def _family(found: Sequence[Offer], kinds: Sequence[str], currency: str) -> list[str]:
    """The tables of one family, and what to rent for which latency."""
    parts = [
        "### p50, ms",
        _across(found, kinds, lambda one: interval_text(one.row.latency_s(0.5), 1e3)),
        "### Images a second",
        _across(found, kinds, lambda one: interval_text(one.images_per_s)),
    ]
    if currency:
        parts += [
            f"### {currency} for a million images",
            _across(found, kinds, lambda one: interval_text(one.cost)),
        ]
    if any(one.row.answers for one in found):
        parts += ["### Top-1, %", _across(found, kinds, _top1)]
    return [*parts, "### What to rent", _rent(found, currency)]


def _across(found: Sequence[Offer], kinds: Sequence[str], cell: Cell) -> str:
    """A row for each case, a column for each kind of machine."""
    cells: dict[str, dict[str, str]] = {}
    for one in found:
        text = cell(one)
        marks = "" if one.row.verdict.level == "VALID" else f" {one.row.verdict.level}"
        wrong = "" if one.row.right or one.row.is_null else " WRONG"
        cells.setdefault(one.name, {})[one.kind] = f"{text}{marks}{wrong}"
    rows = [
        [code(name), *(own.get(kind, NOTHING) for kind in kinds)] for name, own in cells.items()
    ]
    titles = ["row", *map(plain, kinds)]
    align = ("left", *("right" for _ in kinds))
    return tabulate(rows, titles, tablefmt="github", disable_numparse=True, colalign=align)


def _top1(one: Offer) -> str:
    scored = one.table.scored.get(one.row.case)
    if scored is None or not one.row.answers:
        return NOTHING
    return percent_interval(top(scored, 1))


# --- choosing


@dataclass(frozen=True)
class Choice:
    """What to rent under one bound: the cheapest that keeps it, and those not told apart from it.

    ``undecided`` might keep it: their intervals lie across the bound.
    """

    bound_s: float
    best: Offer | None
    close: tuple[Offer, ...] = ()
    undecided: tuple[Offer, ...] = ()


def choose(found: Iterable[Offer], bound_s: float, percentile: float = 0.5) -> Choice:
    """The cheapest offer whose latency stays below a bound; without prices the fastest.

    Only rows that are right, believed and keep their accuracy compete.
    """
    able = [one for one in found if _competes(one)]
    keeps, undecided = [], []
    for one in able:
        latency = one.row.latency_s(percentile)
        if latency is None or (latency.low if latency.low is not None else latency.value) > bound_s:
            continue
        if latency.high is None or latency.high > bound_s:
            undecided.append(one)
        else:
            keeps.append(one)
    if not keeps:
        return Choice(bound_s, None, (), tuple(undecided))
    best, close = cheapest(keeps)
    return Choice(bound_s, best, close, tuple(undecided))


def cheapest(found: Sequence[Offer]) -> tuple[Offer, tuple[Offer, ...]]:
    """Of at least one offer the cheapest, and those whose cost is not told apart from its.

    Without prices the fastest; where some kinds have a price, the others don't compete.
    """
    able = [one for one in found if one.cost is not None] or list(found)
    best = min(able, key=lambda one: _paid(one).value)
    return best, tuple(one for one in able if one is not best and not _dearer(one, best))


def _dearer(one: Offer, best: Offer) -> bool:
    """Whether one's interval lies above the other's; without intervals the estimates have to do."""
    own, least = _paid(one), _paid(best)
    if own.low is None or least.high is None:
        return own.value > least.value
    return own.low > least.high


def _competes(one: Offer) -> bool:
    row = one.row
    fine = row.candidate and row.verdict.level != "INVALID" and row.case.scenario == "single"
    return fine and any(row is other for other in one.table.accurate)


def _paid(one: Offer) -> Estimate:
    """What is to be small: the cost where it is known, else the time for an image."""
    found = one.cost or (_inverse(one.images_per_s, 1.0) if one.images_per_s else None)
    return found or Estimate(float("inf"))


def _rent(found: Sequence[Offer], currency: str) -> str:
    """For each bound at which the answer changes, a sentence."""
    if not any(map(_competes, found)):
        return f"Nothing that was measured is right and can be believed{_because(found)}."
    lines: list[str] = []
    before: Offer | None = None
    for bound_s in _BOUNDS_S:
        choice = choose(found, bound_s)
        # Where nothing is known to keep any bound, why it is so with the widest.
        last = bound_s == _BOUNDS_S[-1] and not lines
        if last or not (choice.best is None or choice.best is before):
            before = choice.best
            lines.append(f"- p50 below {1e3 * bound_s:g} ms: {sentence(choice, currency)}")
    return "\n".join(lines)


def _because(found: Sequence[Offer]) -> str:
    """How many rows were disturbed, which is no fault of theirs; empty: none was."""
    void = [one.row.verdict for one in found if one.row.verdict.level == "INVALID"]
    if not void:
        return ""
    codes = ", ".join(overall(void).codes)
    return (
        f": {len(void)} of {len(found)} rows are INVALID ({codes}), and the same command measures "
        "these again, best when nothing else runs on the machines"
    )


def sentence(choice: Choice, currency: str) -> str:
    """What a choice says, as Markdown."""
    best = choice.best
    if best is None:
        if choice.undecided:
            names = _first_names(choice.undecided)
            return f"nothing is known to keep it; {names} may: more blocks would tell"
        return "nothing keeps it"
    text = f"{_offer_name(best)}, p50 {interval_text(best.row.latency_s(0.5), 1e3)} ms"
    if best.cost is not None and currency:
        text += f", {interval_text(best.cost)} {currency} for a million images"
    if choice.close:
        names = ", ".join(_offer_name(one) for one in choice.close)
        text += f"; not told apart from it: {names}"
    return text


def _first_names(found: Sequence[Offer]) -> str:
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return ", ".join(_offer_name(one) for one in found[:_MOST_NAMED]) + more


def _offer_name(one: Offer) -> str:
    return f"{code(one.name)} on {plain(one.kind)}"


def summary(runs: Sequence[Run]) -> str:
    """A few lines for the terminal."""
    kinds = len(runs)
    found: Mapping[tuple[str, str], list[Offer]] = offers(runs)
    lines = [f"{kinds} kind{'' if kinds == 1 else 's'} of machine"]
    for (family, weights), own in found.items():
        lines.append(f"{family} ({weights}):")
        lines.append(_rent(own, _currency(runs)))
    return "\n".join([*lines, *filter(None, [_lost(runs)])])
