"""Accuracy on the page: whole tables of a made-up run, and whose parent is whose."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from bench import (
    how_to_read,
    matrix,
    report_columns,
    report_family,
    report_glance,
    report_grids,
    report_pages,
    rows,
    score_cells,
    score_tables,
)
from bench.block import file_facts
from bench.case import AGAIN, Case
from bench.record import Answers, Labelled, Measurement, Parity, RecordError, Surroundings
from export.images import Preprocess
from tests.bench.made_up import fake_artifact

EAGER = Case("vgg19", "fp32", "torch-eager", 2)
ORT = Case("vgg19", "fp32", "ort", 2)
STATIC = Case("vgg19", "int8-static", "ort", 2)
VINO = Case("vgg19", "int8-static", "openvino", 2)
PRUNED = Case("vgg19-pruned", "fp32", "ort", 2)
LABELS = tuple(image % 6 for image in range(240))
PLANTS = Labelled("plants", "test", "f00dcafe1234abcd", ("a|b", *"bcdef"), LABELS)


def wrong(*images: int) -> dict[int, int]:
    """These images are taken for the class that follows."""
    return {image: (LABELS[image] + 1) % 6 for image in images}


@pytest.fixture
def blocks(answered):
    """The parent in two runtimes, INT8 that lost 12 images and won 2, a sample, a derived one."""
    return [
        answered(EAGER, 200, PLANTS, wrong(*range(20))),
        answered(ORT, 100, PLANTS, wrong(*range(20))),
        answered(STATIC, 40, PLANTS, wrong(*range(2, 32)), size_bytes=300_000),
        answered(VINO, 30, PLANTS, wrong(3), sample=(3, 50, 51, 52)),
        answered(PRUNED, 80, PLANTS, wrong(*range(18, 40)), size_bytes=800_000),
    ]


@pytest.fixture
def table_of(run_of):
    """The one table of these blocks."""

    def make(found, labelled=PLANTS) -> rows.Table:
        (table,) = rows.tables_of(run_of(*found, labelled=labelled)).values()
        return table

    return make


FOLDED = """\
<details><summary>Accuracy, %, with 95 % intervals</summary>

| variant      | recipe      | runtime     | t   | b   |   images |      top-1 |            top-3 |              top-5 |   macro P / R / F1 |   weighted P / R / F1 |
|--------------|-------------|-------------|-----|-----|----------|------------|------------------|--------------------|--------------------|-----------------------|
| vgg19        | fp32        | torch-eager | 2   | 1   |      240 | 92 (87–95) | 95.8 (92.5–98.0) | 100.0 (98.5–100.0) | 91.7 / 91.7 / 91.7 |    91.7 / 91.7 / 91.7 |
| vgg19        | fp32        | ort         | 2   | 1   |      240 | 92 (87–95) | 95.8 (92.5–98.0) | 100.0 (98.5–100.0) | 91.7 / 91.7 / 91.7 |    91.7 / 91.7 / 91.7 |
| vgg19        | int8-static | ort         | 2   | 1   |      240 | 88 (83–91) | 93.3 (89.4–96.1) | 100.0 (98.5–100.0) | 87.5 / 87.5 / 87.5 |    87.5 / 87.5 / 87.5 |
| vgg19-pruned | fp32        | ort         | 2   | 1   |      240 | 91 (86–94) | 95.0 (91.4–97.4) | 100.0 (98.5–100.0) | 90.8 / 90.8 / 90.8 |    90.8 / 90.8 / 90.8 |

</details>

<details><summary>Accuracy against the fp32 parent</summary>

| variant   | recipe      | runtime     | t   | b   | parent   |   images |   same answer, % |   right → wrong |   wrong → right |   McNemar p |    difference, points |   could have shown a drop of |
|-----------|-------------|-------------|-----|-----|----------|----------|------------------|-----------------|-----------------|-------------|-----------------------|------------------------------|
| vgg19     | fp32        | torch-eager | 2   | 1   | fp32 ort |      240 |            100.0 |               0 |               0 |         1.0 |    0.0 (-1.6 to +1.6) |                   3.3 points |
| vgg19     | int8-static | ort         | 2   | 1   | fp32 ort |      240 |             94.2 |              12 |               2 |       0.013 | -4.2 (-7.8 to -1.3) ▼ |                   4.4 points |

</details>

<details><summary>Accuracy against the parent variant in fp32</summary>

| variant      | recipe   | runtime   | t   | b   | parent         |   images |   same answer, % |   right → wrong |   wrong → right |   McNemar p |   difference, points |   could have shown a drop of |
|--------------|----------|-----------|-----|-----|----------------|----------|------------------|-----------------|-----------------|-------------|----------------------|------------------------------|
| vgg19-pruned | fp32     | ort       | 2   | 1   | vgg19 fp32 ort |      240 |               84 |              20 |              18 |        0.87 |        -1 (-6 to +4) |                   7.4 points |

</details>

<details><summary>F1 by class, %</summary>

| class   |   images |   vgg19 fp32 torch-eager |   vgg19-pruned fp32 ort |
|---------|----------|--------------------------|-------------------------|
| a\\|b    |       40 |                     91.1 |                    91.1 |
| b       |       40 |                     90.0 |                    90.0 |
| c       |       40 |                     91.4 |                    90.0 |
| d       |       40 |                     92.5 |                    90.0 |
| e       |       40 |                     92.5 |                    91.4 |
| f       |       40 |                     92.5 |                    92.5 |

</details>
"""  # noqa: E501

COLUMNS = """\
vgg19 ; fp32 ; torch-eager ; 92 ; 0.0 (-1.6 to +1.6)
vgg19 ; fp32 ; ort ; 92 ; parent
vgg19 ; int8-static ; ort ; 88 ; -4.2 (-7.8 to -1.3) ▼
vgg19 ; int8-static ; openvino ; ~75 (4 images) ; ~0 (-49 to +49)
vgg19-pruned ; fp32 ; ort ; 91 ; parent
"""


def columns(table: rows.Table) -> str:
    """Names and accuracy of every row, as the table of all columns shows them."""
    wanted = ("variant", "recipe", "runtime", "top-1 %", "vs fp32 parent")
    shown = {column.title: column for column in report_columns.COLUMNS if column.needed(table)}
    lines = [[shown[title].cell(row, table) for title in wanted] for row in table.rows]
    return "\n".join(map(" ; ".join, lines)) + "\n"


def test_whole_tables(blocks, table_of) -> None:
    """Accuracy, both comparisons and F1 by class, character for character."""
    text = "\n\n".join(map(report_grids.folded, score_tables.tables(table_of(blocks))))
    assert text + "\n" == FOLDED


def test_what_disturbed_the_times_marks_no_accuracy(blocks, table_of) -> None:
    """A machine that was busy meanwhile doesn't change what was answered: the same tables."""
    busy = Surroundings(
        10.0, foreign_cpu_s=9.0, steal_s=5.0, involuntary_switches=0, voluntary_switches=0
    )
    table = table_of([replace(block, surroundings=busy) for block in blocks])
    assert {row.verdict.level for row in table.rows} == {"INVALID"}
    text = "\n\n".join(map(report_grids.folded, score_tables.tables(table)))
    assert "INVALID" not in text
    assert text.partition("F1 by class")[0] == FOLDED.partition("F1 by class")[0]


def test_columns_of_the_table(blocks, table_of) -> None:
    """Top-1, and points against the parent: signed, with an interval, marked where told."""
    assert columns(table_of(blocks)) == COLUMNS


def test_without_answers_nothing_is_added(blocks, table_of, run_of) -> None:
    """Neither columns nor tables nor a word in the legend: old pages stay as they are."""
    old = [replace(block, answers=None, sampled=None) for block in blocks]
    assert "top-1 %" not in report_family.table_text(table_of(old))
    assert score_tables.tables(table_of(old)) == ()
    assert score_tables.tables(table_of(blocks, labelled=None)) == ()
    assert "Top-1 % is" not in report_pages.page([run_of(*old)])


def test_the_page_says_what_the_columns_mean_and_of_which_images_they_are(blocks, run_of) -> None:
    """A run's facts name the data; the legend explains the tests."""
    text = report_pages.page([run_of(*blocks, labelled=PLANTS)])
    facts = "- Accuracy: of 240 images in 6 classes: plants, split test (fingerprint f00dcafe1234)"
    assert facts in text
    assert "Top-1 % is how often" in text.partition("## How to read the tables")[2]


def test_few_classes_have_no_top_3(blocks, table_of) -> None:
    """Of five classes the first five answers are always right."""
    few = replace(
        PLANTS, class_names=tuple("abcde"), labels=tuple(image % 5 for image in range(240))
    )
    found = Answers(few.labels, (0,) * 240)
    grid = score_tables.accuracy(table_of([replace(blocks[0], answers=found)], few))
    assert "top-3" not in grid.head


def parents(table: rows.Table) -> dict[str, str]:
    """Row -> its parent."""
    return {str(case): str(found.parent.case) for case, found in table.compared.items()}


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_parent_is_of_the_same_runtime_or_ort(blocks, table_of, answered, order) -> None:
    """In whatever order they were measured; an fp32 row is compared with ort's."""
    eager = answered(replace(STATIC, runtime="torch-eager"), 50, PLANTS, {})
    three = [blocks[0], blocks[1], eager]
    found = parents(table_of([three[place] for place in order]))
    assert found == {str(eager.case): str(EAGER), str(EAGER): str(ORT)}
    vino = answered(VINO, 50, PLANTS, {})
    assert parents(table_of([blocks[0], vino])) == {str(VINO): str(EAGER)}
    assert parents(table_of([vino])) == {}


def test_a_wrong_row_is_nobodys_parent(blocks, table_of) -> None:
    """Parity says that its file is not the network: a comparison with it would say nothing."""
    failed = replace(blocks[1], parity=Parity(1.0, 0.1, 0.1, 16, passed=False))
    found = parents(table_of([blocks[0], failed, blocks[2]]))
    assert found == {str(STATIC): str(EAGER), str(ORT): str(EAGER)}


def test_copies_and_other_precisions_are_no_parents(blocks, table_of) -> None:
    """The second of an A/A pair, and bf16."""
    again = replace(blocks[1], case=replace(ORT, copy=AGAIN))
    bf16 = replace(blocks[1], case=replace(ORT, precision="bf16"))
    assert parents(table_of([again, bf16, blocks[2]])) == {}


def test_the_claims_of_a_table_are_held_together(blocks, table_of, answered) -> None:
    """p 0.013 alone is told from none; among five such comparisons it is not."""
    assert table_of(blocks).compared[STATIC].told
    more = [
        answered(replace(ORT, runtime=name), 90, PLANTS, wrong(*range(20)))
        for name in ("openvino", "ncnn", "mnn")
    ]
    table = table_of([*blocks, *more])
    assert not table.compared[STATIC].told
    assert "▼" not in score_cells.against_parent(_row(table, STATIC), table)


def test_a_better_row_is_marked_as_well(blocks, table_of, answered) -> None:
    """The triangle points up."""
    better = answered(STATIC, 40, PLANTS, {})
    table = table_of([blocks[1], better])
    assert score_cells.against_parent(_row(table, STATIC), table).endswith(" ▲")


def _row(table: rows.Table, case: Case) -> rows.Row:
    return next(row for row in table.rows if row.case == case)


def test_a_sample_stands_in_where_no_row_answered_all(blocks, table_of) -> None:
    """With its number of images marked; it claims nothing, however small its p."""
    table = table_of(blocks[3:4])
    assert score_tables.accuracy(table).lines[0][3:7] == ("2", "1", "~4", "75 (19–99)")
    few = Answers(
        tuple((LABELS[image] + 1) % 6 for image in range(100)), (1,) * 100, tuple(range(100))
    )
    sampled = replace(blocks[3], sampled=few)
    table = table_of([blocks[1], sampled])
    assert table.compared[VINO].paired.p_value < 0.001
    assert not table.compared[VINO].told


def test_a_session_that_answers_otherwise_has_a_note(blocks, table_of) -> None:
    """What was timed is not what was judged: says so, with how many images."""
    sampled = Answers((LABELS[0], LABELS[100]), (0, 0), (0, 100))
    table = table_of([replace(blocks[1], sampled=sampled), blocks[0]])
    (note,) = (text for text in table.notes if "`answers`" in text)
    assert "for 1 of 2 images" in note


def test_answers_to_other_images_are_a_sentence(blocks, run_of) -> None:
    """A record whose answers can't belong to its labels is refused."""
    other = replace(PLANTS, labels=LABELS[:-1])
    with pytest.raises(RecordError, match="239 images of plants test have 240 answers"):
        report_pages.page([run_of(*blocks, labelled=other)])


def test_small_and_fast_have_their_accuracy_beside_them(blocks, table_of) -> None:
    """A headline that hides what was lost would sell it."""
    text = report_glance.at_a_glance(table_of([*blocks[:2], *blocks[3:]]))
    assert "Smallest file: `vgg19-pruned fp32 ort`, 0.8000 MB" in text
    assert "top-1 91 %" in text
    named = text.partition("Chosen among")[0]
    assert named.count("top-1") == 1  # of the fastest only a sample was asked


def test_what_loses_accuracy_is_passed_over_and_named(blocks, table_of, answered) -> None:
    """INT8 that lost ten images of 240 is neither smallest nor fastest, and no rival."""
    quick = answered(replace(VINO, runtime="ncnn"), 20, PLANTS, wrong(*range(32)))
    table = table_of([*blocks, quick])
    text = report_glance.at_a_glance(table)
    assert {row.case for row in table.rows} - {row.case for row in table.accurate} == {
        STATIC,
        quick.case,
    }
    assert "Smallest file: `vgg19-pruned fp32 ort`, 0.8000 MB" in text
    over = "but passed over for its accuracy: `vgg19 int8-static"
    against = "points against `vgg19 fp32 ort`"
    assert f"; smaller {over} ort`, -4.2 (-7.8 to -1.3) {against}." in text
    assert "Fastest: `vgg19 int8-static openvino`" in text
    assert f"; faster {over} ncnn`, -5.0 (" in text
    assert "not seen to lose more than 1 point of top-1 to their own network in fp32" in text


@pytest.mark.parametrize(("lost", "kept"), [(2, True), (3, False)])
def test_one_point_may_be_lost(table_of, answered, lost, kept) -> None:
    """Of 200 images two are a point: the estimate decides, and just the limit is kept."""
    few = replace(PLANTS, labels=LABELS[:200])
    blocks = [answered(ORT, 100, few, {}), answered(STATIC, 40, few, wrong(*range(lost)))]
    table = table_of(blocks, few)
    assert (_row(table, STATIC) in table.accurate) == kept
    fast = "vgg19 int8-static ort" if kept else "vgg19 fp32 ort"
    assert f"Fastest: `{fast}`" in report_glance.at_a_glance(table)
    assert ("passed over" in report_glance.at_a_glance(table)) != kept


def test_a_smaller_network_must_keep_accuracy_too(table_of, answered) -> None:
    """Pruned, and as good in INT8 as in fp32: what pruning cost counts as well."""
    cut = answered(replace(ORT, variant="vgg19-pruned"), 20, PLANTS, wrong(*range(9)))
    table = table_of([answered(ORT, 100, PLANTS, {}), cut])
    assert [row.case.variant for row in table.accurate] == ["vgg19"]
    said = report_glance.at_a_glance(table)
    assert "passed over for its accuracy: `vgg19-pruned fp32 ort`, -3.8" in said


def test_what_loses_accuracy_is_not_in_bold(blocks, table_of, answered) -> None:
    """In no column of a table with accuracy, nor in its matrix; the page says the rule."""
    quick = answered(replace(ORT, runtime="ncnn"), 1, PLANTS, wrong(*range(32)))
    table = table_of([*blocks[:3], blocks[4], quick])
    shown = {column.title: column for column in report_columns.COLUMNS}
    bold = {
        title: [row.case for row in table.rows if shown[title].cell(row, table).startswith("**")]
        for title in ("file MB", "p50 ms")
    }
    assert bold == {"file MB": [PRUNED], "p50 ms": [PRUNED]}
    times, *_ = matrix.matrices(table)
    cells = [(line[0], cell) for line in times.lines for cell in line[3:] if "**" in cell]
    assert cells == [("ort", "**100** (2.00x?)"), ("ort", "**80.0**")]
    rule = "are in bold, where it has accuracy those of the rows\n  not seen to lose more than 1"
    assert rule in how_to_read._HOW_TO_READ


def test_classes_are_shown_of_what_keeps_accuracy(blocks, table_of) -> None:
    """Beside the reference the smallest and the fastest row in bold, not one that lost."""
    grid = score_tables.f1_by_class(table_of(blocks))
    assert grid.head[2:] == ("vgg19 fp32 torch-eager", "vgg19-pruned fp32 ort")


def test_a_sample_passes_nobody_over(blocks, table_of) -> None:
    """One wrong image of four is no loss of 25 points, and the condition isn't claimed."""
    text = report_glance.at_a_glance(table_of([blocks[1], blocks[3]]))
    assert "Fastest: `vgg19 int8-static openvino`" in text
    assert "passed over" not in text
    assert "not seen to lose" not in text


def test_where_every_row_loses_nothing_is_named(table_of, answered) -> None:
    """The parent itself was not measured: none of the others is offered in its place."""
    parent = replace(answered(ORT, 100, PLANTS, {}), status="failed")
    text = report_glance.at_a_glance(
        table_of([parent, answered(STATIC, 40, PLANTS, wrong(*range(9)))])
    )
    assert text.startswith("No row that is measured and right")


def test_weights_that_learnt_at_another_size_are_a_note(blocks, table_of) -> None:
    """On the rows whose accuracy it bears on, under their table; once for all of them."""
    size = Preprocess((160, 160)).to_json()

    def learnt(block: Measurement, side: int) -> Measurement:
        assert block.file is not None
        file = replace(block.file, preprocess=size, learnt_size=(side, side))
        return replace(block, file=file)

    first, second, *others = blocks
    unasked = replace(learnt(second, 224), answers=None, case=replace(ORT, threads=1))
    found = table_of([learnt(first, 224), learnt(second, 160), *others, unasked])
    note = "`input`: its weights, learnt at 224x224, used at 160x160"
    noted = [row.case for row in found.rows if note in rows.doubts(row, found)]
    assert noted == [EAGER]
    assert report_family.table_text(found).count(note) == 1


def test_an_assumed_order_of_classes_is_told(blocks, table_of) -> None:
    """Below the table of accuracy, with the variants and the first of the classes; else nothing."""
    assert score_tables.accuracy(table_of(blocks)).note == ""
    first, *others = blocks
    assert first.file is not None
    unnamed = replace(first, file=replace(first.file, unnamed_classes=True))
    found = table_of([unnamed, *others])
    grid = score_tables.accuracy(found)
    assert grid.note == (
        "Assumed (`--folder-order`), not known: the weights of `vgg19` don't name their classes, "
        "and their outputs are taken to stand in the order of the folders "
        "(0: a|b, 1: b, 2: c, 3: d, 4: e and 1 more)."
    )
    assert report_grids.folded(grid).endswith(f"|\n\n{grid.note}\n\n</details>")


def test_a_record_says_whether_classes_are_named(tmp_path) -> None:
    """As the file does; records of before have no such field and claim nothing."""
    made_up = fake_artifact(tmp_path)
    assert file_facts(made_up).unnamed_classes
    assert not file_facts(replace(made_up, placeholder_names=False)).unnamed_classes
    by_folder = replace(made_up, placeholder_names=False, facts={"assumed_names": True})
    assert file_facts(by_folder).unnamed_classes  # somebody said that the folders name them
