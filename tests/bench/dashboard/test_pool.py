"""Which models stay warm, and what becomes of a child that dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench import launch
from bench.dashboard import measuring, uploads
from bench.dashboard.measuring import Stopped, lent
from bench.dashboard.pool import (
    CannotLoad,
    NoRoom,
    Pool,
    Resident,
    Warm,
    refusal,
    resident_bytes,
    victims,
)
from bench.dashboard.uploads import Picture
from tests.bench.dashboard.conftest import BLACK, GREEN, PREPROCESS, RED, ModelOf, file_of
from tests.bench.dashboard.fake_worker import WORKER

MB = 1_000_000
A, B, C = Resident("a", 100, used=3), Resident("b", 200, used=1), Resident("c", 300, used=2)


def picture(colour: tuple[int, int, int]) -> Picture:
    """A picture of one colour."""
    return uploads.taken(file_of(colour), [PREPROCESS], 10_000)


def answered(warm: Warm, colour: tuple[int, int, int]) -> None:
    """Ask about a picture, whatever the answer."""
    measuring.answer(warm, picture(colour))


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    """Two models at most, in children that look at the picture."""
    made = Pool(2, 0, tmp_path / "logs", WORKER)
    yield made
    made.close()


def test_what_rested_longest_goes_first() -> None:
    """As many as there are too many."""
    assert victims([A, B, C], 4, 1000, most=4, most_bytes=0) == []
    assert victims([A, B, C], 4, 1000, most=3, most_bytes=0) == ["b"]
    assert victims([A, B, C], 4, 1000, most=2, most_bytes=0) == ["b", "c"]


def test_memory_is_a_bound_as_the_number_is() -> None:
    """Until what is left fits; a model that is too large by itself gets the room alone."""
    assert victims([A, B, C], 4, 1000, most=9, most_bytes=800) == ["b"]
    assert victims([A, B, C], 4, 1000, most=9, most_bytes=799) == ["b", "c"]
    assert victims([A, B, C], 4, 10_000, most=9, most_bytes=500) == ["b", "c", "a"]


def test_what_is_at_work_never_goes() -> None:
    """Two are busy and do not rest: no third finds room beside them."""
    assert victims([], 3, 0, most=2, most_bytes=0) is None
    assert victims([A], 4, 0, most=2, most_bytes=0) is None


def test_a_model_is_loaded_once_and_answers_each_picture(pool: Pool, model_of: ModelOf) -> None:
    """The child is the same, the answer is that to the picture."""
    model = model_of()
    pids, best = [], []

    def attempt(warm: Warm) -> None:
        pids.append(warm.child.pid)
        best.append(int(measuring.answer(warm, picture(colour)).argmax()))

    for colour in (RED, GREEN):  # noqa: B007 (``attempt`` reads it)
        assert lent(pool, model, attempt) == ""
    assert best == [0, 1]
    assert pids[0] == pids[1]


def test_the_third_of_two_ends_the_first(pool: Pool, model_of: ModelOf) -> None:
    """Least recently used: its process is gone."""
    models = [model_of("fp32"), model_of("int8-dynamic"), model_of("int8-static")]
    first = pool.take(models[0])
    pid = first.child.pid
    assert resident_bytes(pid) > 0
    pool.give(first)
    for model in models[1:]:
        pool.give(pool.take(model))
    assert pool.names() == [model.name for model in models[1:]]
    assert resident_bytes(pid) == 0


def test_no_room_beside_models_at_work(pool: Pool, model_of: ModelOf) -> None:
    """Said so, with the flags that help."""
    pool.take(model_of("fp32"))
    pool.take(model_of("int8-dynamic"))
    with pytest.raises(NoRoom, match="--most-models"):
        pool.take(model_of("int8-static"))


Sizes = dict[int, int]


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> Sizes:
    """By child what it holds in memory, as the kernel is made to say; 100 MB unless a test says."""
    found: Sizes = {}
    monkeypatch.setattr("bench.dashboard.pool.resident_bytes", lambda pid: found.get(pid, 100 * MB))
    return found


def test_room_is_made_by_what_models_hold(tmp_path: Path, model_of: ModelOf, sizes: Sizes) -> None:
    """What rested longest goes; of a model that was never loaded its file tells what to expect."""
    pool = Pool(9, 650 * MB, tmp_path / "logs", WORKER)
    first, second = pool.take(model_of("fp32")), pool.take(model_of("int8-dynamic"))
    sizes[first.child.pid] = 300 * MB
    pool.give(first)
    pool.give(second)
    # 400 MB are held, and 200 MB with twice the file of 250 kB are guessed for the third.
    third = pool.take(model_of("int8-static"))
    assert len(pool.names()) == 3
    pool.give(third)
    sizes[second.child.pid] = 160 * MB
    pool.take(model_of("fp32-opt"))
    assert pool.names() == [one.model.name for one in (second, third)] + [model_of("fp32-opt").name]
    pool.close()


def test_what_a_model_took_is_remembered(tmp_path: Path, model_of: ModelOf, sizes: Sizes) -> None:
    """When it comes back there is no guess: the others go at once."""
    pool = Pool(9, 900 * MB, tmp_path / "logs", WORKER)
    large, other = model_of("fp32"), model_of("int8-dynamic")
    warm = pool.take(large)
    sizes[warm.child.pid] = 850 * MB
    pool.give(warm)
    pool.discard(warm)
    pool.give(pool.take(other))
    pool.take(large)
    assert pool.names() == [large.name]
    pool.close()


def test_what_grew_beyond_its_guess_lets_others_go(
    tmp_path: Path, model_of: ModelOf, sizes: Sizes
) -> None:
    """When it is given back: those at rest, the longest first, and never the one used last."""
    pool = Pool(9, 500 * MB, tmp_path / "logs", WORKER)
    first, second, third = (
        pool.take(model_of(recipe)) for recipe in ("fp32", "int8-dynamic", "int8-static")
    )
    pids = [one.child.pid for one in (first, second, third)]
    pool.give(first)
    pool.give(second)
    sizes[pids[2]] = 350 * MB
    pool.give(third)
    assert pool.names() == [second.model.name, third.model.name]
    assert not Path(f"/proc/{pids[0]}").exists()
    sizes[pids[2]] = 5000 * MB
    pool.give(third)
    assert pool.names() == [third.model.name], "too large by itself, it stays: it is in use"
    pool.close()


def test_what_was_used_last_stays(tmp_path: Path, model_of: ModelOf, sizes: Sizes) -> None:
    """Beside what is at work it is too much: but its next round is about to come."""
    pool = Pool(9, 500 * MB, tmp_path / "logs", WORKER)
    busy, last = pool.take(model_of("fp32")), pool.take(model_of("int8-dynamic"))
    sizes[busy.child.pid], sizes[last.child.pid] = 400 * MB, 200 * MB
    pool.give(last)
    assert pool.names() == [busy.model.name, last.model.name]
    pool.close()


def test_no_room_in_memory_is_said_with_its_bound(
    tmp_path: Path, model_of: ModelOf, sizes: Sizes
) -> None:
    """Where what is at work fills it."""
    pool = Pool(9, 300 * MB, tmp_path / "logs", WORKER)
    sizes[pool.take(model_of("fp32")).child.pid] = 250 * MB
    with pytest.raises(NoRoom, match=r"at most 9 with 0\.3 GB .*--most-memory"):
        pool.take(model_of("int8-dynamic"))
    pool.close()


def test_a_child_that_died_at_rest_is_replaced(pool: Pool, model_of: ModelOf) -> None:
    """And it is told how it ended."""
    model = model_of()
    warm = pool.take(model)
    pool.give(warm)
    os.killpg(warm.child.pid, signal.SIGKILL)
    answers = []
    died = lent(pool, model, lambda one: answers.append(measuring.answer(one, picture(RED))))
    assert "SIGKILL" in died
    assert len(answers) == 1
    assert pool.take(model).child.pid != warm.child.pid


def test_a_picture_that_kills_every_child_is_a_failure(pool: Pool, model_of: ModelOf) -> None:
    """After the second one; none is left behind, and the next picture is answered."""
    model = model_of()
    with pytest.raises(launch.ChildDied, match="exit code 3 .* during picture"):
        lent(pool, model, lambda one: answered(one, BLACK))
    assert pool.names() == []
    assert lent(pool, model, lambda one: answered(one, RED)) == ""


def test_what_nobody_wants_stops_at_the_next_step(pool: Pool, model_of: ModelOf) -> None:
    """The child is well and stays."""
    model = model_of()

    def attempt(warm: Warm) -> None:
        measuring.answer(warm, picture(RED))
        measuring.timed(warm, 0, 3, lambda: False)

    with pytest.raises(Stopped):
        lent(pool, model, attempt)
    assert pool.names() == [model.name]


def test_what_a_runtime_refuses_is_no_death(tmp_path: Path, model_of: ModelOf) -> None:
    """The reason is the runtime's; no child is left."""
    pool = Pool(2, 0, tmp_path / "logs")
    model = model_of()
    other = replace(model, case=replace(model.case, runtime="ort"))
    with pytest.raises(CannotLoad):
        pool.take(other)
    assert pool.names() == []


def test_too_little_memory_is_said_with_the_flag_that_gives_more() -> None:
    """C++ says no more than std::bad_alloc; other reasons stay as they are."""
    assert refusal("std::bad_alloc", 2_000_000_000).endswith("may take 2 GB (--most-memory)")
    assert refusal("std::bad_alloc", 0) == "std::bad_alloc"
    assert refusal("no such operator", 2_000_000_000) == "no such operator"


def test_a_closed_pool_ends_its_children(pool: Pool, model_of: ModelOf) -> None:
    """Those at rest and those at work."""
    resting, busy = pool.take(model_of("fp32")), pool.take(model_of("int8-dynamic"))
    pool.give(resting)
    pool.close()
    with pytest.raises(launch.ChildDied):
        busy.child.ask({"do": "warm"}, 10)
    assert resident_bytes(resting.child.pid) == 0
    with pytest.raises(launch.ChildDied, match="being closed"):
        pool.take(model_of("fp32"))
    pool.discard(busy)


def test_a_model_that_comes_back_to_a_closed_pool_is_ended(pool: Pool, model_of: ModelOf) -> None:
    """Nobody would end it later."""
    warm = pool.take(model_of())
    pool._closed = True
    pool.give(warm)
    assert resident_bytes(warm.child.pid) == 0


def test_a_block_is_that_of_a_run(pool: Pool, model_of: ModelOf) -> None:
    """As many latencies as were asked for, parity by the reference, all that a verdict needs."""
    blocks = []

    def attempt(warm: Warm) -> None:
        measuring.answer(warm, picture(RED))
        blocks.append(measuring.with_parity(warm, measuring.timed(warm, 0, 7, lambda: True)))

    assert lent(pool, model_of(), attempt) == ""
    block = blocks[0]
    assert (block.status, len(block.latencies_ns)) == ("ok", 7)
    assert block.parity is not None and block.parity.passed and block.parity.images == 4
    assert block.memory is not None and block.surroundings is not None
    assert block.canary is not None
