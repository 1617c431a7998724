"""Who competes, who is left out and why, and when one row is told from another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import contenders
from bench import field as fields
from bench.case import AGAIN, Case
from bench.contenders import Contender, separated
from bench.options import UsageError
from bench.record import Measurement, Surroundings
from tests.bench.made_up import answering, measured, thousand_images

FP32 = Case("vgg19", "fp32", "ort", 2)
INT8 = Case("vgg19", "int8-static", "ort", 2)
OTHER = Case("xception", "fp32", "ort", 2)


def pair(run_of, one: list[Measurement], other: list[Measurement], **more) -> list[Contender]:
    """Two rows of one run."""
    return list(fields.field([run_of(*one, *other, **more)]).contenders)


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (lambda b: [replace(x, status="failed", reason="crashed") for x in b], "failed: crashed"),
        (
            lambda b: [replace(b[0], status="unsupported", reason="no such layer", file=None)],
            "unsupported: no such layer",
        ),
        (
            lambda b: [*b[:2], replace(b[2], status="failed", reason="died")],
            "1 of 3 blocks failed: died",
        ),
        (lambda b: [replace(x, parity=None) for x in b], "parity was not taken"),
        (lambda b: measured(INT8, 1, 1, 1, passed=False), "parity failed"),
        (
            lambda b: [replace(x, surroundings=Surroundings(1, 2.0, 0, 0, 0)) for x in b],
            "INVALID (foreign-cpu)",
        ),
    ],
    ids=["failed", "unsupported", "one-failed", "no-parity", "wrong", "invalid"],
)
def test_rows_that_prove_nothing_are_left_out_with_the_reason(spoilt, reason, run_of) -> None:
    """Fast and wrong is wrong: however fast, such a row never competes."""
    blocks = [*measured(FP32, 10, 10, 10), *spoilt(measured(INT8, 1, 1, 1))]
    found = fields.field([run_of(*blocks)])
    assert [one.case for one in found.contenders] == [FP32]
    assert [(one.name, one.reason.startswith(reason)) for one in found.left_out] == [
        (str(INT8), True)
    ]


@pytest.mark.parametrize(
    ("weights", "whose"), [("own", "the given file, unoptimised"), ("seeded", "fp32 torch module")]
)
def test_a_wrong_row_says_whose_outputs_it_should_have(weights: str, whose: str, run_of) -> None:
    """A given file has no torch module."""
    found = fields.field([run_of(*measured(replace(FP32, weights=weights), 1, passed=False))])
    assert whose in found.left_out[0].reason


def test_what_is_planned_and_not_measured_is_named(run_of) -> None:
    """A run that was interrupted may lack the best row."""
    found = fields.field([run_of(*measured(FP32, 1, 1, 1), cases=(FP32, INT8))])
    assert [(one.name, one.reason) for one in found.left_out] == [(str(INT8), "not measured yet")]


def test_copies_and_the_harness_do_not_compete(run_of) -> None:
    """They are neither picked nor listed: nobody would ship them."""
    others = (replace(FP32, copy=AGAIN), replace(FP32, runtime="null"))
    blocks = [b for case in (FP32, *others) for b in measured(case, 1, 1, 1)]
    found = fields.field([run_of(*blocks)])
    assert ([one.case for one in found.contenders], found.left_out) == ([FP32], ())


def test_times_are_paired_by_round(run_of) -> None:
    """A machine that is slower from round to round tells two rows apart all the same."""
    one, other = pair(run_of, measured(FP32, 11, 22, 44), measured(INT8, 10, 20, 40))
    assert one.case == FP32
    assert separated(other, one, "latency")
    assert not separated(one, other, "latency")


def test_two_blocks_tell_nothing_apart(run_of) -> None:
    """A ratio without an interval proves nothing, however large."""
    one, other = pair(run_of, measured(FP32, 90, 90), measured(INT8, 1, 1))
    assert not separated(other, one, "latency")


def test_an_aa_pair_sets_how_little_can_be_told(run_of) -> None:
    """Where the same file came out a tenth apart, a twentieth between two files is nothing."""
    again = measured(replace(FP32, copy=AGAIN), 11, 11.1, 11)
    rows = (*measured(FP32, 10, 10, 10), *measured(INT8, 9.5, 9.5, 9.5))
    one, other = fields.field([run_of(*rows)]).contenders
    assert separated(other, one, "latency")
    one, other = fields.field([run_of(*rows, *again)]).contenders
    assert not separated(other, one, "latency")
    assert contenders.hidden_by_twin(other, one)


def test_sizes_are_exact_and_memory_has_an_interval(run_of) -> None:
    """A byte less is less; memory that differs in each block as much as between rows is not."""
    one, other = pair(run_of, measured(FP32, 1), measured(INT8, 1, size_bytes=999_999))
    assert separated(other, one, "size")
    assert not separated(other, one, "memory")


def test_answers_are_compared_on_the_same_images(run_of) -> None:
    """Ten more wrong ones of a thousand, all of them lost: McNemar's p is 0.002; of five 0.06."""
    labelled = thousand_images()
    for lost, told in ((10, True), (5, False)):
        one, other = pair(
            run_of,
            measured(FP32, 1, answers=answering(labelled, 50)),
            measured(INT8, 1, answers=answering(labelled, 50 + lost)),
            labelled=labelled,
        )
        assert separated(one, other, "accuracy") is told
        assert not separated(other, one, "accuracy")


def test_rows_of_two_runs_are_compared_unpaired(run_of) -> None:
    """By Welch's t: what pairing took out is in it, so that less is told apart."""
    drifting = run_of(*measured(FP32, 11, 22, 44)), run_of(*measured(INT8, 10, 20, 40), run="b-2")
    one, other = fields.field(drifting).contenders
    assert not separated(other, one, "latency")
    quiet = run_of(*measured(FP32, 11, 11, 11.1)), run_of(*measured(INT8, 10, 10.1, 10), run="b-2")
    one, other = fields.field(quiet).contenders
    assert separated(other, one, "latency")


def test_of_a_row_in_two_runs_the_newer_counts(run_of) -> None:
    """Whatever the order in which they were named."""
    old = run_of(*measured(FP32, 10, 10, 10))
    new = run_of(*measured(FP32, 8, 8, 8), run="b-2", started="2026-03-01T00:00:00+00:00")
    for runs in ([old, new], [new, old]):
        (one,) = fields.field(runs).contenders
        assert one.header.run == "b-2"


def test_a_newer_run_that_has_not_come_to_a_row_leaves_the_older_one(run_of) -> None:
    """Whoever interrupts a run again and again must not lose what an earlier one measured."""
    old = run_of(*measured(FP32, 10, 10, 10), *measured(INT8, 8, 8, 8))
    new = run_of(
        *measured(FP32, 9, 9, 9),
        run="b-2",
        started="2026-03-01T00:00:00+00:00",
        cases=(FP32, INT8),
    )
    for runs in ([old, new], [new, old]):
        found = fields.field(runs)
        assert [(one.case, one.header.run) for one in found.contenders] == [
            (FP32, "b-2"),
            (INT8, "default-1"),
        ]
        assert found.left_out == ()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"host_id": "another"}, "host"),
        ({"weights": "imagenet"}, "weights"),
        ({"data": "other.zip"}, "images"),
        ({"labelled": thousand_images()}, "labelled images"),
    ],
)
def test_hosts_weights_and_images_are_never_mixed(change, what: str, run_of) -> None:
    """A sentence names both runs and what differs."""
    one, other = run_of(*measured(FP32, 1)), run_of(*measured(INT8, 1), run="b-2", **change)
    with pytest.raises(UsageError, match=f"default-1 and b-2 differ in {what} .*--run"):
        fields.field([one, other])


def test_other_classifiers_compete_only_on_the_same_images(run_of) -> None:
    """Two families with no accuracy are two questions; with it, it decides."""
    labelled = thousand_images()
    silent = run_of(*measured(FP32, 1), *measured(OTHER, 1), labelled=labelled)
    with pytest.raises(UsageError, match=r"xception \(weights: seeded\).*-m 'vgg19'"):
        fields.field([silent])
    assert len(fields.field([silent], variants=["xception"]).contenders) == 1
    told = [b for case in (FP32, OTHER) for b in measured(case, 1, answers=answering(labelled, 1))]
    assert len(fields.field([run_of(*told, labelled=labelled)]).contenders) == 2


def test_a_glob_that_names_nothing_is_told(run_of) -> None:
    """With the nearest name of the records."""
    run = run_of(*measured(FP32, 1), *measured(INT8, 1))
    with pytest.raises(UsageError, match="--variants: nothing is called 'vgg91'; did you mean vgg"):
        fields.field([run], variants=["vgg91"])
    with pytest.raises(UsageError, match="--runtimes: nothing is called 'openvino'"):
        fields.field([run], runtimes=["openvino"])
