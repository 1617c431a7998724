"""What runtimes made of the files, and sentences that say why a row is not faster: whole texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench import executed, report_pages
from bench.case import Case
from bench.matrix import Grid
from bench.record import (
    SCHEMA,
    Execution,
    FileFacts,
    Measurement,
    Parity,
    Run,
    RunHeader,
)
from bench.rows import Table, tables_of
from export.artifact import LayerWork

Changes = dict[str, Any]
BASE = Case("vgg19", "fp32", "ort", 2)
OPT = replace(BASE, recipe="fp32-opt")
GAP = replace(BASE, variant="vgg19-gap")
PRUNED = replace(BASE, variant="vgg19-pruned")
DYNAMIC = replace(BASE, recipe="int8-dynamic")
STATIC = replace(BASE, recipe="int8-static")
BF16 = replace(BASE, runtime="openvino", precision="bf16")
HALF = replace(BASE, recipe="fp16-weights", runtime="ncnn")
FP32 = Execution("profile", {"fp32": 19_632_062_464}, {"Conv": 16, "Gemm": 3})
SLOW, LEVEL, FAST = (120.0, 121.0, 119.0), (100.0, 101.0, 99.0), (50.0, 50.5, 49.5)


def facts(case: Case, **changes) -> FileFacts:
    """The file of a case, of VGG-19's size unless told otherwise."""
    plain = FileFacts(
        key=f"{case.variant}/{case.recipe}",
        sha256="0",
        format="onnx",
        size_bytes=574_700_000,
        parameters=143_667_240,
        nonzero_parameters=143_667_240,
        rounded_to_zero=0,
        macs=19_632_062_464,
        build_s=1.0,
        build_peak_bytes=1,
    )
    return replace(plain, **changes)


def blocks(
    case: Case, times: tuple[float, ...], execution: Execution | None = None, **changes: Any
) -> list[Measurement]:
    """A block for each time in ms; the first says what the runtime made of the file."""
    return [
        Measurement(
            case,
            number,
            "ok",
            file=facts(case, **changes),
            warmup_settled=True,
            latencies_ns=(int(ms * 1e6),) * 40,
            precision="fp32",
            parity=Parity(0.0, 1.0, 1.0, 16, passed=True),
            execution=execution if number == 0 else None,
        )
        for number, ms in enumerate(times)
    ]


def run_of(*measurements: list[Measurement]) -> Run:
    """A run with these blocks."""
    header = RunHeader(SCHEMA, "r", "2026", "c", "a", "s", "seeded", "d", 3, 1.0, {}, "h", {})
    return Run(header, tuple(block for own in measurements for block in own))


def table_of(*measurements: list[Measurement]) -> Table:
    """The one table of these blocks."""
    (table,) = tables_of(run_of(*measurements)).values()
    return table


def told(*measurements: list[Measurement]) -> tuple[str, ...]:
    """The sentences, without the ratios."""
    return executed.sentences(table_of(*measurements))


def test_a_variant_that_saves_weights_and_hardly_any_work() -> None:
    """Global average pooling: the fully connected layers are big and quick."""
    gap: Changes = {"parameters": 20_537_384, "macs": 19_508_940_800}
    assert told(blocks(BASE, LEVEL), blocks(GAP, (99.5, 101.5, 98.0), **gap)) == (
        "`vgg19-gap` is not faster than `vgg19`: it saves 86 % of the weights but only 0.63 % of "
        "the multiply-accumulates (fp32 on ort: ≈1 (0.984–1.023)).",
    )


def test_zeros_that_were_pruned_and_not_removed() -> None:
    """An unstructured pruning: same shapes, same work, and the file says how much is zero."""
    sparse: Changes = {"nonzero_parameters": 100_000_000}
    assert told(blocks(BASE, LEVEL), blocks(PRUNED, SLOW, **sparse)) == (
        "`vgg19-pruned` is not faster than `vgg19`: it saves neither weights nor "
        "multiply-accumulates; pruned zeros, 30 % of its weights, are still stored and multiplied "
        "(fp32 on ort: 0.8333x (0.8299–0.8368)).",
    )


def test_quantising_that_hardly_reaches_anything() -> None:
    """What the runtime ran counts, not what the recipe is called."""
    found = Execution("profile", {"fp32": 19_508_428_800, "int8": 123_633_664}, {"Conv": 16})
    assert told(blocks(BASE, LEVEL), blocks(DYNAMIC, SLOW, found)) == (
        "`int8-dynamic` is not faster than `fp32`: only 0.63 % of the multiply-accumulates run in "
        "INT8 (vgg19 on ort: 0.8333x (0.8299–0.8368)).",
    )


def test_what_the_file_stores_where_the_runtime_does_not_tell() -> None:
    """The layers of the file are the next best witness."""
    layers = (LayerWork("c", 990, 4, 4), LayerWork("f", 10, 1, 1, "int8"))
    reason = Execution(reason="torch-eager does not tell what it made of a file")
    eager = replace(BASE, runtime="torch-eager")
    quantised = blocks(replace(eager, recipe="int8-dynamic"), SLOW, reason, layers=layers)
    assert told(blocks(eager, LEVEL), quantised) == (
        "`int8-dynamic` is not faster than `fp32`: only 1.0 % of the multiply-accumulates are "
        "stored to run in INT8 (vgg19 on torch-eager: 0.8333x (0.8299–0.8368)).",
    )


def test_quantisers_and_norms_that_are_left() -> None:
    """All of it runs in INT8, between nodes that cost more than is won."""
    found = Execution("profile", {"int8": 100}, {"QLinearConv": 16}, 34, 5)
    assert told(blocks(BASE, LEVEL, FP32), blocks(STATIC, SLOW, found)) == (
        "`int8-static` is not faster than `fp32`: 34 nodes that only quantise or dequantise are "
        "left; 5 BatchNorm or Relu nodes stand alone behind convolutions "
        "(vgg19 on ort: 0.8333x (0.8299–0.8368)).",
    )


def test_optimising_ahead_what_the_runtime_optimises_anyway() -> None:
    """The same operators run for both files."""
    assert told(blocks(BASE, LEVEL, FP32), blocks(OPT, LEVEL, FP32)) == (
        "`fp32-opt` is not faster than `fp32`: ort runs the same operators for both "
        "(vgg19 on ort: ≈1 (1.000–1.000)).",
    )


def test_another_precision_of_the_same_file() -> None:
    """A bf16 row is held against the fp32 row of the same file."""
    plain = blocks(replace(BF16, precision="fp32"), LEVEL, FP32)
    assert told(plain, blocks(BF16, SLOW, FP32)) == (
        "`bf16` is not faster than `fp32`: none of the multiply-accumulates run in bf16; "
        "openvino runs the same operators for both "
        "(vgg19 fp32 on openvino: 0.8333x (0.8299–0.8368)).",
    )


def test_weights_that_are_only_stored_smaller() -> None:
    """fp16 weights make a smaller file, by what the recipe says."""
    assert told(blocks(replace(HALF, recipe="fp32"), LEVEL), blocks(HALF, LEVEL)) == (
        "`fp16-weights` is not faster than `fp32`: weights are stored in fp16 and computed with "
        "in fp32 (vgg19 on ncnn: ≈1 (1.000–1.000)).",
    )


def test_less_work_in_more_pieces() -> None:
    """Depthwise separable layers: half the work, in more layers."""
    few, many = (tuple(LayerWork("x", 1, 1, 1) for _ in range(n)) for n in (3, 9))
    base, small = Case("revisited-base", "fp32", "ort", 2), Case("revisited-v3", "fp32", "ort", 2)
    assert told(blocks(base, LEVEL, layers=few), blocks(small, SLOW, layers=many, macs=10**10)) == (
        "`revisited-v3` is not faster than `revisited-base`: it saves 49 % of the "
        "multiply-accumulates and none of the weights; they are spread over 9 layers instead of 3 "
        "(fp32 on ort: 0.8333x (0.8299–0.8368)).",
    )


def test_more_work_and_nothing_else() -> None:
    """A variant that has more to do than its parent says so first."""
    more: Changes = {"macs": 2 * 19_632_062_464}
    assert told(blocks(BASE, LEVEL), blocks(PRUNED, SLOW, **more)) == (
        "`vgg19-pruned` is not faster than `vgg19`: it has 100 % more multiply-accumulates "
        "(fp32 on ort: 0.8333x (0.8299–0.8368)).",
    )


def test_one_sentence_for_all_rows_of_a_reason() -> None:
    """A family with many runtimes doesn't repeat itself; what isn't known is said to be so."""
    found = [blocks(replace(case, threads=t), LEVEL) for case in (BASE, OPT) for t in (1, 2)]
    assert told(*found) == (
        "`fp32-opt` is not faster than `fp32`: nothing that was counted tells why "
        "(vgg19 on ort t1: ≈1 (1.000–1.000); vgg19 on ort t2: ≈1 (1.000–1.000)).",
    )


@pytest.mark.parametrize(
    "times",
    [
        FAST,  # proven to be faster
        (100.0, 101.0),  # two blocks give no interval
        (60.0, 140.0, 100.0),  # the interval reaches from 0.3 to 3: nothing is known
    ],
)
def test_silence_where_nothing_is_to_be_explained(times: tuple[float, ...]) -> None:
    """Faster, unknown, or so uncertain that "not faster" would be a guess."""
    assert told(blocks(BASE, LEVEL), blocks(GAP, times)) == ()


@pytest.mark.parametrize("doubtful", [0, 1])
def test_a_doubtful_row_is_marked(doubtful: int) -> None:
    """The ratio is of two rows: either makes the sentence doubtful."""
    both = [blocks(BASE, LEVEL), blocks(PRUNED, SLOW)]
    both[doubtful] = [replace(block, warmup_settled=False) for block in both[doubtful]]
    (text,) = told(*both)
    assert "(fp32 on ort SUSPECT: 0.8333x (0.8299–0.8368))" in text


def test_a_wrong_row_is_not_explained() -> None:
    """Neither as a child nor as a parent: its speed proves nothing."""
    wrong = [replace(block, parity=None) for block in blocks(GAP, SLOW)]
    assert told(blocks(BASE, LEVEL), wrong) == ()


def test_rows_of_other_settings_are_no_parents() -> None:
    """Threads and runtime have to be the same."""
    one = replace(GAP, threads=1)
    other = replace(GAP, runtime="openvino")
    assert told(blocks(BASE, LEVEL), blocks(one, SLOW), blocks(other, SLOW)) == ()


def test_a_line_for_each_file_and_runtime() -> None:
    """Shares of the precisions, largest first; asked once for all threads of a file."""
    mixed = Execution(
        "profile",
        {"int8": 123_633_664, "fp32": 19_508_428_800},
        {"Conv": 16, "Relu": 2, "MatMulInteger": 3, "QuantizeLinear": 3, "MaxPool": 5},
        quantize_nodes=3,
        unfused=2,
    )
    table = table_of(
        blocks(BASE, LEVEL, FP32),
        blocks(replace(BASE, threads=1), SLOW),
        blocks(DYNAMIC, FAST, mixed, nonzero_parameters=143_656_232),
        blocks(replace(BASE, runtime="torch-eager"), SLOW, Execution(reason="does not tell")),
    )
    assert executed.grid(table) == Grid(
        "vgg19: what ran",
        (
            "variant",
            "recipe",
            "runtime",
            "multiply-accumulates run in",
            "quantisers left",
            "unfused",
            "zeros stored, M",
            "operators that run most",
        ),
        (
            ("vgg19", "fp32", "ort", "fp32 100 %", "0", "0", "0", "16 Conv, 3 Gemm"),
            (
                *("vgg19-quantized", "int8-dynamic", "ort", "fp32 99.4 %, int8 0.63 %"),
                *("3", "2", "0.011008", "16 Conv, 5 MaxPool, 3 MatMulInteger, 3 QuantizeLinear"),
            ),
        ),
        names=3,
        cases=((replace(BASE, threads=1), BASE), (DYNAMIC,)),
    )


@pytest.mark.parametrize("first", [replace(BASE, scenario="offline"), replace(BASE, copy="again")])
def test_what_another_block_of_the_file_was_told_counts_for_the_row(first: Case) -> None:
    """The first block of a file is asked: a scenario's or a copy's, as the order has it."""
    table = table_of(blocks(first, LEVEL, FP32, key="k"), blocks(BASE, LEVEL, key="k"))
    grid = executed.grid(table)
    assert grid is not None
    assert [line[:4] for line in grid.lines] == [("vgg19", "fp32", "ort", "fp32 100 %")]


def test_no_table_where_no_runtime_could_be_asked() -> None:
    """Records of schema 1 hold nothing of it."""
    assert executed.grid(table_of(blocks(BASE, LEVEL))) is None


def test_the_page_has_a_section_of_it() -> None:
    """With the table before the sentences; without either there is no section."""
    text = report_pages.page([run_of(blocks(BASE, LEVEL, FP32), blocks(OPT, LEVEL, FP32))])
    section = text[text.index("### Did the optimisation happen?") :]
    assert section.index("**vgg19: what ran**") < section.index("- `fp32-opt` is not faster")
    assert "Did the optimisation" not in report_pages.page([run_of(blocks(BASE, LEVEL))])
