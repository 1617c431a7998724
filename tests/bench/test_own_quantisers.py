"""What the page says of rows that lose accuracy by a quantiser that no search has told anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import report_pages
from bench.case import Case
from bench.choices import Choice, Score
from bench.record import Labelled
from export.build import Int8

LABELS = tuple(image % 5 for image in range(200))
PLANTS = Labelled("plants", "test", "f00d", tuple("abcde"), LABELS)
EXACT = Case("xception", "fp32", "ort", 2)


@pytest.fixture
def blocks(answered):
    """INT8 of ort, LiteRT and MNN: all lose, but ort's is what a search can decide about."""

    def row(case: Case, wrong: int, suffix: str = "onnx"):
        lost = {image: (LABELS[image] + 1) % 5 for image in range(wrong)}
        block = answered(case, 40, PLANTS, lost)
        return replace(block, file=replace(block.file, format=suffix))

    static = replace(EXACT, recipe="int8-static")
    return [
        row(EXACT, 10),
        row(static, 40),
        row(replace(static, runtime="litert"), 50, "tflite"),
        row(replace(static, runtime="mnn"), 30, "mnn"),
        row(replace(static, runtime="executorch"), 12, "pte"),
    ]


ROWS = (
    "INT8 rows that lose more than 1 point of top-1 against fp32 by quantisers of their runtimes' "
    "own: `xception` mnn -10 (-15 to -7) ▼; `xception` litert -20 (-26 to -15) ▼. These take the "
    "ranges of activations from 16 images (mnn: moving averages (EMA), litert: the least and the "
    "largest value), and no choice of layers from a search. "
)
UNKNOWN = "Which of their layers lose it is not known."


def said(run) -> str:
    """The remark on the page; empty: there is none."""
    lines = report_pages.page([run]).splitlines()
    return next((line for line in lines if line.startswith("INT8 rows that lose")), "")


def test_rows_and_points_are_named_and_that_nothing_is_known_of_layers(blocks, run_of) -> None:
    """Just a point is not more than one; an .onnx file is of no quantiser of a runtime's own."""
    assert said(run_of(*blocks, labelled=PLANTS)).replace(" ▼", "") == (
        f"{ROWS}{UNKNOWN}".replace(" ▼", "")
    )


@pytest.mark.parametrize(
    ("words", "images"),
    [
        ("--config some.toml", "from calibration images (mnn"),
        ("--config=some.toml", "from calibration images (mnn"),
        ("--config some.toml --calibration-images=8", "from 8 images (mnn"),
        ("--out results", "from 16 images (mnn"),
    ],
)
def test_a_number_of_images_that_the_command_hides_is_not_told(blocks, run_of, words, images):
    """A file that --config names may have another than the usual one."""
    run = run_of(*blocks, labelled=PLANTS, command=f"python -m bench.run {words}")
    assert images in said(run)


def test_what_a_search_found_for_plain_min_max_stands_beside_it(blocks, run_of) -> None:
    """Of the same network, on the validation part; the number of images is the command's."""
    choice = Choice(
        *("xception", "plants40", Int8("entropy"), "plants", 1.0),
        plain=Score(images=100, fp32=90, int8=70, lost=20, gained=0),
    )
    command = "python -m bench.run --calibration-images 64"
    run = run_of(*blocks, labelled=PLANTS, int8_choices=(choice,), command=command)
    text = said(run)
    assert "from 64 images" in text
    assert (
        "In ort plain min-max over 16 images loses, by the search's log and on the validation "
        "part: `xception` -20 (-29 to -13). Which of" in text
    )


def test_without_such_rows_there_is_no_remark(blocks, run_of) -> None:
    """Where nothing is lost, and where nothing was asked."""
    assert said(run_of(blocks[0], blocks[1], blocks[4], labelled=PLANTS)) == ""
    assert said(run_of(*(replace(block, answers=None) for block in blocks))) == ""
