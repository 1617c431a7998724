"""What a person sees while a fleet measures."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench import fleet_board
from bench.case import Case
from bench.fleet_board import Board
from bench.record import Measurement
from tests.bench.test_kinds import machine

STATIC = Case("revisited-base", "int8-static", "ort", 1)
ONE, OTHER = machine(1), machine(2)


@pytest.fixture
def screen() -> io.StringIO:
    """What was printed."""
    return io.StringIO()


@pytest.fixture
def board(screen: io.StringIO) -> Board:
    """One that prints into ``screen``, as into a file."""
    return Board(Console(file=screen, width=200))


def block(number: int, status: str = "ok", reason: str = "", ns: int = 2_000_000) -> Measurement:
    """Twenty inferences."""
    return Measurement(STATIC, number, status, reason, latencies_ns=(ns,) * 20)  # type: ignore[arg-type]


def lines(board: Board) -> list[str]:
    """The bars as they stand now, in words."""
    shown = io.StringIO()
    Console(file=shown, width=200).print(board._bar.get_renderable())
    return [" ".join(line.split()) for line in shown.getvalue().splitlines() if line.strip()]


def test_a_machine_s_line_says_that_the_whole_is_its_kind_s(board: Board) -> None:
    """Which of several machines measures how many of them, nobody knows before."""
    board.planned("small", 6, [ONE, OTHER])
    board.measured("small", ONE, block(0), last=False)
    board.measured("small", ONE, block(1), last=False)
    board.measured("small", OTHER, block(2), last=False)
    kind, one, other = lines(board)
    assert kind.startswith("small ") and " 3 of 6 " in kind
    assert one.startswith(ONE.shown) and " 2 of its kind's 6 " in one
    assert other.startswith(OTHER.shown) and " 1 of its kind's 6 " in other


def test_the_only_machine_of_a_kind_measures_all(board: Board) -> None:
    """Its line needs no such words."""
    board.planned("small", 6, [ONE])
    board.planned("large", 2, [OTHER])
    board.measured("large", OTHER, block(0), last=False)
    assert [" of its kind's " in line for line in lines(board)] == [False] * 4
    assert " 1 of 2 " in lines(board)[3]


def test_the_time_left_is_as_long_as_the_kind_s_blocks_took(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One block took a minute, with all its machines: three are left."""
    now = [0.0]
    monkeypatch.setattr("bench.fleet_board.time.monotonic", lambda: now[0])
    board.planned("small", 4, [ONE, OTHER])
    now[0] = 60.0
    board.measured("small", ONE, block(0), last=False)
    assert "about 3 min left" in lines(board)[0]


def test_a_line_says_what_its_machine_does(board: Board) -> None:
    """From the beginning on; brackets in it are shown as they are."""
    board.planned("small", 4, [ONE, OTHER])
    board.doing(ONE, "round 1: a/b [x]")
    assert "round 1: a/b [x]" in lines(board)[1]
    assert "waiting" in lines(board)[2]


def test_a_row_stays_once_its_last_block_is_there(board: Board, screen: io.StringIO) -> None:
    """With a figure, or with what went wrong."""
    board.planned("small", 3, [ONE])
    board.measured("small", ONE, block(0), last=False)
    board.measured("small", ONE, block(1), last=True)
    board.measured("small", None, block(2, "failed", "no file [Errno 28]", 0), last=True)
    assert screen.getvalue().splitlines() == [
        "small: 3 blocks to measure",
        f"small  {STATIC}  p50 2 ms",
        f"small  {STATIC}  failed: no file [Errno 28]",
    ]


def test_a_large_fleet_has_no_line_for_each(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kinds must do; who has no line may still say what it does."""
    monkeypatch.setattr(fleet_board, "_MOST_LINES", 1)
    board.planned("small", 4, [ONE, OTHER])
    board.doing(OTHER, "round 1")
    board.measured("small", OTHER, block(0), last=False)
    assert len(lines(board)) == 2
    assert " 1 of 4 " in lines(board)[0]
