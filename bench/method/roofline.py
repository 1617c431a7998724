"""The roofline against two networks that differ by weights: what they take at our own bandwidth.

``vgg19-gap`` is ``vgg19`` without its fully connected stack. At batch 1 every weight of
that stack is read once and multiplied once, so that what is saved is the time of reading.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from bench import peaks, stats
from bench.method.aa import p50_s
from bench.method.experiment import BLOCK_S, Experiment, ExperimentError, Lab, Outcome, Size
from bench.method.thresholds import markdown
from bench.stats import Estimate
from bench.text import rounded
from export.artifact import Artifact

TOLERANCE = 0.25
"""By so much, either way, the saving may differ from what the bandwidth says."""
_BANDWIDTH_S = 0.5
_LOAD_S = 6.0
"""A guess of what loading, warming and running one of them takes beside the timed loop."""


@dataclass(frozen=True)
class Round:
    """Both networks once, and the bandwidth between them: seconds, bytes, bytes a second."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    whole_s: float
    without_s: float
    removed_bytes: int
    bytes_per_s: float

    @property
    def saved_s(self) -> float:
        """How much sooner the network without the stack answers."""
        return self.whole_s - self.without_s


def measure(index: int, lab: Lab) -> Round:
    """A round: both cases in a random order of its own, and the bandwidth.

    Raises :class:`ExperimentError` if it can't be measured or the cases are not two.
    """
    if len(lab.size.cases) != 2:
        raise ExperimentError("the roofline takes two variants, the larger first: --variants A,B")
    order = random.Random(lab.size.seed + index).sample(lab.size.cases, 2)
    seconds = {case: p50_s(lab.block(case, index)) for case in order}
    whole, without = lab.size.cases
    told: list[str] = []
    rate = peaks.bytes_per_s(lab.size.threads, _BANDWIDTH_S, told.append)
    if not rate:
        raise ExperimentError("; ".join(told))
    removed = weight_bytes(lab.artifact(whole)) - weight_bytes(lab.artifact(without))
    return Round(seconds[whole], seconds[without], removed, rate)


def weight_bytes(artifact: Artifact) -> int:
    """Bytes of all weights, as the file stores them."""
    return sum(layer.weight_bytes for layer in artifact.layers)


def saving_s(rounds: Sequence[Round]) -> Estimate:
    """The mean saving with its interval over the rounds, paired; seconds."""
    saved = [one.saved_s for one in rounds]
    interval = stats.t_interval(saved) or (None, None)
    return Estimate(math.fsum(saved) / len(saved), *interval)


def expected_saving_s(rounds: Sequence[Round]) -> float:
    """The time that the removed weights take at the best bandwidth that was measured."""
    return rounds[0].removed_bytes / max(one.bytes_per_s for one in rounds)


def judge(size: Size, rounds: Sequence[Round]) -> Outcome:
    """Whether the interval of the saving meets what is expected, a quarter either way.

    An interval that contains 0 has seen no saving, whatever it meets.
    """
    saving, expected_s = saving_s(rounds), expected_saving_s(rounds)
    least_s, most_s = expected_s * (1 - TOLERANCE), expected_s * (1 + TOLERANCE)
    interval, passed = "", False
    if saving.low is not None and saving.high is not None:
        interval = f" ({_ms(saving.low)} to {_ms(saving.high)})"
        passed = saving.excludes(0) and saving.low <= most_s and saving.high >= least_s
    answer = (
        f"From {' to '.join(f'`{name}`' for name in size.variants)} on {size.runtime} "
        f"{_ms(saving.value)} ms{interval} are saved; the removed "
        f"{rounded(rounds[0].removed_bytes / 1e6)} MB take {_ms(expected_s)} ms at "
        f"{rounded(max(one.bytes_per_s for one in rounds) / 1e9)} GB/s "
        f"({_ms(least_s)} to {_ms(most_s)} is a quarter either way)."
    )
    return Outcome(answer, passed, _table(size, rounds))


def _ms(seconds: float) -> str:
    return rounded(1e3 * seconds)


def _table(size: Size, rounds: Sequence[Round]) -> str:
    head = ["round", *(f"{name}, ms" for name in size.variants), "saved, ms", "read, GB/s"]
    return markdown(
        [
            head,
            *(
                [
                    str(number),
                    *(_ms(seconds) for seconds in (one.whole_s, one.without_s, one.saved_s)),
                    rounded(one.bytes_per_s / 1e9),
                ]
                for number, one in enumerate(rounds, 1)
            ),
        ]
    )


def draw(figure: Any, size: Size, rounds: Sequence[Round]) -> None:
    """The saving of each round, its interval, and what the bandwidth lets one expect."""
    del size
    axes = figure.subplots()
    saving, expected_s = saving_s(rounds), expected_saving_s(rounds)
    axes.plot([1e3 * one.saved_s for one in rounds], "o", label="saved in a round")
    if saving.low is not None and saving.high is not None:
        axes.axhspan(1e3 * saving.low, 1e3 * saving.high, alpha=0.3, label="95 % of the mean")
    axes.axhline(1e3 * expected_s, color="black", label="removed bytes at the bandwidth")
    for side in (1 - TOLERANCE, 1 + TOLERANCE):
        axes.axhline(1e3 * expected_s * side, color="grey", linestyle=":")
    axes.set_xlabel("round")
    axes.set_ylabel("ms")
    axes.legend()


EXPERIMENT = Experiment(
    question="Does going from `vgg19` to `vgg19-gap` at batch 1 save the time that the removed "
    "weight bytes take at the measured bandwidth? The interval of the saving has to meet 25 % "
    "either way.",
    line=TypeAdapter(Round),
    defaults=Size(pairs=12, blocks=1, seconds=2.0, variants=("vgg19", "vgg19-gap"), recipe="fp32"),
    units=lambda size: size.pairs,
    expected_s=lambda size: (
        size.pairs * (2 * (BLOCK_S + _LOAD_S + size.seconds) + 2 * _BANDWIDTH_S)
    ),
    measure=measure,
    judge=judge,
    draw=draw,
)

if __name__ == "__main__":
    from bench.method.__main__ import main

    sys.exit(main(["roofline", *sys.argv[1:]]))
