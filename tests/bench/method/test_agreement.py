"""One file, three ways of timing it: who is asked how, and what is made of the answers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from bench import stats
from bench.case import AGAIN
from bench.method import agreement
from bench.method.agreement import APP, BARE, OURS
from bench.method.experiment import ExperimentError, Lab, Size
from tests.bench.made_up import fake_artifact
from tests.bench.method.conftest import block
from tests.conftest import Built

SIZE = Size(pairs=3, variants=("revisited-base",), recipe="fp32", runtime="openvino", threads=1)


def rounds(app: float, again_noise: float = 0.001) -> list[agreement.Round]:
    """Our p50 is 10 ms, the app's ``app`` times that; ours again is off by a noise."""
    noise = (1 - again_noise, 1.0, 1 + again_noise)
    return [{OURS: 0.01, AGAIN: 0.01 * n, APP: 0.01 * app, BARE: 0.01} for n in noise]


@pytest.mark.parametrize(
    ("app", "again_noise", "passed"),
    [(1.01, 0.001, True), (1.05, 0.001, False), (0.95, 0.001, False), (1.05, 0.05, True)],
)
def test_medians_agree_within_2_percent_or_what_could_be_told_apart(
    app: float, again_noise: float, passed: bool
) -> None:
    """5 % are too much on a quiet machine; on one where A/A differs by more they prove nothing."""
    assert agreement.judge(SIZE, rounds(app, again_noise)).passed is passed


def test_the_answer_names_both_and_what_was_allowed() -> None:
    """Signs say who is slower: ours is 1 % below the app's here."""
    outcome = agreement.judge(SIZE, rounds(1.0 / 0.99))
    assert outcome.answer == (
        "Over 3 rounds our p50 is -1.00% from benchmark_app and +0.00% from bare loop; by the "
        "A/A pair a difference below 0.25% could not have been told from none, so that at most "
        "2.00% is allowed."
    )
    assert outcome.table.splitlines()[2:] == [
        "| bench.run | 10.00 | 1.0000 |  |",
        "| bench.run, again | 10.00 | 1.0000 | 0.9975 to 1.0025 |",
        "| benchmark_app | 10.10 | 0.9900 | 0.9900 to 0.9900 |",
        "| bare loop | 10.00 | 1.0000 | 1.0000 to 1.0000 |",
    ]


def test_a_table_and_this_experiment_call_the_same_difference_the_smallest() -> None:
    """The far end of the pair's interval, here of one that lies to one side."""
    again = stats.ratio_interval({0: 1.04, 1: 1.05, 2: 1.06}, {0: 1, 1: 1, 2: 1})
    assert again is not None and again.high is not None
    found = [{OURS: n, AGAIN: 1.0, APP: n, BARE: n} for n in (1.04, 1.05, 1.06)]
    assert f"below {again.high - 1:.2%} could" in agreement.judge(SIZE, found).answer


def test_everybody_has_a_turn_in_every_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is another one in each round, and the seed decides it."""
    log: list[str] = []

    def child(command: list[str]) -> float:
        log.append(APP if agreement._APP in command else BARE)
        return 0.02

    def make(case, number, *rest):
        log.append(AGAIN if case.copy else OURS)
        return block(case, number)

    monkeypatch.setattr(agreement, "_median_s", child)
    lab = Lab(SIZE, {("revisited-base", "fp32", "onnx"): fake_artifact(tmp_path)}, tmp_path, make)
    found = [agreement.measure(index, lab) for index in range(6)]
    assert found == [{OURS: 1e-3, AGAIN: 1e-3, APP: 0.02, BARE: 0.02}] * 6
    turns = [tuple(log[i : i + 4]) for i in range(0, 24, 4)]
    assert {tuple(sorted(turn)) for turn in turns} == {tuple(sorted((OURS, AGAIN, APP, BARE)))}
    assert len(set(turns)) > 1


def test_benchmark_app_is_told_one_stream_and_fp32() -> None:
    """Precision and streams differ unless they are spelt out; it takes whole seconds."""
    command = agreement.app_command(Path("m.onnx"), (32, 48), SIZE)
    assert " ".join(command[3:]) == (
        "-m m.onnx -d CPU -api sync -hint none -nstreams 1 -nireq 1 -nthreads 1 "
        "-infer_precision f32 -shape [1,3,32,48] -t 1"
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("[ INFO ]    Median:        12.34 ms\n", 0.01234),
        ("[ INFO ]    Median:        172.56 us\n", 172.56e-6),
        ("Median: 12.5 ms\n", 0.0125),
    ],
)
def test_a_printed_median_is_read(text: str, seconds: float) -> None:
    """benchmark_app prints microseconds for what is fast."""
    assert agreement.printed_median_s(f"before\n{text}after") == pytest.approx(seconds)


def test_a_child_without_a_median_is_an_error() -> None:
    """What it printed instead is told, and a failing child's last line."""
    with pytest.raises(ExperimentError, match="no median in what a child printed: 'nothing'"):
        agreement.printed_median_s("nothing")
    with pytest.raises(ExperimentError, match="exit code 1: SystemExit|exit code 1: no"):
        agreement._median_s(["python3", "-c", "raise SystemExit('no')"])


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino")
def test_one_round_of_the_real_thing(built: Built, tmp_path: Path) -> None:
    """benchmark_app and the bare loop run on one of our files and print what we read."""
    artifact = built("revisited-base", "fp32", "onnx")
    size = Size(
        pairs=1,
        seconds=0.05,
        variants=("revisited-base",),
        recipe="fp32",
        runtime="openvino",
        threads=1,
    )
    found = agreement.measure(
        0, Lab(size, {("revisited-base", "fp32", "onnx"): artifact}, tmp_path)
    )
    assert sorted(found) == sorted((OURS, AGAIN, APP, BARE))
    assert min(found.values()) > 0
