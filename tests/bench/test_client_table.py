"""Old model against new: the whole table, and where 6.92 GB come from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import client_table, report_pages, report_sections, rows
from bench.case import Case
from bench.record import Labelled, Parity, Surroundings

OLD = Case("xception-flatten", "fp32", "ort", 2)
NEW = Case("xception-gap", "fp32", "ort", 2)
STATIC = replace(NEW, recipe="int8-static")
VINO = "openvino"
LITERT = "litert"
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


@pytest.fixture
def elsewhere(answered):
    """The same files in another runtime, of which INT8 answers otherwise; another format."""
    large = {"size_bytes": 355_815_287, "parameters": 88_974_928}
    quantised = {"size_bytes": 21_976_111, "parameters": 21_314_512}
    tflite = {"size_bytes": 21_500_000, "parameters": 21_341_776}
    small = answered(replace(STATIC, runtime=LITERT), 60, PLANTS, wrong(*range(60)), **tflite)
    return [
        answered(replace(OLD, runtime=VINO), 150, PLANTS, wrong(*range(12)), **large),
        answered(replace(STATIC, runtime=VINO), 30, PLANTS, wrong(*range(5, 22)), **quantised),
        answered(replace(OLD, runtime=LITERT), 300, PLANTS, wrong(*range(12)), **large),
        replace(small, file=replace(small.file, format="tflite")),
    ]


TABLES = """\
### Old model against new

**xception-flatten fp32 → xception-gap fp32: answers, in % and points**

| runtime   | recipes     |   images |                            accuracy |          difference |   McNemar p |   could have shown a drop of |                 weighted precision |   weighted recall (the accuracy, by definition) |                        weighted F1 |   classes with higher F1 |   equal F1 |
|-----------|-------------|----------|-------------------------------------|---------------------|-------------|------------------------------|------------------------------------|-------------------------------------------------|------------------------------------|--------------------------|------------|
| ort       | fp32 → fp32 |      400 | 97.0 (94.8–98.4) → 97.8 (95.8–99.0) | +0.8 (-0.7 to +2.5) |        0.45 |                   2.0 points | 97.00 → 97.76: +0.8 (-0.5 to +2.1) |                                   97.00 → 97.75 | 97.00 → 97.75: +0.7 (-0.5 to +2.0) |       old 0, new 5, of 5 |          0 |

**xception-flatten fp32 → xception-gap fp32: sizes, MB**

| file                 |   old |   new |   size reduction, % |   times smaller |                                                                                              |
|----------------------|-------|-------|---------------------|-----------------|----------------------------------------------------------------------------------------------|
| onnx as shipped      | 355.8 | 85.28 |               76.03 |           4.172 |                                                                                opened by ort |
| with optimiser state |  1068 | 256.1 |               76.01 |           4.169 | the networks' 88.975 M and 21.342 M parameters, 4 bytes, times three: Adam keeps two moments |

**xception-flatten fp32 → xception-gap int8-static: answers, in % and points**

| runtime   | recipes            |   images |                            accuracy |            difference |   McNemar p |   could have shown a drop of |                   weighted precision |   weighted recall (the accuracy, by definition) |                          weighted F1 |   classes with higher F1 |   equal F1 |
|-----------|--------------------|----------|-------------------------------------|-----------------------|-------------|------------------------------|--------------------------------------|-------------------------------------------------|--------------------------------------|--------------------------|------------|
| ort       | fp32 → int8-static |      400 | 97.0 (94.8–98.4) → 96.2 (93.9–97.9) |   -0.8 (-2.8 to +1.2) |        0.58 |                   2.6 points |   97.00 → 96.25: -0.8 (-2.5 to +1.0) |                                   97.00 → 96.25 |   97.00 → 96.25: -0.7 (-2.5 to +1.0) |       old 4, new 0, of 5 |          1 |
| openvino  | fp32 → int8-static |      400 | 97.0 (94.8–98.4) → 95.8 (93.3–97.5) |   -1.2 (-3.5 to +0.7) |        0.30 |                   2.8 points |   97.00 → 95.75: -1.3 (-3.2 to +0.7) |                                   97.00 → 95.75 |   97.00 → 95.75: -1.3 (-3.1 to +0.6) |       old 5, new 0, of 5 |          0 |
| litert    | fp32 → int8-static |      400 |       97.0 (94.8–98.4) → 85 (81–88) | -12.0 (-15.6 to -9.2) |      <0.001 |                   5.0 points | 97.00 → 85.00: -12.0 (-15.2 to -8.8) |                                   97.00 → 85.00 | 97.00 → 85.00: -12.0 (-15.2 to -8.8) |       old 5, new 0, of 5 |          0 |

**xception-flatten fp32 → xception-gap int8-static: sizes, MB**

| file                 |   old |   new |   size reduction, % |   times smaller |                                                                                              |
|----------------------|-------|-------|---------------------|-----------------|----------------------------------------------------------------------------------------------|
| onnx as shipped      | 355.8 | 21.98 |               93.82 |           16.19 |                                                                      opened by ort, openvino |
| tflite as shipped    | 355.8 | 21.50 |               93.96 |           16.55 |                                                                             opened by litert |
| with optimiser state |  1068 | 256.1 |               76.01 |           4.169 | the networks' 88.975 M and 21.342 M parameters, 4 bytes, times three: Adam keeps two moments |

The 6.92 GB of the model that this comparison was first made for: 566.150 M parameters (`xception-flatten-wide`), 4 bytes each, times three for a checkpoint that keeps Adam's two moments, are 6.79 GB (-1.8 %).
"""  # noqa: E501


def section(run) -> str:
    """What the page says of it."""
    (table,) = rows.tables_of(run).values()
    return report_sections.old_against_new(table) + "\n"


def test_whole_section(blocks, elsewhere, run_of) -> None:
    """Every runtime with both rows, and files once, character for character; the page has it."""
    run = run_of(*blocks, *elsewhere, labelled=PLANTS)
    assert section(run) == TABLES
    assert TABLES.strip() in report_pages.page([run])


def test_a_pair_takes_two(blocks, elsewhere, run_of) -> None:
    """Without the new model, in the same runtime, or without labels there is no such section."""
    assert section(run_of(blocks[0], labelled=PLANTS)) == "\n"
    assert section(run_of(blocks[0], elsewhere[1], labelled=PLANTS)) == "\n"
    assert section(run_of(*blocks)) == "\n"


def test_what_is_wrong_or_doubtful_is_marked(blocks, run_of) -> None:
    """Each side with the words of the other tables; of a wrong file the sizes say so as well."""
    busy = Surroundings(
        wall_s=1.0, foreign_cpu_s=0.3, steal_s=0.0, involuntary_switches=0, voluntary_switches=0
    )
    failed = Parity(1.0, 0.1, 0.5, 16, passed=False)
    old, new, static = blocks
    changed = [replace(old, surroundings=busy), new, replace(static, parity=failed)]
    text = section(run_of(*changed, labelled=PLANTS))
    assert "| fp32 SUSPECT → fp32 " in text
    assert "| fp32 SUSPECT → int8-static WRONG " in text
    assert "opened by ort |" in text
    assert "opened by ort WRONG |" in text


def test_an_assumed_order_is_told_below_the_answers(blocks, run_of) -> None:
    """Only where a row's weights don't name their classes; not below the sizes."""
    unnamed = replace(blocks[1].file, unnamed_classes=True)
    text = section(run_of(blocks[0], replace(blocks[1], file=unnamed), labelled=PLANTS))
    assert text.count("Assumed (`--folder-order`)") == 1
    assert "weights of `xception-gap` don't name their classes" in text.split("sizes, MB")[0]


def test_fp32_opt_stands_in_for_fp32(blocks, run_of) -> None:
    """The default suite measures ort in that recipe only."""
    as_opt = [replace(one, case=replace(one.case, recipe="fp32-opt")) for one in blocks[:2]]
    assert "| ort       | fp32-opt → fp32-opt |" in section(run_of(*as_opt, labelled=PLANTS))


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
