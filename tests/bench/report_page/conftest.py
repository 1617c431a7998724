"""A real browser that opens a page from disk, with the network off.

``DEPLOYBENCH_CHROMIUM`` names it where ``chromium`` is not on the path;
``DEPLOYBENCH_SCREENSHOTS`` a folder that keeps a picture of each state.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]
Shoot = Callable[[Any, str], None]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Headless Chromium as the system has it."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install)")
    path = os.environ.get("DEPLOYBENCH_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium: install it, or name it in DEPLOYBENCH_CHROMIUM")
    # As root Chromium has no sandbox of its own.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any) -> Iterator[Open]:
    """``opened(path, **context)``: the page of a file, without a network.

    The test fails where the page asks for anything but its own file, or complains.
    """
    contexts: list[Any] = []
    trouble: list[str] = []

    def heard(request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            trouble.append(f"asked for {request.url}")

    def complained(message: Any) -> None:
        if message.type in ("error", "warning"):
            trouble.append(f"{message.type}: {message.text}")

    def alerted(dialog: Any) -> None:
        trouble.append(f"an alert: {dialog.message}")
        dialog.dismiss()

    def open_(path: Path, **settings: Any) -> Any:
        context = chromium.new_context(**settings)
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("request", heard)
        page.on("console", complained)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", alerted)
        page.goto(path.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.fixture
def shoot(tmp_path: Path) -> Shoot:
    """``shoot(page, name)``: keep a picture of what is to be seen."""
    folder = Path(os.environ.get("DEPLOYBENCH_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def shot(page: Any, name: str) -> None:
        page.screenshot(path=folder / f"report-{name}.png")

    return shot
