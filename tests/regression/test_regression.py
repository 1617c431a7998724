"""Small artifacts against this host's baseline: ``make regression``.

What is compared is never a time but a ratio: each inference of a case takes
turns with one of a reference row in the same process, so that a busy or slower
machine hits both. A plain test run does one round of each and compares nothing.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.stats import geometric_estimate
from export.artifact import Artifact
from runtimes import adapter

Key = tuple[str, str, str]
"""Variant, recipe, runtime."""
REFERENCE = ("fp32", "torch-eager")
CASES = [
    ("revisited-v6", recipe, "ort")
    for recipe in ("fp32", "fp32-opt", "int8-dynamic", "int8-static")
]
MARGIN = 0.15
ROUNDS = 500
BLOCK = 25
"""Rounds that give one ratio, of their medians: a spike is one round of many."""
WARM_UP = 50


@dataclass
class Interleaved:
    """Two callables that take turns, each timed with ``clock``."""

    case: Callable[[], object]
    reference: Callable[[], object]
    clock: Callable[[], float] = time.perf_counter
    case_s: list[float] = field(default_factory=list)
    reference_s: list[float] = field(default_factory=list)

    def run_reference(self) -> None:
        """One turn of the reference; what comes before a round of the case."""
        started = self.clock()
        self.reference()
        self.reference_s.append(self.clock() - started)

    def run_case(self) -> None:
        """One turn of the case: the round itself."""
        started = self.clock()
        self.case()
        self.case_s.append(self.clock() - started)

    def warm_up(self) -> None:
        """Let both settle, outside every figure."""
        for _ in range(WARM_UP):
            self.reference()
            self.case()

    def ratios(self) -> list[float]:
        """Median of the case over median of the reference, for each block of rounds."""
        starts = range(0, len(self.case_s), BLOCK)
        return [
            statistics.median(self.case_s[i : i + BLOCK])
            / statistics.median(self.reference_s[i : i + BLOCK])
            for i in starts
        ]


def proven_slow_down(before: Sequence[float], now: Sequence[float]) -> float:
    """By what factor ``now`` is slower at least: the gap between two 95 % intervals.

    Both hold ratios to the reference. 1.0 where the intervals touch, and where
    there are too few ratios for an interval.
    """
    earlier, later = geometric_estimate(list(before)), geometric_estimate(list(now))
    if earlier.high is None or later.low is None:
        return 1.0
    return max(1.0, later.low / earlier.high)


def load(artifacts: Mapping[Key, Artifact], key: Key) -> Callable[[], object]:
    """A call without arguments that runs one inference of one artifact, on one thread."""
    artifact = artifacts[key]
    run = adapter(key[2]).load(artifact, threads=1, precision="fp32", batch_size=1).run
    height, width = artifact.input_size
    image = np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32)
    return lambda: run(image)


@pytest.mark.parametrize("key", CASES, ids="/".join)
def test_not_slower_than_the_baseline(
    key: Key,
    benchmark: BenchmarkFixture,
    small_artifacts: Mapping[Key, Artifact],
    baseline: Mapping[str, list[float]],
) -> None:
    """Fails where the slow-down against this host's first run is proven beyond the margin."""
    pair = Interleaved(
        case=load(small_artifacts, key),
        reference=load(small_artifacts, (key[0], *REFERENCE)),
    )
    if benchmark.enabled:
        pair.warm_up()
    benchmark.pedantic(pair.run_case, setup=pair.run_reference, rounds=ROUNDS)
    benchmark.extra_info.update(ratios=pair.ratios(), reference="/".join(REFERENCE))
    before = baseline.get(benchmark.fullname)
    if benchmark.enabled and before:
        slower = proven_slow_down(before, pair.ratios())
        assert slower <= 1 + MARGIN, (
            f"{'/'.join(key)}, relative to {'/'.join(REFERENCE)} in the same run, "
            f"is at least {slower:.2f}x slower than this host's baseline"
        )


def spread(centre: float, sigma: float, seed: int, count: int = ROUNDS // BLOCK) -> list[float]:
    """Made-up ratios, log-normal around ``centre``."""
    noise = random.Random(seed)
    return [centre * math.exp(noise.gauss(0, sigma)) for _ in range(count)]


@pytest.mark.parametrize(
    ("before", "now", "fails"),
    [
        pytest.param([0.2] * 20, [0.2] * 20, False, id="equal"),
        pytest.param(spread(0.2, 0.03, 1), spread(0.2, 0.03, 2), False, id="same-but-for-noise"),
        pytest.param(spread(0.2, 0.03, 1), spread(0.4, 0.03, 2), True, id="twice-as-slow"),
        pytest.param(spread(0.2, 0.03, 1), spread(0.1, 0.03, 2), False, id="twice-as-fast"),
        pytest.param(spread(0.2, 0.03, 1), spread(0.22, 0.03, 2), False, id="within-the-margin"),
        pytest.param(spread(0.2, 1.0, 1), spread(0.25, 1.0, 2), False, id="too-noisy-to-tell"),
        pytest.param([0.2], [0.4], False, id="too-few-to-tell"),
    ],
)
def test_only_a_proven_slow_down_fails(before: list[float], now: list[float], fails: bool) -> None:
    """Noise passes, whatever its size; a slow-down beyond the margin does not."""
    assert (proven_slow_down(before, now) > 1 + MARGIN) is fails


def test_proven_slow_down_is_the_gap_between_the_intervals() -> None:
    """Without noise the gap is the slow-down itself."""
    assert proven_slow_down([0.2] * 5, [0.3] * 5) == pytest.approx(1.5)


def test_false_alarms_are_rare() -> None:
    """Same code, block noise of 10 %: none of 500 comparisons is called slower."""
    alarms = [
        proven_slow_down(spread(0.2, 0.1, 2 * i), spread(0.2, 0.1, 2 * i + 1)) > 1 + MARGIN
        for i in range(500)
    ]
    assert sum(alarms) == 0


class FakeMachine:
    """A clock that only the fake adapters move; ``pace`` is how slow the machine is just now."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pace = 1.0

    def clock(self) -> float:
        return self.now_s

    def model(self, seconds: float) -> Callable[[], None]:
        """A fake adapter's run: takes ``seconds`` on a machine that is not slowed down."""

        def run() -> None:
            self.now_s += seconds * self.pace

        return run


def fake_ratios(case_s: float, paces: Sequence[float] = (1.0,)) -> list[float]:
    """Ratios of a fake case to a fake reference of one millisecond."""
    machine = FakeMachine()
    pair = Interleaved(machine.model(case_s), machine.model(1e-3), machine.clock)
    for i in range(ROUNDS):
        machine.pace = paces[i * len(paces) // ROUNDS]
        pair.run_reference()
        pair.run_case()
    return pair.ratios()


def test_injected_slow_down_is_caught() -> None:
    """An adapter that takes 30 % longer fails; one that takes 10 % longer does not."""
    before = fake_ratios(2e-4)
    assert proven_slow_down(before, fake_ratios(2.6e-4)) > 1 + MARGIN
    assert proven_slow_down(before, fake_ratios(2.2e-4)) < 1 + MARGIN


def test_slower_machine_is_no_slow_down() -> None:
    """A machine that is busy half of the time, or throttled throughout, changes no ratio."""
    before = fake_ratios(2e-4)
    assert fake_ratios(2e-4, paces=(1.0, 3.0)) == pytest.approx(before)
    assert fake_ratios(2e-4, paces=(2.0,)) == pytest.approx(before)


def test_rounds_alternate() -> None:
    """The reference goes first in each round, so that both see the same moment."""
    log: list[str] = []
    machine = FakeMachine()
    pair = Interleaved(lambda: log.append("case"), lambda: log.append("reference"), machine.clock)
    for _ in range(2):
        pair.run_reference()
        pair.run_case()
    assert log == ["reference", "case", "reference", "case"]


def test_baseline_is_the_first_run_of_this_host(first_saved_ratios) -> None:
    """Later runs, other hosts and foreign benchmarks are no baseline."""

    def run(host_id: str, **ratios: list[float]) -> dict[str, object]:
        rows = [{"fullname": name, "extra_info": {"ratios": r}} for name, r in ratios.items()]
        rows.append({"fullname": "foreign", "extra_info": {}})
        return {"machine_info": {"host_id": host_id}, "benchmarks": rows}

    runs = [run("b", one=[9.0]), run("a", one=[1.0]), run("a", one=[2.0], two=[3.0])]
    assert first_saved_ratios(runs, "a") == {"one": [1.0], "two": [3.0]}
    assert first_saved_ratios([{"machine_info": {}, "benchmarks": []}], "a") == {}
