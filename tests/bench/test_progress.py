"""What a person sees while a run goes on."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from bench.case import Case
from bench.files import Event, Wanted
from bench.progress import Progress
from bench.record import Answers, Measurement

EAGER = Case("revisited-base", "fp32", "torch-eager", 1)
STATIC = Case("revisited-base", "int8-static", "ort", 1)


@pytest.fixture
def screen() -> io.StringIO:
    """What was printed."""
    return io.StringIO()


@pytest.fixture
def progress(screen: io.StringIO) -> Progress:
    """One that prints into ``screen``, as into a file."""
    return Progress(Console(file=screen, width=200))


def block(case: Case, number: int, milliseconds: int) -> Measurement:
    """Twenty inferences of that many milliseconds."""
    return Measurement(
        case, number, "ok", latencies_ns=(milliseconds * 1_000_000,) * 20, warmup_settled=True
    )


def test_a_row_appears_at_its_first_block_and_at_its_last(
    progress: Progress, screen: io.StringIO
) -> None:
    """Early numbers are marked as such; between first and last a row is quiet."""
    order = [(number, STATIC) for number in range(3)]
    progress.planned(order)
    done: list[Measurement] = []
    for number, case in order:
        progress.starting(number, case)
        done.append(block(case, number, 2))
        progress.measured(done[-1], done)
    lines = [line for line in screen.getvalue().splitlines() if "int8-static" in line]
    assert [line.endswith("(so far)") for line in lines] == [True, False]
    assert "p50" in lines[0]


def test_time_left_grows_with_what_cases_took(progress: Progress) -> None:
    """A case is expected to take as long as its last block; unknown ones as long as the mean."""
    progress.planned([(0, EAGER), (0, STATIC), (1, EAGER), (1, STATIC)])
    progress._seconds = {EAGER: 10.0}
    assert progress._estimate() == pytest.approx(40.0)
    progress._seconds = {EAGER: 10.0, STATIC: 2.0}
    assert progress._estimate() == pytest.approx(24.0)


def test_labelled_images_are_expected_after_first_blocks_only(
    progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they took is no part of a block: later rounds don't take as long."""
    now = [0.0]
    monkeypatch.setattr("bench.progress.time.monotonic", lambda: now[0])
    progress.planned([(0, EAGER), (0, STATIC), (1, EAGER), (1, STATIC)])
    progress.starting(0, EAGER)
    now[0] = 4.0
    progress.classifying(EAGER)
    now[0] = 34.0
    done = replace(block(EAGER, 0, 2), block_s=4.0)
    progress.measured(done, [done])
    assert progress._estimate() == pytest.approx(3 * 4.0 + 30.0)


def test_a_row_tells_for_how_many_images_it_is_right(
    progress: Progress, screen: io.StringIO
) -> None:
    """Of all images, or of how many there were in the sample."""
    progress.planned([(0, EAGER), (0, STATIC)])
    sample = Answers((1, 1, 0), (0, 2, 0), (0, 1, 2))
    few = replace(block(EAGER, 0, 2), sampled=sample)
    whole = replace(block(STATIC, 0, 2), sampled=sample, answers=Answers((1,) * 4, (0, 0, 0, 1)))
    for one in (few, whole):
        progress.starting(0, one.case)
        progress.measured(one, [few, whole])
    shown = screen.getvalue()
    assert "ms  top-1 66.7 % of 3" in shown
    assert "ms  top-1 75.0 %\n" in shown


def test_files_that_could_not_be_built_are_told_at_once(
    progress: Progress, screen: io.StringIO
) -> None:
    """A failure and a note don't wait for the tables; brackets in them are not markup."""
    wanted = Wanted("vgg19", "fp32", "onnx")
    progress.building(Event("building", wanted, "to-onnx"))
    progress.building(Event("failed", wanted, "to-onnx: [Errno 28] no space"))
    progress.building(Event("note", text="1 of 32 images left out"))
    assert screen.getvalue().splitlines() == [
        "no file for vgg19/fp32: to-onnx: [Errno 28] no space",
        "1 of 32 images left out",
    ]
