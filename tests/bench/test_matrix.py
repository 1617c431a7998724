"""The small tables: which runtime for which variant, threads, batch sizes, and why so fast."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bench import matrix, rows
from bench.case import Case
from bench.how_to_read import how_to_read
from bench.record import Labelled, Measurement, Memory, Parity, Run
from tests.bench.made_up import header

EAGER = Case("vgg19", "fp32", "torch-eager", 2)
ORT = replace(EAGER, runtime="ort")
NCNN = replace(EAGER, runtime="ncnn")
BF16 = replace(EAGER, runtime="openvino", precision="bf16")
OPENVINO = replace(EAGER, runtime="openvino")
TRACT = replace(EAGER, runtime="tract")
RIGHT = Parity(0.0, 1.0, 1.0, 16, passed=True)
WRONG = replace(RIGHT, cosine=0.1, passed=False)


def blocks(case: Case, ms: float, parity: Parity = RIGHT) -> list[Measurement]:
    """Three blocks of 40 inferences on all cores, 20 MB at the peak."""
    plain = Measurement(
        case,
        0,
        "ok",
        warmup_settled=True,
        latencies_ns=(int(ms * 1e6),) * 40,
        cpu_s=40 * ms / 1e3 * case.threads,
        memory=Memory(1_000_000, 2_000_000, 20_000_000),
        precision=case.precision,
        parity=parity,
    )
    return [replace(plain, round=number) for number in range(3)]


def table(*found: Iterable[Measurement]) -> rows.Table:
    """The family's table of these blocks."""
    measurements = tuple(block for group in found for block in group)
    (only,) = rows.tables_of(Run(header(), measurements)).values()
    return only


def lines(grid: matrix.Grid) -> dict[str, tuple[str, ...]]:
    """Names of a line -> its cells."""
    return {"/".join(line[: grid.names]): line[grid.names :] for line in grid.lines}


def test_a_matrix_has_a_line_a_runtime_and_a_column_a_variant() -> None:
    """p50 with the speed-up against torch-eager of the same variant, the best in bold."""
    gap = [replace(case, variant="vgg19-gap") for case in (EAGER, NCNN)]
    times, costs = matrix.matrices(
        table(
            blocks(EAGER, 200),
            blocks(ORT, 160),
            blocks(NCNN, 80),
            blocks(gap[0], 100),
            blocks(gap[1], 50),
        )
    )
    assert times.head == ("runtime", "recipe", "precision", "vgg19", "vgg19-gap")
    assert lines(times) == {
        "torch-eager/fp32/fp32": ("200.0", "100.0"),
        "ort/fp32/fp32": ("160.0 (1.250x)", "–"),
        "ncnn/fp32/fp32": ("**80.00** (2.500x)", "**50.00** (2.000x)"),
    }
    assert lines(costs)["ort/fp32/fp32"] == ("320.0 / 20.00", "–")


def test_what_is_not_proven_is_asked() -> None:
    """A ratio whose interval contains 1 has a question mark."""
    wild = [
        replace(block, latencies_ns=(round(160e6 * by),) * 40)
        for block, by in zip(blocks(ORT, 160), (0.6, 1.0, 1.7), strict=True)
    ]
    (grid, _) = matrix.matrices(table(blocks(EAGER, 200), wild, blocks(NCNN, 80)))
    assert lines(grid)["ort/fp32/fp32"][0].endswith("x?)")
    assert lines(grid)["ncnn/fp32/fp32"][0].endswith("(2.500x)")


def test_a_row_without_a_number_says_where_its_reason_stands() -> None:
    """The note under the family's table has the runtime's own sentence."""
    refused = [Measurement(TRACT, n, "unsupported", "one thread only") for n in range(3)]
    whole = table(blocks(EAGER, 200), blocks(ORT, 160), refused)
    (line,) = [line for line in matrix.matrices(whole)[0].lines if line[0] == "tract"]
    number = whole.notes["`unsupported`: one thread only"]
    assert line[3] == f"unsupported (note {number})"


def test_a_wrong_row_is_marked_and_never_the_best() -> None:
    """Fast and wrong is wrong."""
    grid, _ = matrix.matrices(table(blocks(EAGER, 200), blocks(ORT, 160), blocks(NCNN, 1, WRONG)))
    assert lines(grid)["ncnn/fp32/fp32"][0].endswith("WRONG")
    assert lines(grid)["ort/fp32/fp32"][0].startswith("**")


def test_few_runtimes_need_no_matrix() -> None:
    """The table says it all."""
    assert matrix.matrices(table(blocks(EAGER, 200), blocks(ORT, 160))) == ()


def test_a_sweep_has_a_column_a_setting() -> None:
    """Threads at batch 1, batch sizes at the run's threads: times for one image."""
    one = [replace(case, threads=1) for case in (EAGER, ORT, NCNN)]
    four = [replace(case, batch_size=4) for case in (EAGER, ORT)]
    refused = Measurement(replace(NCNN, batch_size=4), 0, "unsupported", "one image")
    gap = [replace(case, variant="vgg19-gap") for case in (EAGER, ORT, NCNN, OPENVINO)]
    whole = table(
        *(blocks(case, 200) for case in (EAGER, ORT, NCNN, *gap)),
        *(blocks(case, 300) for case in one),
        *(blocks(case, 400) for case in four),
        [refused],
    )
    threads, batches = matrix.sweeps(whole)
    assert threads.head == ("runtime", "1", "2")
    assert lines(threads)["ncnn"] == ("300.0", "200.0")
    assert batches.head == ("runtime", "1", "4")
    assert lines(batches) == {
        "torch-eager": ("200.0", "100.0"),
        "ort": ("200.0", "100.0"),
        "ncnn": ("200.0", f"unsupported (note {whole.notes['`unsupported`: one image']})"),
    }


def test_surprises_are_explained_where_the_data_shows_them() -> None:
    """Winograd where ncnn beats ort in fp32, bf16 where it halves the time; else nothing."""
    plain = table(blocks(EAGER, 200), blocks(ORT, 160), blocks(NCNN, 150), blocks(OPENVINO, 160))
    assert matrix.surprises(plain) == ()
    fast = table(
        blocks(EAGER, 200),
        blocks(ORT, 160),
        blocks(NCNN, 80),
        blocks(OPENVINO, 160),
        blocks(BF16, 80),
    )
    winograd, half = matrix.surprises(fast)
    assert "ncnn on vgg19, 2.000x" in winograd
    assert "openvino on vgg19, 2.000x" in half


def spread(case: Case, ms: float, *factors: float) -> list[Measurement]:
    """Three blocks that differ by these factors."""
    return [
        replace(block, latencies_ns=(round(ms * 1e6 * by),) * 40)
        for block, by in zip(blocks(case, ms), factors, strict=True)
    ]


def test_a_surprise_holds_beside_the_others_or_is_not_told() -> None:
    """Holm: what is proven by itself (p = 0.03) is not said beside another that proves nothing."""
    weak = [blocks(EAGER, 200), blocks(OPENVINO, 160), spread(BF16, 80, 1.0, 1.25, 0.8)]
    (told,) = matrix.surprises(table(*weak, blocks(ORT, 160)))
    assert "(openvino on vgg19, 2.0x)" in told
    gap, pruned = (
        [replace(case, variant=name) for case in (OPENVINO, BF16)]
        for name in ("vgg19-gap", "vgg19-pruned")
    )
    sure = [blocks(gap[0], 160), blocks(gap[1], 80)]
    wild = [blocks(pruned[0], 160), spread(pruned[1], 160, 1.1, 0.9, 1.0)]
    (told,) = matrix.surprises(table(*weak, *sure, *wild))
    assert "(openvino on vgg19-gap, 2.000x)" in told


def test_surprises_compare_like_with_like() -> None:
    """Another number of threads or another algorithm's network explains nothing."""
    plain = [blocks(EAGER, 200), blocks(ORT, 160), blocks(NCNN, 150), blocks(OPENVINO, 160)]
    swept = [blocks(replace(case, threads=1), 10) for case in (NCNN, BF16)]
    assert matrix.surprises(table(*plain, *swept)) == ()
    other = [replace(case, variant="xception") for case in (EAGER, ORT, NCNN)]
    times = zip(other, (200, 160, 80), strict=True)
    assert matrix.surprises(table(*(blocks(case, ms) for case, ms in times))) == ()


def test_a_wrong_row_is_marked_in_a_sweep_too() -> None:
    """Doubt travels into every table."""
    one = [replace(case, threads=1) for case in (EAGER, ORT, NCNN)]
    (threads,) = matrix.sweeps(
        table(
            *(blocks(case, 200) for case in (EAGER, ORT, NCNN, *one[:2])),
            blocks(one[2], 300, WRONG),
        )
    )
    assert lines(threads)["ncnn"] == ("300.0 WRONG", "200.0")


LABELS = tuple(image % 5 for image in range(200))
PLANTS = Labelled("plants", "test", "f00d", tuple("abcde"), LABELS)


def wrong(count: int) -> dict[int, int]:
    """The first so many images are taken for the class that follows."""
    return {image: (LABELS[image] + 1) % 5 for image in range(count)}


def judged(*found: Measurement) -> rows.Table:
    """The family's table of these blocks, with answers to the labelled images."""
    (only,) = rows.tables_of(Run(header(labelled=PLANTS), found)).values()
    return only


def test_a_matrix_says_how_often_rows_are_right(answered) -> None:
    """A third grid: top-1, and the points against the fp32 parent, marked where told from none."""
    static = [replace(ORT, recipe="int8-static", runtime=name) for name in ("ort", "litert")]
    grids = matrix.matrices(
        judged(
            answered(EAGER, 200, PLANTS, wrong(10)),
            answered(ORT, 160, PLANTS, wrong(10)),
            answered(static[0], 60, PLANTS, wrong(11)),
            answered(static[1], 50, PLANTS, wrong(50)),
            *blocks(NCNN, 80),
        )
    )
    assert [grid.title.partition(",")[0] for grid in grids] == [
        "p50 ms (times faster than torch-eager; ? where its interval does not prove that)",
        "CPU ms an inference / peak MB",
        "top-1 % (points against its fp32 parent)",
    ]
    assert lines(grids[2]) == {
        "torch-eager/fp32/fp32": ("95.0 (0.0)",),
        "ort/fp32/fp32": ("95.0 (parent)",),
        "ort/int8-static/fp32": ("94.5 (-0.5)",),
        "litert/int8-static/fp32": ("75 (-20 ▼)",),
        "ncnn/fp32/fp32": ("–",),
    }
    assert grids[2].note == "" and len(grids[2].cases) == len(grids[2].lines)


def test_what_loses_too_much_is_marked_in_the_matrix_of_times(answered) -> None:
    """LOSES: more than a point, never in bold; a row that is WRONG needs no second mark."""
    static = [replace(ORT, recipe="int8-static", runtime=name) for name in ("ort", "litert", "mnn")]
    failed = replace(answered(static[2], 5, PLANTS, wrong(190)), parity=WRONG)
    times, *_ = matrix.matrices(
        judged(
            answered(EAGER, 200, PLANTS, wrong(10)),
            answered(ORT, 160, PLANTS, wrong(10)),
            answered(static[0], 60, PLANTS, wrong(12)),
            answered(static[1], 50, PLANTS, wrong(50)),
            failed,
        )
    )
    cells = {name: cell for name, (cell,) in lines(times).items()}
    assert "LOSES" not in cells["ort/int8-static/fp32"]  # just a point is not more than one
    assert cells["ort/int8-static/fp32"].startswith("**")
    assert cells["litert/int8-static/fp32"].endswith(f" {matrix.LOSES}")
    assert cells["mnn/int8-static/fp32"].split()[-1] != matrix.LOSES
    assert "WRONG" in cells["mnn/int8-static/fp32"]


def test_a_network_that_loses_to_the_one_it_was_made_from_is_told(answered) -> None:
    """Below the grid of top-1, whose points are against its own fp32: the mark says both."""
    pruned = [replace(case, variant="vgg19-pruned") for case in (EAGER, ORT, NCNN)]
    times, _, right = matrix.matrices(
        judged(
            answered(EAGER, 200, PLANTS, wrong(10)),
            answered(ORT, 160, PLANTS, wrong(10)),
            *(answered(case, 80, PLANTS, wrong(40)) for case in pruned),
        )
    )
    assert right.note == (
        "In fp32, against the network that it was made from: `vgg19-pruned` -15 (-21 to -11) "
        "points against `vgg19`. `LOSES` behind a time says that, too."
    )
    assert all(line[-1].endswith(matrix.LOSES) for line in times.lines)


def test_without_labelled_images_there_is_no_third_matrix() -> None:
    """Old pages stay as they are, and how to read them says nothing of it."""
    assert len(matrix.matrices(table(blocks(EAGER, 9), blocks(ORT, 8), blocks(NCNN, 7)))) == 2
    assert matrix.LOSES not in how_to_read(judged=False)
    assert f"`{matrix.LOSES}` behind a time" in how_to_read(judged=True)
