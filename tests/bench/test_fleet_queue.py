"""Who measures what, and what becomes of it when a machine is lost."""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest

from bench.case import Case, crossover
from bench.fleet_queue import MOST_LOST, Job, Queue

BASE = [Case("revisited-base", recipe, "ort", 1) for recipe in ("fp32", "int8-static")]
LARGE = [Case("vgg19", recipe, "ort", 1) for recipe in ("fp32", "int8-static")]
JOBS = list(crossover((*BASE, *LARGE), 3, 0))


def drained(queue: Queue, machine: str) -> list[Job]:
    """What one machine takes until there is nothing left."""
    found = []
    while (job := queue.take(machine)) is not None:
        found.append(job)
        queue.done(machine)
    return found


def test_one_machine_measures_in_the_run_s_own_order() -> None:
    """As ``bench.run`` would on that machine."""
    queue = Queue(JOBS)
    assert drained(queue, "a") == JOBS
    assert queue.settled()


def test_a_round_is_of_one_machine() -> None:
    """Its ratios are paired; another round may be another machine's."""
    queue = Queue(JOBS, machines=3)
    first = {machine: queue.take(machine) for machine in "abc"}
    assert sorted(job[0] for job in first.values() if job) == [0, 1, 2]


def test_more_machines_than_rounds_share_them_by_table() -> None:
    """Rows of one table and round stay together."""
    queue = Queue(JOBS, machines=4)
    held: dict[str, list[Job]] = {machine: [] for machine in "abcd"}
    for machine in "abcd":
        for _ in range(2):
            job = queue.take(machine)
            assert job is not None
            held[machine].append(job)
    for jobs in held.values():
        assert len({(number, case.family) for number, case in jobs}) == 1


def test_what_a_lost_machine_held_goes_to_others() -> None:
    """The block that it was at included; nothing twice."""
    queue = Queue(JOBS)
    done = [queue.take("a")]
    queue.done("a")
    lost = queue.take("a")
    assert queue.lose("a") == ()
    rest = drained(queue, "b")
    assert rest[0] == lost
    assert [*done, *rest] == JOBS
    assert queue.settled()


def test_a_case_that_machines_die_of_is_given_up() -> None:
    """It would take one after the other down: the block that showed it first, then the others."""
    queue = Queue(JOBS)
    deadly = JOBS[0][1]
    own = [job for job in JOBS if job[1] == deadly]
    for number in range(MOST_LOST):
        assert queue.take(str(number)) == own[0]
        given_up = queue.lose(str(number))
        assert given_up == (() if number < MOST_LOST - 1 else tuple(own))
    rest = drained(queue, "b")
    assert rest == [job for job in JOBS if job[1] != deadly]
    assert queue.settled()


def test_who_was_not_at_its_block_does_not_speak_against_it() -> None:
    """Machines that die while they wait for their cores say nothing of what they would measure."""
    queue = Queue(JOBS)
    for number in range(2 * MOST_LOST):
        assert queue.take(str(number)) == JOBS[0]
        assert queue.lose(str(number), blamed=False) == ()
    assert drained(queue, "b") == JOBS


def test_who_lives_on_keeps_its_unit() -> None:
    """A new process on the same machine: the round's pairs stay those of one machine."""
    queue = Queue(JOBS, machines=3)
    lost, other = queue.take("a"), queue.take("b")
    assert queue.retry("a") == ()
    assert queue.take("a") == lost

    third = queue.take("c")
    assert lost and other and third
    assert len({lost[0], other[0], third[0]}) == 3


def test_a_case_that_is_given_up_leaves_what_others_hold_too() -> None:
    """But for the block that one of them is at just now."""
    queue = Queue(JOBS, machines=3)
    lost = queue.take("a")
    assert lost is not None
    now = queue.take("b")
    assert now is not None
    for _ in range(MOST_LOST - 1):
        assert queue.retry("a") == ()
        assert queue.take("a") == lost
    gone = queue.retry("a")
    assert gone[0] == lost
    assert {case for _, case in gone} == {lost[1]}
    queue.done("b")
    left = [*drained(queue, "b"), *drained(queue, "a"), now]
    assert sorted([*gone, *left], key=str) == sorted(JOBS, key=str)
    assert queue.settled()


def test_a_slow_machine_keeps_only_what_it_has_begun() -> None:
    """Rounds that nobody has begun go to whoever is done, whoever that is."""
    jobs = list(crossover((*BASE, *LARGE), 5, 0))
    queue = Queue(jobs, machines=2)
    slow = queue.take("slow")
    assert slow is not None
    fast = drained(queue, "fast")
    assert {number for number, _ in fast} == set(range(5)) - {slow[0]}
    queue.done("slow")
    assert {number for number, _ in drained(queue, "slow")} == {slow[0]}
    assert queue.settled()


def test_what_nobody_can_take_is_told() -> None:
    """Once, so that each becomes one row."""
    queue = Queue(JOBS)
    queue.take("a")
    queue.lose("a")
    assert sorted(queue.rest(), key=str) == sorted(JOBS, key=str)
    assert queue.rest() == ()
    assert queue.settled()


def test_losing_who_held_nothing_changes_nothing() -> None:
    """A machine may die while it waits for its cores."""
    queue = Queue(JOBS)
    assert queue.lose("a") == ()
    assert drained(queue, "b") == JOBS


@pytest.mark.parametrize("seed", range(5))
def test_every_block_is_recorded_once_whoever_dies(seed: int) -> None:
    """Threads that take and die at random: nothing is lost, nothing counted twice."""
    cases = [Case("revisited-base", "fp32", "ort", threads) for threads in range(1, 101)]
    jobs = list(crossover(cases, 3, seed))
    queue = Queue(jobs, machines=8)
    recorded: list[Job] = []
    given_up: list[Job] = []
    lock = threading.Lock()

    def machine(name: str) -> None:
        chance = random.Random(f"{seed} {name}")
        life = 0
        while not queue.settled():
            here = f"{name}.{life}"
            job = queue.take(here)
            if job is None:
                continue
            if chance.random() < 0.1:
                life += 1
                if lost := queue.lose(here):
                    with lock:
                        given_up.extend(lost)
                continue
            with lock:
                recorded.append(job)
            queue.done(here)

    threads = [threading.Thread(target=machine, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    counts = Counter([*recorded, *given_up])
    assert counts == Counter(jobs)
