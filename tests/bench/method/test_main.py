"""``python -m bench.method``: measure, keep, go on where it stopped, write and check the page."""

from __future__ import annotations

import gzip
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from bench import host
from bench.case import Case
from bench.files import Files
from bench.method import EXPERIMENTS, experiment, journal
from bench.method import __main__ as method
from bench.method.experiment import Experiment, Lab, Outcome, Size, load
from bench.options import UsageError
from bench.record import Measurement, RecordError
from tests.bench.method.conftest import MakeBlock, block

PAGE = """\
# How the method is proven

Made from the files beside it by `python -m bench.method report`: not to be edited.
What is not an experiment is a test: the coverage of the intervals in simulation stands in
`tests/bench/test_simulation.py`.

## stressor

Is one more than none?

**As it must be.** 3 lines, the last 1000000.

| a |
| --- |
| 1 |

![stressor](stressor.svg)

- Command: `python -m bench.method stressor --pairs 3 --variants revisited-base`
- Measured: 2026-01-01, commit abc1234
- Host: CPU some
- Versions: numpy 2
"""


def measure(index: int, lab: Lab) -> int:
    """The latency of a block."""
    return lab.block(lab.size.cases[0], index).latencies_ns[0]


def judge(size: Size, lines: Sequence[int]) -> Outcome:
    """Fails for latencies of 2 ms."""
    table = "| a |\n| --- |\n| 1 |"
    return Outcome(f"{len(lines)} lines, the last {lines[-1]}.", 2_000_000 not in lines, table)


def draw(figure: Any, size: Size, lines: Sequence[int]) -> None:
    """A line."""
    figure.subplots().plot(lines)


FAKE = Experiment(
    question="Is one more than none?",
    line=TypeAdapter(int),
    defaults=Size(pairs=2, threads=1),
    units=lambda size: size.pairs,
    expected_s=lambda size: 60.0 * size.pairs,
    measure=measure,
    judge=judge,
    draw=draw,
)
WORDS = ("stressor", "--pairs", "3", "--variants", "revisited-base")


@pytest.fixture
def start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, laboratory: Callable[[MakeBlock], None]
) -> Callable[..., int]:
    """``start(make_block, *words)``: the command with a made-up experiment called stressor."""
    facts = {"describe": {"CPU": "some"}, "host_id": "h", "commit": "abc1234"}
    for name, value in facts.items():
        monkeypatch.setattr(host, name, lambda *_, value=value: value)
    monkeypatch.setattr(host, "versions", lambda names: {"numpy": "2"})
    monkeypatch.setattr("bench.method.stressor.EXPERIMENT", FAKE)

    def run(make_block: MakeBlock, *words: str) -> int:
        laboratory(make_block)
        return method.main([*words, "--out", str(tmp_path / "out")])

    return run


def plain_block(case: Case, number: int, *rest: object) -> Measurement:
    """1 ms."""
    return block(case, number)


def test_every_experiment_of_the_table_is_one() -> None:
    """Each name leads to an experiment whose defaults are a plan with units and a duration."""
    for name, module in EXPERIMENTS.items():
        found = importlib.import_module(module).EXPERIMENT
        assert isinstance(found, Experiment), name
        assert load(name) is found
        assert found.units(found.defaults) > 0
        assert found.expected_s(found.defaults) > 0
        assert found.question.endswith((".", "?"))


def test_an_experiment_leaves_its_data_a_plot_and_the_page(
    start: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page is the whole text that follows from the data, and checking it says so."""
    pytest.importorskip("matplotlib")
    assert start(plain_block, *WORDS) == 0
    out = tmp_path / "out"
    page = (out / "README.md").read_text()
    started = journal.read(out / "stressor.jsonl.gz", FAKE.line).header.started
    assert page.replace(started, "2026-01-01") == PAGE
    assert (out / "stressor.svg").read_text().startswith("<?xml")
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "stressor.jsonl.gz",
        "stressor.svg",
    ]
    shown = capsys.readouterr()
    assert "**As it must be.** 3 lines" in shown.out
    assert "stressor: 3 of 3 units to measure, about 3 min\nstressor 1/3, about " in shown.err
    assert start(plain_block, "report", "--check") == 0
    (out / "README.md").write_text(page.replace("3 lines", "4 lines"))
    assert start(plain_block, "report", "--check") == 1
    assert "-**As it must be.** 4 lines" in capsys.readouterr().out


def test_the_same_data_give_the_same_plot(start: Callable[..., int], tmp_path: Path) -> None:
    """No date and no random name stands in a plot: writing it again changes nothing."""
    pytest.importorskip("matplotlib")
    start(plain_block, *WORDS)
    before = (tmp_path / "out" / "stressor.svg").read_bytes()
    assert start(plain_block, "report") == 0
    assert (tmp_path / "out" / "stressor.svg").read_bytes() == before


def test_an_interrupted_experiment_goes_on(start: Callable[..., int], tmp_path: Path) -> None:
    """What was measured is kept, a torn line is not; the same command measures the rest."""
    pytest.importorskip("matplotlib")
    numbers: list[int] = []

    def make(case: Case, number: int, *rest: object) -> Measurement:
        numbers.append(number)
        if numbers == [1, 2]:
            raise KeyboardInterrupt
        return block(case, number)

    live = tmp_path / "out" / "stressor.jsonl"
    assert start(make, *WORDS) == 130
    with live.open("a") as stream:
        stream.write("12")
    assert start(make, *WORDS) == 0
    assert numbers == [1, 2, 2, 3]
    assert not live.exists()
    lines = gzip.decompress((tmp_path / "out" / "stressor.jsonl.gz").read_bytes()).splitlines()
    assert lines[1:] == [b"1000000"] * 3


def test_another_size_does_not_go_on_with_an_interrupted_one(
    start: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Data of two plans are never mixed; the message says what to do."""

    def stop(*_: object) -> Measurement:
        raise KeyboardInterrupt

    start(stop, *WORDS)
    assert start(plain_block, "stressor", "--pairs", "4") == 1
    assert "was begun with size Size(pairs=3" in capsys.readouterr().err


def test_what_comes_out_wrong_is_an_exit_code(start: Callable[..., int]) -> None:
    """0 as it must be, 1 not so."""
    pytest.importorskip("matplotlib")
    assert start(lambda case, n, *_: block(case, n, p50_ns=2_000_000), *WORDS) == 1


def test_a_block_that_fails_ends_the_experiment(
    start: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """An experiment with holes would prove nothing; the reason is told."""
    assert start(lambda case, n, *_: Measurement(case, n, "failed", "killed"), *WORDS) == 1
    assert "revisited-base/int8-static/ort/t1/b1: failed: killed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--pairs", "0"], "--pairs 0 is not above 0"),
        (["--variants", "vgg20"], "--variants: nothing is called 'vgg20'"),
        (["--recipe", "int9"], "--recipe: nothing is called 'int9'"),
        (["--runtime", "orc"], "--runtime: nothing is called 'orc'"),
    ],
)
def test_a_bad_argument_is_named(
    start: Callable[..., int], capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    """Exit code 2, the flag and the remedy, before anything is measured."""
    assert start(plain_block, "stressor", *words) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{}\n", '{"schema": 2}\n', "1\n"])
def test_foreign_data_are_refused(tmp_path: Path, text: str) -> None:
    """A file that is not ours is named, not read past."""
    path = tmp_path / "aa.jsonl"
    path.write_text(text)
    with pytest.raises(RecordError, match=r"aa\.jsonl"):
        journal.read(path, FAKE.line)


def test_a_file_that_cannot_be_built_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason of the build is in the message."""
    case = FAKE.defaults.cases[0]
    key = (case.variant, case.recipe, "onnx")
    monkeypatch.setattr("bench.files.build", lambda *_: Files(reasons={key: "no torch"}))
    with pytest.raises(UsageError, match="no file for revisited-v6/.*: no torch"):
        experiment.open_lab([case], FAKE.defaults, tmp_path, print)
