"""What the driver of a fleet costs: many blocks that take no time, on eight nodes of this machine.

Machines that answer at once leave nothing but what is between two blocks: the queue, Ray's call
there and back, the record's line on the disk. With eight of them the driver is what they wait for.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ConfigDict, TypeAdapter
from rich.console import Console

from bench import blocks, header, on_host
from bench.case import Case
from bench.files import Source
from bench.fleet_board import Board
from bench.kinds import Kind, Machine
from bench.method.experiment import Experiment, ExperimentError, Lab, Outcome, Size
from bench.method.thresholds import markdown
from bench.on_host import Task
from bench.options import Options
from bench.parcel import Fetch
from bench.record import Answers, FileFacts, Measurement, Memory, Parity, Peaks, Recorder
from bench.text import rounded
from export.artifact import Artifact
from export.checkpoints import SEEDED

NODES = 8
CASES = 1000
"""Of one part of the run; each is measured once."""
_EVERY = 10
"""Blocks between two looks at the driver."""
MOST_S = 0.005
"""What the driver may add to a case."""
MOST_GROWTH_BYTES = 1_000
"""What its memory may grow by for each case, from the end of the second part to the last's."""


@dataclass(frozen=True)
class Line:
    """One part: seconds of the wall for its cases, the driver's CPU time, its memory at the end."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    cases: int
    wall_s: float
    cpu_s: float
    resident_bytes: int
    nodes: int = NODES


class _Moment(NamedTuple):
    """How many blocks were recorded by then, and what the driver had taken."""

    blocks: int
    wall_s: float
    cpu_s: float
    resident_bytes: int


def at_once(task: Task, fetch: Fetch) -> Measurement:
    """What a launcher would give back, without launching anything."""
    del fetch
    return Measurement(
        task.case,
        task.number,
        "ok",
        file=FileFacts(task.artifact.key, "0", "onnx", 1_000_000, 1, 1, 0, 1, 1.0, 0),
        latencies_ns=(1_000_000,) * 100,
        warmup_settled=True,
        memory=Memory(1, 2, 3),
        parity=Parity(0.0, 1.0, 1.0, 16, True),
        block_s=0.0,
        machine=on_host.machine(),
    )


def no_peak(threads: int, store: str) -> tuple[Peaks, tuple[str, ...]]:
    """No figure: peaks are a part of measuring."""
    del store
    return Peaks(threads, {}, 1.0), ()


@functools.cache
def _cluster() -> str:
    """The address of eight nodes on the loopback, for as long as this process lives.

    Nobody gets in without their token.
    """
    try:
        from ray.cluster_utils import Cluster

        from bench.cluster import LOOPBACK, ask_for_a_token, on_the_loopback
    except ImportError as exc:
        raise ExperimentError(f"{exc}: pip install 'deploybench[ray]'") from exc
    alone = contextlib.ExitStack()
    atexit.register(alone.close)
    alone.enter_context(on_the_loopback())
    ask_for_a_token()
    here: dict[str, Any] = {"node_ip_address": LOOPBACK}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **here})
    atexit.register(cluster.shutdown)
    for _ in range(NODES):
        cluster.add_node(num_cpus=1, **here)
    cluster.wait_for_nodes()
    address: str = cluster.address
    return address


def measure(index: int, lab: Lab) -> Line:
    """One of the parts into which the run is cut; all are of one run, which the first one makes."""
    return _run(lab.size.pairs, lab.store)[index]


@functools.cache
def _run(parts: int, store: Path) -> tuple[Line, ...]:
    """All cases in one run, as a user has them, cut where every thousandth block is recorded."""
    from bench import cluster, fleet, fleet_measure, fleet_running

    address = _cluster()
    with cluster.connected(address) as connected, tempfile.TemporaryDirectory() as out:
        options = Options(
            threads=(1,), out=Path(out), store=store, ray=address, blocks=1, weights=SEEDED
        )
        kind = _apart(*fleet.found(connected, options))
        wanted = CASES * parts
        cases = tuple(Case(f"made-up-{number}", "fp32", "ort", 1) for number in range(wanted))
        head = header.header(options, cases, [], None, None, (), kind.facts)
        with Recorder.open(Path(out), head) as recorder, _Watch() as board:
            running = fleet_running.Running(
                kind,
                options,
                cases,
                recorder,
                blocks.effort_of(options),
                {case: Source(_file(case)) for case in cases},
                work=fleet_running.Work(at_once, never, no_peak),
            )
            fleet_measure.hand_out(running, board)
            fleet_measure.measure_all(connected, [running], board, threading.Event())
    if running.queue.left:
        raise ExperimentError(f"{running.queue.left} blocks were not measured")
    return tuple(_between(*pair) for pair in itertools.pairwise(_cut(board.seen, parts)))


def _cut(seen: Sequence[_Moment], parts: int) -> list[_Moment]:
    """The moments at which equal parts begin and end."""
    last = len(seen) - 1
    return [seen[last * part // parts] for part in range(parts + 1)]


def _between(begun: _Moment, ended: _Moment) -> Line:
    cases = ended.blocks - begun.blocks
    wall_s, cpu_s = ended.wall_s - begun.wall_s, ended.cpu_s - begun.cpu_s
    return Line(cases, wall_s, cpu_s, ended.resident_bytes)


def _apart(kind: Kind) -> Kind:
    """The nodes as machines of their own, which need not take turns."""
    machines = tuple(
        replace(one, own=replace(one.own, machine=f"{number:08x}"))
        for number, one in enumerate(kind.machines)
    )
    return replace(kind, machines=machines)


def never(measured: Measurement, task: Task, fetch: Fetch) -> tuple[Answers | None, str]:
    """Nothing is asked here."""
    raise AssertionError(f"{measured.case} has no question")


class _Watch(Board):
    """Shows nothing, and notes when blocks are recorded, once every node has begun.

    Before that Ray starts a process on each, which takes seconds and is no part of a case.
    """

    def __init__(self) -> None:
        super().__init__(Console(file=Path(os.devnull).open("w")))  # noqa: SIM115
        self.seen: list[_Moment] = []
        self._nodes: set[str] = set()
        self._blocks = 0

    def measured(self, kind: str, machine: Machine | None, block: Measurement, last: bool) -> None:
        """As ever."""
        super().measured(kind, machine, block, last)
        if machine is not None:
            self._nodes.add(machine.node.id)
        self._blocks += 1
        if len(self._nodes) == NODES and self._blocks % _EVERY == 0:
            now = time.perf_counter(), time.process_time()
            self.seen.append(_Moment(self._blocks, *now, _resident_bytes()))


def _resident_bytes() -> int:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _file(case: Case) -> Artifact:
    """One that is not there."""
    return Artifact(
        key=f"{case.variant}.0",
        variant=case.variant,
        weights="seeded",
        recipe="fp32",
        format="onnx",
        folder="/nowhere",
        file="model.onnx",
        size_bytes=1_000_000,
        sha256="0",
        parameters=1,
        nonzero_parameters=1,
        rounded_to_zero=0,
        macs=1,
        input_size=(32, 32),
        class_names=("a", "b"),
        placeholder_names=True,
        reference="/nowhere",
    )


# --- what came out


def per_case_s(lines: Sequence[Line]) -> float:
    """What is between two cases: the whole wall time over all cases."""
    return sum(line.wall_s for line in lines) / sum(line.cases for line in lines)


def growth_bytes(lines: Sequence[Line]) -> float:
    """Resident memory that each case leaves behind, once the first parts have made all pools."""
    if len(lines) < 3:
        return 0.0
    grown = lines[-1].resident_bytes - lines[1].resident_bytes
    return grown / sum(line.cases for line in lines[2:])


def judge(size: Size, lines: Sequence[Line]) -> Outcome:
    """Both limits must hold."""
    del size
    each_s, grown = per_case_s(lines), growth_bytes(lines)
    cases = sum(line.cases for line in lines)
    cpu_s = sum(line.cpu_s for line in lines) / cases
    rows = [["part", "cases", "ms a case", "driver's CPU, ms a case", "driver resident, MB"]]
    rows += [
        [
            str(number + 1),
            str(line.cases),
            rounded(1e3 * line.wall_s / line.cases),
            rounded(1e3 * line.cpu_s / line.cases),
            rounded(line.resident_bytes / 1e6),
        ]
        for number, line in enumerate(lines)
    ]
    answer = (
        f"{cases} cases on {lines[0].nodes} nodes that answer at once took "
        f"{rounded(1e3 * each_s)} ms each (limit {1e3 * MOST_S:g}), {rounded(1e3 * cpu_s)} ms of "
        f"it the driver's own CPU time; behind the second of {len(lines)} parts its memory grew "
        f"by {grown:.0f} bytes a case (limit {MOST_GROWTH_BYTES})."
    )
    return Outcome(answer, each_s < MOST_S and grown < MOST_GROWTH_BYTES, markdown(rows))


def draw(figure: Any, size: Size, lines: Sequence[Line]) -> None:
    """Time and memory by unit."""
    del size
    times, memory = figure.subplots(1, 2)
    parts = range(1, len(lines) + 1)
    times.plot(parts, [1e3 * line.wall_s / line.cases for line in lines], marker="o")
    times.axhline(1e3 * MOST_S, linestyle="--")
    times.set_title("ms a case")
    memory.plot(parts, [line.resident_bytes / 1e6 for line in lines], marker="o")
    memory.set_title("driver resident, MB")
    for axes in (times, memory):
        axes.set_xlabel("part of the run")
        axes.set_ylim(bottom=0)


EXPERIMENT = Experiment(
    question="What does the driver of a fleet add to a case, and does its memory stay flat over "
    "ten thousand?",
    line=TypeAdapter(Line),
    defaults=Size(pairs=10, threads=1),
    units=lambda size: size.pairs,
    expected_s=lambda size: 20 + size.pairs * CASES * MOST_S,
    measure=measure,
    judge=judge,
    draw=draw,
    cases=lambda size: (),
)

if __name__ == "__main__":
    from bench.method.__main__ import main

    sys.exit(main(["scale", *sys.argv[1:]]))
