"""What to ship on which kind of machine: the pick of each kind, and the cheapest of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from bench import field, fleet_page, pick
from bench.constraints import Constraint
from bench.fleet_page import Offer
from bench.options import UsageError
from bench.pick import NOTHING_FITS, ONLY_UNDECIDED, PICKED, Recommendation
from bench.record import Run, find_runs, read_header, read_run
from bench.text import NOTHING, code, interval_text, plain


@dataclass(frozen=True)
class OfKind:
    """One kind's own recommendation; ``offer`` is its pick as something to rent."""

    run: Run
    found: Recommendation
    offer: Offer | None

    @property
    def name(self) -> str:
        """Of the kind."""
        assert self.run.header.fleet is not None
        return self.run.header.fleet.kind


def runs_of(out: Path, name: str) -> list[Run]:
    """The runs of a fleet below ``out``, one for each kind; of the newest one without a name.

    Raises :class:`UsageError`.
    """
    headers = {path: read_header(path) for path in find_runs(out)}
    known = {path: (head.fleet.name, head.started) for path, head in headers.items() if head.fleet}
    names = [fleet for fleet, _ in sorted(known.values(), key=lambda own: own[1])]
    if not names:
        raise UsageError(f"--fleet: {out} has none: python -m bench.run --ray measures one")
    wanted = name or names[-1]
    if wanted not in names:
        raise UsageError(
            f"--fleet {name}: no fleet of {out} is called so; it has "
            f"{', '.join(sorted(set(names)))}"
        )
    members = [path for path, (fleet, _) in known.items() if fleet == wanted]
    return fleet_page.fleets(map(read_run, members))[wanted]


def recommend(
    runs: Sequence[Run],
    variants: Sequence[str],
    runtimes: Sequence[str],
    limits: Sequence[Constraint],
    prefer: str,
) -> list[OfKind]:
    """Each kind's pick under the same constraints: rows of two machines are never compared."""
    found = []
    for run in runs:
        one = pick.recommend(field.field([run], variants, runtimes), limits, prefer)
        found.append(OfKind(run, one, _offer(run, one)))
    return found


def _offer(run: Run, found: Recommendation) -> Offer | None:
    fleet = run.header.fleet
    if found.pick is None or fleet is None:
        return None
    picked = found.pick.contender
    return Offer(fleet.kind, picked.row, picked.table, fleet.price_per_hour)


def exit_code(found: Sequence[OfKind]) -> int:
    """As of a recommendation on one host: whether any kind has a pick, or may have one."""
    codes = {one.found.exit_code for one in found}
    return next((code for code in (PICKED, ONLY_UNDECIDED) if code in codes), NOTHING_FITS)


def text(found: Sequence[OfKind], limits: Sequence[Constraint]) -> str:
    """What to rent and to ship on it, as Markdown; then the pick of each kind."""
    asked = " and ".join(map(str, limits))
    offers = [one.offer for one in found if one.offer is not None]
    rows = []
    for one in found:
        if one.offer is None:
            state = "undecided" if one.found.exit_code == ONLY_UNDECIDED else "nothing fits"
            rows.append([plain(one.name), state, NOTHING, NOTHING, NOTHING])
            continue
        offer = one.offer
        rows.append(
            [
                plain(one.name),
                code(str(offer.row.case)),
                interval_text(offer.row.latency_s(0.5), 1e3),
                interval_text(offer.images_per_s),
                interval_text(offer.cost),
            ]
        )
    currency = next((one.run.header.fleet.currency for one in found if one.run.header.fleet), "")
    cost = f"{currency or 'cost'} for a million"
    titles = ["kind", "pick", "p50 ms", "images a second", cost]
    table = tabulate(
        rows, titles, "github", disable_numparse=True, colalign=("left", "left", *("right",) * 3)
    )
    return f"{_answer(offers, asked)}\n\n{table}"


def _answer(offers: Sequence[Offer], asked: str) -> str:
    if not offers:
        which = f"is known to keep {asked}" if asked else "is measured, right and believable"
        return f"**Nothing to rent**: no kind of machine has a row that {which}."
    best, close = fleet_page.cheapest(offers)
    priced = best.cost is not None
    what = "the cheapest" if priced else "without prices the fastest"
    keeps = f" that keeps {asked}" if asked else ""
    said = f"**{plain(best.kind)}** with {code(str(best.row.case))}: {what}{keeps}."
    if close:
        names = ", ".join(f"{plain(one.kind)} with {code(str(one.row.case))}" for one in close)
        figure = "cost" if priced else "speed"
        said += f" Its {figure} is not told apart from that of {names}."
    return said
