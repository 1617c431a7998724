"""The page as text: what it is made of, that it repeats, and that nothing in it gets out."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bokeh", reason="the page needs: pip install 'deploybench[report]'")

from bench import report, report_columns
from bench.case import BASE
from bench.options import DEFAULT_MARGIN
from bench.outcomes import compare
from bench.record import Against, Run, read_run, write_run
from bench.report_page import charts, document, missing
from bench.report_page.cells import _KNOWN, behind
from bench.resultset import of_run
from bench.rows import tables_of
from tests.bench.clickable import DOUBTFUL, GIVEN, HOSTILE, OPT, STATIC, run

ROOT = Path(__file__).parents[3]
MOST_BYTES = 3_000_000
SAYS_ALL = {
    *("variant", "recipe", "runtime", "threads", "batch", "parameters M (non-zero)"),
    *("rounded to 0, M", "% of attainable"),
}
"""Columns of which there is no more to be told than what is shown."""


@pytest.fixture(scope="module")
def page() -> str:
    """The page of one run."""
    return document.page(run())


def compared(**changes: Any) -> str:
    """A page of a second run, in which something was changed, beside the first."""
    head = run("default-2", **changes)
    return document.page(head, compare(of_run(run(), "a"), of_run(head, "b"), DEFAULT_MARGIN))


def data_of(page: str) -> dict[str, Any]:
    """What stands in the page for its script."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_same_records_give_the_same_bytes(page: str) -> None:
    """However many models Bokeh has made in the process by then."""
    charts.items()
    assert document.page(run()) == page


def test_no_name_leaves_its_place(page: str) -> None:
    """A name that would end a script or be an element is text, wherever it stands."""
    assert page.count("</script>") == 3
    assert "<img" not in page
    assert HOSTILE in {row["key"].partition("@")[0] for row in data_of(page)["rows"]}
    assert html.escape(HOSTILE.split(" ")[0], quote=False) in page


def test_only_the_two_scripts_of_the_page_are_run(page: str) -> None:
    """The policy allows what has their hashes, no evaluation, and no request at all."""
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert found
    policy = dict(part.strip().split(" ", 1) for part in html.unescape(found[1]).split(";"))
    packed = re.search(r'<script type="text/plain" id="library">(.*?)</script>', page, re.S)
    ours = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert packed
    assert len(ours) == 1
    theirs = gzip.decompress(base64.b64decode(packed[1]))
    assert b"Bokeh" in theirs
    bodies = (theirs, ours[0].encode())
    hashes = {base64.b64encode(hashlib.sha256(body).digest()).decode() for body in bodies}
    assert set(policy["script-src"].split()) == {f"'sha256-{one}'" for one in hashes}
    assert policy["default-src"] == "'none'"


def test_every_column_is_known() -> None:
    """A column of the tables either says all or has something behind it."""
    titles = {column.title for column in report_columns.COLUMNS}
    assert titles == SAYS_ALL | _KNOWN.keys()


def test_what_stands_behind_numbers() -> None:
    """Intervals, the worst figure against its limits, and what a speed-up may claim."""
    table = next(iter(tables_of(run()).values()))
    rows = {row.case: row for row in table.rows}
    assert behind("p50 ms", rows[OPT], table).tip.startswith("189 (")
    assert (
        "95 % interval over 3 blocks; over 600 inferences" in behind("p50 ms", rows[OPT], table).tip
    )
    assert behind("verdict", rows[DOUBTFUL], table).tip == (
        "foreign-cpu: cores that other processes kept busy: 0.40 in the worst block "
        "(SUSPECT from 0.2, INVALID from 0.5)"
    )
    told = behind("speed-up (95 %)", rows[STATIC], table)
    assert "paired over 3 rounds: told from 1" in told.tip
    assert told.order == pytest.approx(5.0, rel=0.01)


def test_a_row_tells_everything(page: str) -> None:
    """Blocks, distribution, cold start, memory, operators, answers and provenance."""
    rows = {row["key"]: row["parts"] for row in data_of(page)["rows"]}
    parts = rows[str(STATIC)]
    assert list(parts) == list(data_of(page)["rows"][0]["parts"])
    assert [one["count"] for one in parts["times"]["chart"]] == [200, 200, 200]
    assert ["QLinearConv", "16", "900", "90.0 %"] in parts["operators"]["tables"]["nodes"]
    assert ["int8", "900", "90.0 %"] in parts["operators"]["tables"]["macs"]
    leaves = parts["start"]["tables"]["leaves"]
    assert [line[0] for line in leaves] == ["1", "2", "3", "1, from disk"]
    facts = dict(parts["provenance"]["tables"]["facts"])
    assert facts["key of its provenance"] == str(STATIC)
    assert facts["steps"] == "to-onnx → prepare → quantize-static"
    assert facts["runtime"] == "ort 1.2.3"


def test_operators_without_times_are_said_to_be_counted(page: str) -> None:
    """Older records have none; those that were profiled say what their times are."""
    rows = {row["key"]: row["parts"] for row in data_of(page)["rows"]}
    assert rows[str(STATIC)]["operators"]["said"][0].startswith(
        "Times are medians over 5 inferences"
    )
    counted = rows[str(GIVEN)]["operators"]
    assert counted["said"][0].startswith("Counts, not times")
    assert ["QLinearConv", "16", "–", "–"] in counted["tables"]["nodes"]


def test_a_row_without_numbers_says_why(page: str) -> None:
    """Its reason as it was given, and no chart."""
    [parts] = [one["parts"] for one in data_of(page)["rows"] if "/tract/" in one["key"]]
    assert parts["doubts"]["said"] == ["unsupported: tract can't open `Gemm` with **this**"]
    assert not any("chart" in part for part in parts.values())


def test_two_runs_are_compared() -> None:
    """Every outcome stands beside its row, in both tables, and counts in the headline."""
    page = compared(only=1.5)
    assert "1 regressed, 4 inconclusive" in page
    assert len(re.findall(r'data-outcome="regressed"', page)) == 2


def test_a_run_alone_has_no_comparison(page: str) -> None:
    """Nor a filter for its outcomes."""
    assert 'id="comparison"' not in page
    assert 'name="outcome"' not in page


def put(folder: Path, *runs: Run) -> Path:
    """The runs as records below a folder."""
    (folder / "records").mkdir(parents=True)
    for one in runs:
        write_run(folder / "records" / f"{one.header.run}.jsonl", one)
    return folder


def test_the_command_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the run that is named, beside another one of the folder."""
    out, page = put(tmp_path / "out", run(), run("default-2", scale=2.0)), tmp_path / "page.html"
    command = ["--out", str(out), "--html", str(page), "--run", "default-2"]
    assert report.main([*command, "--base-run", "default-1"]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert "5 regressed" in page.read_text("utf-8")
    assert report.main(command) == 0
    assert page.read_text("utf-8") == document.page(run("default-2", scale=2.0))


def test_both_versions_of_one_run_are_compared(tmp_path: Path) -> None:
    """A run with ``--against`` needs no other: paired by round; its base rows have no outcome."""
    found = run()
    older = [
        replace(
            block,
            case=replace(block.case, copy=BASE),
            latencies_ns=tuple(2 * one for one in block.latencies_ns),
        )
        for block in found.measurements
        if block.case in (OPT, STATIC)
    ]
    header = replace(found.header, against=Against("main", "0ld"))
    out = put(tmp_path / "out", Run(header, (*found.measurements, *older)))
    page = tmp_path / "page.html"
    assert report.main(["--out", str(out), "--html", str(page), "--run", "*"]) == 0
    text = page.read_text("utf-8")
    assert "2 improved" in text
    assert "paired by round" in text
    assert len(re.findall(r'data-outcome="improved"', text)) == 4
    rows = re.findall(r'data-recipe="int8-static"[^>]* data-outcome="(\w*)"', text)
    assert rows.count("") == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--base-run", "default-1"], "give --html FILE as well"),
        (["--html", "page.html", "--run", "*", "--base-run", "*"], "compared with itself"),
        (["--html", "page.html", "--run", "nobody"], "holds no run 'nobody'"),
        (["--html", "."], "is a folder"),
        (["--html", "notes.txt"], "was not written by deploybench and is kept"),
        (["--html", "no/such/page.html", "--run", "*"], "could not be written"),
    ],
)
def test_what_can_not_be_done_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    text: str,
) -> None:
    """In a sentence, with exit code 2, and nothing is written."""
    put(tmp_path / "out", run())
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert report.main(["--out", "out", *arguments]) == 2
    assert text in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "out"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_other_hosts_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As by ``bench.compare``: the page is not written either."""
    other = run("default-2")
    other = Run(replace(other.header, host_id="beef"), other.measurements)
    out, page = put(tmp_path / "out", run(), other), tmp_path / "page.html"
    command = ["--out", str(out), "--html", str(page), "--run", "default-2"]
    assert report.main([*command, "--base-run", "default-1"]) == 2
    assert "can't be compared" in capsys.readouterr().err
    assert not page.exists()


def test_without_its_libraries_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence says what to install; that there are no records comes later."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "bokeh" else real(name)
    )
    assert missing() == "--html needs bokeh: pip install 'deploybench[report]'"
    assert report.main(["--out", str(tmp_path), "--html", str(tmp_path / "page.html")]) == 2
    assert capsys.readouterr().err.strip() == missing()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full-476b1cac", "runtimes-7e013b91", "default-d96c72d2"])
def test_a_page_of_a_full_run_is_small(name: str) -> None:
    """That of each full suite, and one with answers to images, stay below 3 MB with BokehJS."""
    found = read_run(ROOT / "results" / "records" / f"{name}.jsonl.gz")
    page = document.page(found)
    assert len(page.encode()) < MOST_BYTES
