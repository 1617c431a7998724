"""Overhead: what the harness costs an inference, and what of a run is not measuring."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter

import runtimes
from bench import host, stats
from bench.case import NULL, Case, plan, unsupported
from bench.command_line import parse
from bench.method.aa import p50_s
from bench.method.experiment import BLOCK_S, Experiment, ExperimentError, Lab, Outcome, Size
from bench.method.thresholds import markdown
from bench.record import Measurement, find_runs, read_run
from bench.text import rounded
from export.checkpoints import SEEDED

MOST_S = 2e-6
MOST_SHARE = 0.2
_CALLS = 100_000
RUN = ("--suite", "default", "--fresh", "--weights", SEEDED)
"""What `make bench` does, measured anew, of the files that the lab has built before."""


@dataclass(frozen=True)
class PerInference:
    """Seconds for one call of a model that does nothing: bare, and in a block's timed loop.

    ``recorded_s`` is the p50 that a record would show, which holds one reading of the clock.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    bare_s: float
    looped_s: float
    recorded_s: float


@dataclass(frozen=True)
class WholeRun:
    """A run of ``bench.run`` whose files stand: how long it took, and what of it was measuring.

    ``watching_s`` was spent on watching idle children, which is no part of ``measuring_s``.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    command: str
    blocks: int
    wall_s: float
    measuring_s: float
    watching_s: float = 0.0


Line = PerInference | WholeRun


def measure(index: int, lab: Lab) -> Line:
    """A block of the null runtime beside a bare loop; the last line is a whole run."""
    if index == lab.size.pairs:
        return whole_run(lab.store)
    (case,) = lab.size.cases
    block = lab.block(case, index)
    assert block.surroundings is not None
    loaded = runtimes.adapter(NULL).load(
        lab.artifact(case), threads=1, precision="fp32", batch_size=1
    )
    looped_s = block.surroundings.wall_s / len(block.latencies_ns)
    return PerInference(bare_s(loaded), looped_s, p50_s(block))


def bare_s(loaded: runtimes.Loaded) -> float:
    """Seconds for one call in a loop that does nothing else."""
    run, image = loaded.run, np.zeros((1, 3, 8, 8), np.float32)
    begun = time.perf_counter()
    for _ in range(_CALLS):
        run(image)
    return (time.perf_counter() - begun) / _CALLS


def cases(size: Size) -> tuple[Case, ...]:
    """What is measured here, and what the whole run measures: its files must stand before."""
    return (*size.cases, *(case for case in plan(parse(RUN)) if unsupported(case) is None))


def whole_run(store: Path) -> WholeRun:
    """Start ``bench.run`` in a folder of its own, and time it from outside.

    Raises :class:`ExperimentError` if it fails.
    """
    with tempfile.TemporaryDirectory(prefix="deploybench-") as folder:
        words = [*RUN, "--store", str(store), "--out", folder]
        begun = time.perf_counter()
        _succeed([sys.executable, "-m", "bench.run", *words])
        wall_s = time.perf_counter() - begun
        (path,) = find_runs(Path(folder))
        blocks = read_run(path).measurements
    command = shlex.join(["python", "-m", "bench.run", *RUN])
    watches = sum(block.idle_cpu_s is not None for block in blocks)
    watching_s = watches * (parse(RUN).idle_seconds or 0.0)
    return WholeRun(command, len(blocks), wall_s, measuring_s(blocks), watching_s)


def _succeed(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = " ".join(done.stderr.strip().splitlines()[-1:])
        raise ExperimentError(f"bench.run ended with exit code {done.returncode}: {last}")


def measuring_s(blocks: Iterable[Measurement]) -> float:
    """Seconds in imports, loads, first inferences, warm-ups, timed loops and canaries."""
    return sum(map(_measuring_s, blocks))


def _measuring_s(block: Measurement) -> float:
    starts = [block.import_s, block.read_s or 0.0, block.load_s, block.first_s, block.warmup_s]
    if block.surroundings is not None:
        starts.append(block.surroundings.wall_s)
    if block.canary is not None:
        # Each is the middle one of its turns.
        starts += [host.CANARY_TURNS * (block.canary.before_s + block.canary.after_s)]
    if block.cold is not None:
        starts.append(block.cold.total_s)
    return sum(starts)


def judge(size: Size, lines: Sequence[Line]) -> Outcome:
    """At most 2 microseconds an inference, and 20 % of a run's time."""
    del size
    loops = [line for line in lines if isinstance(line, PerInference)]
    costs = [line.looped_s - line.bare_s for line in loops]
    cost_s = stats.percentile(costs, 0.5)
    parts = [
        f"The loop around an inference costs {1e6 * cost_s:.2f} µs (median of {len(loops)} blocks; "
        f"at most {1e6 * MOST_S:.0f} are allowed)"
    ]
    passed = cost_s <= MOST_S
    for run in (line for line in lines if isinstance(line, WholeRun)):
        share = 1 - run.measuring_s / run.wall_s
        parts.append(
            f"`{run.command}` took {run.wall_s:.0f} s for {run.blocks} blocks, {share:.1%} of it "
            f"outside of timed loops, warm-ups, imports, loads and canaries (at most "
            f"{MOST_SHARE:.0%} is allowed); {run.watching_s / run.wall_s:.1%} watched idle children"
        )
        passed = passed and share <= MOST_SHARE
    return Outcome(". ".join(parts) + ".", passed, _table(loops))


def _table(loops: Sequence[PerInference]) -> str:
    columns = {
        "bare call": [line.bare_s for line in loops],
        "in the timed loop": [line.looped_s for line in loops],
        "as recorded (p50)": [line.recorded_s for line in loops],
    }
    lines = [["null runtime, µs an inference", "least", "median", "most"]]
    for name, values in columns.items():
        found = (min(values), stats.percentile(values, 0.5), max(values))
        lines.append([name, *(rounded(1e6 * value) for value in found)])
    return markdown(lines)


def draw(figure: Any, size: Size, lines: Sequence[Line]) -> None:
    """What an inference costs, by block."""
    del size
    axes = figure.subplots()
    loops = [line for line in lines if isinstance(line, PerInference)]
    for name, label in (
        ("looped_s", "in the timed loop"),
        ("recorded_s", "as recorded (p50)"),
        ("bare_s", "bare call"),
    ):
        axes.plot([1e6 * getattr(line, name) for line in loops], marker="o", label=label)
    axes.set_xlabel("block")
    axes.set_ylabel("null runtime, µs an inference")
    axes.set_ylim(bottom=0)
    axes.legend()


EXPERIMENT = Experiment(
    question="What does the harness cost an inference (the `null` runtime against a bare loop "
    "over the same callable), and how much of a run is anything but measuring?",
    line=TypeAdapter(PerInference | WholeRun),
    defaults=Size(
        pairs=20, blocks=1, variants=("revisited-v6",), recipe="fp32", runtime=NULL, threads=1
    ),
    units=lambda size: size.pairs + 1,
    expected_s=lambda size: size.pairs * (BLOCK_S + size.seconds) + 480,
    measure=measure,
    judge=judge,
    draw=draw,
    cases=cases,
)
