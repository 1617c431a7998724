"""Old model against new: the whole table, and where 6.92 GB come from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import client_table, report, rows
from bench.case import Case
from bench.record import Labelled

OLD = Case("xception-flatten", "fp32", "ort", 2)
NEW = Case("xception-gap", "fp32", "ort", 2)
STATIC = replace(NEW, recipe="int8-static")
LABELS = tuple(image % 5 for image in range(400))
PLANTS = Labelled("plants", "test", "f00d", tuple("abcde"), LABELS)


def wrong(*images: int) -> dict[int, int]:
    """These images are taken for the class that follows."""
    return {image: (LABELS[image] + 1) % 5 for image in images}


@pytest.fixture
def blocks(answered):
    """A large model with 12 wrong answers, a small one with 9, and that in INT8."""
    large = {"size_bytes": 355_815_287, "parameters": 88_974_928}
    small = {"size_bytes": 85_282_701, "parameters": 21_341_776}
    quantised = {"size_bytes": 21_976_111, "parameters": 21_314_512}
    return [
        answered(OLD, 200, PLANTS, wrong(*range(12)), **large),
        answered(NEW, 100, PLANTS, wrong(*range(5, 13), 200), **small),
        answered(STATIC, 40, PLANTS, wrong(*range(5, 20)), **quantised),
    ]


TABLES = """\
### Old model against new

**xception-flatten fp32 → xception-gap fp32, 400 images in 5 classes**

|                               |              old |              new |                                                                              new against old |
|-------------------------------|------------------|------------------|----------------------------------------------------------------------------------------------|
| model                         | xception-flatten |     xception-gap |                                                                                              |
| recipe, runtime               |        fp32, ort |        fp32, ort |                                                                                              |
| accuracy, %                   | 97.0 (94.8–98.4) | 97.8 (95.8–99.0) |            +0.8 (-0.7 to +2.5) points, McNemar p 0.45, could have shown a drop of 2.0 points |
| weighted precision, %         |            97.00 |            97.76 |                                                                   +0.8 (-0.5 to +2.1) points |
| weighted recall, %            |            97.00 |            97.75 |                                                                  the accuracy, by definition |
| weighted F1, %                |            97.00 |            97.75 |                                                                   +0.7 (-0.5 to +2.0) points |
| classes with higher F1        |                0 |                5 |                                                                                         of 5 |
| classes with equal F1         |                0 |                0 |                                                                                              |
| size as shipped, MB           |            355.8 |            85.28 |                                                                                              |
| size with optimiser state, MB |             1068 |            256.1 | the networks' 88.975 M and 21.342 M parameters, 4 bytes, times three: Adam keeps two moments |
| size reduction, %             |                  |            76.03 |                                                                   with optimiser state 76.01 |
| times smaller                 |                  |            4.172 |                                                                   with optimiser state 4.169 |

**xception-flatten fp32 → xception-gap int8-static, 400 images in 5 classes**

|                               |              old |              new |                                                                              new against old |
|-------------------------------|------------------|------------------|----------------------------------------------------------------------------------------------|
| model                         | xception-flatten |     xception-gap |                                                                                              |
| recipe, runtime               |        fp32, ort | int8-static, ort |                                                                                              |
| accuracy, %                   | 97.0 (94.8–98.4) | 96.2 (93.9–97.9) |            -0.8 (-2.8 to +1.2) points, McNemar p 0.58, could have shown a drop of 2.6 points |
| weighted precision, %         |            97.00 |            96.25 |                                                                   -0.8 (-2.5 to +1.0) points |
| weighted recall, %            |            97.00 |            96.25 |                                                                  the accuracy, by definition |
| weighted F1, %                |            97.00 |            96.25 |                                                                   -0.7 (-2.5 to +1.0) points |
| classes with higher F1        |                4 |                0 |                                                                                         of 5 |
| classes with equal F1         |                1 |                1 |                                                                                              |
| size as shipped, MB           |            355.8 |            21.98 |                                                                                              |
| size with optimiser state, MB |             1068 |            256.1 | the networks' 88.975 M and 21.342 M parameters, 4 bytes, times three: Adam keeps two moments |
| size reduction, %             |                  |            93.82 |                                                                   with optimiser state 76.01 |
| times smaller                 |                  |            16.19 |                                                                   with optimiser state 4.169 |

The 6.92 GB of the model that this comparison was first made for: 566.150 M parameters (`xception-flatten-wide`), 4 bytes each, times three for a checkpoint that keeps Adam's two moments, are 6.79 GB (-1.8 %).
"""  # noqa: E501


def section(run) -> str:
    """What the page says of it."""
    (table,) = rows.tables_of(run).values()
    return report._old_against_new(table) + "\n"


def test_whole_section(blocks, run_of) -> None:
    """Both pairs and the explanation, character for character; the page has it."""
    run = run_of(*blocks, labelled=PLANTS)
    assert section(run) == TABLES
    assert TABLES.strip() in report.page([run])


def test_a_pair_takes_two(blocks, run_of) -> None:
    """Without the new model, or without labels, there is no such section."""
    assert section(run_of(blocks[0], labelled=PLANTS)) == "\n"
    assert section(run_of(*blocks)) == "\n"


def test_fp32_opt_stands_in_for_fp32(blocks, run_of) -> None:
    """The default suite measures ort in that recipe only."""
    as_opt = [replace(one, case=replace(one.case, recipe="fp32-opt")) for one in blocks[:2]]
    assert "fp32-opt, ort" in section(run_of(*as_opt, labelled=PLANTS))


def test_parameters_are_those_of_the_wide_network() -> None:
    """What is typed in where no row tells is what the module has; no weights are made for it."""
    torch = pytest.importorskip("torch")
    from export.models.xception import xception_flatten_wide

    with torch.device("meta"):
        module = xception_flatten_wide(40, (300, 400))
    count = sum(parameter.numel() for parameter in module.parameters())
    assert client_table.PARAMETERS == {client_table.WIDE: count}


def test_adams_moments_explain_the_inherited_size(blocks, run_of) -> None:
    """Within 2 %: 566 M weights, 4 bytes each, three times."""
    (table,) = rows.tables_of(run_of(*blocks)).values()
    size = client_table.parameters(client_table.WIDE, table) * 12
    assert size == pytest.approx(client_table.INHERITED_BYTES, rel=0.02)


def test_a_measured_row_tells_the_parameters(blocks, run_of, answered) -> None:
    """The most that any file of the variant stores: exporters fold norms away."""
    wide = [
        answered(Case(client_table.WIDE, "fp32", name, 2), 900, PLANTS, {}, parameters=count)
        for name, count in (("ort", 566_123_216), ("torch-eager", 566_150_481))
    ]
    (table,) = rows.tables_of(run_of(*blocks, *wide)).values()
    assert client_table.parameters(client_table.WIDE, table) == 566_150_481
