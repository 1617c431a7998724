"""A page without models, in a real browser: building, what came of it, what did not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import launch
from bench.command_line import parse
from bench.dashboard.models import FIVE
from bench.dashboard.settings import Settings, read
from bench.files import Event, Wanted
from tests.bench.dashboard import small_building
from tests.bench.dashboard.conftest import RED, ModelOf, file_of, serving
from tests.bench.dashboard.fake_building import Script
from tests.bench.dashboard.test_offer import needs_building
from tests.bench.dashboard.visitor import LONG_MS, Opened, Page, Shot, measured, send, titles

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("fastapi", reason="needs the extra dashboard")


def bar(page: Page) -> tuple[float, float]:
    """How far the bar is, and how far it will go."""
    value, most = page.locator("#building-bar").evaluate("(bar) => [bar.value, bar.max]")
    return value, most


def told(page: Page, text: str) -> None:
    """Wait until this is what is being built."""
    sync_api.expect(page.locator("#building-text")).to_have_text(text)


def test_building_is_followed_on_the_page(
    opened: Opened,
    model_of: ModelOf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shot: Shot,
) -> None:
    """What is being built and how far it is; models come without a reload, and what failed stays.

    Of the server's folders nothing is told.
    """
    script = Script(tmp_path / "script")
    monkeypatch.setattr("bench.dashboard.offer.BUILDING", script.command)
    for module in ("models", "building"):
        monkeypatch.setattr(f"bench.dashboard.{module}.FIVE_RUNTIME", "null")
    wanted = [Wanted(*key) for key in FIVE]
    settings = Settings(options=parse(["--store", str(tmp_path / "empty")]), runs=6)
    with serving(None, tmp_path / "logs", settings) as place:
        page = opened(place, models=False)
        page.get_by_role("heading", name="Getting the models ready").wait_for()
        script.say(Event("building", wanted[0], "exporting to ONNX"))
        told(page, "building vgg19 fp32 (exporting to ONNX)")
        assert bar(page) == (0, 5)
        assert page.locator("#measure").is_disabled()
        for number, key in enumerate(FIVE[:-1]):
            made = model_of(key[1], variant=key[0]).artifact
            script.say(Event("built", wanted[number], artifact=made))
        told(page, "built vgg19-pruned int8-dynamic")
        assert bar(page) == (4, 5)
        script.say(Event("building", wanted[-1], "exporting to ONNX"))
        told(page, "building vgg19-scaled-160 fp32 (exporting to ONNX)")
        shot(page, "building")
        script.say(Event("failed", wanted[-1], "no space left for /srv/store/a/model.onnx"))
        script.end()
        page.locator("#models input").first.wait_for()
        sync_api.expect(page.locator("#models input")).to_have_count(4)
        told(page, "4 models")
        assert page.locator("#building-bar").is_hidden()
        failed = page.locator("#building-failed li")
        assert failed.all_inner_texts() == ["vgg19-scaled-160 fp32: no space left for model.onnx"]
        shot(page, "built")
        send(page, file_of(RED))
        measured(page)
        assert titles(page) == ["Baseline", "Pruned", "Quantized", "Pruned + Quantized"]
        page.close()


def test_where_all_fail_the_page_says_so(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shot: Shot
) -> None:
    """Each with its reason; there is nothing to measure."""
    script = Script(tmp_path / "script")
    monkeypatch.setattr("bench.dashboard.offer.BUILDING", script.command)
    monkeypatch.setattr("bench.dashboard.models.FIVE_RUNTIME", "null")
    settings = Settings(options=parse(["--store", str(tmp_path / "empty")]))
    with serving(None, tmp_path / "logs", settings) as place:
        page = opened(place, models=False)
        for key in FIVE:
            script.say(Event("failed", Wanted(*key), "no memory"))
        script.end()
        told(page, "no model could be built: see what failed")
        assert page.locator("#building-failed li").count() == len(FIVE)
        send(page, file_of(RED))
        page.get_by_role("alert").get_by_text("There are no models yet").wait_for()
        shot(page, "nothing-built")
        page.close()


@pytest.mark.long
@pytest.mark.slow
@needs_building
def test_from_an_empty_store_to_the_first_card(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual files are built, offered and measured for real: two small ones for the five."""
    monkeypatch.setattr("bench.dashboard.offer.BUILDING", small_building.COMMAND)
    monkeypatch.setattr("bench.dashboard.building.FIVE", small_building.SMALL)
    settings = replace(read(["--store", str(tmp_path / "store"), "-t", "1"]), runs=6)
    with serving(None, tmp_path / "logs", settings, worker=launch.WORKER) as place:
        page = opened(place, models=False)
        page.locator("#models input").first.wait_for(timeout=10 * LONG_MS)
        assert page.locator("#building").is_hidden()
        page.locator("#samples button", has_text="drawn").click()
        measured(page)
        sync_api.expect(page.locator(".card", has_text="6 of 6")).to_have_count(2)
        assert titles(page)[0] == "Baseline"
        page.close()
