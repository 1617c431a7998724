"""The table across kinds of machines, and what to rent."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench import fleet_page, recommend, report
from bench.case import Case
from bench.record import SCHEMA, Canary, Fleet, Measurement, Run, write_run
from tests.bench.made_up import header, measured

EAGER = Case("revisited-base", "fp32", "torch-eager", 2)
PLAIN = Case("revisited-base", "fp32-opt", "ort", 2)
INT8 = Case("revisited-base", "int8-static", "ort", 2)


def of_kind(
    kind: str, *blocks: Measurement, price: float | None = None, threads: int = 2, name: str = "f1"
) -> Run:
    """A run of one kind of a fleet, whose machine has so many cores."""
    fleet = Fleet(name, kind, ("aaaaaaaa",), price, "" if price is None else "USD")
    moved = tuple(replace(b, case=replace(b.case, threads=threads)) for b in blocks)
    return Run(header(run=f"default-{kind}", host_id=kind, fleet=fleet, schema=SCHEMA), moved)


@pytest.fixture
def fleet() -> list[Run]:
    """Fast and dear against slow and cheap: 2 ms and 6 ms in INT8."""
    fast = of_kind(
        "fast",
        *measured(EAGER, 10, 10.1, 9.9),
        *measured(PLAIN, 5, 5.1, 4.9),
        *measured(INT8, 2, 2.02, 1.98),
        price=1.0,
    )
    slow = of_kind(
        "slow",
        *measured(EAGER, 30, 30.1, 29.9),
        *measured(PLAIN, 15, 15.1, 14.9),
        *measured(INT8, 6, 6.02, 5.98),
        price=0.1,
        threads=1,
    )
    return [fast, slow]


def test_runs_of_a_fleet_are_found_by_its_name(fleet: list[Run]) -> None:
    """The newest of each kind; runs of single machines are none."""
    older = replace(fleet[0], header=replace(fleet[0].header, started="2025-01-01T00:00:00+00:00"))
    alone = Run(header(), ())
    found = fleet_page.fleets([fleet[1], alone, fleet[0], older])
    assert found == {"f1": fleet}


def test_rows_of_kinds_stand_side_by_side(fleet: list[Run]) -> None:
    """However many threads each kind has; p50, throughput, cost."""
    text = fleet_page.page(fleet)
    assert "| `revisited-base/int8-static/ort/b1` " in text
    assert "| [fast](default-fast.md) " in text
    (latency,) = [line for line in text.splitlines() if "int8-static" in line and " 2.0" in line][
        :1
    ]
    assert "6.0" in latency
    assert "### USD for a million images" in text


def test_rows_that_differ_in_their_threads_alone_stand_apart() -> None:
    """A kind without that many has no figure there; what all have once needs no threads."""
    one, two = (replace(INT8, threads=count) for count in (1, 2))
    large = of_kind("large", *measured(EAGER, 9, 9.1, 8.9))
    more = (*measured(one, 4, 4.1, 3.9), *measured(two, 2, 2.1, 1.9))
    large = replace(large, measurements=(*large.measurements, *more))
    small = of_kind("small", *measured(EAGER, 30, 30, 30), *measured(INT8, 6, 6, 6), threads=1)
    text = fleet_page.page([large, small])
    latencies = text.partition("### Images a second")[0].splitlines()
    split = [line.split("|") for line in latencies if line.startswith("| `revisited-base/")]
    cells = {name.strip(" `"): (a.strip(), b.strip()) for _, name, a, b, _ in split}
    name = "revisited-base/int8-static/ort"
    assert cells.keys() == {
        "revisited-base/fp32/torch-eager/b1",
        f"{name}/t1/b1",
        f"{name}/t2/b1",
    }
    assert cells[f"{name}/t1/b1"][0].startswith("4.0")
    assert cells[f"{name}/t1/b1"][1].startswith("6.0")
    assert cells[f"{name}/t2/b1"][0].startswith("2.0")
    assert cells[f"{name}/t2/b1"][1] == "–"
    assert f"`{name}/t2/b1` on large" in text.partition("### What to rent")[2]


def test_cost_follows_from_price_and_throughput(fleet: list[Run]) -> None:
    """A dollar an hour at 500 images a second: a million take 2,000 s, 0.5556 dollars."""
    offers = fleet_page.offers(fleet)[("revisited", "seeded")]
    cheap = {(one.kind, one.row.case.recipe): one for one in offers}
    cost = cheap["fast", "int8-static"].cost
    assert cost is not None
    assert cost.value == pytest.approx(1e6 / 500 / 3600, rel=1e-6)
    slow = cheap["slow", "int8-static"].cost
    assert slow is not None
    assert slow.value == pytest.approx(0.1 * 1e6 / (1000 / 6) / 3600, rel=1e-6)


@pytest.mark.parametrize(
    ("bound_s", "kind"), [(0.001, None), (0.003, "fast"), (0.007, "slow"), (1.0, "slow")]
)
def test_the_cheapest_that_keeps_the_bound_is_chosen(
    fleet: list[Run], bound_s: float, kind: str | None
) -> None:
    """A slow machine that is cheap enough is the better one where its latency will do."""
    offers = fleet_page.offers(fleet)[("revisited", "seeded")]
    choice = fleet_page.choose(offers, bound_s)
    assert (choice.best.kind if choice.best else None) == kind


def test_without_prices_the_fastest_is_chosen(fleet: list[Run]) -> None:
    """Nobody knows what is cheap."""
    free = [
        replace(
            run,
            header=replace(
                run.header, fleet=replace(run.header.fleet, price_per_hour=None, currency="")
            ),
        )
        for run in fleet
        if run.header.fleet
    ]
    offers = fleet_page.offers(free)[("revisited", "seeded")]
    choice = fleet_page.choose(offers, 1.0)
    assert choice.best is not None
    assert choice.best.kind == "fast"
    assert "for a million images" not in fleet_page.page(free)


def test_what_lies_across_the_bound_is_no_choice(fleet: list[Run]) -> None:
    """It might keep it, and is named."""
    wide = of_kind("wide", *measured(INT8, 1, 3, 2), *measured(EAGER, 9, 9, 9), price=1.0)
    offers = fleet_page.offers([wide])[("revisited", "seeded")]
    choice = fleet_page.choose(offers, 0.0025)
    assert choice.best is None
    assert [one.row.case for one in choice.undecided] == [INT8]


def test_what_is_not_known_to_keep_any_bound_is_told_as_that() -> None:
    """Of two blocks nobody knows an interval; nothing about it is wrong or unbelievable."""
    two = of_kind("two", *measured(INT8, 2, 2), *measured(EAGER, 9, 9))
    said = fleet_page.summary([two]).splitlines()[-1]
    assert said.startswith("- p50 below 1000 ms: nothing is known to keep it; `revisited-base/")
    assert said.endswith("more blocks would tell")
    assert said in fleet_page.page([two])


def test_where_all_was_disturbed_it_says_that() -> None:
    """No limit is missed: the same command measures those blocks again."""
    off = Canary(0.01, 0.02)
    blocks = (*measured(INT8, 2, 2, 2), *measured(EAGER, 9, 9, 9))
    loud = of_kind("loud", *(replace(block, canary=off) for block in blocks))
    said = fleet_page.summary([loud])
    assert "can be believed: 2 of 2 rows are INVALID (canary), and the same command" in said


def test_what_is_slower_than_every_bound_is_told_as_that() -> None:
    """It is right and believed, and slow."""
    slow = of_kind("slow", *measured(INT8, 2000, 2001, 1999), *measured(EAGER, 3000, 3001, 2999))
    assert fleet_page.summary([slow]).endswith("- p50 below 1000 ms: nothing keeps it")


def test_a_sentence_names_a_few_of_many() -> None:
    """A run of one round has no row that is decided, and a line for each would say no more."""
    recipes = ("fp32", "fp32-opt", "int8-dynamic", "int8-static")
    cases = [replace(INT8, recipe=recipe) for recipe in recipes]
    blocks = [block for case in cases for block in measured(case, 2, 2)]
    said = fleet_page.summary([of_kind("two", *blocks, *measured(EAGER, 9, 9))]).splitlines()[-1]
    assert said.count(" on two") == 3
    assert " and 2 more may: more blocks would tell" in said


def test_wrong_rows_are_not_for_rent(fleet: list[Run]) -> None:
    """However fast; they are marked where they stand."""
    wrong = of_kind(
        "wrong",
        *measured(INT8, 0.1, 0.1, 0.1, passed=False),
        *measured(EAGER, 9, 9.1, 8.9),
        price=1.0,
    )
    offers = fleet_page.offers([wrong])[("revisited", "seeded")]
    choice = fleet_page.choose(offers, 1.0)
    assert choice.best is not None
    assert choice.best.row.case == EAGER
    assert "WRONG" in fleet_page.page([wrong])


def written(fleet: list[Run], out: Path) -> Path:
    """The records of a fleet, below a folder."""
    (out / "records").mkdir(parents=True)
    for run in fleet:
        write_run(out / "records" / f"{run.header.run}.jsonl", run)
    return out


def test_the_page_is_written_and_checked_like_the_others(fleet: list[Run], tmp_path: Path) -> None:
    """From the records alone, linked from the first page."""
    out = written(fleet, tmp_path)
    report.write(out)
    page = out / "fleet-f1.md"
    assert "### What to rent" in page.read_text()
    assert "(fleet-f1.md)" in (out / "README.md").read_text()
    assert not report.checked(out).difference
    named = re.findall(r"^\| \[(\w+)\]\(([^)]+)\)", page.read_text(), re.MULTILINE)
    assert [kind for kind, _ in named] == ["fast", "slow"]
    # One of them is the newest run, which stands on the first page.
    assert "README.md" in dict(named).values()
    assert all((out / link).is_file() for _, link in named)
    page.write_text(page.read_text().replace("fast", "quick"))
    assert report.checked(out).difference


def test_recommend_goes_across_kinds(
    fleet: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind's own pick under the constraints, and the cheapest of them."""
    out = written(fleet, tmp_path)
    assert recommend.main(["--records", str(out), "--fleet", "f1", "--max-p50", "7ms"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("**slow** with `revisited-base/int8-static/ort/t1/b1`: the cheapest")
    assert "| fast   | `revisited-base/int8-static/ort/t2/b1` |" in told
    assert recommend.main(["--records", str(out), "--fleet", "f1", "--max-p50", "3ms"]) == 0
    assert capsys.readouterr().out.startswith("**fast** with")
    assert recommend.main(["--records", str(out), "--fleet", "f1", "--max-p50", "1ms"]) == 1
    assert "**Nothing to rent**" in capsys.readouterr().out


def test_without_constraints_none_is_named(
    fleet: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cheapest of all, and not the cheapest that keeps nothing."""
    out = written(fleet, tmp_path)
    assert recommend.main(["--records", str(out), "--fleet", "f1"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("**slow** with `revisited-base/int8-static/ort/t1/b1`: the cheapest.")
    assert "constraint" not in told
    assert recommend.main(["--records", str(out), "--fleet", "f1", "--prefer", "accuracy"]) == 2
    assert "no row knows its top-1" in capsys.readouterr().err


def test_an_unknown_fleet_is_told_with_those_there_are(
    fleet: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a folder without any says how to get one."""
    out = written(fleet, tmp_path / "some")
    assert recommend.main(["--records", str(out), "--fleet", "f2"]) == 2
    assert "--fleet f2: no fleet of" in capsys.readouterr().err
    assert recommend.main(["--records", str(written([], tmp_path / "none")), "--fleet", "f1"]) == 2
    assert "has none: python -m bench.run --ray" in capsys.readouterr().err


def test_without_a_name_it_is_the_newest_fleet(
    fleet: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose runs started last, whatever its name is."""
    blocks = (*measured(EAGER, 1, 1.1, 0.9), *measured(INT8, 1, 1.1, 0.9))
    other = of_kind("ancient", *blocks, name="z9")
    older = replace(other, header=replace(other.header, started="2020-01-01T00:00:00+00:00"))
    out = written([older, *fleet], tmp_path)
    assert recommend.main(["--records", str(out), "--fleet"]) == 0
    told = capsys.readouterr().out
    assert "| fast   |" in told
    assert "ancient" not in told


def test_kinds_without_a_price_are_not_the_cheapest(fleet: list[Run]) -> None:
    """A time for an image is no smaller than a cost: they are not compared."""
    blocks = (*measured(EAGER, 9, 9.1, 8.9), *measured(INT8, 1, 1.1, 0.9))
    offers = fleet_page.offers([fleet[0], of_kind("free", *blocks)])[("revisited", "seeded")]
    choice = fleet_page.choose(offers, 1.0)
    assert choice.best is not None
    assert choice.best.kind == "fast"


def test_machines_that_were_lost_are_named(fleet: list[Run]) -> None:
    """On the page and at the end of the run, with the reason; without any there is no word of it.

    What a machine says is no Markdown.
    """
    assert "was lost" not in fleet_page.page(fleet) + fleet_page.summary(fleet)
    head = fleet[0].header
    assert head.fleet is not None
    lost = replace(head.fleet, lost={"aaaaaaaa": "No space left on device (model*.onnx)"})
    runs = [replace(fleet[0], header=replace(head, fleet=lost)), fleet[1]]
    line = "- fast: machine aaaaaaaa was lost: No space left on device (model\\*.onnx)"
    assert line in fleet_page.page(runs).splitlines()
    assert fleet_page.summary(runs).splitlines()[-1] == line
