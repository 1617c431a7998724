"""What would decide what is undecided: how many more blocks or images, by which command.

The numbers follow from the spread that was seen, so that an interval excludes what it should
with a chance of 80 % if the estimates are right (``bench.turned.POWER``).
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri, stdtrit

from bench import stats
from bench.case import Case
from bench.contenders import Contender, log_ratio
from bench.header import HIDDEN_STORE
from bench.record import Measurement, RunHeader
from bench.rows import Row, Table, twins
from bench.stats import CONFIDENCE, LEAST_BLOCKS, Spread
from bench.suites import SUITES
from bench.turned import POWER
from export.variants import OWN

MOST_BLOCKS = 1000
"""As ``--blocks`` takes."""
MOST_IMAGES = 100_000
"""Twice the validation set of ImageNet: whoever has more labelled ones would have used them."""
_PROGRAM = ("python", "-m", "bench.run")
_NARROWED = {
    *("-m", "--variants", "--recipes", "--runtimes", "--precisions", "-t", "--threads", "-b"),
    *("--batch-sizes", "--blocks", "--scenarios", "--latency-bound", "--scenario-seconds"),
    *("--against", "--margin", "--budget", "--markdown"),
}
"""Flags of a run's own command that give way, each with its value."""


@dataclass(frozen=True)
class Measure:
    """More measuring: a sentence, the command that does it, and about how long it takes.

    ``seconds`` leaves building out; ``None`` and an empty ``command``: nothing of ours does it.
    """

    text: str
    command: str = ""
    seconds: float | None = None


# --- how much


def blocks_to_tell(
    deviation: float, distance: float, of_interval: float | None = None
) -> int | None:
    """So many blocks tell a mean from what is ``distance`` away; ``None``: over ``MOST_BLOCKS``.

    ``deviation`` is the standard deviation of a block (of a difference, where blocks are paired),
    ``of_interval`` that of those whose interval must be shorter, where they are others.
    """
    counts = np.arange(LEAST_BLOCKS, MOST_BLOCKS + 1)
    half = stdtrit(counts - 1, (1 + CONFIDENCE) / 2) * (
        deviation if of_interval is None else of_interval
    )
    enough = (half + stdtrit(counts - 1, POWER) * deviation) / np.sqrt(counts) <= abs(distance)
    return int(counts[np.argmax(enough)]) if distance and enough.any() else None


def blocks_to_separate(one: Contender, other: Contender, axis: str) -> int | None:
    """So many blocks of each likely tell two rows of one run apart on an axis that blocks measure.

    As ``contenders.separated`` wants it, in time also by more than an A/A pair differs.
    ``None``: there is no hope.
    """
    found = log_ratio(one, other, axis)
    if found is None:
        return LEAST_BLOCKS
    tables = {id(row.table): row.table for row in (one, other) if axis == "latency"}
    counts = [
        blocks_to_tell(_of_a_block(found), found.value),
        *(_blocks_beyond(found, twin) for table in tables.values() if (twin := _twin(table))),
    ]
    known = [count for count in counts if count is not None]
    return max(known) if len(known) == len(counts) else None


def _twin(table: Table) -> Spread | None:
    """How far the A/A pair is from itself; ``None``: there is none, or nobody knows."""
    if table.twin is None:
        return None
    first, again = table.twin
    return stats.paired_log_ratio(first.image_medians_s, again.image_medians_s)


def _blocks_beyond(found: Spread, twin: Spread) -> int | None:
    """How many tell ``found`` from what an A/A pair leaves open, which shrinks along with it.

    It shrinks to nothing, for the file is the same, unless its own interval says otherwise: after
    few blocks its mean is noise, and would call many rows a tie that are none.
    """
    low, high = twin.interval()
    remains = 0.0 if low <= 0 <= high else abs(twin.value)
    distance = abs(found.value) - remains
    again = _of_a_block(twin)
    both = math.hypot(_of_a_block(found), again)
    return blocks_to_tell(both, distance, again) if distance > 0 else None


def _of_a_block(mean: Spread) -> float:
    """Standard deviation of one of the blocks that a mean is of."""
    return mean.error * math.sqrt(mean.freedom + 1)


def images_to_tell(variance: float, difference: float) -> int | None:
    """So many images tell a share (or a difference of two) from what is ``difference`` away.

    ``variance`` is that of one image's contribution (Connor, Biometrics 43, 1987, 207-211).
    ``None``: no difference was seen.
    """
    if not difference:
        return None
    critical = float(ndtri((1 + CONFIDENCE) / 2) + ndtri(POWER))
    return math.ceil(critical**2 * variance / difference**2)


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation of the logarithms of positive values; ``None`` for too few."""
    if len(values) < LEAST_BLOCKS:
        return None
    return float(np.std(np.log(values), ddof=1))


# --- by what


def more_blocks(contenders: Sequence[Contender], blocks: int | None) -> Measure:
    """The measuring of ``blocks`` blocks of each; ``None``: there is no hope. Of one run."""
    header = contenders[0].header
    done = min(len(one.row.timed) for one in contenders)
    if blocks is None:
        return Measure(f"more than {MOST_BLOCKS} blocks would be needed: call it a tie")
    wanted = max(blocks, done + 1)
    cases = [one.case for one in contenders]
    text = f"{wanted} blocks instead of {done} would likely decide it"
    return Measure(text, _command(header, cases, wanted), _seconds(contenders, wanted))


def more_images(contenders: Sequence[Contender], images: int | None) -> Measure:
    """The asking about ``images`` labelled images, in a run with as many blocks as there are."""
    labelled = contenders[0].table.labelled
    asked = len(labelled.labels) if labelled else 0
    if images is None:
        return Measure("no difference was seen: no number of images is known that would decide it")
    if images > MOST_IMAGES:
        return Measure(f"more than {MOST_IMAGES} labelled images would be needed: call it a tie")
    words = _words(contenders[0].header)
    whole = not any(word.startswith("--accuracy-images") for word in words)
    where = f"the {labelled.split} part of {labelled.data}" if labelled else "the data"
    wanted = max(images, asked + 1)
    text = f"about {wanted} labelled images instead of {asked} would likely decide it"
    if whole:
        return Measure(f"{text}; {where} has no more of them")
    blocks = max(len(one.row.timed) for one in contenders)
    command = _command(contenders[0].header, [one.case for one in contenders], blocks, wanted)
    # Rows that were asked about other images can't stand beside these (bench.field).
    text += ", in a run of its own, to be read without this one"
    return Measure(text, command, _seconds(contenders, blocks, wanted))


def _command(
    header: RunHeader, cases: Sequence[Case], blocks: int, images: int | None = None
) -> str:
    """The run's own command, narrowed to these cases, with so many blocks.

    Given models are not named: ``--model``, which stands in the run's own command, brings them.
    """
    chosen = {
        "-m": _names(case.variant for case in cases if case.weights != OWN),
        "--recipes": _names(case.recipe for case in cases),
        "--runtimes": _names(case.runtime for case in cases),
        **_precisions(header, cases),
        "-t": _names(str(case.threads) for case in cases),
        "-b": _names(str(case.batch_size) for case in cases),
        "--blocks": str(blocks),
        **({} if images is None else {"--accuracy-images": str(images)}),
    }
    if chosen["-b"] == "1":
        del chosen["-b"]
    if not chosen["-m"]:
        del chosen["-m"]
    dropped = _NARROWED | chosen.keys()
    added = [word for pair in chosen.items() for word in pair]
    kept = _without(_words(header), dropped)
    if HIDDEN_STORE in kept or f"--store={HIDDEN_STORE}" in kept:
        # Nobody knows where it was: what isn't in the usual one is built again.
        kept = _without(kept, ["--store"])
    return shlex.join([*_PROGRAM, *kept, *added])


def _words(header: RunHeader) -> list[str]:
    """What the run was told: its command without the program."""
    words = shlex.split(header.command)
    return words[len(_PROGRAM) :] if tuple(words[: len(_PROGRAM)]) == _PROGRAM else words


def _precisions(header: RunHeader, cases: Sequence[Case]) -> dict[str, str]:
    """Named where they are not those that the suite has by itself."""
    wanted = tuple(dict.fromkeys(case.precision for case in cases))
    suite = SUITES.get(header.suite)
    usual = suite.precisions if suite else ()
    return {} if set(wanted) == set(usual) else {"--precisions": ",".join(wanted)}


def _names(values: Iterable[str]) -> str:
    return ",".join(dict.fromkeys(values))


def _without(words: Sequence[str], flags: Iterable[str]) -> list[str]:
    """``words`` without these flags and their values."""
    known, kept, skip = set(flags), [], False
    for word in words:
        if not skip and word.partition("=")[0] not in known:
            kept.append(word)
        skip = not skip and word in known
    return kept


def _seconds(contenders: Sequence[Contender], blocks: int, images: int | None = None) -> float:
    """What the command takes, by the records: every case that its globs name, and the A/A twin.

    Each case is asked about so many labelled ``images``; ``None``: as many as it was.
    """
    cases = [one.case for one in contenders]
    tables = {id(one.table): one.table for one in contenders}.values()
    rows = {row.case: row for table in tables for row in table.rows if not row.case.copy}
    measured = [case for case in rows if _in_product(case, cases)]
    again = [replace(case, copy="") for case in twins(measured)]
    timed = sum(_block_s(rows[case].blocks) for case in (*measured, *again))
    return blocks * timed + sum(_answers_s(rows[case], images) for case in measured)


def _answers_s(row: Row, images: int | None) -> float:
    """What answering labelled images takes, at the median of the timed loop."""
    if row.answers is None or not row.timed:
        return 0.0
    count = len(row.answers.predicted) if images is None else images
    return count * stats.percentile(list(row.image_medians_s.values()), 0.5)


def _in_product(case: Case, cases: Sequence[Case]) -> bool:
    """Whether globs that name each of ``cases`` name this one as well.

    Of given models all come along, whatever is named.
    """
    named = () if case.weights == OWN else ("variant",)
    fields = (*named, "recipe", "runtime", "precision", "threads", "batch_size")
    return all(getattr(case, name) in {getattr(one, name) for one in cases} for name in fields)


def _block_s(blocks: Sequence[Measurement]) -> float:
    """What a block took, whole; what its parts sum to where that was not recorded."""
    return stats.percentile([_whole_s(block) for block in blocks], 0.5)


def _whole_s(block: Measurement) -> float:
    if block.block_s is not None:
        return block.block_s
    timed = sum(block.latencies_ns) / 1e9
    return block.import_s + block.load_s + block.first_s + block.warmup_s + timed
