"""The desk: what becomes of a run, whatever happens to children."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.dashboard import measuring, uploads
from bench.dashboard.desk import Desk
from bench.dashboard.pool import Pool, Warm
from bench.dashboard.runs import Run
from bench.record import Measurement
from tests.bench.dashboard.conftest import PREPROCESS, RED, ModelOf, file_of
from tests.bench.dashboard.fake_worker import WORKER


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    """Two models at most, in children that look at the picture."""
    made = Pool(2, 0, tmp_path / "logs", WORKER)
    yield made
    made.close()


def carried_out(desk: Desk, run: Run, between: Callable[[], None] = lambda: None) -> None:
    """Submit a run and wait for its end; ``between`` is called before it."""

    async def scene() -> None:
        task = asyncio.create_task(desk.work())
        between()
        desk.submit(run)
        async for _ in run.feed.read():
            pass
        task.cancel()

    asyncio.run(scene())


def run_of(*models: object, beside: bool = False) -> Run:
    """A run on a red picture."""
    picture = uploads.taken(file_of(RED), [PREPROCESS], 10_000)
    return Run("a", picture, models, 6, beside)  # type: ignore[arg-type]


def test_a_child_that_died_is_replaced_and_the_card_says_so(pool: Pool, model_of: ModelOf) -> None:
    """The run is done all the same, with all its rounds."""
    model = model_of()
    carried_out(Desk(pool), run_of(model))
    warm = pool.take(model)
    pool.give(warm)
    run = run_of(model)
    desk = Desk(pool)
    carried_out(desk, run, lambda: os.killpg(warm.child.pid, signal.SIGKILL))
    (card,) = desk.cards(run)
    assert (card.state, card.runs) == ("done", 6)
    assert len(card.notes) == 1
    assert "SIGKILL" in card.notes[0] and card.notes[0].endswith("and was replaced")
    assert pool.take(model).child.pid != warm.child.pid


def test_at_once_means_as_many_as_fit(pool: Pool, model_of: ModelOf) -> None:
    """The third of two says that it found no room; its own numbers stand."""
    run = run_of(model_of("fp32"), model_of("int8-dynamic"), model_of("int8-static"), beside=True)
    desk = Desk(pool)
    carried_out(desk, run)
    cards = desk.cards(run)
    assert [card.state for card in cards] == ["done"] * 3
    assert [bool(card.beside) for card in cards] == [True, True, False]
    assert "while another model ran" in cards[0].beside
    assert "--most-models" in cards[2].notes[0]


def test_a_runtime_that_can_not_load_is_a_failed_card(tmp_path: Path, model_of: ModelOf) -> None:
    """The other models go on."""
    pool = Pool(2, 1, tmp_path / "logs", WORKER)  # a byte of data: no child can load anything
    try:
        run = run_of(model_of())
        desk = Desk(pool)
        carried_out(desk, run)
        (card,) = desk.cards(run)
        assert card.state == "failed" and card.reason
        assert desk.advice(run, [card]).ship == ""
    finally:
        pool.close()


def test_a_mistake_of_ours_fails_one_card(
    pool: Pool, model_of: ModelOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others of the run are measured, the child is not asked again, and the reason is said."""
    wrong, right = model_of("int8-dynamic"), model_of()
    timed = measuring.timed

    def mistaken(warm: Warm, *more: Any) -> Measurement:
        if warm.model is wrong:
            raise ZeroDivisionError("a mistake of ours")
        return timed(warm, *more)

    monkeypatch.setattr(measuring, "timed", mistaken)
    run = run_of(right, wrong)
    desk = Desk(pool)
    carried_out(desk, run)
    first, second = desk.cards(run)
    assert (first.state, second.state, run.state) == ("done", "failed", "done")
    assert "ZeroDivisionError: a mistake of ours" in second.reason
    assert pool.names() == [right.name]


def test_a_mistake_beside_others_is_a_note(
    pool: Pool, model_of: ModelOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The own numbers stand, and the run comes to its end."""

    def mistaken(*_: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr("bench.dashboard.together.at_once", mistaken)
    run = run_of(model_of("fp32"), model_of("int8-dynamic"), beside=True)
    desk = Desk(pool)
    carried_out(desk, run)
    for card in desk.cards(run):
        assert (card.state, card.runs, card.beside) == ("done", 6, "")
        assert "a mistake of ours" in card.notes[0]


def test_advice_is_final_when_all_rounds_are_over(pool: Pool, model_of: ModelOf) -> None:
    """Running at once afterwards changes nothing about it."""
    run = run_of(model_of("fp32"), model_of("int8-dynamic"), beside=True)
    desk = Desk(pool)
    finals: list[tuple[bool, bool]] = []
    publish = run.feed.publish

    def listening(kind: str, key: str, data: Any) -> None:
        if kind == "advice":
            over = all(one.state == "done" for one in run.seen.values())
            finals.append((data.final, over))
        publish(kind, key, data)

    run.feed.publish = listening  # type: ignore[method-assign]
    carried_out(desk, run)
    assert (False, False) in finals and (True, True) in finals
    assert all(final == over for final, over in finals)
