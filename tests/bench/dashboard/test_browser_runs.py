"""Runs in a real browser: waiting, cancelled, lost and found again."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from bench.dashboard.models import Model
from bench.dashboard.pool import Pool, Warm
from bench.dashboard.settings import Settings
from tests.bench.dashboard.conftest import GREEN, RED, WHITE, file_of, serving
from tests.bench.dashboard.visitor import (
    SHIP,
    Opened,
    Shot,
    at_work,
    choose_all,
    first_class,
    measured,
    send,
)

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("fastapi", reason="needs the extra dashboard")


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


def test_who_comes_second_sees_how_much_comes_before(
    opened: Opened, three: list[Model], tmp_path: Path, shot: Shot
) -> None:
    """While another visitor's picture is being measured."""
    with serving(three, tmp_path / "slow", Settings(runs=900)) as place:
        first = at_work(opened(place))
        second = opened(place)
        choose_all(second)
        send(second, file_of(RED))
        told = re.compile(
            r"^Waiting: [1-9] measurements? of others and yours come before the next one\.$"
        )
        sync_api.expect(second.get_by_role("status")).to_have_text(told)
        sync_api.expect(second.locator(".card.waiting")).to_have_count(3)
        sync_api.expect(first.get_by_role("status")).not_to_have_text(told)
        shot(second, "waiting")
        first.close()
        second.close()


@pytest.mark.long
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


@pytest.mark.long
def test_a_process_that_was_replaced_is_told_on_its_card(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, shot: Shot
) -> None:
    """It died between two pictures: the second one is measured all the same."""
    lent: list[Warm] = []
    take = Pool.take

    def taken(pool: Pool, model: Model) -> Warm:
        lent.append(take(pool, model))
        return lent[-1]

    monkeypatch.setattr(Pool, "take", taken)
    page = opened()
    choose_all(page)
    send(page, file_of(RED))
    measured(page)
    os.killpg(lent[-1].child.pid, signal.SIGKILL)
    send(page, file_of(GREEN))
    first_class(page, "green")
    measured(page)
    card = page.locator(".card", has_text="its process died (killed by SIGKILL")
    sync_api.expect(card).to_have_count(1)
    sync_api.expect(card).to_contain_text("and was replaced")
    sync_api.expect(page.locator(".card", has_text="6 of 6")).to_have_count(3)
    shot(page, "replaced")


def test_after_a_reload_the_run_is_shown_again(
    opened: Opened, three: list[Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And listened to, or it would be cancelled: nobody has to look for it."""
    monkeypatch.setattr("bench.dashboard.api.UNHEARD_S", 2.0)
    with serving(three, tmp_path / "slow", Settings(runs=90)) as place:
        page = at_work(opened(place))
        page.reload()
        sync_api.expect(page.locator(".card")).to_have_count(3)
        sync_api.expect(page.get_by_role("status")).not_to_have_text("")
        assert page.locator("#preview").is_visible()
        assert page.locator("#pictures [aria-current='true']").count() == 1
        assert page.get_by_role("button", name="Cancel").is_visible()
        measured(page)
        sync_api.expect(page.locator(".card", has_text="90 of 90")).to_have_count(3)
        page.reload()
        page.locator("#pictures button").wait_for()
        assert page.locator("#results").is_hidden(), "it is over: nothing is lost by asking for it"
        page.close()


@pytest.mark.long
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


@pytest.mark.long
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


def test_a_lost_connection_is_said(
    opened: Opened, three: list[Model], tmp_path: Path, shot: Shot
) -> None:
    """The page does not pretend to measure while there is no server."""
    with serving(three, tmp_path / "slow", Settings(runs=900)) as place:
        page = at_work(opened(place))
    page.get_by_role("status").get_by_text("connection to the server is lost").wait_for()
    shot(page, "lost")
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


@pytest.mark.long
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


def test_history_shows_an_earlier_picture_again(opened: Opened, shot: Shot) -> None:
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
    shot(page, "history")
