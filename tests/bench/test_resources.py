"""Cold start, memory, idling and doubts: whole tables, and the words for when a start pays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import report_columns, report_family, report_grids, resources
from bench.case import AGAIN, BASE, Case
from bench.record import (
    SCHEMA,
    Canary,
    ColdStart,
    Measurement,
    Memory,
    Parity,
    Run,
    RunHeader,
    Surroundings,
)
from bench.rows import Table, tables_of

EAGER = Case("vgg19", "fp32", "torch-eager", 2)
ORT = Case("vgg19", "fp32", "ort", 2)
TWIN = replace(EAGER, copy=AGAIN)


def block(case: Case, number: int, ms: float, load_s: float = 1.0, **changes) -> Measurement:
    """A quiet block of twelve inferences with everything that schema 2 holds."""
    wall_s = 12 * ms / 1e3
    plain = Measurement(
        case,
        number,
        "ok",
        import_s=2.0,
        read_s=0.1,
        load_s=load_s,
        first_s=0.5,
        cold_start_s=2.6 + load_s,
        warmup_s=0.6 + number / 10,
        warmup_inferences=4 + number,
        warmup_settled=True,
        latencies_ns=(int(ms * 1e6),) * 12,
        cpu_s=2 * wall_s,
        idle_cpu_s=0.25 if number == 0 else None,
        memory=Memory(
            300_000_000, 900_000_000, 1_000_000_000, 500_000_000, 400_000_000, 350_000_000
        ),
        surroundings=Surroundings(wall_s, 0.0, 0.0, 0, 9, wall_s, wall_s),
        canary=Canary(0.004, 0.004),
        parity=Parity(0.0, 1.0, 1.0, 16, passed=True),
        cold=ColdStart(2.0, 1.5, load_s, 0.5, 4.0 + load_s, 0.0) if number == 0 else None,
    )
    return replace(plain, **changes)


def table_of(*found: Measurement) -> Table:
    """The one table of these blocks."""
    header = RunHeader(
        SCHEMA, "r", "2026", "c", "c", "default", "seeded", "d", 3, 1.0, {}, "h", {},
        tuple(dict.fromkeys(one.case for one in found)),
    )  # fmt: skip
    (table,) = tables_of(Run(header, found)).values()
    return table


FURTHER = """\
<details><summary>Percentiles, ms, with 95 % intervals: over blocks, and over inferences as if independent</summary>

| variant   | recipe   | runtime     | t   | b   |   inferences |   p50 over blocks |             p50 |             p90 |   p95 |   p99 |
|-----------|----------|-------------|-----|-----|--------------|-------------------|-----------------|-----------------|-------|-------|
| vgg19     | fp32     | torch-eager | 2   | 1   |           36 |   200.0 (200–200) | 200.0 (200–200) | 200.0 (200–200) |     – |     – |
| vgg19     | fp32     | ort SUSPECT | 2   | 1   |           36 |   100.0 (100–100) | 100.0 (100–100) | 100.0 (100–100) |     – |     – |

</details>

<details><summary>Cold start, ms: the leaves, the whole, and beside read the file once read from disk</summary>

| variant   | recipe   | runtime     | t   | b   |   import |   read |   (from disk, once) |   parse, optimise, pre-pack |   first inference |   whole |   warm-up s (inferences) |   pays after |
|-----------|----------|-------------|-----|-----|----------|--------|---------------------|-----------------------------|-------------------|---------|--------------------------|--------------|
| vgg19     | fp32     | torch-eager | 2   | 1   |     2000 |  100.0 |                1500 |                        1000 |             500.0 |    3600 |                  0.8 (6) |            – |
| vgg19     | fp32     | ort SUSPECT | 2   | 1   |     2000 |  100.0 |                1500 |                        3000 |             500.0 |    5600 |                  0.8 (6) |    20 images |

</details>

<details><summary>Memory, MB, and CPU time in the second after the last inference, ms</summary>

| variant   | recipe   | runtime     | t   | b   |   runtime imported |   peak |   steady |   of it anonymous |   of it files |   a second worker |   idle CPU |
|-----------|----------|-------------|-----|-----|--------------------|--------|----------|-------------------|---------------|-------------------|------------|
| vgg19     | fp32     | torch-eager | 2   | 1   |              300.0 |   1000 |    900.0 |             500.0 |         400.0 |             550.0 |        250 |
| vgg19     | fp32     | ort SUSPECT | 2   | 1   |              300.0 |   1000 |    900.0 |             500.0 |         400.0 |             550.0 |        250 |

</details>

<details><summary>Not VALID: what spoke against the worst block</summary>

| variant   | recipe   | runtime     | t   | b   |   verdict |   foreign-cpu (cores) |   steal (cores) |   switches (1/s) |   canary (off by) |   clock (s) |   warm-up (unsettled) |
|-----------|----------|-------------|-----|-----|-----------|-----------------------|-----------------|------------------|-------------------|-------------|-----------------------|
| vgg19     | fp32     | ort SUSPECT | 2   | 1   |   SUSPECT |              **0.30** |               0 |               10 |                 0 |           0 |                     0 |

</details>
"""  # noqa: E501


def test_whole_tables() -> None:
    """Leaves, whole, disk, warm-up and break-even; memory by kind; what spoke against a block."""
    busy = Surroundings(1.2, 0.36, 0.0, 12, 9, 1.2, 1.2)
    found = [block(EAGER, i, 200) for i in range(3)] + [
        block(
            ORT, i, 100, load_s=3.0, surroundings=busy if i == 1 else Surroundings(1.2, 0, 0, 0, 9)
        )
        for i in range(3)
    ]
    text = "\n\n".join(map(report_grids.folded, resources.tables(table_of(*found))))
    assert text + "\n" == FURTHER


@pytest.mark.parametrize(
    ("ms", "load_s", "text"),
    [
        (100, 3.0, "21 images"),  # 2 s later, 99 ms saved an image
        (100, 0.5, "at once"),
        (200, 3.0, "never"),
        (300, 0.5, "until 5 images"),  # half a second ahead, 101 ms lost an image
        (199, 0.5, "at once"),
    ],
)
def test_when_a_start_pays(ms: float, load_s: float, text: str) -> None:
    """Against the reference, by whole cold starts and median latencies."""
    found = [block(EAGER, i, 199) for i in range(3)]
    found += [block(ORT, i, ms, load_s=load_s) for i in range(3)]
    (line,) = [line for line in resources.cold_starts(table_of(*found)).lines if line[2] == "ort"]
    assert line[-1] == text


def test_a_file_that_stayed_in_memory_gives_no_cold_number() -> None:
    """Half of it resident, or nobody can tell: no cell. The warm reading stays."""
    for share in (0.5, None):
        cold = ColdStart(2.0, 1.5, 1.0, 0.5, 5.0, share)
        table = table_of(*(block(EAGER, i, 200, cold=cold) for i in range(3)))
        (line,) = resources.cold_starts(table).lines
        assert line[6:8] == ("100.0", "–")


@pytest.mark.parametrize(
    "first", [replace(EAGER, scenario="multi"), TWIN, replace(EAGER, variant="vgg19-gap")]
)
def test_every_row_of_a_pool_shows_what_it_burns_while_idle(first: Case) -> None:
    """Whichever block of the pool was watched, a scenario's or a copy's, too."""
    found = [block(first, 0, 200), block(EAGER, 0, 200, idle_cpu_s=None)]
    found += [block(replace(EAGER, threads=1), 0, 200, idle_cpu_s=None)]
    lines = resources.memory(table_of(*found)).lines
    assert {line[:1] + line[3:4]: line[-1] for line in lines if line[0] == "vgg19"} == {
        ("vgg19", "2"): "250",
        ("vgg19", "1"): "–",
    }


def test_the_other_version_s_pools_say_nothing_of_ours() -> None:
    """They may idle otherwise: what is burnt there is no cell of our row."""
    base = replace(EAGER, copy=BASE)
    table = table_of(block(base, 0, 200), block(EAGER, 0, 200, idle_cpu_s=None))
    assert [line[-1] for line in resources.memory(table).lines] == ["–"]


def test_records_of_the_first_schema_have_no_such_tables() -> None:
    """What was not measured is not shown as zero: only percentiles are left."""
    memory = Memory(300_000_000, 900_000_000, 1_000_000_000)
    older = {"cold_start_s": None, "read_s": None, "cold": None, "idle_cpu_s": None}
    found = (replace(block(EAGER, i, 200, memory=memory), **older) for i in range(3))  # type: ignore[arg-type]
    table = table_of(*found)
    assert resources.tables(table) == (resources.percentiles(table),)


def aa(*factors: float) -> Table:
    """The reference and its second measurement, slower by these factors, and one row more."""
    found = [block(EAGER, i, 200) for i in range(3)]
    found += [block(TWIN, i, 200 * factor) for i, factor in enumerate(factors)]
    found += [block(ORT, i, 190) for i in range(3)]
    return table_of(*found)


def test_a_speed_up_that_an_aa_pair_shows_as_well_is_marked() -> None:
    """The row's own interval excludes 1, and yet the same file measured twice differs more."""
    wide, narrow = aa(1.0, 1.04, 0.97), aa(1.0, 1.001, 0.999)
    assert wide.told_apart > 1.08 and narrow.told_apart < 1.003
    column = next(
        column for column in report_columns.COLUMNS if column.title.startswith("speed-up")
    )
    shown = [column.cell(table.rows[-1], table) for table in (wide, narrow)]
    assert shown == ["1.053x ‡ (1.053–1.053)", "1.053x (1.053–1.053)"]


def test_the_table_says_what_could_have_been_told_apart() -> None:
    """In a sentence above it; the second copy is a row, and never the best or a candidate."""
    text = report_family.table_text(aa(1.0, 1.001, 0.999))
    assert text.startswith(
        "Speed-ups are against `vgg19 fp32 torch-eager`. A/A: `vgg19 fp32 torch-eager`, measured "
        "twice under two names, came out 1.000x as fast the second time (0.998–1.002): a "
        "difference below 0.2 % could not have been told from none."
    )
    assert "torch-eager (again)" in text
    twin = next(row for row in aa(1, 1, 1).rows if row.case.copy)
    assert not twin.candidate


def test_an_aa_pair_that_differs_from_itself_says_so() -> None:
    """Its row has the mark as well: by so much nothing is told from none here."""
    table = aa(1.05, 1.051, 1.049)
    assert (
        "came out 0.9524x as fast the second time (0.9501–0.9546); it came out different from "
        "itself: a difference below 5.2 % could not have been told from none." in _above(table)
    )
    column = next(
        column for column in report_columns.COLUMNS if column.title.startswith("speed-up")
    )
    assert column.cell(table.rows[1], table) == "0.9524x ‡ (0.9501–0.9546)"


def test_a_doubtful_aa_pair_is_marked() -> None:
    """By the worse of its two rows."""
    found = [block(EAGER, i, 200) for i in range(3)]
    found += [block(TWIN, i, 200, warmup_settled=False) for i in range(3)]
    assert "A/A: `vgg19 fp32 torch-eager` SUSPECT, measured twice" in _above(table_of(*found))


def _above(table: Table) -> str:
    """The sentences above a table."""
    return report_family.table_text(table).partition("\n")[0]


def test_two_blocks_of_an_aa_pair_tell_nothing() -> None:
    """And the sentence says so."""
    table = table_of(*(block(case, 0, 200) for case in (EAGER, TWIN)))
    assert "came out 1.00x as fast the second time; fewer than 3 blocks give no interval" in (
        report_family.table_text(table)
    )
