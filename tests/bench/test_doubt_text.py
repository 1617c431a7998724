"""What speaks against a row's numbers, each with its figure."""

from __future__ import annotations

from dataclasses import replace

from bench.case import Case
from bench.doubt_text import told
from bench.record import Canary
from bench.rows import Row
from tests.bench.made_up import measured

CASE = Case("vgg19", "fp32", "ort", 2)


def test_a_doubt_has_the_worst_blocks_figure_and_its_limits() -> None:
    """A reader can tell how bad it is."""
    first, second, third = measured(CASE, 1, 1, 1)
    blocks = (
        replace(first, canary=Canary(0.01, 0.0105)),
        replace(second, canary=Canary(0.01, 0.012)),
        replace(third, warmup_settled=False),
    )
    slow, warm = told(Row(CASE, blocks, 0.01))
    assert slow.startswith("canary: share by which a fixed piece of work")
    assert slow.endswith(": 0.20 in the worst block (SUSPECT from 0.1, INVALID from 0.3)")
    assert warm == "warm-up: the latency had not settled when the warm-up ended, in 1 of 3 blocks"


def test_a_row_that_is_too_short_says_how_short() -> None:
    """Whatever its blocks are like; a quiet row says nothing."""
    few = told(Row(CASE, tuple(measured(CASE, 1, inferences=2)), None))
    assert few == ("samples: 2 inferences in all blocks, fewer than 6",)
    assert told(Row(CASE, tuple(measured(CASE, 1, 1, 1)), None)) == ()
