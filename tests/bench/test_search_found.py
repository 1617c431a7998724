"""What the files of a search add to the choices that a header keeps, and when they add nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from bench import choices, report, search_found
from bench.choices import Blamed, Choice, Score
from bench.record import Run
from export.build import Int8
from tests.bench.made_up import header

SCORE = Score(images=100, fp32=90, int8=70, lost=20, gained=0)
CHOICE = Choice(
    *("xception", "plants40", Int8("entropy"), "plants", 1.0),
    val=SCORE,
    blamed=(Blamed("Conv_2", 0.25), Blamed("Conv_0", 0.125)),
)
NAMED = replace(CHOICE, blamed=(Blamed("Conv_2", 0.25, "conv2"), Blamed("Conv_0", 0.125, "conv1")))


def beside(out: Path, choice: Choice, log: str = "") -> Choice:
    """The choice of a run's header beside what stands in ``out``/search."""
    choices.write(out / "search", choice)
    path = choices.path_of(out / "search", choice.variant, choice.weights)
    if log:
        path.with_suffix(".jsonl").write_text(log)
    run = search_found.completed(Run(header(int8_choices=(CHOICE,)), ()), out)
    (found,) = run.header.int8_choices
    return found


def test_layers_get_the_names_that_they_have_by_now(tmp_path: Path) -> None:
    """The record says Conv_2 for ever; the page says what that is."""
    assert beside(tmp_path, NAMED).blamed == NAMED.blamed
    assert [one.shown for one in NAMED.blamed] == ["conv2", "conv1"]


def test_the_log_tells_what_plain_min_max_came_to(tmp_path: Path) -> None:
    """Of choices that were written before they kept it; a log that is cut off stays as it is."""
    about = dict.fromkeys(("variant", "weights", "fp32", "images", "train", "test"), "x")
    plain = {"images": 100, "fp32": 90, "int8": 60, "lost": 30, "gained": 0}
    lines = [
        about,
        {"tried": {"int8": {"method": "entropy"}}},
        {"tried": {"int8": {}, "score": plain}},
    ]
    log = "".join(json.dumps(line) + "\n" for line in lines) + '{"tried'
    assert beside(tmp_path, NAMED, log).plain == Score(**plain)
    assert (tmp_path / "search" / "xception@plants40.jsonl").read_text() == log


def test_another_choice_in_its_place_adds_nothing(tmp_path: Path) -> None:
    """Nor one that can't be read, nor an empty folder: the record says what it said then."""
    assert beside(tmp_path, replace(NAMED, int8=Int8())) == CHOICE
    assert beside(tmp_path, replace(NAMED, val=replace(SCORE, int8=71))) == CHOICE
    (tmp_path / "search" / "xception@plants40.json").write_text("{}")
    run = Run(header(int8_choices=(CHOICE,)), ())
    assert search_found.completed(run, tmp_path) == run
    assert search_found.completed(run, tmp_path / "none") == run


def test_pages_are_made_with_it(tmp_path: Path) -> None:
    """As ``python -m bench.report`` writes them."""
    from bench.record import write_run

    (tmp_path / "records").mkdir()
    write_run(tmp_path / "records" / "default-1.jsonl", Run(header(int8_choices=(CHOICE,)), ()))
    assert "Conv_2 (0.25)" in report.render(tmp_path)
    choices.write(tmp_path / "search", NAMED)
    assert "conv2 (0.25), conv1 (0.12)" in report.render(tmp_path)
