"""What would decide: numbers that really decide, and the command that measures them."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace

import numpy as np
import pytest

from bench import command_line, more, stats
from bench import field as fields
from bench.case import AGAIN, Case
from tests.bench.made_up import answering, measured, thousand_images

FAST = Case("vgg19-gap", "int8-static", "ort", 2)
SLOW = Case("vgg19", "fp32", "openvino", 2)
BETWEEN = Case("vgg19", "int8-static", "openvino", 2)


@pytest.mark.parametrize(("deviation", "distance"), [(0.02, 0.01), (0.05, 0.05), (0.01, -0.05)])
def test_so_many_blocks_tell_it_four_times_in_five(deviation: float, distance: float) -> None:
    """By simulation: the t interval excludes the bound about as often as was promised."""
    count = more.blocks_to_tell(deviation, distance)
    assert count is not None
    chance = np.random.default_rng(7)
    means = chance.normal(distance, deviation, size=(400, count))
    told = 0
    for values in means:
        low, high = stats.t_interval(list(values)) or (0.0, 0.0)
        told += low > 0 or high < 0
    assert told / 400 > 0.75
    assert count == stats.LEAST_BLOCKS or told / 400 < 0.97


def test_blocks_that_nobody_would_wait_for_are_not_named() -> None:
    """A difference of nothing, or one far below the spread, is a tie."""
    assert more.blocks_to_tell(0.05, 0.0) is None
    assert more.blocks_to_tell(0.5, 0.001) is None
    assert more.blocks_to_tell(0.0, 0.01) == stats.LEAST_BLOCKS


def test_blocks_must_tell_more_than_an_aa_pair_differs(run_of) -> None:
    """Of a wide one that more blocks make narrow it takes more of them; of a biased one no number
    will do, and that is a tie."""
    rows = (*measured(FAST, 10, 10, 10.02), *measured(SLOW, 10.3, 10.3, 10.31))
    counts = []
    for again in ((10, 10, 10.02), (9.9, 10.1, 10), (11, 11, 11.02)):
        twin = measured(replace(FAST, copy=AGAIN), *again)
        one, other = fields.field([run_of(*rows, *twin)], ["vgg19*"]).contenders
        counts.append(more.blocks_to_separate(one, other, "latency"))
    exact, wide, biased = counts
    assert (exact, biased) == (stats.LEAST_BLOCKS, None)
    assert wide is not None and wide > stats.LEAST_BLOCKS


def test_images_follow_from_the_share_that_differs() -> None:
    """One point of difference where a tenth of the images turn: (1.96 + 0.84)² 0.0999 / 0.01²."""
    found = more.images_to_tell(0.1 - 0.01**2, 0.01)
    assert found == math.ceil((1.959964 + 0.841621) ** 2 * 0.0999 / 1e-4)
    assert more.images_to_tell(0.1, 0.0) is None


def field(run_of, command: str, answers=None) -> fields.Field:
    """Three rows, of ten seconds a block."""
    blocks = [b for case in (FAST, SLOW, BETWEEN) for b in measured(case, 1, 1, 1, answers=answers)]
    labelled = thousand_images() if answers else None
    return fields.field([run_of(*blocks, command=command, labelled=labelled)])


def test_the_command_is_the_runs_own_narrowed_to_the_rows(run_of) -> None:
    """What chose rows gives way, what is about data and folders stays; options understand it."""
    command = (
        "python -m bench.run -m 'vgg*' --runtimes=all --blocks 3 --store files --fresh "
        "--scenarios offline --out results"
    )
    rows = field(run_of, command).contenders
    pair = [row for row in rows if row.case in (FAST, SLOW)]
    found = more.more_blocks(pair, 12)
    assert found.command == (
        "python -m bench.run --store files --fresh --out results -m vgg19,vgg19-gap "
        "--recipes fp32,int8-static --runtimes openvino,ort -t 2 --blocks 12"
    )
    assert command_line.parse([*shlex.split(found.command)[3:]]).blocks == 12


@pytest.mark.parametrize("store", ["--store STORE", "--store=STORE"])
def test_a_store_that_a_record_does_not_name_is_not_named(run_of, store: str) -> None:
    """Whoever copied the command would get a folder of that name."""
    rows = field(run_of, f"python -m bench.run {store} --out results").contenders
    found = more.more_blocks(rows[:2], 12)
    assert "STORE" not in found.command
    assert found.command.startswith("python -m bench.run --out results -m ")


def test_its_time_is_that_of_every_row_that_it_names(run_of) -> None:
    """Globs name products: the third row comes along; so does the second copy of the reference."""
    rows = field(run_of, "python -m bench.run").contenders
    pair = [row for row in rows if row.case in (FAST, SLOW)]
    assert more.more_blocks(pair, 12).seconds == 12 * 10 * (3 + 1)
    assert more.more_blocks(pair[:1], 5).seconds == 5 * 10 * (1 + 1)


def test_at_least_one_block_more_than_there_are(run_of) -> None:
    """Where fewer would have been enough on average, the same again decides nothing."""
    rows = field(run_of, "python -m bench.run").contenders
    assert "4 blocks instead of 3" in more.more_blocks(rows, 3).text


def test_no_command_for_what_no_blocks_decide(run_of) -> None:
    """It is called a tie."""
    found = more.more_blocks(field(run_of, "python -m bench.run").contenders, None)
    assert (found.command, found.seconds) == ("", None)
    assert "tie" in found.text


def test_more_images_are_there_only_where_a_run_asked_about_fewer(run_of) -> None:
    """All of the test part can't become more; a part of it can, by --accuracy-images."""
    answers = answering(thousand_images(), 50)
    whole = field(run_of, "python -m bench.run --data images.zip", answers).contenders
    assert more.more_images(whole, 4000).command == ""
    assert "has no more of them" in more.more_images(whole, 4000).text
    part = "python -m bench.run --data images.zip --accuracy-images 1000"
    found = more.more_images(field(run_of, part, answers).contenders, 4000)
    assert found.command.endswith("--blocks 3 --accuracy-images 4000")
    assert "--accuracy-images 1000" not in found.command
    assert found.text.endswith("in a run of its own, to be read without this one")
    hopeless = more.more_images(field(run_of, part, answers).contenders, 1_841_958)
    assert hopeless.command == ""
    assert hopeless.text == "more than 100000 labelled images would be needed: call it a tie"


def test_the_time_of_more_images_counts_each_image_once(run_of) -> None:
    """The new images stand for the old ones; the blocks are as many as there were."""
    part = "python -m bench.run --data images.zip --accuracy-images 1000"
    rows = field(run_of, part, answering(thousand_images(), 50)).contenders
    few, many = (more.more_images(rows, count).seconds for count in (2000, 6000))
    again = more.more_blocks(rows, 4).seconds
    assert few is not None and many is not None and again is not None
    an_image = (many - few) / 4000
    assert few - 2000 * an_image == pytest.approx(3 * 10 * (3 + 1))
    assert again == pytest.approx(4 * 10 * (3 + 1) + 1000 * an_image)


def test_at_least_one_image_more_than_there_are(run_of) -> None:
    """Where fewer would have been enough on average, as of blocks."""
    part = "python -m bench.run --data images.zip --accuracy-images 1000"
    rows = field(run_of, part, answering(thousand_images(), 50)).contenders
    found = more.more_images(rows, 300)
    assert "about 1001 labelled images instead of 1000" in found.text
    assert found.command.endswith("--accuracy-images 1001")
