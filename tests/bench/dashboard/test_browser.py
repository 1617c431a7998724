"""The page in a real browser: what a user sees and can do.

Screenshots of each state go into the folder that ``DEPLOYBENCH_SCREENSHOTS`` names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.dashboard.models import Model
from bench.dashboard.settings import Settings
from tests.bench.dashboard.conftest import (
    BLACK,
    GREEN,
    RED,
    WHITE,
    ModelOf,
    file_of,
    serving,
)
from tests.bench.dashboard.test_uploads import photograph, png_of

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("fastapi", reason="needs the extra dashboard")

CHROMIUM = os.environ.get("DEPLOYBENCH_CHROMIUM") or shutil.which("chromium")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
SHIP = "Ship this one"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")

Page = Any
Opened = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for all tests; each test has a context of its own."""
    with sync_api.sync_playwright() as playwright:
        # As root, as in containers, its sandbox does not start.
        words = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=words)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, address: str) -> Iterator[Opened]:
    """``opened(**context)``: the page, when its models are shown; it must not complain."""
    contexts, complaints = [], []

    def open_page(place: str = address, **context: Any) -> Page:
        made = chromium.new_context(**{"viewport": DESK, **context})
        contexts.append(made)
        page = made.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if _bad(said) else None)
        page.on("request", lambda one: complaints.append(one.url) if _foreign(one.url) else None)
        page.goto(place)
        page.locator("#models input").first.wait_for()
        return page

    yield open_page
    for made in contexts:
        made.close()
    assert complaints == []


def _bad(said: Any) -> bool:
    """Errors, a refused script or style among them; that a request was answered 4xx is none."""
    return said.type == "error" and "Failed to load resource" not in said.text


def _foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "blob:", "data:"))


@pytest.fixture
def shot(tmp_path: Path) -> Callable[[Page, str], None]:
    """``shot(page, name)``: a picture of the whole page, for who wants to look."""
    folder = Path(os.environ.get("DEPLOYBENCH_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str) -> None:
        page.screenshot(path=folder / f"dashboard-{name}.png", full_page=True)

    return take


Shot = Callable[[Page, str], None]


def send(page: Page, content: bytes, name: str = "picture.png") -> None:
    """Choose a file, as by the dialog."""
    files = {"name": name, "mimeType": "image/png", "buffer": content}
    page.set_input_files("#file", files)


def at_work(page: Page) -> Page:
    """The same, with a picture on its way through all models: the first answer is there."""
    choose_all(page)
    send(page, file_of(WHITE))
    page.locator(".card ol li").first.wait_for()
    return page


def choose_all(page: Page) -> None:
    """Every file and every runtime."""
    for box in page.locator("#models input, #runtimes input").all():
        box.check()


def measured(page: Page) -> None:
    """Wait for the end of a run."""
    page.get_by_text("All is measured.").wait_for(timeout=60_000)


def first_class(page: Page, name: str) -> None:
    """Wait until a card names this class first."""
    sync_api.expect(page.locator(".card ol li").first).to_contain_text(name, timeout=60_000)


def titles(page: Page) -> list[str]:
    """Of the cards, as they stand."""
    found: list[str] = page.locator(".card h3").all_inner_texts()
    return found


def no_wider_than_the_screen(page: Page) -> bool:
    """Whether nothing sticks out sideways."""
    found: bool = page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    return found


def test_an_upload_becomes_cards_and_an_answer(opened: Opened, shot: Shot) -> None:
    """Without a further click: classes, numbers, what to ship, and how little that proves."""
    page = opened()
    shot(page, "start")
    choose_all(page)
    send(page, file_of(RED))
    measured(page)
    shot(page, "measured")
    assert set(titles(page)) == {"Baseline", "Quantized", "Quantized (static)"}
    baseline = page.locator(".card", has=page.get_by_text("baseline", exact=True)).first
    text = baseline.inner_text()
    for words in ("red", "%", "median", "p95", "6 of 6", "0.136380 million", "1.000 MB", "VALID"):
        assert words in text, words
    assert page.locator("#headline").inner_text().startswith(f"{SHIP}, if its accuracy holds")
    assert "One picture proves nothing" in page.locator("#reasons").inner_text()
    assert "WRONG answers" in page.locator(".card", has_text="int8-static").inner_text()
    assert page.locator("#bars li").count() == 3


def test_cards_can_be_sorted_and_compared(opened: Opened) -> None:
    """By any figure; the bars take the same order."""
    page = opened()
    choose_all(page)
    send(page, file_of(RED))
    measured(page)
    page.get_by_label("Sort by").select_option("size")
    sync_api.expect(page.locator(".card h3").first).not_to_have_text("Baseline")
    assert titles(page)[-1] == "Baseline"
    page.get_by_label("Compare by").select_option("size")
    sync_api.expect(page.locator("#bars li").first).to_contain_text("MB")
    assert "Baseline" in page.locator("#bars li").last.inner_text()


def test_a_run_can_be_cancelled(
    opened: Opened, three: list[Model], tmp_path: Path, shot: Shot
) -> None:
    """What was seen until then stays."""
    with serving(three, tmp_path / "slow", Settings(runs=900)) as place:
        page = at_work(opened(place))
        shot(page, "measuring")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("Cancelled: what was measured until then stays.").wait_for()
        assert SHIP not in page.locator("#headline").inner_text()
        assert page.locator(".card", has_text="cancelled").count() == 3
        assert page.get_by_role("button", name="Cancel").is_hidden()
        shot(page, "cancelled")
        page.close()


def test_only_the_end_marks_a_card(opened: Opened, three: list[Model], tmp_path: Path) -> None:
    """Before it the answer says of how many runs it is made; the mark has the condition."""
    with serving(three, tmp_path / "slow", Settings(runs=90)) as place:
        page = opened(place)
        choose_all(page)
        send(page, file_of(WHITE))
        page.get_by_text("After 30 of 90 runs, not final: ").wait_for(timeout=60_000)
        assert page.locator(".card.ship, .bars .ship").count() == 0
        assert page.locator(".mark", has_text="ship this one").count() == 0
        measured(page)
        mark = page.locator(".card.ship .mark", has_text="ship this one, if its accuracy holds")
        mark.wait_for()
        page.close()


def test_a_refused_upload_is_said_and_the_page_goes_on(opened: Opened, shot: Shot) -> None:
    """In an alert, in words; the next picture is taken."""
    page = opened()
    choose_all(page)
    for content, words in (
        (png_of(50_000, 50_000), "pixels"),
        (b"PK\x03\x04", "a zip archive"),
        (photograph()[:1500], "damaged or cut off"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    ):
        send(page, content)
        page.get_by_role("alert").get_by_text(words).wait_for()
    assert page.get_by_role("status").inner_text() == "", "nothing is being sent any more"
    shot(page, "refused")
    send(page, file_of(RED))
    measured(page)
    assert page.get_by_role("alert").inner_text() == ""


def test_a_run_that_the_server_has_forgotten_blocks_nothing(
    opened: Opened, three: list[Model], tmp_path: Path
) -> None:
    """As after its restart, or when a session gave way to others: the next picture is measured."""
    with serving(three, tmp_path / "slow", Settings(runs=60)) as place:
        page = at_work(opened(place))
        page.context.clear_cookies()
        send(page, file_of(RED))
        first_class(page, "red")
        measured(page)
        assert page.get_by_role("alert").inner_text() == ""
        page.close()


def test_a_stream_that_is_refused_ends_the_run(opened: Opened) -> None:
    """It is said, and the next picture is measured."""
    page = opened()
    choose_all(page)
    page.route("**/events", lambda route: route.fulfill(status=404))
    send(page, file_of(RED))
    page.get_by_role("alert").get_by_text("measure again").wait_for()
    assert page.get_by_role("button", name="Cancel").is_hidden()
    page.unroute("**/events")
    send(page, file_of(GREEN))
    first_class(page, "green")
    measured(page)


def test_a_lost_connection_is_said(opened: Opened, three: list[Model], tmp_path: Path) -> None:
    """The page does not pretend to measure while there is no server."""
    with serving(three, tmp_path / "slow", Settings(runs=900)) as place:
        page = at_work(opened(place))
    page.get_by_role("status").get_by_text("connection to the server is lost").wait_for()
    page.close()


def test_a_page_survives_a_restart_of_its_server(
    opened: Opened, three: list[Model], tmp_path: Path
) -> None:
    """The run is over with its server, which is said; the next picture is measured, unreloaded."""
    with serving(three, tmp_path / "first", Settings(runs=900)) as place:
        page = at_work(opened(place))
    port = int(place.rpartition(":")[2])
    with serving(three, tmp_path / "second", port=port):
        page.get_by_role("alert").get_by_text("tells no more of this run").wait_for()
        assert page.get_by_role("button", name="Cancel").is_hidden()
        send(page, file_of(RED))
        first_class(page, "red")
        measured(page)
        page.close()


def test_a_picture_without_a_run_shows_no_cards(opened: Opened) -> None:
    """Those of the picture before it would seem to be its own."""
    page = opened()
    choose_all(page)
    send(page, file_of(RED))
    measured(page)
    for box in page.locator("#models input").all():
        box.uncheck()
    send(page, file_of(GREEN))
    sync_api.expect(page.locator("#pictures button")).to_have_count(2)
    assert page.locator("#results").is_hidden()
    assert page.locator(".card").count() == 0
    page.locator("#pictures button").last.click()
    first_class(page, "red")
    page.locator("#pictures button").first.click()
    sync_api.expect(page.locator("#results")).to_be_hidden()


def test_a_run_goes_on_while_an_older_picture_is_looked_at(
    opened: Opened, three: list[Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever listens to nothing is cancelled: the page goes on listening, and says so."""
    monkeypatch.setattr("bench.dashboard.api.UNHEARD_S", 0.0)
    with serving(three, tmp_path / "slow", Settings(runs=60)) as place:
        page = opened(place)
        choose_all(page)
        send(page, file_of(RED))
        measured(page)
        send(page, file_of(WHITE))
        sync_api.expect(page.locator("#pictures button")).to_have_count(2)
        page.locator(".card ol li").first.wait_for()
        page.locator("#pictures button").last.click()
        first_class(page, "red")
        page.get_by_role("status").get_by_text("Measuring another picture").wait_for()
        assert page.get_by_role("button", name="Cancel").is_visible()
        measured(page)
        page.locator("#pictures button").first.click()
        sync_api.expect(page.locator(".card .times").first).to_contain_text("60 of 60")
        assert page.locator("#headline").inner_text().startswith(SHIP)
        page.close()


def test_weights_are_told_apart(opened: Opened, model_of: ModelOf, tmp_path: Path) -> None:
    """Two sets of one network: one is chosen, and where both are, each card names its own."""
    recipes = ("fp32", "int8-dynamic")
    models = [model_of(recipe, weights=name) for name in ("seeded", "mine") for recipe in recipes]
    with serving(models, tmp_path / "logs") as place:
        page = opened(place)
        checked = page.locator("#models .option", has=page.locator("input:checked"))
        assert checked.count() == 2
        assert checked.filter(has_text="weights mine").count() == 2
        choose_all(page)
        send(page, file_of(RED))
        measured(page)
        sync_api.expect(page.locator(".card")).to_have_count(4)
        assert {"Baseline, mine", "Baseline, seeded"} <= set(titles(page))
        page.close()


def test_small_limits_are_no_zeros(opened: Opened, three: list[Model], tmp_path: Path) -> None:
    """A quarter of a MiB, and two hundred thousand pixels."""
    settings = Settings(runs=6, most_upload_bytes=1 << 18, most_pixels=200_000)
    with serving(three, tmp_path / "small", settings) as place:
        page = opened(place)
        limits = page.locator("#limits").inner_text()
        assert limits == "up to 0.25 MiB and 0.2 million pixels"
        send(page, bytes(1 << 19))
        page.get_by_role("alert").get_by_text("has 0.5 MiB, more than 0.25").wait_for()
        page.close()


def test_a_failed_card_says_why(opened: Opened, shot: Shot) -> None:
    """How its process ended; nothing is recommended then."""
    page = opened()
    choose_all(page)
    send(page, file_of(BLACK))
    measured(page)
    assert page.locator(".card", has_text="exit code 3").count() == 3
    assert SHIP not in page.locator("#headline").inner_text()
    shot(page, "failed")


def test_history_shows_an_earlier_picture_again(opened: Opened) -> None:
    """Its cards as they were, without measuring anew."""
    page = opened()
    choose_all(page)
    for colour in (RED, GREEN):
        send(page, file_of(colour))
        first_class(page, {RED: "red", GREEN: "green"}[colour])
        measured(page)
    assert page.locator("#pictures button").count() == 2
    page.locator("#pictures button").last.click()
    first_class(page, "red")
    assert page.locator("#headline").inner_text().startswith(SHIP)


def test_a_dropped_and_a_pasted_picture_are_taken(opened: Opened) -> None:
    """As a chosen one is."""
    page = opened()
    choose_all(page)
    make = """async (colour) => {
        const canvas = Object.assign(document.createElement('canvas'), {width: 40, height: 30});
        const context = canvas.getContext('2d');
        context.fillStyle = colour;
        context.fillRect(0, 0, 40, 30);
        const blob = await new Promise((done) => canvas.toBlob(done, 'image/png'));
        const data = new DataTransfer();
        data.items.add(new File([blob], 'made.png', {type: 'image/png'}));
        return data;
    }"""
    data = page.evaluate_handle(make, "rgb(230,10,10)")
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    first_class(page, "red")
    measured(page)
    paste = """(data) => document.dispatchEvent(
        new ClipboardEvent('paste', {clipboardData: data, bubbles: true}))"""
    page.evaluate(paste, page.evaluate_handle(make, "rgb(10,10,230)"))
    first_class(page, "blue")


def test_a_phone_shows_all_of_it(opened: Opened, shot: Shot) -> None:
    """At a width of 390 pixels nothing has to be scrolled sideways."""
    page = opened(viewport=PHONE, has_touch=True)
    assert no_wider_than_the_screen(page)
    choose_all(page)
    page.locator("#samples button", has_text="drawn").click()
    measured(page)
    assert no_wider_than_the_screen(page)
    shot(page, "phone")


def test_dark_is_dark(opened: Opened, shot: Shot) -> None:
    """As the system asks: light letters on a dark ground."""
    page = opened(color_scheme="dark")
    choose_all(page)
    send(page, file_of(GREEN))
    measured(page)
    shot(page, "dark")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = page.evaluate("getComputedStyle(document.body).color")
    assert sum(_colour(ground)) < 150
    assert sum(_colour(ink)) > 600


def _colour(text: str) -> list[int]:
    return [int(word) for word in text.removeprefix("rgb(").removesuffix(")").split(",")]


def test_everything_can_be_done_from_the_keyboard(opened: Opened, shot: Shot) -> None:
    """By tabulator, space and Enter: a sample, models, measuring, sorting; focus can be seen."""
    page = opened()

    def focus(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(it) => document.activeElement.matches(it)", selector):
                return
        pytest.fail(f"the tabulator never comes to {selector}")

    focus("#file")
    focus("#samples button")
    for count in range(page.locator("#models input").count()):
        focus(f"#model-{count}")
        if not page.locator(f"#model-{count}").is_checked():
            page.keyboard.press("Space")
    page.locator("#file").focus()
    focus("#samples button")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    shot(page, "keyboard")
    page.keyboard.press("Enter")
    measured(page)
    focus("#measure")
    with page.expect_response(lambda answer: answer.url.endswith("/api/runs")) as asked:
        page.keyboard.press("Enter")
    assert asked.value.status == 201
    focus("#metric")
    page.keyboard.press("ArrowDown")
    assert page.locator("#metric").input_value() != "median"


def test_axe_finds_nothing_serious(opened: Opened) -> None:
    """On the page before and after measuring, light and dark."""
    for scheme in ("light", "dark"):
        page = opened(color_scheme=scheme, bypass_csp=True)
        assert serious(page) == []
        choose_all(page)
        send(page, file_of(RED))
        measured(page)
        assert serious(page) == []


def test_axe_finds_nothing_serious_before_the_end(
    opened: Opened, three: list[Model], tmp_path: Path
) -> None:
    """While cards wait, and when they were cancelled: pale ones can be read, too."""
    with serving(three, tmp_path / "slow", Settings(runs=900)) as place:
        for scheme in ("light", "dark"):
            page = at_work(opened(place, color_scheme=scheme, bypass_csp=True))
            assert page.locator(".card.waiting").count()
            assert serious(page) == []
            page.get_by_role("button", name="Cancel").click()
            page.get_by_text("Cancelled: what was measured until then stays.").wait_for()
            sync_api.expect(page.locator(".card.cancelled")).to_have_count(3)
            assert serious(page) == []
            page.close()


def serious(page: Page) -> list[tuple[str, list[str]]]:
    """What axe finds that is serious or critical, with where."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    found = axe.Axe().run(page).response["violations"]
    return [
        (one["id"], [node["html"][:120] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def test_the_api_page_runs_under_the_policy(opened: Opened, shot: Shot) -> None:
    """Swagger UI from files of this machine, with no script or style refused that it needs."""
    page = opened()
    other = page.context.new_page()
    other.goto(page.url + "docs")
    other.get_by_text("/api/runs/{name}/events").first.wait_for()
    shot(other, "api")
