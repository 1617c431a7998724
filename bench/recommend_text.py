"""A recommendation as people read it: pure functions, to Markdown that a terminal can show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tabulate import tabulate

from bench.constraints import Judgement
from bench.contenders import AXES, Contender
from bench.more import Measure
from bench.pick import Judged, Recommendation, Tie
from bench.recommend_figures import KIND_AXIS, better_by, beyond, figure, held
from bench.text import (
    AS_AN_AA_PAIR,
    NOTHING,
    code,
    interval_text,
    minutes,
    percent_interval,
    plain,
    rounded,
)

_SHOWN = 3
"""Ties and open rows that get a line; of more the number is told."""
_MOST_WHY = 5
"""Left-out rows that are named for one reason."""
_LEVEL = "≈ above"
_TITLES = ("row", "p50 ms", "file MB", "peak MB", "load ms", "top-1 %", "constraints", "verdict")
_ALIGN = ("left", *("right",) * 5, "left", "left")


def text(found: Recommendation) -> str:
    """Everything: the pick and why, what is open, what each constraint costs, who is left out."""
    parts = (
        _answer(found),
        _runner_up(found),
        _ties(found.ties),
        _open(found),
        _costs(found),
        _front(found),
        _left_out(found),
        _basis(found),
    )
    return "\n\n".join(part for part in parts if part)


# --- the answer


def _answer(found: Recommendation) -> str:
    if found.pick is not None:
        return _picked(found, found.pick)
    if not found.judged:
        return "**Nothing to ship**: no row is measured, right and believable."
    kept = sum(not one.misses() for one in found.judged)
    if kept:
        limits = f" that keep{'s' if kept == 1 else ''} {_limits(found)}" if found.limits else ""
        return (
            f"**Nothing to ship by {AXES[found.prefer]}**: of {_rows(kept)}{limits} none has one "
            "that is known (--prefer)."
        )
    if any(one.open for one in found.judged):
        count = sum(one.open for one in found.judged)
        return (
            f"**Undecided**: no row is known to keep {_limits(found)}; {_rows(count)} may, and "
            "what would decide them stands below."
        )
    return f"**Nothing keeps {_limits(found)}.** {_nearest(found.nearest)}"


def _picked(found: Recommendation, pick: Judged) -> str:
    one = pick.contender
    kept, doubt = len(found.ranked), _doubt(one)
    among = f"Of {_rows(len(found.judged))} that compete, "
    if found.limits:
        among += f"{kept} keep{'s' if kept == 1 else ''} {_limits(found)}; of these "
    most = "highest top-1" if found.prefer == "accuracy" else f"lowest {AXES[found.prefer]}"
    told = {KIND_AXIS.get(limit.constraint.kind) for limit in pick.judgements} - {"latency"}
    rest = [
        figure(axis, one)
        for axis in AXES
        if axis not in (found.prefer, *told) and one.figures[axis] is not None
    ]
    keeps = [f"{limit.constraint}: {held(limit)}" for limit in pick.judgements]
    constraints = f" It keeps {'; '.join(keeps)}." if keeps else ""
    besides = f" Besides: {', '.join(rest)}." if rest else ""
    return (
        f"**Ship {code(one.name)}**{doubt}. {among}it has the {most}: "
        f"{figure(found.prefer, one).removeprefix(AXES[found.prefer]).strip()}.{constraints}"
        f"{besides}"
    )


def _limits(found: Recommendation) -> str:
    return " and ".join(str(limit) for limit in found.limits)


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _doubt(one: Contender) -> str:
    if one.verdict.level == "VALID":
        return ""
    return f" ({one.verdict.level}: {', '.join(one.verdict.codes)})"


def _nearest(one: Judged | None) -> str:
    if one is None:
        return ""
    missed = [f"{limit.constraint} ({beyond(limit)})" for limit in one.misses()]
    kept = len(one.judgements) - len(missed)
    verb = "keeps all but" if kept else "does not keep"
    name = f"{code(one.contender.name)}{_doubt(one.contender)}"
    return f"Nearest: {name} {verb} {'; '.join(missed)}."


def _runner_up(found: Recommendation) -> str:
    if found.pick is None or found.runner_up is None:
        return ""
    first, second = found.pick.contender, found.runner_up.contender
    better = [
        better_by(second, first, axis)
        for axis in AXES
        if axis != found.prefer and _better(second, first, axis)
    ]
    praise = f". It against the pick: {', '.join(better)}" if better else ""
    return (
        f"Runner-up: {code(second.name)}{_doubt(second)}, {figure(found.prefer, second)}. "
        f"The pick against it: {better_by(first, second, found.prefer)}{praise}."
    )


def _better(one: Contender, other: Contender, axis: str) -> bool:
    cost, beside = one.costs[axis], other.costs[axis]
    return cost is not None and beside is not None and cost < beside


def _ties(ties: Sequence[Tie]) -> str:
    """Who is not told apart from the pick, and what would tell."""
    if not ties:
        return ""
    lines = [
        f"- {code(tie.other.contender.name)}{_doubt(tie.other.contender)}: {_remedy(tie.remedy)}"
        for tie in ties[:_SHOWN]
    ]
    more = len(ties) - _SHOWN
    lines += [f"- and {_rows(more)} more"] if more > 0 else []
    return "\n".join(["Not told apart from the pick:", "", *lines])


def _remedy(remedy: Measure) -> str:
    took = "" if remedy.seconds is None else f" (about {minutes(remedy.seconds)}, files built)"
    command = f":\n  {code(remedy.command)}" if remedy.command else ""
    return f"{plain(remedy.text)}{took}{command}"


def _open(found: Recommendation) -> str:
    """Rows that would be picked if they kept what is undecided of them."""
    if not found.open:
        return ""
    lines = []
    for one in found.open[:_SHOWN]:
        lines.append(f"- {code(one.contender.name)}, {figure(found.prefer, one.contender)}:")
        lines += [_undecided(judgement) for judgement in one.misses()]
    more = len(found.open) - _SHOWN
    lines += [f"- and {_rows(more)} more"] if more > 0 else []
    head = "Undecided, and better than the pick:" if found.pick else "Undecided:"
    return "\n".join([head, "", *lines])


def _undecided(judgement: Judgement) -> str:
    remedy = judgement.remedy
    told = "" if remedy is None else f"; {_remedy(remedy)}".replace("\n", "\n  ")
    return f"  - {judgement.constraint}: {held(judgement)}{told}"


# --- tables


def _costs(found: Recommendation) -> str:
    if not found.limits:
        return ""
    cells = [
        (
            f"`{cost.constraint}`",
            *(str(_counted(found, place, outcome)) for outcome in ("met", "missed")),
            str(_counted(found, place, "undecided")),
            str(_counted(found, place, "unknown")),
            _instead(found, cost.instead),
        )
        for place, cost in enumerate(found.costs)
    ]
    titles = ("constraint", "keep it", "miss it", "undecided", "unknown", "without it")
    return _grid(titles, cells, ("left", *("right",) * 4, "left"))


def _counted(found: Recommendation, place: int, outcome: str) -> int:
    return sum(one.judgements[place].outcome == outcome for one in found.judged)


def _instead(found: Recommendation, instead: Judged | None) -> str:
    if instead is None:
        return "the same pick" if found.pick else "still nothing"
    one = instead.contender
    if found.pick is None:
        return f"{code(one.name)}, {figure(found.prefer, one, interval=False)}"
    return f"{code(one.name)}, {better_by(one, found.pick.contender, found.prefer)}"


def _front(found: Recommendation) -> str:
    """The rows that no other one beats, and what "beats" is (``bench.pareto``)."""
    cells = [_cells(found, one) for one in found.front]
    if not cells:
        return ""
    beaten = len(found.judged) - len(cells)
    head = (
        f"Beaten by no other row: {len(cells)} of {len(found.judged)}. To each of the other "
        f"{beaten} there is one that is no worse anywhere by the estimates and proven better "
        "somewhere, at 95 % for each pair by itself: of many pairs some are so by chance."
        if beaten
        else f"Beaten by no other row: all {len(cells)}."
    )
    return "\n\n".join([f"{head}\n\n{_grid(_TITLES, cells, _ALIGN)}", *_level(found)])


def _level(found: Recommendation) -> Iterator[str]:
    """What the mark of neighbours means, and what would tell the nearest of them apart."""
    pair = found.nearest_level
    if pair is None:
        return
    names = f"{code(pair.one.contender.name)} and {code(pair.other.contender.name)}"
    by = f", by {AXES[pair.axis]}" if pair.remedy.command else ""
    yield (
        f"{_LEVEL}: not told apart from the row above it in {AXES[found.prefer]}. Of such pairs "
        f"the quickest to tell apart is {names}{by}: {_remedy(pair.remedy)}"
    )


def _cells(found: Recommendation, one: Judged) -> tuple[str, ...]:
    figures, row = one.contender.figures, one.contender
    marks = {id(found.pick): " **pick**", id(found.runner_up): " (runner-up)"}
    name = f"{code(row.name)}{marks.get(id(one), '')}{_undistinguished(found, one)}"
    size, right = figures["size"], figures["accuracy"]
    return (
        name,
        interval_text(figures["latency"], 1e3),
        NOTHING if size is None else rounded(size.value / 1e6, digits=4),
        interval_text(figures["memory"], 1e-6),
        interval_text(figures["load"], 1e3),
        NOTHING if right is None else percent_interval(right),
        _kept(one),
        " ".join((row.verdict.level, *row.verdict.codes)),
    )


def _undistinguished(found: Recommendation, one: Judged) -> str:
    """Whether a row is not told apart from the pick, and whether not from the row above."""
    tied = ["tied"] if any(tie.other is one for tie in found.ties) else []
    level = [_LEVEL] if any(pair.other is one for pair in found.level) else []
    return f" ({', '.join([*tied, *level])})" if tied or level else ""


def _kept(one: Judged) -> str:
    if not one.judgements:
        return NOTHING
    missed = [f"{limit.outcome}: {limit.constraint.flag}" for limit in one.misses()]
    return ", ".join(missed) or "kept"


def _grid(titles: Sequence[str], cells: Iterable[Sequence[str]], align: Sequence[str]) -> str:
    return tabulate(list(cells), titles, tablefmt="github", disable_numparse=True, colalign=align)


def _left_out(found: Recommendation) -> str:
    """Why rows can't be picked: as they were measured, or because something was not."""
    reasons: dict[str, list[str]] = {}
    for row in found.field.left_out:
        reasons.setdefault(plain(row.reason), []).append(row.name)
    for one in found.judged:
        for judgement in one.judgements:
            if judgement.outcome == "unknown":
                why = f"{judgement.constraint} can't be kept: {plain(judgement.reason)}"
                reasons.setdefault(why, []).append(one.contender.name)
    if not reasons:
        return ""
    lines = [f"- {reason}: {_names(names)}" for reason, names in reasons.items()]
    return "\n".join(["Never picked:", "", *lines])


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_WHY
    rest = f" and {more} more" if more > 0 else ""
    return ", ".join(map(code, names[:_MOST_WHY])) + rest


def _basis(found: Recommendation) -> str:
    """What it rests on."""
    headers = found.field.headers
    first = headers[0]
    runs = ", ".join(
        f"{plain(one.run)} of {plain(one.started)} (commit {plain(one.commit)})" for one in headers
    )
    cpu = plain(first.host.get("CPU", "an unknown CPU"))
    lines = [
        f"From {runs}; host {plain(first.host_id)}: {cpu}. Images: {plain(first.data)}.",
        "Intervals are of 95 %, each by itself. p50 is for an image, a constraint's percentile for "
        "an inference. Rows of one run are compared paired by round, answers on the same images "
        "(McNemar); a time must differ by more than the run's A/A pair does"
        f" ({AS_AN_AA_PAIR}: it does not).",
    ]
    if any(limit.kind == "drop" for limit in found.limits):
        lines.append(
            "The accuracy drop is against the row's own network in fp32, or the one that it was "
            "made from, whichever is more."
        )
    if len(headers) > 1:
        lines.append(
            "Rows of different runs are compared by Welch's t over their blocks: what the machine "
            "did otherwise between the runs is in it."
        )
    return "\n".join([*lines, *_versions(found)])


def _versions(found: Recommendation) -> list[str]:
    """Libraries that are not the same in all runs."""
    headers = found.field.headers
    names = dict.fromkeys(name for one in headers for name in one.versions)
    differing = [
        name for name in names if len({one.versions.get(name, "none") for one in headers}) > 1
    ]
    return [f"Libraries that differ between the runs: {', '.join(differing)}."] if differing else []
