"""The roofline's own test: what is measured in a round, and when the saving is as expected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import peaks
from bench.block import Effort
from bench.case import Case
from bench.method import roofline
from bench.method.experiment import ExperimentError, Lab, Size
from bench.method.roofline import Round
from bench.record import Measurement
from export.artifact import Artifact, LayerWork
from tests.bench.made_up import fake_artifact
from tests.bench.method.conftest import block

SIZE = Size(pairs=3, threads=1, variants=("vgg19", "vgg19-gap"), recipe="fp32")
REMOVED = 500_000_000


def lab(monkeypatch: pytest.MonkeyPatch, said: list[str], size: Size = SIZE) -> Lab:
    """A lab in which ``vgg19`` takes 30 ms more; which blocks were made is in ``said``."""

    def make(case: Case, number: int, artifact: Artifact, effort: Effort) -> Measurement:
        said.append(case.variant)
        return block(case, number, p50_ns=230_000_000 if case.variant == "vgg19" else 200_000_000)

    def artifact(self: Lab, case: Case) -> Artifact:
        size_bytes = REMOVED if case.variant == "vgg19" else 0
        layers = (LayerWork("c", 1, 10, 1), LayerWork("f", 1, size_bytes, 1))
        return replace(fake_artifact(Path("store")), layers=layers)

    monkeypatch.setattr(Lab, "artifact", artifact)
    monkeypatch.setattr(peaks, "bytes_per_s", lambda threads, seconds, say: 20e9)
    return Lab(size, store=Path("store"), make_block=make)


def test_a_round_has_both_in_an_order_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once each, so that a drift hits both; with the bytes by which their files differ."""
    said: list[str] = []
    found = [roofline.measure(index, lab(monkeypatch, said)) for index in range(8)]
    assert found[0] == Round(0.23, 0.2, REMOVED, 20e9)
    pairs = [tuple(said[i : i + 2]) for i in range(0, 16, 2)]
    assert {tuple(sorted(pair)) for pair in pairs} == {("vgg19", "vgg19-gap")}
    assert len(set(pairs)) == 2


def test_other_than_two_variants_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do, before anything is measured."""
    said: list[str] = []
    with pytest.raises(ExperimentError, match="--variants A,B"):
        roofline.measure(0, lab(monkeypatch, said, replace(SIZE, variants=("vgg19",))))
    assert said == []


def test_without_a_bandwidth_there_is_nothing_to_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is that of the child that should have measured it."""
    here = lab(monkeypatch, [])

    def refuse(threads: int, seconds: float, say: peaks.Say) -> float:
        say("peaks: no bandwidth: gone")
        return 0.0

    monkeypatch.setattr(peaks, "bytes_per_s", refuse)
    with pytest.raises(ExperimentError, match="no bandwidth: gone"):
        roofline.measure(0, here)


def rounds(*saved_ms: float, bytes_per_s: float = 20e9) -> list[Round]:
    """Rounds that save so many milliseconds; the bandwidth differs, the best counts."""
    return [
        Round(0.2 + ms / 1e3, 0.2, REMOVED, bytes_per_s * (1 - 0.01 * (place > 0)))
        for place, ms in enumerate(saved_ms)
    ]


@pytest.mark.parametrize(
    ("saved_ms", "passed"),
    [
        ((25.0, 25.5, 24.5), True),  # 500 MB at 20 GB/s take 25 ms
        ((31.0, 30.0, 32.0), True),  # the interval, 28.5 to 33.5, reaches what is a quarter more
        ((35.0, 35.5, 34.5), False),
        ((15.0, 15.5, 14.5), False),
        ((60.0, -30.0, 40.0), False),  # meets it, and 0 as well: nothing was seen
        ((25.0, 25.5), False),  # two rounds give no interval
    ],
)
def test_the_interval_has_to_meet_a_quarter_either_way(
    saved_ms: tuple[float, ...], passed: bool
) -> None:
    """Of the time that the removed bytes take at the best bandwidth."""
    assert roofline.judge(SIZE, rounds(*saved_ms)).passed is passed


def test_the_answer_in_words() -> None:
    """Saving, interval, bytes, bandwidth, and what was demanded; every round below."""
    outcome = roofline.judge(SIZE, rounds(25.0, 26.0, 24.0))
    assert outcome.answer == (
        "From `vgg19` to `vgg19-gap` on ort 25.0 ms (22.5 to 27.5) are saved; the removed 500 MB "
        "take 25.0 ms at 20.0 GB/s (18.8 to 31.2 is a quarter either way)."
    )
    assert outcome.table == (
        "| round | vgg19, ms | vgg19-gap, ms | saved, ms | read, GB/s |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| 1 | 225 | 200 | 25.0 | 20.0 |\n"
        "| 2 | 226 | 200 | 26.0 | 19.8 |\n"
        "| 3 | 224 | 200 | 24.0 | 19.8 |"
    )


def test_a_plot_can_be_drawn() -> None:
    """With or without an interval."""
    figures = pytest.importorskip("matplotlib.figure", reason="plots need matplotlib")
    for found in (rounds(25.0, 26.0, 24.0), rounds(25.0)):
        figure = figures.Figure()
        roofline.draw(figure, SIZE, found)
        assert len(figure.axes) == 1
