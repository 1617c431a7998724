"""What a row costs against what it is worth, as values: marks, areas, labels and the front."""

from __future__ import annotations

from dataclasses import replace

from bench import rows, tradeoff
from bench.case import Case
from bench.figure import Figure
from bench.record import Measurement, Run, Surroundings
from tests.bench.made_up import answering, header, measured, thousand_images

EAGER = Case("vgg19", "fp32", "torch-eager", 2)
ORT = Case("vgg19", "fp32", "ort", 2)
STATIC = Case("vgg19", "int8-static", "ort", 2)
GAP = Case("vgg19-gap", "int8-static", "ort", 2)
IMAGES = thousand_images()


def figure(*blocks: Measurement, **changes: object) -> Figure:
    """Of a run of these blocks."""
    run = Run(header(**changes), blocks)
    return tradeoff.figure(run.header, rows.tables_of(run))


def answered(case: Case, ms: float, wrong: int, **changes: object) -> list[Measurement]:
    """Three blocks that answered a thousand images, so many of them wrongly."""
    times = (ms, 1.01 * ms, 0.99 * ms)
    return measured(case, *times, answers=answering(IMAGES, wrong), **changes)  # type: ignore[arg-type]


def test_accuracy_time_and_size_are_those_of_the_rows() -> None:
    """Percent with its interval, p50 in ms with its own, area as a share of the largest file."""
    blocks = [
        *answered(EAGER, 100, 100, size_bytes=4_000_000),
        *answered(STATIC, 20, 150, size_bytes=1_000_000),
    ]
    ((panel,),) = figure(*blocks, labelled=IMAGES).rows
    (series,) = panel.series
    first, second = series.marks
    assert (first.x.value, first.y.value, first.area) == (100.0, 90.0, 1.0)
    assert (second.x.value, second.y.value, second.area) == (20.0, 85.0, 0.25)
    assert second.x.low is not None and second.x.high is not None and second.y.low is not None
    assert second.x.low < 20 < second.x.high and second.y.low < 85
    assert panel.title == "vgg19 (seeded); the largest mark is 4.000 MB"
    assert panel.x.log and panel.x.title == "p50, ms (2 threads, batch 1)"


def test_the_front_has_what_no_candidate_beats_and_names_it() -> None:
    """From the fastest to the best; a row that is slower and worse is a mark without a name."""
    blocks = [
        *answered(EAGER, 100, 90),
        *answered(ORT, 60, 90),
        *answered(STATIC, 20, 150),
        *answered(GAP, 30, 300),
    ]
    ((panel,),) = figure(*blocks, labelled=IMAGES).rows
    (front,) = panel.lines
    assert front.points == ((20.0, 85.0), (60.0, 91.0))
    assert front.steps and front.name == "Pareto front"
    labels = [mark.label for mark in panel.marks]
    assert labels == ["", "fp32 ort", "int8-static ort", ""]
    assert [one.name for one in panel.series] == ["vgg19", "vgg19-gap"]


def test_a_row_that_is_no_candidate_is_hollow_and_not_on_the_front() -> None:
    """INVALID numbers, however fast; and the footer says what hollow means."""
    disturbed = Surroundings(1.0, 0.9, 0.0, 0, 0)
    invalid = [replace(one, surroundings=disturbed) for one in answered(STATIC, 20, 100)]
    found = figure(*answered(ORT, 60, 100), *invalid, labelled=IMAGES)
    ((panel,),) = found.rows
    assert [mark.hollow for mark in panel.marks] == [False, True]
    assert [mark.label for mark in panel.marks] == ["fp32 ort", ""]
    assert panel.lines == ()
    # Rows whose answers are wrong are not drawn at all.
    assert "Hollow: INVALID, no candidate" in found.footer
    valid = figure(*answered(ORT, 60, 100), *answered(EAGER, 90, 100), labelled=IMAGES)
    assert not any("Hollow" in text for text in valid.footer)


def test_rows_with_wrong_answers_are_left_out_and_counted() -> None:
    """They would stretch the axis until all others were one spot."""
    good = [*answered(ORT, 60, 100), *answered(EAGER, 90, 100)]
    found = figure(*good, *answered(GAP, 10, 970, passed=False), labelled=IMAGES)
    ((panel,),) = found.rows
    assert [mark.y.value for mark in panel.marks] == [90.0, 90.0]
    assert "1 row whose answers are wrong left out" in found.footer
    assert not any("wrong" in text for text in figure(*good, labelled=IMAGES).footer)


def test_rows_whose_answers_nobody_compared_are_left_out_and_counted() -> None:
    """Hollow would say that they are INVALID."""
    unknown = [replace(one, parity=None) for one in answered(STATIC, 20, 100)]
    good = [*answered(ORT, 60, 100), *answered(EAGER, 90, 100)]
    found = figure(*good, *unknown, labelled=IMAGES)
    ((panel,),) = found.rows
    assert len(panel.marks) == 2
    text = "1 row whose answers were not compared with their network's left out"
    assert text in found.footer


def test_the_title_names_each_kind_of_worth() -> None:
    """A run with trained and with seeded networks shows accuracy of the one, fidelity of others."""
    trained = [*answered(ORT, 60, 90), *answered(EAGER, 90, 90)]
    seeded = [replace(case, variant="xception") for case in (ORT, EAGER)]
    both = figure(
        *trained, *(one for case in seeded for one in measured(case, 50)), labelled=IMAGES
    )
    assert both.title.startswith("Accuracy or fidelity against p50")
    assert figure(*trained, labelled=IMAGES).title.startswith("Accuracy against p50")


def test_without_labels_parity_takes_the_place_of_accuracy() -> None:
    """The centred cosine, without an interval; the title says that it is fidelity."""
    worse = measured(STATIC, 20)
    parity = worse[0].parity
    assert parity is not None
    worse[0] = replace(worse[0], parity=replace(parity, cosine=0.98))
    found = figure(*measured(ORT, 60), *worse)
    ((panel,),) = found.rows
    assert [(mark.y.value, mark.y.low) for mark in panel.marks] == [(1.0, None), (0.98, None)]
    assert found.title.startswith("Fidelity") and "cosine" in panel.y.title


def test_the_footer_says_host_date_and_n() -> None:
    """Of what is drawn: blocks and inferences of a row, images, doubtful rows."""
    doubtful = [replace(one, warmup_settled=False) for one in answered(STATIC, 20, 100)]
    host = {"CPU": "AMD EPYC (model 1)", "cores": "4", "usable cores": "2"}
    found = figure(*answered(ORT, 60, 90)[:2], *doubtful, labelled=IMAGES, host=host)
    assert found.footer[0] == (
        "2 cores of AMD EPYC, 2026-01-02, commit abc1234; "
        "n: 2 to 3 blocks and 80 to 120 inferences a row"
    )
    assert "accuracy of 1000 images" in found.footer
    assert "1 of 2 rows are SUSPECT" in found.footer


def test_names_from_outside_stay_on_one_short_line() -> None:
    """A variant's name comes from a file's: no control characters, and not endless."""
    evil = Case("a\x1b[31m" + "b" * 200, "fp32", "ort", 2)
    other = replace(evil, runtime="openvino")
    ((panel,),) = figure(*measured(evil, 10), *measured(other, 20)).rows
    for text in (panel.title.partition(";")[0], panel.series[0].name):
        assert "\x1b" not in text and len(text) <= 60
