"""What LoadGen tested and workers did, as the page shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("markupsafe", reason="the page needs: pip install 'deploybench[report]'")

from bench.doubt_text import told
from bench.record import Measurement, Surroundings
from bench.report_page.families import family
from bench.report_page.sheets import Line, Sheet
from bench.rows import Table
from bench.scenario_tables import scenario_rows
from tests.bench.test_scenario_tables import OFFLINE, SHORT, SINGLE, block, everything, table

DISTURBED = Surroundings(2.0, 0.0, 1.8, 0, 9, 2.0, 2.0)
QUIET = Surroundings(1.0, 0.0, 0.0, 0, 9, 1.0, 1.0)


def sheet_of(found: Table) -> Sheet:
    """The page's table of scenarios."""
    rows = (*found.rows, *found.scenarios)
    numbers = {row.case: place for place, row in enumerate(rows)}
    shown = family("family-1", "revisited", found, numbers, {}).scenarios
    assert shown is not None
    return shown


def texts(line: Line) -> list[str]:
    """What stands in a line."""
    return [cell.shown.striptags() for cell in line.cells]


def watched(blocks: list[Measurement]) -> list[Measurement]:
    """Our own loops quiet, the tests of ``OFFLINE`` and ``SINGLE`` disturbed."""
    found = [replace(one, surroundings=QUIET) for one in blocks]
    return [
        replace(one, load_test=replace(one.load_test, surroundings=DISTURBED))
        if one.case in (OFFLINE, SINGLE) and one.load_test
        else one
        for one in found
    ]


def test_every_test_and_the_workers_have_a_row() -> None:
    """LoadGen's SingleStream too, which is a row of our own loop's table as well."""
    lines = {texts(line)[3]: texts(line) for line in sheet_of(table(*everything())).lines}
    assert list(lines) == ["single", "multi", "offline", "server", "workers"]
    assert lines["offline"] == [
        *("revisited-v6", "fp32", "ort", "offline", "2", "1", "241.0 images/s VALID", "VALID")
    ]
    assert lines["workers"][6] == "502 images/s"
    assert sheet_of(table(*everything())).names == 4


def test_without_scenarios_there_is_no_table() -> None:
    """A run of our own loop alone has none."""
    found = table(block(SINGLE))
    assert scenario_rows(found) == ()
    assert family("family-1", "revisited", found, {SINGLE: 0}, {}).scenarios is None


def test_what_loadgen_objects_to_is_told() -> None:
    """Its reason stands behind its verdict."""
    [multi] = [line for line in sheet_of(table(*everything())).lines if texts(line)[3] == "multi"]
    assert multi.cells[6].tip == SHORT


def test_a_disturbed_test_is_told_by_its_own_figures() -> None:
    """The verdict is on the test as well as on our quiet loop: so is the figure beside it."""
    found = table(*watched(everything()))
    [row] = [one for one in found.scenarios if one.case == OFFLINE]
    assert told(row) == (
        "steal: cores that the hypervisor kept from this machine: 0.90 in the worst block "
        "(SUSPECT from 0.05, INVALID from 0.25)",
    )
    [line] = [one for one in sheet_of(found).lines if texts(one)[3] == "offline"]
    assert texts(line)[7] == "INVALID steal"
    assert line.cells[7].tip == told(row)[0]


def test_a_disturbed_test_is_no_doubt_in_our_own_loop() -> None:
    """A row of both tables is judged with LoadGen's test only where LoadGen's number stands."""
    found = table(*watched(everything()))
    [row] = found.rows
    assert told(row) == ()
    [line] = [one for one in sheet_of(found).lines if texts(one)[3] == "single"]
    assert texts(line)[7] == "INVALID steal"
    assert line.cells[7].tip.startswith("steal: ")


def test_a_name_is_no_markdown() -> None:
    """A given model may be called anything: its stars stay stars."""
    blocks = [
        replace(one, case=replace(one.case, variant="a**b**"))
        for one in everything()
        if one.case == OFFLINE
    ]
    assert texts(sheet_of(table(*blocks)).lines[0])[0] == "a**b**"
