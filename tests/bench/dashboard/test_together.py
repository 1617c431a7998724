"""Several models at once: each is timed while all the others run, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import launch
from bench.dashboard import together, uploads
from bench.dashboard.measuring import Stopped
from bench.dashboard.models import Model
from bench.dashboard.pool import Pool, Warm
from bench.dashboard.runs import Run
from bench.worker import packed
from tests.bench.dashboard.conftest import PREPROCESS, RED, ModelOf, file_of

Answer = Callable[[str, int], None]
LIMIT_S = 20.0
"""No test waits as long: what would wait for ever fails instead."""


class FakeChild:
    """Answers at once, after ``before`` has seen which step it is, and the how manieth.

    The latency of the nth timed loop is n.
    """

    def __init__(self, before: Answer) -> None:
        self.before = before
        self.asked: list[str] = []

    def ask(self, message: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        del limit_s
        step = message["do"]
        self.asked.append(step)
        count = self.asked.count(step)
        self.before(step, count)
        outputs = packed(np.zeros((1, 3), np.float32))
        return {"status": "ok", "outputs": outputs, "latencies_ns": [count]}


class FakePool(Pool):
    """Lends what it was given; ``back`` is what came back well, ``gone`` what did not."""

    def __init__(self, before: Mapping[str, Answer]) -> None:
        super().__init__(9, 0, Path())
        self.children = {name: FakeChild(act) for name, act in before.items()}
        self.back: set[str] = set()
        self.gone: set[str] = set()

    def take(self, model: Model) -> Warm:
        child: Any = self.children[model.name]
        return Warm(model, child, {"first_s": 0.0})

    def give(self, warm: Warm) -> None:
        self.back.add(warm.model.name)

    def discard(self, warm: Warm) -> None:
        self.gone.add(warm.model.name)


def run_of(*models: Model) -> Run:
    """A run on a red picture."""
    return Run("a", uploads.taken(file_of(RED), [PREPROCESS], 10_000), models, 6, beside=True)


@pytest.fixture
def two(model_of: ModelOf) -> tuple[Model, Model]:
    """A fast one and a slow one."""
    return model_of("int8-dynamic"), model_of("fp32")


def nothing(step: str, count: int) -> None:
    """Answer at once."""


def test_nobody_is_timed_before_all_have_warmed_up(two: tuple[Model, Model]) -> None:
    """A model that is still loading its caches is no neighbour like the ones that follow."""
    fast, slow = two
    begun = threading.Event()
    early: list[bool] = []

    def before_fast(step: str, count: int) -> None:
        if step == "measure":
            begun.set()

    def before_slow(step: str, count: int) -> None:
        if step == "warm":
            early.append(begun.wait(0.2))

    pool = FakePool({fast.name: before_fast, slow.name: before_slow})
    together.at_once(pool, run_of(*two), two)
    assert early == [False]
    assert begun.is_set()


def test_the_fast_go_on_until_the_slowest_has_run_enough(two: tuple[Model, Model]) -> None:
    """What they did until then counts: all of it was beside the slow one."""
    fast, slow = two
    third = threading.Event()

    def before_fast(step: str, count: int) -> None:
        if (step, count) == ("measure", 3):
            third.set()

    def before_slow(step: str, count: int) -> None:
        if step == "measure" and not third.wait(LIMIT_S):
            raise launch.ChildDied("the fast one had stopped before")

    pool = FakePool({fast.name: before_fast, slow.name: before_slow})
    found = together.at_once(pool, run_of(*two), two)
    assert found[slow.name] == (1,)
    latencies = found[fast.name]
    assert isinstance(latencies, tuple) and latencies[:2] == (1, 2)
    assert pool.children[fast.name].asked[:2] == ["picture", "warm"]
    assert pool.back == {fast.name, slow.name}


def test_what_ends_after_the_slowest_is_left_out(model_of: ModelOf) -> None:
    """Fewer ran beside it."""
    model = model_of()
    state = together.Together(2)

    def before(step: str, count: int) -> None:
        if (step, count) == ("measure", 3):
            state.one_less()

    child: Any = FakeChild(before)
    assert together.timed(Warm(model, child, {"first_s": 0.0}), state, lambda: True) == (1, 2)


def test_nobody_waits_for_what_has_died(two: tuple[Model, Model]) -> None:
    """Its child is not used again; the others have their numbers."""
    fast, slow = two

    def dies(step: str, count: int) -> None:
        if step == "measure":
            raise launch.ChildDied("killed by SIGKILL")

    pool = FakePool({fast.name: nothing, slow.name: dies})
    found = together.at_once(pool, run_of(*two), two)
    assert isinstance(found[fast.name], tuple)
    assert isinstance(found[slow.name], launch.ChildDied)
    assert (pool.back, pool.gone) == ({fast.name}, {slow.name})


def test_what_did_not_warm_up_is_not_counted(two: tuple[Model, Model]) -> None:
    """Whatever stopped it, a mistake of ours included; the other is timed without it."""
    fast, slow = two

    def mistaken(step: str, count: int) -> None:
        if step == "warm":
            raise ZeroDivisionError("a mistake of ours")

    pool = FakePool({fast.name: nothing, slow.name: mistaken})
    found = together.at_once(pool, run_of(*two), two)
    assert found[fast.name] == (1,)
    assert isinstance(found[slow.name], ZeroDivisionError)
    assert (pool.back, pool.gone) == ({fast.name}, {slow.name})


def test_what_nobody_wants_stops_all(two: tuple[Model, Model]) -> None:
    """Their children are well."""
    run = run_of(*two)

    def cancels(step: str, count: int) -> None:
        if step == "warm":
            run.state = "cancelled"

    pool = FakePool(dict.fromkeys((model.name for model in two), cancels))
    found = together.at_once(pool, run, two)
    assert all(isinstance(one, Stopped) for one in found.values())
    assert pool.back == {model.name for model in two}
