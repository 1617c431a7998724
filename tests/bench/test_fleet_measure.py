"""What becomes of cases and machines where a process dies or a machine can't go on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from bench.case import Case
from bench.on_host import Task
from bench.parcel import Fetch
from bench.record import Answers, Measurement, Peaks, current_blocks, read_run
from tests.bench.test_kinds import machine

pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")

from bench import fleet_measure
from bench.cluster import HostTrouble, ProcessDied
from bench.fleet_losses import MOST_DIED, unasked
from bench.fleet_queue import MOST_LOST
from bench.fleet_running import Running, write_header
from tests.bench.fleet_made_up import WORK, MadeUp, answer, measure, measured, peak, running

RECIPES = ("fp32", "fp32-opt", "int8-dynamic", "int8-static", "fp16-weights")
CASES = [Case("revisited-base", recipe, "ort", 1) for recipe in RECIPES]
DEADLY = CASES[3]
FIRST, SECOND = machine(1), machine(2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for what is made up."""
    monkeypatch.setattr(fleet_measure, "_PAUSE_S", 0.01)
    monkeypatch.setattr(fleet_measure, "_POLL_S", 0.01)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What a test has opened."""
    with ExitStack() as opened:
        yield opened


def blocks_of(one: Running) -> dict[tuple[Case, int], Measurement]:
    """What counts of the record, and stands in it."""
    current = current_blocks(read_run(one.recorder.path).measurements)
    return {(case, block.round): block for case, own in current.items() for block in own}


def states(one: Running) -> dict[Case, set[str]]:
    """How the blocks of each case ended."""
    found: dict[Case, set[str]] = {}
    for (case, _), block in blocks_of(one).items():
        found.setdefault(case, set()).add(block.status)
    return found


def others_fine(one: Running) -> bool:
    """Whether every case but the deadly one was measured in all rounds."""
    fine = [key for key, block in blocks_of(one).items() if block.status == "ok"]
    return {(case, n) for case in CASES if case != DEADLY for n in range(3)} <= set(fine)


# --- processes


def test_answers_that_kill_their_process_cost_their_case_alone(
    stack: ExitStack, tmp_path: Path
) -> None:
    """It is given up with the reason in its row, and no machine is lost."""
    asked: Counter[Case] = Counter()

    def deadly(block: Measurement, task: Task, fetch: Fetch) -> tuple[Answers | None, str]:
        asked[task.case] += 1
        if task.case == DEADLY:
            raise ProcessDied("killed")
        return answer(block, task, fetch)

    work = replace(WORK, answer=deadly)
    one = running(tmp_path, CASES, [FIRST, SECOND], stack, work, asked=True)
    measured(MadeUp(), one)
    rows = blocks_of(one)
    assert rows[DEADLY, 0].reason == (
        "accuracy: 2 processes or machines were lost while they asked it, the last: killed"
    )
    assert rows[DEADLY, 0].latencies_ns, "what was timed is kept"
    assert all(rows[case, 0].answers for case in CASES if case != DEADLY)
    assert asked == {**dict.fromkeys(CASES, 1), DEADLY: MOST_LOST}
    assert one.unanswered == {DEADLY}
    assert len(one.kind.machines) == 2
    assert not one.lost


def test_answers_are_asked_again_by_the_next_start(stack: ExitStack, tmp_path: Path) -> None:
    """Once they come, the row does not say any more that they did not."""
    failed = "cold start: no file; accuracy: 2 processes were lost; really"
    assert unasked(Measurement(DEADLY, 0, "ok", failed)).reason == "cold start: no file"
    assert unasked(Measurement(DEADLY, 0, "ok", "accuracy: lost")).reason == ""
    assert unasked(Measurement(DEADLY, 0, "ok", "cold start: x")).reason == "cold start: x"
    one = running(tmp_path, [DEADLY], [FIRST], stack, asked=True, rounds=1)
    block = measure(Task(DEADLY, 0, one.sources[DEADLY].artifact, one.effort, one.options, ""), id)  # type: ignore[arg-type]
    one.recorder.append(replace(block, reason=failed))
    measured(MadeUp(), one)
    row = blocks_of(one)[DEADLY, 0]
    assert row.answers
    assert row.reason == "cold start: no file"


def test_a_process_that_dies_does_not_cost_its_machine(stack: ExitStack, tmp_path: Path) -> None:
    """Its block is measured once more, then its case fails, in all rounds; the rest goes on."""
    tried: list[int] = []

    def deadly(task: Task, fetch: Fetch) -> Measurement:
        if task.case == DEADLY:
            tried.append(task.number)
            raise ProcessDied("killed")
        return measure(task, fetch)

    one = running(tmp_path, CASES, [FIRST], stack, replace(WORK, measure=deadly))
    said = measured(MadeUp(), one)
    assert others_fine(one)
    assert states(one)[DEADLY] == {"failed"}
    assert tried == [0] * MOST_LOST
    rows = blocks_of(one)
    text = "2 processes or machines were lost while they measured it, the last: killed"
    assert rows[DEADLY, 0].reason == text
    assert rows[DEADLY, 2].reason == f"given up in round 1: {text}"
    assert "10.0.0.1 (00000001) lives, but a process on it died: killed" in said
    assert not one.lost


def test_a_node_that_is_gone_is_lost_with_its_process(stack: ExitStack, tmp_path: Path) -> None:
    """What it held goes to the other one; nothing fails."""
    cluster, begun = MadeUp(), threading.Event()

    def dying(task: Task, fetch: Fetch) -> Measurement:
        if cluster.here.node == FIRST.node:
            cluster.gone.add(FIRST.node.id)
            begun.set()
            raise ProcessDied("killed")
        assert begun.wait(60)
        return measure(task, fetch)

    one = running(tmp_path, CASES, [FIRST, SECOND], stack, replace(WORK, measure=dying))
    said = measured(cluster, one)
    assert set.union(*states(one).values()) == {"ok"}
    assert one.lost == {"00000001": "its node is gone: killed"}
    assert "small: 10.0.0.1 (00000001) is lost: its node is gone: killed" in said


def test_a_machine_where_everything_dies_is_left_out(stack: ExitStack, tmp_path: Path) -> None:
    """It would fail what the others of its kind could measure."""
    cluster, begun = MadeUp(), threading.Event()

    def dying(task: Task, fetch: Fetch) -> Measurement:
        if cluster.here.node == FIRST.node:
            begun.set()
            raise ProcessDied("killed")
        assert begun.wait(60)
        return measure(task, fetch)

    one = running(tmp_path, CASES, [FIRST, SECOND], stack, replace(WORK, measure=dying))
    measured(cluster, one)
    text = f"{MOST_DIED} processes died on it one after another, the last: killed"
    assert one.lost == {"00000001": text}
    failed = [case for case, own in states(one).items() if "failed" in own]
    assert len(failed) == MOST_DIED // MOST_LOST


def test_the_last_machine_goes_on_where_cases_are_to_blame(
    stack: ExitStack, tmp_path: Path
) -> None:
    """Nobody else could measure what comes after them."""
    last = CASES[-1]

    def deadly(task: Task, fetch: Fetch) -> Measurement:
        if task.case == last:
            return measure(task, fetch)
        raise ProcessDied("killed")

    one = running(tmp_path, CASES, [FIRST], stack, replace(WORK, measure=deadly))
    measured(MadeUp(), one)
    assert {case for case, own in states(one).items() if own == {"ok"}} == {last}
    assert not one.lost


def test_a_machine_that_dies_before_it_measures_is_lost(stack: ExitStack, tmp_path: Path) -> None:
    """No case is blamed for it, and it is not tried for ever."""

    def dying(threads: int, store: str) -> tuple[Peaks, tuple[str, ...]]:
        raise ProcessDied("killed")

    one = running(tmp_path, CASES, [FIRST], stack, replace(WORK, peak=dying))
    measured(MadeUp(), one)
    (reason,) = {block.reason for block in blocks_of(one).values()}
    assert reason.startswith("no machine of small is left: the last one: 6 processes died on it")


# --- machines that can't go on


def test_a_full_disk_costs_its_machine_alone(stack: ExitStack, tmp_path: Path) -> None:
    """The others measure all; the record says which was lost, and why."""
    cluster, begun = MadeUp(), threading.Event()

    def full(threads: int, store: str) -> tuple[Peaks, tuple[str, ...]]:
        if cluster.here.node == FIRST.node:
            begun.set()
            raise HostTrouble("No space left on device", FIRST.node.id)
        assert begun.wait(60)
        return peak(threads, store)

    one = running(tmp_path, CASES, [FIRST, SECOND], stack, replace(WORK, peak=full))
    measured(cluster, one)
    assert set.union(*states(one).values()) == {"ok"}
    write_header(one)
    fleet = read_run(one.recorder.path).header.fleet
    assert fleet is not None
    assert fleet.lost == {"00000001": "No space left on device"}


def test_without_a_machine_what_was_measured_is_kept(stack: ExitStack, tmp_path: Path) -> None:
    """What nobody can measure or answer any more says why."""
    count = 0

    def full(task: Task, fetch: Fetch) -> Measurement:
        nonlocal count
        count += 1
        if count > 2:
            raise HostTrouble("No space left on device", FIRST.node.id)
        return measure(task, fetch)

    work = replace(WORK, measure=full)
    one = running(tmp_path, CASES, [FIRST], stack, work, asked=True, rounds=1)
    measured(MadeUp(), one)
    why = "no machine of small is left: the last one: No space left on device"
    rows = list(blocks_of(one).values())
    assert Counter(block.status for block in rows) == {"ok": 2, "failed": 3}
    assert all(block.reason == why for block in rows if block.status == "failed")
    assert all(block.reason == f"accuracy: {why}" for block in rows if block.status == "ok")
    assert len(one.unanswered) == 2


# --- the driver meanwhile


def test_the_cluster_is_looked_at_while_machines_measure(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who joins late is named then, not when all is done."""
    monkeypatch.setattr(fleet_measure, "_LOOK_S", 0.0)
    looked = threading.Event()

    def patient(task: Task, fetch: Fetch) -> Measurement:
        assert looked.wait(60)
        return measure(task, fetch)

    one = running(tmp_path, CASES[:1], [FIRST], stack, replace(WORK, measure=patient))
    measured(MadeUp(), one, look=looked.set)
    assert states(one) == {CASES[0]: {"ok"}}
