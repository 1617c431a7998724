"""Stacked bars, as values: where the bytes are, and what a cold start consists of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench import part_plots, rows
from bench.case import Case
from bench.figure import Figure
from bench.record import Measurement, Run
from export.artifact import LayerWork
from tests.bench.made_up import header, measured

FP32 = Case("vgg19", "fp32", "ort", 2)
STATIC = replace(FP32, recipe="int8-static")
HALF = replace(FP32, recipe="fp16-weights")
CONV = LayerWork("Conv_0", 100_000, 4_040, 10)
DENSE = LayerWork("Gemm_1", 100_000, 400_040, 10)
"""1,000 weights used at 100 places, and 100,000 used once; both with a bias of 10."""
CONV8 = LayerWork("Conv_0_quant", 100_000, 1_040, 10, "int8")
DENSE8 = LayerWork("Gemm_1_quant", 100_000, 100_040, 10, "int8")
CONV16 = replace(CONV, weight_bytes=2_020)
DENSE16 = replace(DENSE, weight_bytes=200_020)


def of_file(
    case: Case, size_bytes: int, *layers: LayerWork, format: str = "onnx"
) -> list[Measurement]:
    """A row whose file has these layers."""
    blocks = measured(case, 10, size_bytes=size_bytes)
    return [
        replace(block, file=replace(block.file, layers=layers, format=format))
        for block in blocks
        if block.file
    ]


def figure(make: Callable[..., Figure], *blocks: Measurement) -> Figure:
    """Of a run of these blocks."""
    run = Run(header(), blocks)
    return make(run.header, rows.tables_of(run))


def bars(found: Figure) -> dict[str, tuple[float, ...]]:
    """Name -> lengths of the parts."""
    ((panel,),) = found.rows
    lengths = zip(*(part.lengths for part in panel.parts), strict=True)
    return dict(zip(panel.names, lengths, strict=True))


def test_bytes_are_told_by_how_often_weights_are_used() -> None:
    """MB of convolutions, of fully connected layers, and the rest of the file, for each recipe."""
    blocks = [*of_file(FP32, 500_000, CONV, DENSE), *of_file(STATIC, 120_000, CONV8, DENSE8)]
    found = bars(figure(part_plots.file_bytes, *blocks))
    assert found == {
        "vgg19 fp32": pytest.approx((0.00404, 0.40004, 0.09592)),
        "vgg19 int8-static": pytest.approx((0.00104, 0.10004, 0.01892)),
    }


def test_packed_weights_are_told_by_the_layers_of_the_fp32_file() -> None:
    """Their precision does not say how wide they are; without that file they are left out."""
    half = of_file(HALF, 210_000, CONV16, DENSE16)
    found = bars(figure(part_plots.file_bytes, *of_file(FP32, 500_000, CONV, DENSE), *half))
    assert found["vgg19 fp16-weights"] == pytest.approx((0.00202, 0.20002, 0.00796))
    table = next(iter(rows.tables_of(Run(header(), tuple(half))).values()))
    assert part_plots.group_bytes(table.rows[0], None) is None


def test_a_file_of_the_same_size_is_drawn_once() -> None:
    """fp32-opt is fp32 in other operators; the .onnx file stands for the others of a recipe."""
    eager = replace(FP32, runtime="torch-eager")
    blocks = [
        *of_file(eager, 505_000, CONV, DENSE, format="pt2"),
        *of_file(FP32, 500_000, CONV, DENSE),
        *of_file(replace(FP32, recipe="fp32-opt"), 501_000, CONV, DENSE),
        *of_file(STATIC, 120_000, CONV8, DENSE8),
    ]
    assert list(bars(figure(part_plots.file_bytes, *blocks))) == ["vgg19 fp32", "vgg19 int8-static"]
    alone = figure(part_plots.file_bytes, *blocks[:1], *blocks[3:])
    assert list(bars(alone)) == ["vgg19 fp32 (pt2)", "vgg19 int8-static"]


def test_files_that_are_not_taken_apart_or_wrong_have_no_bar() -> None:
    """No layers, no bytes by layer; one file alone is no comparison."""
    wrong = [
        replace(one, parity=replace(one.parity, passed=False))
        for one in of_file(STATIC, 120_000, CONV8, DENSE8)
        if one.parity
    ]
    blocks = [*of_file(FP32, 500_000, CONV, DENSE), *measured(HALF, 10), *wrong]
    assert figure(part_plots.file_bytes, *blocks).rows == ()


def started(case: Case, *wholes: float) -> list[Measurement]:
    """Blocks whose cold starts took so many seconds, a tenth of it the import, and so on."""
    return [
        replace(
            block,
            import_s=0.1 * whole,
            read_s=0.2 * whole,
            load_s=0.3 * whole,
            first_s=0.4 * whole,
            cold_start_s=whole,
        )
        for block, whole in zip(measured(case, *[10] * len(wholes)), wholes, strict=True)
    ]


def test_a_cold_start_is_that_of_the_middle_block() -> None:
    """Its leaves in ms; a row whose answers are wrong has no bar, nor has one without the whole."""
    wrong = [
        replace(block, parity=replace(block.parity, passed=False))
        for block in started(replace(FP32, runtime="mnn"), 1)
        if block.parity
    ]
    blocks = [*started(FP32, 3.0, 1.0, 2.0), *started(STATIC, 4.0), *wrong, *measured(HALF, 10)]
    found = bars(figure(part_plots.cold_starts, *blocks))
    assert found == {
        "vgg19 fp32 ort": pytest.approx((200, 400, 600, 800)),
        "vgg19 int8-static ort": pytest.approx((400, 800, 1200, 1600)),
    }


def test_of_many_cold_starts_one_variant_is_drawn() -> None:
    """The reference's, and the title says so."""
    recipes = ("fp32", "fp32-opt", "fp32-slim", "fp16-weights", "int8-dynamic", "int8-static")
    blocks = [
        block
        for variant in ("vgg19", "vgg19-pruned", "vgg19-gap", "vgg19-scaled-160")
        for recipe in recipes
        for block in started(Case(variant, recipe, "ort", 2), 1.0)
    ]
    ((panel,),) = figure(part_plots.cold_starts, *blocks).rows
    assert len(panel.names) == len(recipes)
    assert panel.title.startswith("vgg19 (seeded): vgg19") and panel.title.endswith(" alone")
