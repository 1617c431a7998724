"""The injected slow-down: exactly the share that it says, in a child of the real kind."""

from __future__ import annotations

import pytest

from bench import launch
from bench.block import Effort, run_block
from bench.case import Case
from bench.method.experiment import Lab, Size
from bench.method.slowed import Slowdown, slowed
from runtimes import Loaded
from tests.conftest import Built


class Clock:
    """Each reading takes 10 ns; inferences move it on."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 10
        return self.now


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_an_inference_takes_longer_by_the_share(share: float) -> None:
    """By the share of what it took itself, to within one reading of the clock."""
    clock = Clock()

    def infer(images: object) -> object:
        clock.now += 1_000_000
        return images

    loaded = slowed(Loaded(infer, "fp32"), Slowdown(share), clock)
    assert loaded.run("images") == "images"
    assert clock.now == pytest.approx(1_000_000 * (1 + share), abs=50)
    assert loaded.precision == "fp32"


def test_a_drift_grows_with_the_time_since_its_beginning() -> None:
    """2 % a second: 5 % and another 6 % after three seconds."""
    assert Slowdown(0.05, 0.02, 100).at(103) == pytest.approx(0.11)
    assert Slowdown(0.05).at(1e9) == 0.05


def test_a_slow_down_travels_to_its_child_and_back() -> None:
    """The words are the module, and numbers that read back as they were."""
    slowdown = Slowdown(0.1, 1 / 3, 12345.678)
    module, *words = slowdown.worker
    assert module == "bench.method.slowed"
    assert Slowdown(*map(float, words)) == slowdown


def test_a_slowed_child_serves_as_any_other(built: Built, tmp_path) -> None:
    """A block of the real kind, measured through the module that slows it."""
    artifact = built("revisited-base", "fp32", "onnx")
    case = Case("revisited-base", "fp32", "null", 1)
    effort = Effort(0.01, 6, logs=tmp_path, worker=Slowdown(0.05).worker)
    block = run_block(case, 1, artifact, effort)
    assert (block.status, block.reason) == ("ok", "")
    assert len(block.latencies_ns) >= 6


def test_a_lab_tells_its_blocks_who_serves_them(tmp_path) -> None:
    """Plain children unless told otherwise; never a case's first block, which costs more."""
    seen: list[tuple[int, tuple[str, ...]]] = []

    def make(case, number, artifact, effort):
        from tests.bench.method.conftest import block

        seen.append((number, effort.worker))
        return block(case, number)

    size = Size(pairs=1, threads=1)
    lab = Lab(size, {("revisited-v6", "int8-static", "onnx"): None}, tmp_path, make)  # type: ignore[dict-item]
    lab.block(size.cases[0], 0)
    lab.block(size.cases[0], 1, Slowdown(0.1).worker)
    assert seen == [(1, launch.WORKER), (2, Slowdown(0.1).worker)]
