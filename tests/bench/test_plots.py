"""Plots beside a page: which there are, when they are drawn, and how they are checked."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from bench import plots, report, report_pages, rows
from bench.case import Case
from bench.record import Measurement, Recorder, Run
from export.artifact import LayerWork
from tests.bench.made_up import answering, header, measured, thousand_images

EAGER = Case("vgg19", "fp32", "torch-eager", 2)
ORT = Case("vgg19", "fp32", "ort", 2)
drawing = pytest.mark.skipif(
    not importlib.util.find_spec("matplotlib"), reason="plots need matplotlib (extra plots)"
)
TIMES = "default-1-times.svg"


def blocks() -> list[Measurement]:
    """Two rows."""
    return [*measured(EAGER, 100, 101, 99), *measured(ORT, 60, 61, 59)]


def figures(found: list[Measurement]) -> set[str]:
    """The kinds of plots of a run of these."""
    run = Run(header(), tuple(found))
    return set(plots.of_run(run.header, rows.tables_of(run)))


def write(out: Path, **changes: object) -> None:
    """The records of a finished run, pages and plots."""
    with Recorder.open(out, header(cases=(EAGER, ORT), **changes)) as recorder:
        for block in blocks():
            recorder.append(block)
        recorder.finish()
    report.write(out)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if matplotlib were not installed."""
    monkeypatch.setattr(plots, "not_drawn", lambda: plots.MISSING)


def test_a_plot_of_one_mark_is_none() -> None:
    """Two rows have what is known of them; one row, or none, nothing to compare."""
    assert figures(blocks()) == {"tradeoff", "times", "latencies"}
    assert figures(measured(EAGER, 100)) == figures([]) == set()


def everything() -> Run:
    """A run of which each kind of plot has something to draw."""
    names = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
    images = replace(thousand_images(), class_names=names)
    conv, dense = LayerWork("c", 100_000, 4_040, 10), LayerWork("d", 100_000, 400_040, 10)
    cases = [
        Case(variant, recipe, "ort", threads)
        for variant in ("revisited-base", "revisited-v6")
        for recipe, threads in (("fp32", 2), ("int8-static", 2), ("fp32", 1))
    ]
    found = [
        replace(
            block,
            file=replace(block.file, layers=(conv, dense)),
            import_s=0.1,
            read_s=0.1,
            first_s=0.1,
            cold_start_s=0.4,
        )
        for place, case in enumerate(cases)
        for block in measured(
            case,
            *(10 + place, 11 + place, 12 + place),
            size_bytes=500_000 if case.recipe == "fp32" else 120_000,
            answers=answering(images, wrong=100 + 10 * place),
        )
        if block.file
    ]
    return Run(header(labelled=images), tuple(found))


def test_each_plot_says_host_date_and_n() -> None:
    """Every kind there is: a new one that has nothing to draw here fails, too."""
    run = everything()
    figures = plots.of_run(run.header, rows.tables_of(run))
    assert set(figures) == {*plots.PLOTS, plots.paper_kind("seeded")}
    for kind, figure in figures.items():
        first = figure.footer[0]
        assert first.startswith("one, 2026-01-02, commit abc1234; n: 3 blocks and 120"), kind


def test_the_page_shows_its_plots_with_what_they_are() -> None:
    """Under the sentences, and behind the tables; by the name of the run, not of the page."""
    page = report_pages.page([Run(header(), tuple(blocks()))])
    front = page.index("![p50 latency by recipe and runtime](default-1-times.svg)")
    assert page.index("### At a glance") < front < page.index("### vgg19")
    assert page.index("### Further plots") < page.index("](default-1-latencies.svg)")
    assert "svg)" not in report_pages.page([Run(header(), tuple(measured(EAGER, 100)))])


@drawing
def test_plots_are_written_with_the_page_and_checked_with_it(tmp_path, capsys) -> None:
    """Twice the same bytes; an edited or a missing plot fails the check and is named."""
    write(tmp_path)
    plot = tmp_path / TIMES
    before = plot.read_bytes()
    assert report.main(["--out", str(tmp_path), "--check"]) == 0
    assert "not checked" not in capsys.readouterr().out
    assert report.main(["--out", str(tmp_path), "--check", "--plots"]) == 0
    assert report.main(["--out", str(tmp_path)]) == 0
    assert plot.read_bytes() == before
    plot.write_bytes(before.replace(b"p50", b"p51"))
    assert report.main(["--out", str(tmp_path), "--check"]) == 1
    assert f"{plot} is not what its records draw" in capsys.readouterr().out
    plot.unlink()
    assert report.main(["--out", str(tmp_path), "--check"]) == 1
    assert f"{plot} is missing" in capsys.readouterr().out


@drawing
def test_a_record_that_was_changed_fails_the_check_of_its_plot(tmp_path, capsys) -> None:
    """The plot follows from the numbers, not from the page."""
    write(tmp_path)
    with Recorder.open(tmp_path, header(cases=(EAGER, ORT))) as recorder:
        for block in measured(ORT, 30, 30, 30):
            recorder.append(block)
    assert report.main(["--out", str(tmp_path), "--check"]) == 1
    assert f"{tmp_path / TIMES} is not what its records draw" in capsys.readouterr().out


@drawing
def test_another_matplotlibs_plots_are_not_checked_and_that_is_said(tmp_path, capsys) -> None:
    """It draws otherwise, which is nobody's fault: the rest decides."""
    write(tmp_path)
    plot = tmp_path / TIMES
    text = plot.read_text("utf-8")
    version = plots.drawn_by(text)
    plot.write_text(text.replace(f"v{version}", "v2.0.1"), "utf-8")
    assert report.main(["--out", str(tmp_path), "--check"]) == 0
    said = capsys.readouterr().out
    assert report.main(["--out", str(tmp_path), "--check", "--plots"]) == 1
    assert "--plots wants its plots checked" in capsys.readouterr().out
    assert f"plots were not checked (1 of 3): drawn by matplotlib 2.0.1, and {version} is" in said
    other = tmp_path / "default-1-latencies.svg"
    other.write_text(other.read_text("utf-8").replace("100", "101"), "utf-8")
    assert report.main(["--out", str(tmp_path), "--check"]) == 1


@drawing
def test_without_matplotlib_pages_are_the_same_and_plots_stay(tmp_path, capsys, request) -> None:
    """Both are told: that none was drawn, and that none was checked."""
    write(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.glob("*.*")}
    assert len(files) == 4
    request.getfixturevalue("without")
    assert report.main(["--out", str(tmp_path)]) == 0
    assert f"plots were not drawn: {plots.MISSING}" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.glob("*.*")} == files
    assert report.main(["--out", str(tmp_path), "--check"]) == 0
    assert f"plots were not checked: {plots.MISSING}" in capsys.readouterr().out
    assert report.main(["--out", str(tmp_path), "--check", "--plots"]) == 1


def test_without_matplotlib_a_page_without_plots_passes(tmp_path, without, capsys) -> None:
    """Nobody can draw them there: the page names them all the same."""
    write(tmp_path)
    assert not list(tmp_path.glob("*.svg"))
    assert TIMES in (tmp_path / "README.md").read_text("utf-8")
    assert report.main(["--out", str(tmp_path), "--check"]) == 0
    assert "plots were not checked" in capsys.readouterr().out


@drawing
def test_a_plot_whose_record_is_gone_goes_too(tmp_path, capsys) -> None:
    """Only one that was made here: a drawing of somebody else's stays."""
    write(tmp_path)
    (tmp_path / "mine.svg").write_text("<svg/>")
    write(tmp_path, run="default-2", started="2027-01-01")
    for record in (tmp_path / "records").glob("default-1*"):
        record.unlink()
    assert report.main(["--out", str(tmp_path), "--check"]) == 1
    assert f"{tmp_path / TIMES} has no record" in capsys.readouterr().out
    report.write(tmp_path)
    left = {path.name for path in tmp_path.glob("*.svg")}
    assert "mine.svg" in left and TIMES not in left and "default-2-times.svg" in left


def test_plots_are_checked_or_it_fails_only_with_check(capsys) -> None:
    """--plots alone would do nothing: it is refused with the flag that it goes with."""
    with pytest.raises(SystemExit):
        report.main(["--plots"])
    assert "--plots goes with --check" in capsys.readouterr().err


def test_a_run_without_numbers_has_no_plots() -> None:
    """Failed rows, the harness's own, and second names draw nothing."""
    failed = [Measurement(EAGER, 0, "failed", "no memory"), *measured(ORT, 60)]
    assert figures(failed) == set()
    null = measured(replace(EAGER, runtime="null"), 0.0002)
    assert figures([*null, *measured(ORT, 60), *measured(replace(ORT, copy="again"), 60)]) == set()
