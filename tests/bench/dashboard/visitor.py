"""What a visitor of the page does and waits for; ``page`` is playwright's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.bench.dashboard.conftest import WHITE, file_of

SHIP = "Ship this one"
LONG_MS = 60_000

Page = Any
Opened = Callable[..., Page]
Shot = Callable[[Page, str], None]


def send(page: Page, content: bytes, name: str = "picture.png") -> None:
    """Choose a file, as by the dialog."""
    files = {"name": name, "mimeType": "image/png", "buffer": content}
    page.set_input_files("#file", files)


def choose_all(page: Page) -> None:
    """Every file and every runtime."""
    for box in page.locator("#models input, #runtimes input").all():
        box.check()


def at_work(page: Page) -> Page:
    """The same, with a picture on its way through all models: the first answer is there."""
    choose_all(page)
    send(page, file_of(WHITE))
    page.locator(".card ol li").first.wait_for()
    return page


def measured(page: Page) -> None:
    """Wait for the end of a run."""
    page.get_by_text("All is measured.").wait_for(timeout=LONG_MS)


def first_class(page: Page, name: str) -> None:
    """Wait until a card names this class first."""
    page.locator(".card ol li").first.filter(has_text=name).wait_for(timeout=LONG_MS)


def titles(page: Page) -> list[str]:
    """Of the cards, as they stand."""
    found: list[str] = page.locator(".card h3").all_inner_texts()
    return found


def names(page: Page) -> list[str]:
    """The models of the cards, as they stand."""
    found: list[str] = page.evaluate(
        "() => [...document.querySelectorAll('.card')].map((card) => card.dataset.name)"
    )
    return found
