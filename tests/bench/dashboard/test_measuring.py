"""The loop that times a picture is the loop that times a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from bench import block, launch, measure, worker
from bench.dashboard import measuring
from bench.dashboard.pool import Pool
from tests.bench.dashboard.conftest import ModelOf


def test_latencies_come_from_the_loop_of_a_run(
    monkeypatch: pytest.MonkeyPatch, model_of: ModelOf
) -> None:
    """A child that got a picture warms up and measures by ``bench.measure``, on that picture."""
    seen: list[tuple[str, list[Any], Any]] = []

    def loop(
        call: Callable[[Any], object], inputs: Sequence[Any], clock: object, *more: Any
    ) -> tuple[int, ...]:
        seen.append(("timed", list(inputs), more))
        return (1_000, 2_000)

    warm_up = measure.warm_up

    def warm(call: Callable[[Any], object], inputs: Sequence[Any], clock: Any) -> measure.WarmUp:
        seen.append(("warm", list(inputs), ()))
        return warm_up(call, inputs, clock, least_ns=0, most_ns=0)

    monkeypatch.setattr(measure, "timed_loop", loop)
    monkeypatch.setattr(measure, "warm_up", warm)
    model = model_of()
    session = worker.Session()
    assert session.load(block.load_message(model.case, model.artifact))["status"] == "ok"
    batch = np.random.default_rng(2).uniform(0, 1, (1, 3, 8, 8)).astype(np.float32)
    said = worker.answer(session, {"do": "picture", "pixels": worker.packed(batch)})
    assert launch.unpacked(said["outputs"]).shape == (1, 3)
    assert worker.answer(session, {"do": "warm"})["status"] == "ok"
    message = {"do": "measure", "seconds": 0.0, "least": 2, "idle_s": 0.0}
    assert worker.answer(session, message)["latencies_ns"] == (1_000, 2_000)
    assert [kind for kind, _, _ in seen] == ["warm", "timed"]
    for _, inputs, _ in seen:
        assert len(inputs) == 1 and np.array_equal(inputs[0], batch)
    assert seen[1][2] == (0.0, 2)


def test_the_page_starts_the_worker_of_a_run(tmp_path: Any) -> None:
    """No other module, unless a test names one."""
    assert Pool(1, 0, tmp_path).worker == launch.WORKER == ("bench.worker",)


def test_rounds_make_the_runs_that_were_promised() -> None:
    """72, the fewest for a p95, in three rounds; never fewer than asked for."""
    assert measuring.runs_of_round(72) == 24
    assert measuring.runs_of_round(70) * measuring.ROUNDS == 72
