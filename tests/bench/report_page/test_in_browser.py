"""The page in a real browser, opened from disk: what a reader can do, also without a mouse."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bokeh", reason="the page needs: pip install 'deploybench[report]'")

from bench.options import DEFAULT_MARGIN
from bench.outcomes import compare
from bench.record import Run
from bench.report_page import document
from bench.resultset import of_run
from tests.bench.browser import PHONE as SCREEN
from tests.bench.browser import serious, too_wide
from tests.bench.clickable import HOSTILE, OPT, STATIC, run
from tests.bench.report_page.conftest import Open, Shoot

MAIN = "#family-1-rows"
PHONE = {"viewport": SCREEN, "has_touch": True}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of one run."""
    return document.write(tmp_path_factory.mktemp("alone") / "page.html", run())


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run beside another."""
    head = run("default-2", only=1.5)
    judged = compare(of_run(run(), "a"), of_run(head, "b"), DEFAULT_MARGIN)
    return document.write(tmp_path_factory.mktemp("beside") / "page.html", head, judged)


def column(page: Any, title: str, table: str = MAIN) -> list[str]:
    """What a column of the rows that are shown says, from the top down."""
    found: list[str] = page.evaluate(
        """([table, title]) => {
            const heads = [...document.querySelectorAll(`${table} thead th`)];
            const place = heads.findIndex((head) => head.textContent.trim() === title);
            const rows = [...document.querySelectorAll(`${table} tbody tr`)];
            const shown = rows.filter((row) => row.offsetParent);
            return shown.map((row) => row.cells[place].textContent.trim());
        }""",
        [table, title],
    )
    return found


def title_of(page: Any, title: str, table: str = MAIN) -> Any:
    """The button that sorts by a column."""
    return page.locator(f"{table} thead button", has_text=re.compile(f"^{title}$"))


def table_called(page: Any, title: str) -> str:
    """The first table whose caption begins like that, as a selector."""
    found: str = page.evaluate(
        """(title) => "#" + [...document.querySelectorAll("main table")]
            .find((table) => table.caption.textContent.startsWith(title)).id""",
        title,
    )
    return found


def everything_open(page: Any) -> None:
    """As if every further table had been clicked."""
    page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")


def slow_to_start() -> Run:
    """The run with two rows that start later than the reference, and are faster afterwards."""
    found = run()
    starts = {STATIC: 5.0, OPT: 7.6}
    blocks = (
        replace(block, cold_start_s=starts.get(block.case, block.cold_start_s))
        for block in found.measurements
    )
    return replace(found, measurements=tuple(blocks))


def row_of(page: Any, name: str) -> Any:
    """The button that opens a row, by the name that a sentence calls it."""
    return page.get_by_role("button", name=f"details of {name}", exact=False).first


def test_sorting_by_click(opened: Open, alone: Path, shoot: Shoot) -> None:
    """Up, down, and back to the order of the run; what has no number stays last."""
    page = opened(alone)
    before = column(page, "p50 ms")
    title_of(page, "p50 ms").click()
    assert column(page, "p50 ms") == ["0.000202", "9.6", "50.7", "189", "253", "254", "unsupported"]
    assert page.locator(f"{MAIN} th[aria-sort]").get_attribute("aria-sort") == "ascending"
    shoot(page, "sorted")
    title_of(page, "p50 ms").click()
    assert column(page, "p50 ms")[0] == "254"
    assert column(page, "p50 ms")[-1] == "unsupported"
    title_of(page, "p50 ms").click()
    assert column(page, "p50 ms") == before
    assert page.locator(f"{MAIN} th[aria-sort]").count() == 0


def test_sorting_by_verdict(opened: Open, alone: Path) -> None:
    """In the order of what they mean, not of the alphabet."""
    page = opened(alone)
    title_of(page, "verdict").click()
    title_of(page, "verdict").click()
    assert column(page, "verdict")[0] == "SUSPECT foreign-cpu"


def test_filters(opened: Open, alone: Path, shoot: Shoot) -> None:
    """Words, runtime and verdict hide the rows that they don't name, in every family; counted."""
    page = opened(alone)
    page.get_by_label("Words").fill("int8 vgg19")
    assert column(page, "recipe") == ["int8-static", "int8-static"]
    assert column(page, "recipe", "#family-2-rows") == []
    page.get_by_label("Verdict").select_option("SUSPECT")
    assert column(page, "runtime") == ["openvino"]
    assert page.locator("#count").inner_text() == "1 of 8 rows"
    shoot(page, "filtered")
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Runtime").select_option("ort")
    assert set(column(page, "runtime")) == {"ort"}
    assert page.locator("#count").inner_text() == "3 of 8 rows"


def test_filters_act_on_every_table_of_rows(opened: Open, alone: Path) -> None:
    """A line of a further table stays as long as one of its rows does; what is of none stays."""
    page = opened(alone)
    everything_open(page)
    tables = {
        title: table_called(page, title)
        for title in ("p50 ms (times", "Cold start", "Memory", "Accuracy, %", "vgg19: what ran")
    }
    classes = table_called(page, "F1 by class")
    assert all(
        "openvino" in " ".join(column(page, "runtime", one)) for one in [*tables.values()][:4]
    )
    page.get_by_label("Runtime").select_option("ort")
    for table in tables.values():
        assert set(column(page, "runtime", table)) == {"ort"}
    assert column(page, "row", table_called(page, "INT8 against")) == ["vgg19 int8-static ort"]
    page.get_by_label("Verdict").select_option("SUSPECT")
    for table in tables.values():
        assert column(page, "runtime", table) == []
    assert column(page, "class", classes) != []
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Words").fill("gap")
    assert column(page, "variant", tables["Cold start"]) == ["vgg19-gap"]
    assert column(page, "variant", table_called(page, "What building")) == ["vgg19-gap"]


def test_numbers_are_sorted_as_numbers_and_words_behind_them(opened: Open, tmp_path: Path) -> None:
    """In one column; what says nothing stays last, up and down."""
    page = opened(document.write(tmp_path / "page.html", slow_to_start()))
    everything_open(page)
    table = table_called(page, "Cold start")
    title_of(page, "pays after", table).click()
    assert column(page, "pays after", table) == ["21 images", "104 images", "at once", "–"]
    title_of(page, "pays after", table).click()
    assert column(page, "pays after", table) == ["104 images", "21 images", "at once", "–"]
    title_of(page, "runtime", table).click()
    assert column(page, "runtime", table)[0].startswith("openvino")


def test_pointing_tells_intervals_and_reasons(opened: Open, alone: Path, shoot: Shoot) -> None:
    """A number that is pointed at says its interval, a verdict what spoke against the row."""
    page = opened(alone)
    tip = page.locator("#tip")
    page.locator(f"{MAIN} button[data-tip]", has_text="189").first.hover()
    assert "95 % interval over 3 blocks" in tip.inner_text()
    page.locator(f"{MAIN} button[data-tip]", has_text="SUSPECT").hover()
    assert "cores that other processes kept busy: 0.4" in tip.inner_text()
    shoot(page, "pointed-at")
    # It stays while it is pointed at itself.
    tip.hover()
    page.wait_for_timeout(400)
    assert tip.is_visible()
    # What lies under it is pointed at only when the pointer moves.
    page.keyboard.press("Escape")
    page.wait_for_timeout(100)
    assert tip.is_hidden()
    page.locator(f"{MAIN} button[data-tip]", has_text="189").first.hover()
    assert tip.is_visible()


def test_everything_by_keyboard(opened: Open, alone: Path, shoot: Shoot) -> None:
    """Sort, go through a table, hear an interval, open a row and come back: no mouse."""
    page = opened(alone)
    title_of(page, "p50 ms").focus()
    page.keyboard.press("Enter")
    assert column(page, "p50 ms")[0] == "0.000202"
    # From the last title one more Tab leads into the rows, another out of them.
    title_of(page, "notes").focus()
    page.keyboard.press("Tab")
    focused = "() => document.activeElement.innerText"
    assert page.evaluate(focused) == "–"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#tip").is_visible()
    assert page.evaluate("() => document.activeElement.getAttribute('aria-describedby')") == "tip"
    shoot(page, "focused")
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    page.keyboard.press("Home")
    opener = page.evaluate("() => document.activeElement.dataset.open")
    page.keyboard.press("Enter")
    assert page.locator("dialog").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("dialog").is_hidden()
    assert page.evaluate("() => document.activeElement.dataset.open") == opener
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.closest('tbody')") is None


def test_a_row_opens(opened: Open, alone: Path, shoot: Shoot) -> None:
    """Charts are drawn, tables filled in; the next row takes its place, and has an address."""
    page = opened(alone)
    row_of(page, "vgg19 int8-static ort").click()
    dialog = page.locator("dialog")
    for name in ("times", "spread", "start"):
        page.locator(f"#chart-{name} canvas").first.wait_for()
    assert page.locator("#row-name").inner_text() == "vgg19 int8-static ort"
    for text in (
        "Latency over time",
        "Distribution",
        "QLinearConv",
        "to-onnx → prepare → quantize-static",
    ):
        assert dialog.get_by_text(text).first.is_visible()
    assert dialog.get_by_text(HOSTILE).first.is_visible()
    shoot(page, "row")
    address = page.url
    page.locator("#chart-spread").scroll_into_view_if_needed()
    shoot(page, "row-distribution")
    page.locator("#chart-start").scroll_into_view_if_needed()
    shoot(page, "row-start")
    page.get_by_role("button", name="Next row").click()
    assert page.locator("#row-name").inner_text() != "vgg19 int8-static ort"
    page.get_by_role("button", name="Close").click()
    assert dialog.is_hidden()
    again = opened(alone)
    again.goto(address)
    again.reload()
    assert again.locator("#row-name").inner_text() == "vgg19 int8-static ort"


def test_an_address_opens_a_row_of_a_page_that_is_open(opened: Open, alone: Path) -> None:
    """A key may have any sign in it; an address that names no row opens nothing, and says so."""
    page = opened(alone)
    page.evaluate("() => { location.hash = 'row=%zz+nobody'; }")
    page.locator("#count", has_text="No row of this page is called %zz nobody").wait_for()
    assert page.locator("dialog").is_hidden()
    page.get_by_role("button", name=HOSTILE.split(" ", maxsplit=1)[0]).last.click()
    name, address = page.locator("#row-name").inner_text(), page.evaluate("() => location.hash")
    page.get_by_role("button", name="Close").click()
    page.evaluate("(address) => { location.hash = address; }", address)
    page.locator("dialog").wait_for()
    assert page.locator("#row-name").inner_text() == name


def test_what_is_drawn_is_of_the_row(opened: Open, alone: Path) -> None:
    """The chart of the next row has that row's latencies, not those of the one before."""
    page = opened(alone)
    drawn = """() => Bokeh.documents.map((one) => one.get_model_by_name("data"))
        .filter((one) => "number" in one.data).map((one) => Math.min(...one.data.y))"""
    row_of(page, "vgg19 fp32 torch-eager").click()
    page.locator("#chart-times canvas").first.wait_for()
    page.wait_for_function(f"() => ({drawn})()[0] > 0")
    first = page.evaluate(drawn)
    page.get_by_role("button", name="Next row").click()
    page.wait_for_function(f"(was) => ({drawn})()[0] !== was", arg=first[0])
    assert len(page.evaluate(drawn)) == 1


def test_two_runs_side_by_side(opened: Open, beside: Path, shoot: Shoot) -> None:
    """The outcomes with their ratios, which filter both tables; a row opens from there, too."""
    page = opened(beside)
    assert column(page, "outcome", "#comparison-rows").count("regressed") == 1
    page.get_by_label("Outcome").select_option("regressed")
    assert column(page, "recipe") == ["int8-static"]
    # It stands in both tables, and is one row.
    assert page.locator("#count").inner_text() == "1 of 8 rows"
    [ratio] = column(page, "head/base", "#comparison-rows")
    assert float(ratio) == pytest.approx(1.5, abs=0.05)
    shoot(page, "compared")
    page.locator("#comparison-rows [data-open]:visible").click()
    assert page.locator("#row-name").inner_text() == "vgg19 int8-static ort"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out(opened: Open, beside: Path, shoot: Shoot, scheme: str) -> None:
    """axe-core has no serious finding: on the page, with a tip, and with a row open."""
    page = opened(beside, color_scheme=scheme)
    assert serious(page) == []
    shoot(page, scheme)
    everything_open(page)
    assert serious(page) == []
    page.locator(f"{MAIN} button[data-tip]").first.focus()
    assert serious(page) == []
    row_of(page, "vgg19 int8-static ort").click()
    page.locator("#chart-start canvas").first.wait_for()
    assert serious(page) == []
    shoot(page, f"{scheme}-row")


def test_dark_is_dark(opened: Open, alone: Path) -> None:
    """The page takes the reader's colours, and a chart that is open changes with them."""
    page = opened(alone, color_scheme="dark")
    ground = "() => getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(ground) == "rgb(13, 17, 23)"
    row_of(page, "vgg19 int8-static ort").click()
    page.locator("#chart-start canvas").first.wait_for()
    page.evaluate("() => Bokeh.documents.forEach((one) => { one.old = true; })")
    page.emulate_media(color_scheme="light")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    new = "() => Bokeh.documents.length === 3 && !Bokeh.documents.some((one) => one.old)"
    page.wait_for_function(new)
    page.locator("#chart-start canvas").first.wait_for()


def test_on_a_phone(opened: Open, beside: Path, shoot: Shoot) -> None:
    """At 390 pixels nothing but a table scrolls sideways, and a tap tells an interval."""
    page = opened(beside, **PHONE)
    assert not too_wide(page)
    shoot(page, "phone")
    number = page.locator(f"{MAIN} button[data-tip]").first
    number.scroll_into_view_if_needed()
    number.tap()
    assert page.locator("#tip").is_visible()
    assert not too_wide(page)
    shoot(page, "phone-tip")
    row_of(page, "vgg19 int8-static ort").tap()
    page.locator("#chart-start canvas").first.wait_for()
    assert not too_wide(page)
    inside = "() => [document.querySelector('dialog')].some((d) => d.scrollWidth > d.clientWidth)"
    assert not page.evaluate(inside)
    shoot(page, "phone-row")
    assert serious(page) == []


def left_of(page: Any, title: str) -> float:
    """Where the first cell below a title begins, from the left of the table's box."""
    found: float = page.evaluate(
        """([table, title]) => {
            const heads = [...document.querySelectorAll(`${table} thead th`)];
            const place = heads.findIndex((head) => head.textContent.trim() === title);
            const cell = document.querySelector(`${table} tbody tr`).cells[place];
            const box = cell.closest(".scroll").getBoundingClientRect();
            return cell.getBoundingClientRect().left - box.left;
        }""",
        [MAIN, title],
    )
    return found


def test_a_row_says_what_it_is_wherever_one_scrolls(opened: Open, alone: Path) -> None:
    """Variant, recipe and runtime stay, while other columns leave the table's box."""
    page = opened(alone)
    before = [left_of(page, title) for title in ("variant", "recipe", "runtime")]
    page.evaluate("(id) => { document.querySelector(id).parentElement.scrollLeft = 400; }", MAIN)
    page.wait_for_timeout(200)
    after = [left_of(page, title) for title in ("variant", "recipe", "runtime")]
    assert after == pytest.approx(before, abs=2)
    assert left_of(page, "file MB") < 0


@pytest.mark.parametrize("screen", [{}, PHONE])
def test_what_has_the_focus_is_seen(opened: Open, alone: Path, screen: dict[str, Any]) -> None:
    """Going back through a row by keyboard, no number is left under the columns that stay."""
    page = opened(alone, **screen)
    page.locator(f"{MAIN} tbody button").first.focus()
    page.keyboard.press("End")
    covered = """() => {
        const at = document.activeElement.getBoundingClientRect();
        const row = document.activeElement.closest("tr");
        const stays = [...row.cells].filter((one) => getComputedStyle(one).position === "sticky");
        return at.left < stays.at(-1).getBoundingClientRect().right;
    }"""
    seen = 0
    while "data-open" not in page.evaluate("() => document.activeElement.outerHTML"):
        assert not page.evaluate(covered)
        page.keyboard.press("ArrowLeft")
        seen += 1
    assert seen > 3


def test_on_a_phone_one_column_says_what_a_row_is(opened: Open, alone: Path) -> None:
    """There is no room for more: recipe and runtime stand below the name."""
    page = opened(alone, **PHONE)
    below = f"() => getComputedStyle(document.querySelector('{MAIN} tbody th'), '::after').content"
    assert page.evaluate(below).startswith('"fp32 torch-eager"')
    wide = opened(alone)
    assert wide.evaluate(below) == "none"


def test_without_javascript(opened: Open, alone: Path) -> None:
    """The tables stand there; what can't be done is not offered."""
    page = opened(alone, java_script_enabled=False)
    assert page.locator(f"{MAIN} tbody tr").count() == 7
    assert page.locator("#filters").is_hidden()


def test_few_columns(opened: Open, alone: Path) -> None:
    """Those that a terminal has room for are left on a usual screen; arrow keys skip the others."""
    page = opened(alone)
    hidden = page.locator(f"{MAIN} thead th", has_text=re.compile("^p99 ms$"))
    assert hidden.is_hidden()
    page.get_by_label("All columns").check()
    assert hidden.is_visible()
    page.get_by_label("All columns").uncheck()
    assert hidden.is_hidden()
    page.locator(f"{MAIN} tbody button").first.focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
        assert page.evaluate("() => document.activeElement.closest('.more')") is None
