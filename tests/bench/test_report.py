"""What follows from records, as text: whole tables are compared."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pytest

from bench import report, report_family, report_pages, row_text
from bench.case import Case
from bench.record import (
    SCHEMA,
    FileFacts,
    LoadTest,
    Measurement,
    Memory,
    Parity,
    Recorder,
    Run,
    RunHeader,
    Surroundings,
)

EAGER = Case("vgg19", "fp32", "torch-eager", 2)
OPT = Case("vgg19", "fp32-opt", "ort", 2)
DYNAMIC = Case("vgg19", "int8-dynamic", "ort", 2)
STATIC = Case("vgg19", "int8-static", "ort", 2)
PRUNED = Case("vgg19-pruned", "fp32", "torch-eager", 2)
GAP = Case("vgg19-gap", "int8-static", "ort", 2)
NULL = Case("vgg19", "fp32", "null", 2)
XCEPTION = Case("xception", "fp32", "torch-eager", 2)
CASES = (EAGER, OPT, DYNAMIC, STATIC, PRUNED, GAP, NULL)


def block(case: Case, number: int, ms: float, **changes) -> Measurement:
    """An undisturbed block of 40 inferences whose median is ``ms``."""
    latencies = tuple(int(ms * 1e6 * (1 + 0.001 * place)) for place in range(-20, 20))
    wall_s = sum(latencies) / 1e9
    plain = Measurement(
        case,
        number,
        "ok",
        file=facts(str(case)),
        load_s=0.5 + 0.01 * number,
        first_s=ms * 1.4e-3,
        warmup_settled=True,
        latencies_ns=latencies,
        cpu_s=1.95 * wall_s,
        memory=Memory(95_000_000 + number * 100_000, 800_000_000, 1_210_000_000 + number * 900_000),
        surroundings=Surroundings(wall_s, 0.01, 0.0, 3, 4),
        precision="fp32" if case.recipe.startswith("fp32") else "int8",
        parity=Parity(3e-7, 0.9971, 1.0, 16, passed=True) if number == 0 else None,
    )
    return replace(plain, **changes)


def facts(key: str, **changes) -> FileFacts:
    """A file of VGG-19's size."""
    plain = FileFacts(
        key=key,
        sha256="0" * 64,
        format="onnx",
        size_bytes=574_700_000,
        parameters=143_667_240,
        nonzero_parameters=143_656_232,
        rounded_to_zero=0,
        macs=19_600_000_000,
        build_s=12.34,
        build_peak_bytes=2_900_000_000,
    )
    return replace(plain, **changes)


def header(**changes) -> RunHeader:
    """A run of the VGG family."""
    plain = RunHeader(
        schema=SCHEMA,
        run="default-1",
        started="2026-01-02T10:00:00+00:00",
        command="python -m bench.run --variants 'vgg19*'",
        commit="abc1234",
        suite="default",
        weights="seeded",
        data="built-in photographs",
        blocks=3,
        seconds=5.0,
        host={"CPU": "AMD EPYC", "instruction sets": "avx2, avx512_vnni", "cores": "2"},
        host_id="ff00",
        versions={"torch": "2.13.0", "onnxruntime": "1.31.1"},
        cases=CASES,
    )
    return replace(plain, **changes)


def measurements() -> list[Measurement]:
    """Three rounds of a family with one of everything that a table marks."""
    small = facts("static", size_bytes=143_900_000, rounded_to_zero=1_934_000)
    pruned = facts(
        "pruned", size_bytes=519_034_264, parameters=129_758_566, nonzero_parameters=129_750_000
    )
    wrong = Parity(0.7, 0.31, 0.25, 16, passed=False)
    found = []
    for i, drift in enumerate((1.0, 1.03, 0.99)):
        found += [
            block(EAGER, i, 252 * drift),
            block(OPT, i, (186, 187, 185)[i] * drift),
            block(DYNAMIC, i, (250, 256, 251)[i] * drift, warmup_settled=i > 0),
            block(STATIC, i, (50.1, 50.4, 50.2)[i] * drift, file=small),
            block(PRUNED, i, (228, 231, 227)[i] * drift, file=pruned, cpu_s=99.0),
            block(NULL, i, (0.00021, 0.000213, 0.00022)[i], parity=wrong),
        ]
    found[2] = replace(found[2], parity=Parity(0.02, 0.9812, 15 / 16, 16, passed=True))
    gap = facts("gap", size_bytes=20_120_000, parameters=20_537_384, nonzero_parameters=20_537_000)
    found.append(block(GAP, 0, 30.0, file=gap, parity=wrong))
    found.append(Measurement(XCEPTION, 0, "failed", "killed by SIGKILL\n(out of memory?)"))
    return found


GOLDEN = """\
### vgg19 (weights: seeded)

Speed-ups are against `vgg19 fp32 torch-eager`.

| variant         | recipe       | runtime     |   file MB |   parameters M (non-zero) |   rounded to 0, M |   load ms |   first ms |   p50 ms |   p90 ms |   p95 ms |   p99 ms |   CPU ms |   peak MB (import) |      speed-up (95 %) | parity                          | verdict         | notes   |
|-----------------|--------------|-------------|-----------|---------------------------|-------------------|-----------|------------|----------|----------|----------|----------|----------|--------------------|----------------------|---------------------------------|-----------------|---------|
| vgg19           | fp32         | torch-eager |     574.7 |         143.667 (143.656) |                 0 |       510 |        353 |      253 |      261 |      263 |        – |      491 |       1211 (95.10) |            reference | ok, err 3.0e-07                 | VALID           |         |
| vgg19           | fp32-opt     | ort         |     574.7 |         143.667 (143.656) |                 0 |       510 |        260 |      186 |      194 |      195 |        – |      363 |       1211 (95.10) | 1.355x (1.337–1.373) | ok, err 3.0e-07                 | VALID           |         |
| vgg19-quantized | int8-dynamic | ort         |     574.7 |         143.667 (143.656) |                 0 |       510 |        350 |      252 |      266 |      267 |        – |      490 |       1211 (95.10) |     ≈1 (0.968–1.031) | ok, cos 0.9812, top-1 15 of 16  | SUSPECT warm-up |         |
| vgg19           | int8-static  | ort         | **143.9** |         143.667 (143.656) |             1.934 |       510 |         70 | **50.4** |     52.3 |     52.6 |        – |       98 |       1211 (95.10) |    5.02x (4.98–5.05) | ok, cos 0.9971                  | VALID           |         |
| vgg19-pruned    | fp32         | torch-eager |     519.0 |         129.759 (129.750) |                 0 |       510 |        319 |      228 |      240 |      241 |        – |     2475 |       1211 (95.10) | 1.102x (1.077–1.127) | ok, err 3.0e-07                 | VALID           | 1       |
| vgg19-gap       | int8-static  | ort         |     20.12 |           20.537 (20.537) |                 0 |       500 |       42.0 |     30.0 |     30.4 |        – |        – |     58.5 |        1210 (95.0) |                8.40x | FAIL, cos 0.3100, top-1 4 of 16 | VALID           | 2, 3, 4 |
| –               | –            | null        |         – |                         – |                 – |       510 |   0.000298 | 0.000213 | 0.000221 | 0.000222 |        – | 0.000414 |       1211 (95.10) |                    – | FAIL, as it must                | VALID           |         |

1. `cores`: 10.8 cores were busy where 2 threads were set
2. `blocks`: 1 of 3 blocks measured so far
3. `no-interval`: fewer than 3 blocks can be paired with the reference: the speed-up has no interval and may be chance
4. `parity`: the outputs are not those of the fp32 torch module (largest error 0.7 of the largest output, centred cosine 0.310, top-1 4 of 16): never best, never recommended

<details><summary>Percentiles, ms, with 95 % intervals: over blocks, and over inferences as if independent</summary>

| variant         | recipe       | runtime     | t   | b   |   inferences |   p50 over blocks |                 p50 |                 p90 |                 p95 |   p99 |
|-----------------|--------------|-------------|-----|-----|--------------|-------------------|---------------------|---------------------|---------------------|-------|
| vgg19           | fp32         | torch-eager | 2   | 1   |          120 |     253 (241–267) | 253.0 (251.7–254.5) | 261.4 (259.6–263.2) | 262.9 (261.6–264.2) |     – |
| vgg19           | fp32-opt     | ort         | 2   | 1   |          120 |     186 (175–199) | 186.3 (185.3–188.0) | 194.0 (192.6–195.3) | 195.1 (194.2–196.1) |     – |
| vgg19-quantized | int8-dynamic | ort SUSPECT | 2   | 1   |          120 |     252 (234–275) | 251.5 (250.2–253.0) | 265.5 (263.7–267.4) | 267.1 (265.8–268.4) |     – |
| vgg19           | int8-static  | ort         | 2   | 1   |          120 |  50.4 (47.7–53.5) | 50.35 (50.10–50.65) |    52.3 (51.9–52.6) | 52.59 (52.33–52.85) |     – |
| vgg19-pruned    | fp32         | torch-eager | 2   | 1   |          120 |     228 (214–248) | 228.5 (227.2–230.5) | 239.6 (237.9–241.3) | 241.0 (239.8–242.2) |     – |
| vgg19-gap       | int8-static  | ort         | 2   | 1   |           40 |              30.0 | 29.97 (29.79–30.18) | 30.45 (30.33–30.57) |                   – |     – |

</details>

<details><summary>Not VALID: what spoke against the worst block</summary>

| variant         | recipe       | runtime     | t   | b   |   verdict |   foreign-cpu (cores) |   steal (cores) |   switches (1/s) |   canary (off by) |   clock (s) |   warm-up (unsettled) |
|-----------------|--------------|-------------|-----|-----|-----------|-----------------------|-----------------|------------------|-------------------|-------------|-----------------------|
| vgg19-quantized | int8-dynamic | ort SUSPECT | 2   | 1   |   SUSPECT |                0.0010 |               0 |             0.30 |                 – |           – |               **1.0** |

</details>
"""  # noqa: E501

PAGE_HEAD = """\
## Run of 2026-01-02T10:00:00+00:00, suite default

- Command: `python -m bench.run --variants 'vgg19*'`
- Code: commit abc1234
- Measured: 3 blocks of 5 s a row, threads 2, batch 1
- Weights: seeded; images: built-in photographs
- Host: CPU AMD EPYC; instruction sets avx2, avx512_vnni; cores 2
- Versions: torch 2.13.0, onnxruntime 1.31.1

**Interrupted**: 1 of 9 cases have no block yet (the same command goes on with them): `xception/int8-static/ort/t2/b1`.

### At a glance

- **vgg19** (seeded): Smallest file: `vgg19 int8-static ort`, 143.9 MB, 3.99 times smaller than the reference. Fastest: `vgg19 int8-static ort`, p50 50.4 ms, 5.02x (4.98–5.05) the speed of the reference. (Reference: `vgg19 fp32 torch-eager`, 574.7 MB, p50 253 ms.)
- **xception** (seeded): No row is both measured and right.

![Fidelity against p50 latency, the area of a mark being its file's size](default-1-tradeoff.svg)

![p50 latency by recipe and runtime](default-1-times.svg)

"""  # noqa: E501


def run_of(found, **changes) -> Run:
    """A run with these measurements."""
    return Run(header(**changes), tuple(found))


def cells(text: str) -> dict[str, dict[str, str]]:
    """Rows of the table that speed-ups stand in: variant/recipe/runtime -> title -> cell."""
    _, _, after = text.partition("Speed-ups ")
    lines = list(takewhile(lambda line: line.startswith("|"), after.splitlines()[2:]))
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    titles, rows = split[0], split[2:]
    return {"/".join(cells[:3]): dict(zip(titles, cells, strict=True)) for cells in rows}


def test_whole_table_of_a_family() -> None:
    """Order, columns, digits, bold, marks and notes, character for character."""
    assert report_family.family_table(run_of(measurements()), "vgg19") + "\n" == GOLDEN


def test_page_tells_where_the_numbers_come_from_before_it_shows_them() -> None:
    """Command, commit, effort, weights, host, versions, what is missing, and the answer."""
    cases = (*CASES, XCEPTION, replace(XCEPTION, recipe="int8-static", runtime="ort"))
    text = report_pages.page([run_of(measurements(), cases=cases)])
    assert text[text.index("## Run of") : text.index("### vgg19")] == PAGE_HEAD


def test_the_same_records_give_the_same_text() -> None:
    """Neither the order of runs nor that of rows within a round matters."""
    found = measurements()
    shuffled = random.Random(3).sample(found, len(found))
    runs = [run_of(found), run_of(found, run="second", started="2026-01-03")]
    again = [run_of(shuffled, run="second", started="2026-01-03"), run_of(shuffled)]
    assert report_pages.page(runs) == report_pages.page(again)


def test_runs_are_never_mixed_and_the_newest_is_first() -> None:
    """The newest whole, earlier ones in a few lines and on pages of their own."""
    runs = [run_of(measurements(), run=day, started=day) for day in ("2026-01-01", "2026-02-01")]
    pages = report_pages.pages(runs)
    assert list(pages) == ["README.md", "2026-01-01.md"]
    text, earlier = pages.values()
    assert text.index("## Run of 2026-02-01") < text.index("## Earlier runs")
    assert "### [Run of 2026-01-01, suite default](2026-01-01.md)" in text
    assert text.count("### vgg19 (weights: seeded)") == 1
    assert text.count("- **vgg19** (seeded): ") == 2
    assert text.count("- `vgg19-gap`: ") == 1
    assert "## Run of 2026-01-01" in earlier and "2026-02-01" not in earlier
    assert "[README.md](README.md)" in earlier
    assert "## How to read the tables" in earlier


def test_a_line_waits_for_its_reference() -> None:
    """Against a row that happens to be measured already a speed-up would be another number."""
    found = [block(case, 0, ms) for case, ms in ((OPT, 186), (STATIC, 50))]
    assert "x" not in row_text.row_line(STATIC, found, CASES).split("ms")[1]
    assert row_text.row_line(STATIC, [block(EAGER, 0, 250), *found], CASES).endswith("5.00x")
    assert row_text.row_line(STATIC, [block(EAGER, 0, 250), *found], [STATIC]).endswith("5.00x")


def test_sets_with_different_weights_have_tables_of_their_own() -> None:
    """They are never compared: each has its own reference."""
    other = replace(STATIC, weights="plants40")
    found = [block(EAGER, i, 252) for i in range(3)] + [block(other, i, 50) for i in range(3)]
    text = report_family.family_table(run_of(found), "vgg19")
    assert "### vgg19 (weights: plants40)\n\nSpeed-ups are against `vgg19 int8-static ort`" in text
    assert "5.0" not in text.replace("50.", "")


def test_a_wrong_row_is_no_reference_and_never_best() -> None:
    """Fast and wrong is wrong: another row is the reference, in bold is the best right one."""
    wrong = Parity(0.5, 0.1, 0.0, 16, passed=False)
    found = [block(OPT, i, 186) for i in range(3)]
    found += [block(EAGER, i, 10, parity=wrong, file=facts("x", size_bytes=1)) for i in range(3)]
    found += [block(STATIC, i, 10, parity=wrong) for i in range(3)]
    text = report_family.family_table(run_of(found), "vgg19")
    rows = cells(text)
    assert "against `vgg19 fp32-opt ort`" in text
    assert rows["vgg19/int8-static/ort"]["file MB"] == "574.7"
    assert rows["vgg19/fp32-opt/ort"]["p50 ms"].startswith("**")
    assert rows["vgg19/fp32-opt/ort"]["file MB"].startswith("**")
    assert "*" not in rows["vgg19/fp32/torch-eager"]["p50 ms"]
    assert "`parity`: " in text


def test_threads_and_batches_have_columns_only_where_they_vary() -> None:
    """One value stands above the tables; speed-up is for an image whatever the batch."""
    one = report_family.family_table(run_of(measurements()), "vgg19")
    assert not {"threads", "batch"} & cells(one)["vgg19/fp32/torch-eager"].keys()
    eight = replace(EAGER, batch_size=8)
    found = [block(EAGER, i, 252) for i in range(3)] + [block(eight, i, 1008) for i in range(3)]
    text = report_family.family_table(run_of(found, cases=(EAGER, eight)), "vgg19")
    assert "batch" in cells(text)["vgg19/fp32/torch-eager"]
    assert "against `vgg19 fp32 torch-eager b1`" in text
    assert cells(text)["vgg19/fp32/torch-eager"]["speed-up (95 %)"] == "2.000x (2.000–2.000)"


def test_a_pipe_or_markup_in_a_reason_stays_text() -> None:
    """Reasons come from libraries: one line, no Markdown, not endless."""
    reason = "<script> **bold** [x](y)\n| a | `b`\x1b[31m" + "x" * 400
    found = [block(EAGER, 0, 252), Measurement(OPT, 0, "unsupported", reason)]
    text = report_family.family_table(run_of(found), "vgg19")
    note = next(line for line in text.splitlines() if "`unsupported`" in line)
    assert "\\<script> \\*\\*bold\\*\\* \\[x](y) | a | \\`b\\`" in note
    assert len(note) < 400
    assert cells(text)["vgg19/fp32-opt/ort"]["p50 ms"] == "unsupported"


def test_another_precision_is_part_of_the_runtimes_name() -> None:
    """A bf16 row stands beside the fp32 row of the same file."""
    found = [block(EAGER, 0, 252), block(replace(OPT, precision="bf16"), 0, 90, precision="bf16")]
    text = report_family.family_table(run_of(found), "vgg19")
    assert "vgg19/fp32-opt/ort+bf16" in cells(text)


def test_a_model_that_we_no_longer_know_still_has_a_table() -> None:
    """Old records outlive names in VARIANTS, RECIPES and REGISTRY."""
    case = Case("gone", "fp4", "quantum", 2)
    found = [block(case, i, 10) for i in range(3)]
    text = report_pages.page([run_of(found, cases=(case,))])
    assert "### gone (weights: seeded)" in text


def test_a_run_of_scenarios_is_called_so_in_its_title() -> None:
    """Those that were planned, and LoadGen's beside our own loop; the usual run has none."""
    offline = replace(EAGER, scenario="offline")
    test = LoadTest("latency_p90_s", 0.25, valid=True)
    for found, cases, title in (
        (block(EAGER, 0, 250), (EAGER,), "suite default"),
        (block(EAGER, 0, 250), (EAGER, offline), "suite default, scenarios offline"),
        (
            replace(block(EAGER, 0, 250), load_test=test),
            (offline, EAGER),
            "suite default, scenarios single, offline",
        ),
    ):
        lines = report_pages.page([run_of([found], cases=cases)]).splitlines()
        (head,) = [line for line in lines if line.startswith("## Run of")]
        assert head.endswith(f", {title}")


def test_the_page_says_how_a_block_is_warmed_up() -> None:
    """With the numbers of the loop itself."""
    words = " ".join(report_pages.page([]).split())
    assert (
        "until the medians of two windows in a row, of at least 3 inferences and 150 ms each, "
        "differ by at most 5 %, for 0.5 s at least and 6 s at most." in words
    )


def test_at_a_glance_names_rivals_that_are_as_fast() -> None:
    """The fastest row is not called fastest alone where the interval says it may not be."""
    found = []
    for i in range(3):
        found += [
            block(EAGER, i, 252),
            block(STATIC, i, 50 + 0.1 * i),
            block(GAP, i, 50.2 - 0.1 * i),
        ]
    text = report_pages.page([run_of(found)])
    assert "not distinguishable from `vgg19-gap int8-static ort`. " in text
    shaky = [replace(b, warmup_settled=b.case != GAP) for b in found]
    text = report_pages.page([run_of(shaky)])
    assert "not distinguishable from `vgg19-gap int8-static ort` SUSPECT. " in text


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([(300.0, 301.0, 302.0)], "p50 251.7 ms, the reference itself."),
        ([(50.0, 50.1, 50.2)], "5.030x (5.005–5.055) the speed of the reference."),
        ([(50.0,)], "5.04x the speed of the reference, without an interval."),
        ([(240.0, 270.0, 245.0)], "against the reference not distinguishable (0.86–1.17)."),
        ([(251.0, 252.5, 251.5)], "against the reference ≈1 (0.9"),
    ],
)
def test_at_a_glance_says_how_sure_the_fastest_row_is(others, said) -> None:
    """The reference itself, a speed-up, one without an interval, or none to be told."""
    found = [block(EAGER, i, 252) for i in range(3)]
    found += [block(OPT, i, ms) for times in others for i, ms in enumerate(times)]
    text = report_pages.page([run_of(found)])
    assert said in text[text.index("### At a glance") : text.index("### vgg19")]


def test_a_table_without_a_right_row_says_so() -> None:
    """Nothing is smallest or fastest where nothing is right."""
    text = report_pages.page([run_of([Measurement(EAGER, 0, "failed", "")])])
    assert "No row is both measured and right." in text
    assert "`failed`: no reason was given" in text
    assert "Speed-ups: none" in text


def test_at_a_glance_marks_a_speedup_that_does_not_hold_together() -> None:
    """As the column does: what is the fastest row of many is proven beside all of them."""
    found = [block(EAGER, i, 252) for i in range(3)]
    found += [block(STATIC, i, 50 * by) for i, by in enumerate((1.0, 1.7, 0.6))]
    assert "5x (1.37–18) the speed of the reference" in report_pages.page([run_of(found)])
    found += [block(OPT, i, 252 * by) for i, by in enumerate((1.1, 0.9, 1.0))]
    assert "5x (1.37–18) † the speed of the reference" in report_pages.page([run_of(found)])


def test_int8_against_fp32_is_held_together() -> None:
    """A dagger where a ratio that is proven by itself (p = 0.03) is not beside the others."""
    weak = [(OPT, i, 100.0) for i in range(3)]
    weak += [(STATIC, i, 50 * by) for i, by in enumerate((1.0, 1.25, 0.8))]
    assert int8_cells([block(*one) for one in weak]) == ["2.0x (1.1–3.5)"]
    wild = [replace(case, variant="vgg19-pruned") for case in (OPT, STATIC)]
    more = [(wild[0], i, 100.0) for i in range(3)]
    more += [(wild[1], i, 100 * by) for i, by in enumerate((1.1, 0.9, 1.0))]
    cells = int8_cells([block(*one) for one in (*weak, *more)])
    assert cells == ["2.0x (1.1–3.5) †", "not distinguishable (0.78–1.29)"]


def int8_cells(found: list[Measurement]) -> list[str]:
    """The ratios of the table of INT8 against fp32, on the page of these blocks."""
    text = report_pages.page([run_of(found)])
    lines = text[text.index("### INT8 against") : text.index("### What building")].splitlines()
    return [line.split("|")[3].strip() for line in lines if line.startswith("| vgg19")]


def test_no_records_make_a_page_that_says_so() -> None:
    """A fresh folder is no error."""
    assert "Nothing has been measured yet" in report_pages.page([])


def test_a_family_that_was_not_measured_is_an_error() -> None:
    """A caller's mistake, not an empty table."""
    with pytest.raises(KeyError):
        report_family.family_table(run_of([]), "vgg19")


@pytest.mark.parametrize(
    ("case", "line"),
    [
        (EAGER, "vgg19 fp32 torch-eager p50 253 ms"),
        (STATIC, "vgg19 int8-static ort p50 50.4 ms 5.02x"),
        (DYNAMIC, "vgg19-quantized int8-dynamic ort p50 252 ms 0.999x SUSPECT warm-up"),
        (NULL, "null p50 0.000213 ms"),
        (XCEPTION, "xception fp32 torch-eager failed: killed by SIGKILL (out of memory?)"),
    ],
)
def test_a_finished_row_in_a_line(case, line) -> None:
    """What a person sees go by: name, p50, speed-up, or what went wrong."""
    assert " ".join(row_text.row_line(case, measurements()).split()) == line


def test_all_tables_of_a_run_in_one_text() -> None:
    """What is printed at the end of a run: each family once, as on the page."""
    text = report_family.tables(header(), measurements())
    assert text.startswith(report_family.family_table(run_of(measurements()), "vgg19"))
    assert text.endswith(report_family.family_table(run_of(measurements()), "xception"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with the records of one finished run and its page."""
    with Recorder.open(tmp_path, header()) as recorder:
        for measurement in measurements():
            recorder.append(measurement)
        recorder.finish()
    report.write(tmp_path)
    return tmp_path


def test_a_page_that_follows_from_its_records_passes(out, capsys) -> None:
    """--check is quiet about a page that nobody touched, and writes nothing."""
    before = (out / "README.md").stat().st_mtime_ns
    assert report.main(["--out", str(out), "--check"]) == 0
    assert (out / "README.md").stat().st_mtime_ns == before
    assert "follows from its records" in capsys.readouterr().out


def test_a_page_whose_record_is_gone_goes_too(out, capsys) -> None:
    """Only pages that were made here: a file of somebody else's stays."""
    (out / "notes.md").write_text("mine")
    with Recorder.open(out, header(run="later", started="2027-01-01")) as recorder:
        recorder.append(block(OPT, 0, 140))
        recorder.finish()
    report.write(out)
    pages = {path.name for path in out.glob("*.md")}
    assert len(pages) == 3
    for record in (out / "records").glob("later*"):
        record.unlink()
    assert report.main(["--out", str(out), "--check"]) == 1
    assert "has no record" in capsys.readouterr().out
    report.write(out)
    assert {path.name for path in out.glob("*.md")} == {"README.md", "notes.md"}


def test_a_record_that_was_changed_fails_the_check(out, capsys) -> None:
    """One row's latencies differ: the file is named and the lines are shown."""
    with Recorder.open(out, header()) as recorder:
        for number in range(3):
            recorder.append(block(OPT, number, 140))
    assert report.main(["--out", str(out), "--check"]) == 1
    said = capsys.readouterr().out
    assert str(out / "README.md") in said
    assert "\n-| vgg19 " in said
    assert "\n+| vgg19 " in said


def test_a_page_that_was_edited_or_is_missing_fails_the_check(out, capsys) -> None:
    """A page is made, never written by hand."""
    page = out / "README.md"
    page.write_text(page.read_text().replace("**143.9**", "**43.9**"))
    assert report.main(["--out", str(out), "--check"]) == 1
    page.unlink()
    assert report.main(["--out", str(out), "--check"]) == 1
    assert "more lines" in capsys.readouterr().out
    assert report.main(["--out", str(out)]) == 0
    assert report.main(["--out", str(out), "--check"]) == 0


def test_records_that_cannot_be_read_are_a_sentence(out, capsys) -> None:
    """Exit code 2 and the file's name, not a traceback."""
    (out / "records" / "foreign.jsonl").write_text("hello\n")
    assert report.main(["--out", str(out), "--check"]) == 2
    assert "foreign.jsonl line 1" in capsys.readouterr().err
