"""Measure a row once more and hold what was claimed against it, each claim with its figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from bench import host, labelled, scores, stats, validity
from bench.block import Effort, run_block, with_answers
from bench.claims import Claim
from bench.options import Options
from bench.record import Labelled, Measurement, RunHeader
from bench.rows import Row
from bench.suites import SUITES
from bench.text import difference_text, interval_text, number, percent, percent_interval
from bench.turned import paired_interval
from export.artifact import Artifact

Say = Callable[[str], object]
LOOKS = 3
"""So often blocks are judged at most: at 3, 7 and 15, or from the run's own number on."""
_CONFIDENCE = 1 - stats.FAMILY_ERROR / LOOKS
"""Of each look, so that all of them together err as one would, as in ``bench.spend``."""
ACCURACY_MARGIN = 0.01
"""A point: what bench.search lets quantisation cost."""


@dataclass(frozen=True)
class Subject:
    """What is measured again: the claimed row, its run, and the file with a reference."""

    row: Row
    header: RunHeader
    artifact: Artifact


@dataclass(frozen=True)
class Bounds:
    """When a figure is the same (within ``margin``, a share), and for how long that is sought."""

    margin: float
    budget_s: float


def _p50(block: Measurement) -> float:
    return stats.percentile(block.latencies_ns, 0.5) / 1e9


def _peak(block: Measurement) -> float:
    return float(block.memory.peak_bytes) if block.memory else 0.0


@dataclass(frozen=True)
class Figure:
    """One figure of a block. What is a time takes blocks whose times can be believed."""

    what: str
    of: Callable[[Measurement], float]
    scale: float
    unit: str
    is_time: bool = True


_FIGURES = (
    Figure("latency, p50", _p50, 1e3, "ms"),
    Figure("load", lambda block: block.load_s, 1e3, "ms"),
    Figure("peak memory", _peak, 1e-6, "MB", is_time=False),
)


def claims(
    subject: Subject, bounds: Bounds, options: Options, memory_bytes: int, say: Say
) -> Iterator[Claim]:
    """Every claim about how the row runs. ``options`` name the store, and images where given."""
    suite = SUITES.get(subject.header.suite, SUITES["default"])
    effort = Effort(
        subject.header.seconds, suite.samples, memory_bytes, options.store.absolute() / "logs"
    )
    elsewhere = other_place(subject.header)
    blocks = _blocks(subject, effort, bounds, once=bool(elsewhere), say=say)
    first = blocks[0]
    if first.status != "ok":
        outcome = "cannot tell" if first.status == "unsupported" else "not reproduced"
        yield Claim("it runs", outcome, first.reason)  # type: ignore[arg-type]
        return
    yield _answers(first)
    reason = elsewhere or _other_version(subject, first)
    for figure in _FIGURES:
        yield judged(figure, subject.row, blocks, bounds.margin, reason)
    if options.data:
        yield _accuracy(subject, first, effort, options, say)


def other_place(header: RunHeader) -> str:
    """Why times can't be the same here; empty: nothing that we know of."""
    here = host.describe()
    if host.host_id(here) == header.host_id:
        return ""
    then = header.host.get("CPU", "unknown")
    return f"measured on another host (CPU {then}, {header.host.get('cores', 'unknown')} cores)"


def _other_version(subject: Subject, block: Measurement) -> str:
    then = {old.runtime_version for old in subject.row.timed} - {""}
    if not then or block.runtime_version in then:
        return ""
    runtime = subject.row.case.runtime
    return f"measured with {runtime} {', '.join(sorted(then))}, here is {block.runtime_version}"


def _blocks(
    subject: Subject, effort: Effort, bounds: Bounds, *, once: bool, say: Say
) -> list[Measurement]:
    """As many blocks as the run had, three at least; then more while a figure is undecided.

    Which is asked at few numbers of blocks: who looks after each one finds something in the end.
    """
    case, artifact = subject.row.case, subject.artifact
    looks = (1,) if once else _looks(subject.header.blocks)
    begun, found = time.monotonic(), list[Measurement]()
    while True:
        say(f"measuring {case}, block {len(found) + 1}")
        found.append(run_block(case, len(found), artifact, effort))
        if found[-1].status != "ok":
            return found[-1:]
        spent = time.monotonic() - begun
        if len(found) >= looks[-1] or (len(found) >= looks[0] and spent >= bounds.budget_s):
            return found
        if len(found) in looks and _decided(subject, found, bounds):
            return found


def _looks(blocks: int) -> tuple[int, ...]:
    """At how many blocks it is asked what they say: twice as many, and one, each time."""
    first = max(stats.LEAST_BLOCKS, blocks)
    return tuple((first + 1) * 2**look - 1 for look in range(LOOKS))


def _decided(subject: Subject, blocks: Sequence[Measurement], bounds: Bounds) -> bool:
    found = (judged(figure, subject.row, blocks, bounds.margin) for figure in _FIGURES)
    return all(claim.outcome != "cannot tell" for claim in found)


def judged(
    figure: Figure, row: Row, blocks: Sequence[Measurement], margin: float, reason: str = ""
) -> Claim:
    """Whether a figure is the same: the whole interval of now over then within the margin.

    The interval is of ``_CONFIDENCE``, since blocks may be looked at several times.
    Wholly outside it is not, and across its edge nothing can be told; nor with a ``reason``
    why it can't be, or with fewer than three blocks on either side that can be believed.
    """
    then = _values(figure, row.timed, row.usual_canary_s)
    now = _values(figure, blocks, validity.usual_canary_s(blocks))
    shown = f"{_text(figure, then)} then, {_text(figure, now)} now"
    spread = stats.unpaired_log_ratio(now, then) if min([*then, *now], default=0) > 0 else None
    if reason or spread is None:
        few = reason or _too_few(figure, row, blocks, (len(then), len(now)))
        return Claim(figure.what, "cannot tell", f"{shown}: {few}")
    ratio = stats.ratio_estimate(spread, _CONFIDENCE)
    place = stats.position(ratio, margin)
    text = f"{shown}; now over then {interval_text(ratio)}, margin {margin:.0%}"
    if place is None:
        return Claim(figure.what, "cannot tell", f"{text}: the interval lies across its edge")
    return Claim(figure.what, "reproduced" if place == "within" else "not reproduced", text)


def _values(
    figure: Figure, blocks: Sequence[Measurement], usual_canary_s: float | None
) -> list[float]:
    """Of the blocks that count for it."""
    kept = (
        block
        for block in blocks
        if not figure.is_time or validity.judge(block, usual_canary_s).level != "INVALID"
    )
    return [figure.of(block) for block in kept]


def _text(figure: Figure, values: Sequence[float]) -> str:
    if not values or min(values) <= 0:
        return "nothing that counts"
    return f"{number(stats.geometric_estimate(values), figure.scale)} {figure.unit}"


def _too_few(
    figure: Figure, row: Row, blocks: Sequence[Measurement], counts: tuple[int, int]
) -> str:
    """How many blocks there are, and what spoke against the others."""
    usual = validity.usual_canary_s(blocks)
    found = [validity.judge(block, row.usual_canary_s) for block in row.timed]
    found += [validity.judge(block, usual) for block in blocks]
    bad = [verdict for verdict in found if verdict.level == "INVALID" and figure.is_time]
    codes = ", ".join(validity.overall(bad).codes)
    why = f"; {len(bad)} were INVALID ({codes})" if bad else ""
    least = stats.LEAST_BLOCKS
    return f"an interval takes {least} blocks of each, there are {counts[0]} and {counts[1]}{why}"


def _answers(block: Measurement) -> Claim:
    """The answers to the reference's images, by the limits of parity."""
    parity = block.parity
    if parity is None:
        return Claim("its answers", "cannot tell", "they were not taken")
    text = (
        f"{parity.images} images, largest error {parity.max_error:.1e} of the largest output, "
        f"centred cosine {parity.cosine:.6f}"
    )
    return Claim("its answers", "reproduced" if parity.passed else "not reproduced", text)


def _accuracy(
    subject: Subject, block: Measurement, effort: Effort, options: Options, say: Say
) -> Claim:
    """Top-1 over the same images, held image by image against what was claimed."""
    what, claimed = "accuracy, top-1", subject.header.labelled
    case, answers = subject.row.case, subject.row.answers
    if claimed is None or answers is None:
        return Claim(what, "cannot tell", "the row was not asked about all labelled images")
    wanted = replace(options, accuracy="all", accuracy_images=len(claimed.labels))
    images = labelled.chosen([case], wanted)
    if images is None or images.labelled.images != claimed.images:
        return Claim(what, "cannot tell", f"--data has other images than {claimed.data} had then")
    asked = labelled.questions(images, {case: subject.artifact}, wanted)
    if case not in asked.questions:
        return Claim(what, "cannot tell", asked.reasons.get(case, "it can't be asked"))
    labelled.prepare([asked.questions[case]], say)
    say(f"asking about {len(claimed.labels)} images")
    done = with_answers(block, subject.artifact, effort, asked.questions[case])
    if done.answers is None:
        return Claim(what, "not reproduced", done.reason)
    return compared(what, claimed, scores.scored(claimed, answers), done)


def compared(what: str, claimed: Labelled, then: scores.Scored, block: Measurement) -> Claim:
    """Both scores over the same images: what counts is which of them turned right or wrong.

    Reproduced where none did, or where the whole interval of the difference lies within
    ``ACCURACY_MARGIN``; not reproduced where it excludes 0 besides; else it can't be told.
    """
    assert block.answers is not None
    now = scores.scored(claimed, block.answers)
    pair = scores.paired(then, now)
    if pair is None:
        return Claim(what, "cannot tell", "no image was asked about both times")
    text = (
        f"{percent_interval(scores.top(then, 1))} % then, {percent(scores.top(now, 1))} % now; "
        f"{pair.same} of {pair.images} images named alike"
    )
    if pair.lost == pair.won == 0:
        return Claim(what, "reproduced", text)
    margin, change = ACCURACY_MARGIN, pair.difference
    text += f"; {difference_text(change, 100)} points, margin {100 * margin:g}"
    low, high = paired_interval(pair.won, pair.lost, pair.images)
    if -margin < low and high < margin:
        return Claim(what, "reproduced", text)
    if change.excludes(0):
        return Claim(what, "not reproduced", text)
    return Claim(what, "cannot tell", f"{text}: the interval is wider, and holds 0")
