"""Whether the verdicts notice a neighbour, and leave a quiet machine alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import TypeAdapter

from bench import validity
from bench.case import Case
from bench.method.experiment import Experiment, Outcome, Size
from bench.method.thresholds import (
    QUIET,
    STRESSED,
    draw,
    expected_s,
    in_state,
    markdown,
    order,
    watch,
)
from bench.record import Measurement
from bench.validity import Verdict

RIGHT = "foreign-cpu"
"""The code that says what a busy loop on one core is."""
LEAST_VALID = 0.9


def verdicts(blocks: Sequence[Measurement], state: str) -> Mapping[Case, Verdict]:
    """The verdict on each row: all blocks of a case in one state."""
    usual = validity.usual_canary_s(in_state(blocks, QUIET))
    rows: dict[Case, list[Measurement]] = {}
    for block in in_state(blocks, state):
        rows.setdefault(block.case, []).append(block)
    return {case: validity.of_row(found, usual) for case, found in rows.items()}


def judge(size: Size, blocks: Sequence[Measurement]) -> Outcome:
    """Every stressed row is doubted for the right reason, and 90 % of quiet rows are not."""
    del size
    quiet, stressed = verdicts(blocks, QUIET), verdicts(blocks, STRESSED)
    valid = sum(verdict.level == "VALID" for verdict in quiet.values())
    caught = sum(RIGHT in verdict.codes for verdict in stressed.values())
    answer = (
        f"{valid} of {len(quiet)} quiet rows are VALID (at least {LEAST_VALID:.0%} must be); "
        f"{caught} of {len(stressed)} rows beside the busy loop are SUSPECT or INVALID with the "
        f"code `{RIGHT}` (all must be)."
    )
    passed = valid >= LEAST_VALID * len(quiet) and 0 < caught == len(stressed)
    return Outcome(answer, passed, _table(quiet, stressed))


def _table(quiet: Mapping[Case, Verdict], stressed: Mapping[Case, Verdict]) -> str:
    lines = [["row", "quiet", "beside a busy loop"]]
    for case in sorted(quiet):
        beside = stressed.get(replace(case, copy=STRESSED), Verdict())
        lines.append([f"`{case}`", _text(quiet[case]), _text(beside)])
    return markdown(lines)


def _text(verdict: Verdict) -> str:
    return " ".join([verdict.level, *(f"`{code}`" for code in verdict.codes)])


EXPERIMENT = Experiment(
    question="Does a busy loop on one core flip every row to SUSPECT or INVALID, with the right "
    "code, and are at least 90 % of the rows of a quiet machine VALID?",
    line=TypeAdapter(Measurement),
    defaults=Size(
        pairs=1,
        blocks=3,
        seconds=0.6,
        seed=1,
        variants=(
            "revisited-base",
            *(f"revisited-v{number}" for number in range(1, 7)),
            "revisited-alpha",
            "xception",
            "xception-gap",
        ),
    ),
    units=lambda size: len(order(size)),
    expected_s=expected_s,
    measure=watch,
    judge=judge,
    draw=draw,
)
