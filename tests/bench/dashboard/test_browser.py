"""The page in a real browser: what a user sees and can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.dashboard.models import Model
from bench.dashboard.settings import Settings
from tests.bench.browser import PHONE, serious, too_wide
from tests.bench.dashboard.conftest import BASE, BLACK, GREEN, RED, ModelOf, file_of, serving
from tests.bench.dashboard.test_uploads import photograph, png_of
from tests.bench.dashboard.visitor import (
    SHIP,
    Opened,
    Page,
    Shot,
    at_work,
    choose_all,
    first_class,
    measured,
    names,
    send,
    titles,
)

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("fastapi", reason="needs the extra dashboard")


def test_a_picture_fills_the_cards(opened: Opened, shot: Shot) -> None:
    """Class with confidence, times, costs and verdict on each; the answer above them."""
    page = opened()
    shot(page, "empty")
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


def test_what_intervals_are_of_stands_beside_the_numbers(opened: Opened) -> None:
    """Rounds in one process, and what that leaves out."""
    page = opened()
    choose_all(page)
    send(page, file_of(RED))
    measured(page)
    told = page.locator("#intervals").inner_text()
    assert "over the 3 rounds of a model in one process" in told
    assert told.endswith("what another start of it would change, they do not cover.")


def test_cards_can_be_sorted_and_compared(opened: Opened, shot: Shot) -> None:
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
    shot(page, "sorted")


def test_of_speed_ups_the_highest_comes_first(opened: Opened) -> None:
    """Of all else the lowest."""
    page = opened()
    choose_all(page)
    send(page, file_of(RED))
    measured(page)
    cards = cards_of(page)
    for metric, sign in (("speedup", -1), ("median", 1)):
        page.get_by_label("Sort by").select_option(metric)
        wanted = sorted(cards, key=lambda name: sign * cards[name][metric]["value"])
        page.wait_for_function(
            "(wanted) => [...document.querySelectorAll('.card')].map((one) => one.dataset.name)"
            ".join() === wanted.join()",
            arg=wanted,
        )
        assert names(page) == wanted


def cards_of(page: Page) -> dict[str, Any]:
    """By model what the API says of the newest picture's run, asked from the same session."""
    address = page.url.rstrip("/")
    run = page.request.get(f"{address}/api/pictures").json()[0]["run"]
    cards = page.request.get(f"{address}/api/runs/{run}").json()["cards"]
    return {card["name"]: card for card in cards}


@pytest.mark.long
def test_runtimes_are_chosen_once_for_all_files(
    opened: Opened, model_of: ModelOf, tmp_path: Path
) -> None:
    """A card for each file in each chosen runtime, which then stands beside its title."""
    models = [
        model_of(recipe, runtime=runtime)
        for runtime in ("ort", "openvino")
        for recipe in ("fp32", "int8-dynamic")
    ]
    with serving(models, tmp_path / "logs") as place:
        page = opened(place)
        assert page.locator("#models input").count() == 2
        runtimes = page.locator("#runtimes")
        assert runtimes.get_by_label("ort", exact=True).is_checked()
        assert not runtimes.get_by_label("openvino", exact=True).is_checked()
        send(page, file_of(RED))
        measured(page)
        assert {name.split("/")[2] for name in names(page)} == {"ort"}
        assert "ort" not in page.locator("#bars").inner_text()
        runtimes.get_by_label("openvino", exact=True).check()
        sync_api.expect(page.locator("#measure")).to_have_text("Measure 4 models")
        page.locator("#measure").click()
        sync_api.expect(page.locator(".card")).to_have_count(4)
        measured(page)
        assert set(names(page)) == {model.name for model in models}
        assert "Baseline, openvino" in page.locator("#bars").inner_text()
        page.close()


def test_running_all_at_once_is_a_switch(opened: Opened, shot: Shot) -> None:
    """Each card then says how many times as long its model took."""
    page = opened()
    choose_all(page)
    page.get_by_label("Afterwards run all at once, too").check()
    send(page, file_of(RED))
    measured(page)
    told = page.locator(".card .beside")
    sync_api.expect(told).to_have_count(3)
    for text in told.all_inner_texts():
        assert "while 2 other models ran" in text and "times as long as alone" in text
    shot(page, "at-once")


def test_a_card_links_to_its_stored_rows(
    opened: Opened, model_of: ModelOf, records: Path, tmp_path: Path, shot: Shot
) -> None:
    """The row that the link shows is the newest of this model, with its numbers as text."""
    models = [model_of(recipe, runtime="ort", weights="mine") for recipe in ("fp32", "int8-static")]
    with serving(models, tmp_path / "logs", Settings(runs=6, records=records)) as place:
        page = opened(place)
        choose_all(page)
        send(page, file_of(RED))
        measured(page)
        card = page.locator(".card", has=page.get_by_text("baseline", exact=True)).first
        card.get_by_role("link", name="2 stored benchmark rows").click()
        row = page.locator("tr:target")
        sync_api.expect(row).to_be_in_viewport()
        sync_api.expect(row.get_by_role("rowheader")).to_contain_text(f"{BASE} 2026-01-02, ")
        text = row.inner_text()
        for words in ("8.0", "reference", "80", "VALID", "another build"):
            assert words in text, words
        shot(page, "rows")
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


@pytest.mark.long
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
    assert not too_wide(page)
    choose_all(page)
    page.locator("#samples button", has_text="drawn").click()
    measured(page)
    assert not too_wide(page)
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


@pytest.mark.long
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


def test_the_api_page_runs_under_the_policy(opened: Opened, address: str, shot: Shot) -> None:
    """Swagger UI from files of this machine: nothing that it needs is refused, or asked elsewhere.

    An operation opens, and is tried out from there.
    """
    page = opened(f"{address}/docs", models=False)
    page.get_by_text("/api/runs/{name}/events").first.wait_for()
    health = page.locator(".opblock", has_text="/health").first
    health.locator(".opblock-summary").click()
    health.get_by_role("button", name="Try it out").click()
    health.get_by_role("button", name="Execute").click()
    health.locator(".live-responses-table").get_by_text('"status"').first.wait_for()
    shot(page, "api")
