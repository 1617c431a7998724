"""What follows from the blocks of a row, and what is doubtful about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import rows
from bench.case import Case
from bench.record import Answers, FileFacts, Measurement, Parity, Surroundings
from bench.text import plain
from export.variants import OWN
from tests.bench.conftest import MadeUp
from tests.bench.made_up import measured

EAGER = Case("vgg19", "fp32", "torch-eager", 2)
OPT = Case("vgg19", "fp32-opt", "ort", 2)
DYNAMIC = Case("vgg19", "int8-dynamic", "ort", 2)
STATIC = Case("vgg19", "int8-static", "ort", 2)
PRUNED = Case("vgg19-pruned", "fp32", "torch-eager", 2)
GAP = Case("vgg19-gap", "int8-static", "ort", 2)
NULL = Case("vgg19", "fp32", "null", 2)


def block(case: Case, number: int = 0, **changes) -> Measurement:
    """An undisturbed block: 40 inferences of 50 ms on both cores."""
    plain = Measurement(
        case,
        number,
        "ok",
        warmup_settled=True,
        latencies_ns=(50_000_000,) * 40,
        cpu_s=4.0,
        surroundings=around(2.0),
        precision=case.precision,
        parity=None if case == NULL else Parity(0.0, 1.0, 1.0, 16, passed=True),
    )
    return replace(plain, **changes)


def around(wall_s: float) -> Surroundings:
    """A quiet machine for that long."""
    return Surroundings(wall_s, 0.0, 0.0, 0, 0)


def doubts(*blocks: Measurement) -> list[str]:
    """What is doubtful about the row of these blocks, all that were planned."""
    row = rows.Row(blocks[0].case, blocks)
    return rows.doubts(row, rows.Table((row,), frozenset(), len(blocks)))


def test_reference_is_the_first_variants_eager_row() -> None:
    """torch-eager fp32, else ort fp32, else ort fp32-opt, else the first row; never null."""
    plain = replace(OPT, recipe="fp32")
    more_threads = replace(EAGER, threads=4)
    assert rows.reference_case([STATIC, PRUNED, OPT, plain, more_threads, EAGER, NULL]) == EAGER
    assert rows.reference_case([PRUNED, STATIC, OPT, plain, NULL]) == plain
    assert rows.reference_case([PRUNED, STATIC, OPT, NULL]) == OPT
    assert rows.reference_case([PRUNED, STATIC, DYNAMIC, NULL]) == DYNAMIC
    assert rows.reference_case([PRUNED, GAP]) == PRUNED
    assert rows.reference_case([NULL]) is None


def test_fp32_is_the_reference_of_bf16() -> None:
    """Also where a runtime's bf16 stands beside it and no usual reference was measured."""
    openvino = replace(EAGER, runtime="openvino")
    assert rows.reference_case([replace(openvino, precision="bf16"), openvino]) == openvino


def test_null_that_passes_parity_is_an_alarm() -> None:
    """If a constant passes, no parity of the run means anything."""
    right = Parity(0.0, 1.0, 1.0, 16, passed=True)
    (told,) = doubts(block(NULL, parity=right))
    assert "a constant passed for right" in told
    assert doubts(block(NULL, parity=replace(right, passed=False))) == []


def test_a_row_whose_answers_were_never_seen_is_no_candidate() -> None:
    """Without parity a row is marked, and is never the reference or the fastest."""
    (told,) = doubts(block(OPT, parity=None))
    assert told.startswith("`parity`: not taken")
    assert not rows.Row(OPT, (block(OPT, parity=None),)).candidate


def test_int8_is_held_against_the_best_fp32_of_its_runtime() -> None:
    """Same variant, runtime and settings; the faster of the fp32 files; nobody else."""
    slow = rows.Row(replace(OPT, recipe="fp32"), (block(replace(OPT, recipe="fp32")),))
    fast = rows.Row(OPT, (block(OPT, latencies_ns=(40_000_000,) * 40),))
    other = rows.Row(EAGER, (block(EAGER, latencies_ns=(1_000_000,) * 40),))
    static = rows.Row(STATIC, (block(STATIC),))
    table = rows.Table((other, slow, fast, static), frozenset(), 1)
    assert rows.best_fp32(static, table) is fast
    assert rows.best_fp32(fast, table) is None


def test_failed_blocks_of_a_measured_row_are_told() -> None:
    """A row with two good blocks of three says what became of the third."""
    lost = Measurement(EAGER, 2, "failed", "killed by SIGSEGV")
    assert doubts(block(EAGER, 0), block(EAGER, 1), lost) == [
        "`blocks`: 1 of 3 blocks failed: killed by SIGSEGV"
    ]


def test_a_silent_other_precision_is_marked() -> None:
    """A runtime that computes in bf16 in an fp32 row is found out; in a bf16 row it is right."""
    assert doubts(block(OPT, precision="bf16")) == ["`precision`: computed in bf16, not in fp32"]
    assert doubts(block(replace(OPT, precision="bf16"))) == []


def test_what_a_step_says_of_its_file_is_told() -> None:
    """How far a file of lower rank may be off stands below the table, and moves no Markdown."""
    file = FileFacts("k", "0", "onnx", 1, 1, 1, 0, 1, 1.0, 0, note="dense has `rank` 3 of 64")
    (told,) = doubts(block(OPT, file=file))
    assert told == f"`file`: {plain(file.note)}" and "`rank`" not in told
    assert doubts(block(OPT, file=replace(file, note=""))) == []


def test_a_block_of_another_hour_is_told() -> None:
    """Measured again by a later start: its ratios pair it with blocks that saw another machine."""
    early, late = "2026-01-02T10:00:00+00:00", "2026-01-02T15:30:00+00:00"
    found = [
        rows.Row(case, tuple(block(case, n, started=early) for n in range(3)))
        for case in (EAGER, OPT, STATIC)
    ]
    again = replace(found[1].blocks[1], started=late)
    mixed = replace(found[1], blocks=(found[1].blocks[0], again, found[1].blocks[2]))
    table = rows.Table((found[0], mixed, found[2]), frozenset(), 3)
    assert rows.doubts(mixed, table) == [
        "`another-time`: of round 2 it was begun up to 5.5 hours after most rows, "
        "with which its ratios pair it all the same"
    ]
    assert rows.doubts(found[0], table) == rows.doubts(found[2], table) == []


@pytest.mark.parametrize("started", ["", "soon", "2026-01-02T15:30:00"])
def test_a_block_of_unknown_time_is_not_doubted(started: str) -> None:
    """Old records have none, and foreign ones may have anything."""
    found = [block(EAGER, n, started="2026-01-02T10:00:00+00:00") for n in range(2)]
    assert doubts(*found, block(EAGER, 2, started=started)) == []
    other = rows.Row(OPT, (block(OPT, 0, started=started),))
    row = rows.Row(EAGER, tuple(found))
    assert rows.doubts(row, rows.Table((row, other), frozenset(), 2)) == []


@pytest.mark.parametrize(
    ("cores", "told"),
    [
        (2.4, ["`cores`: 2.4 cores were busy where 2 threads were set"]),
        (2.19, []),
        (1.51, []),
        (1.2, ["`cores`: only 1.2 cores were busy where 2 threads were set"]),
    ],
)
def test_more_or_fewer_cores_than_threads_are_told(cores: float, told: list[str]) -> None:
    """A comparison at equal threads is none where they were not used, or others were."""
    found = [block(EAGER, number, cpu_s=2.0 * cores) for number in range(3)]
    assert doubts(*found) == told


def test_cores_are_those_of_all_blocks_together() -> None:
    """One block on one core is not a row on one core."""
    assert doubts(block(EAGER, 0, cpu_s=2.0), block(EAGER, 1), block(EAGER, 2)) == []


@pytest.mark.parametrize("cpu_s", [0.0, 99.0])
@pytest.mark.parametrize(
    ("case", "surroundings"),
    [(NULL, around(2.0)), (EAGER, around(0.024)), (EAGER, around(0.0)), (EAGER, None)],
)
def test_cores_are_not_judged_where_they_cannot_be(case, surroundings, cpu_s) -> None:
    """The harness's own row, and less than 0.05 s of wall time over both blocks."""
    found = [block(case, n, cpu_s=cpu_s, surroundings=surroundings) for n in range(2)]
    assert doubts(*found) == []


def test_enough_wall_time_over_all_blocks_is_judged() -> None:
    """0.05 s in all are enough, however short a block is."""
    found = [block(EAGER, n, cpu_s=0.02, surroundings=around(0.02)) for n in range(3)]
    assert doubts(*found) == ["`cores`: only 1.0 cores were busy where 2 threads were set"]


def test_a_case_is_found_in_its_table() -> None:
    """Among the blocks of several families and sets of weights."""
    other = replace(STATIC, weights="plants40")
    table, row = rows.whereabouts(other, [block(EAGER), block(OPT), block(other)])
    assert (row.case, table.rows) == (other, (row,))


def test_the_claims_of_all_rows_are_held_together() -> None:
    """Holm: what one row alone proves at 5 %, it need not prove beside others."""

    def row(case: Case, *factors: float) -> rows.Row:
        blocks = (block(case, i, latencies_ns=(int(50e6 * f),) * 40) for i, f in enumerate(factors))
        return rows.Row(case, tuple(blocks))

    reference = row(EAGER, 1, 1, 1)
    strong = row(STATIC, 0.2, 0.2001, 0.2002)
    weak = row(OPT, 0.8, 0.85, 0.75)  # by itself p = 0.02
    others = [row(replace(PRUNED, threads=n), 1, 1.1, 0.9) for n in (1, 2, 3)]
    alone = rows.Table((reference, strong, weak), frozenset(), 3)
    together = rows.Table((reference, strong, weak, *others), frozenset(), 3)
    assert alone.held_together == {STATIC, OPT}
    assert together.held_together == {STATIC}
    estimate = rows.speedup(reference, weak)
    assert estimate is not None and together.proven(estimate)


def test_what_was_timed_must_name_the_same_classes() -> None:
    """A sample is compared with the whole by the images' numbers; a difference is a note."""
    whole = Answers((0, 1, 2, 1), (0, 0, 0, 0))
    same = Answers((1, 2), (0, 0), (1, 2))
    agreeing = block(OPT, answers=whole, sampled=same)
    assert rows.Row(OPT, (agreeing,)).answers_differ == 0
    assert doubts(agreeing) == []
    other = block(OPT, answers=whole, sampled=replace(same, predicted=(1, 0)))
    assert rows.Row(OPT, (other,)).answers_differ == 1
    (told,) = doubts(other)
    assert told.startswith("`answers`: for 1 of 2 images")


def test_one_kind_of_answers_alone_says_nothing_about_the_other() -> None:
    """No comparison, no note."""
    only = block(OPT, sampled=Answers((1,), (0,), (0,)))
    row = rows.Row(OPT, (only,))
    assert (row.answers, row.sampled, row.answers_differ) == (None, only.sampled, 0)
    assert rows.Row(OPT, (block(OPT, answers=Answers((1,), (0,))),)).answers_differ == 0


def test_given_files_stand_as_they_were_given(run_of: MadeUp) -> None:
    """Also for who reads the record later: the first is what the others are compared with."""
    before = Case("before.onnx", "fp32", "ort", 2, weights=OWN)
    after = replace(before, variant="after.onnx")
    blocks = [*measured(after, 1.0), *measured(before, 2.0)]
    (table,) = rows.tables_of(run_of(*blocks, cases=(before, after))).values()
    assert table.reference is not None
    assert table.reference.case == before
    assert [row.case for row in table.rows] == [before, after]
