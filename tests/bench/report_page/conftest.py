"""A real browser that opens a page from disk, with the network off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench import browser

Open = Callable[..., Any]
Shoot = Callable[[Any, str], None]


@pytest.fixture
def opened(chromium: Any) -> Iterator[Open]:
    """``opened(path, **context)``: the page of a file, without a network.

    The test fails where the page asks for anything but its own file, or complains.
    """
    with browser.visits(chromium, own=("file:", "data:")) as fresh:

        def open_(path: Path, **settings: Any) -> Any:
            context = fresh(**settings)
            context.set_offline(True)
            page = context.new_page()
            page.goto(path.as_uri())
            return page

        yield open_


@pytest.fixture
def shoot(tmp_path: Path) -> Shoot:
    """``shoot(page, name)``: keep a picture of what is to be seen."""
    folder = browser.screenshots(tmp_path)

    def shot(page: Any, name: str) -> None:
        page.screenshot(path=folder / f"report-{name}.png")

    return shot
