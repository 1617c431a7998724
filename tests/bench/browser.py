"""A real browser for tests of pages, and what they ask of every page.

``DEPLOYBENCH_CHROMIUM`` names it where ``chromium`` is not on the path;
``DEPLOYBENCH_SCREENSHOTS`` a folder that keeps a picture of each state.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

DESK = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

Context = Any
Page = Any


def chromium_path() -> str | None:
    """Where Chromium is; ``None``: nowhere."""
    return os.environ.get("DEPLOYBENCH_CHROMIUM") or shutil.which("chromium")


@contextmanager
def launched() -> Iterator[Any]:
    """Headless Chromium as the system has it, driven by playwright."""
    from playwright.sync_api import sync_playwright

    # As root, as in containers, its sandbox does not start.
    words = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium_path(), args=words)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visits(browser: Any, own: tuple[str, ...], **usual: Any) -> Iterator[Callable[..., Context]]:
    """``fresh(**settings)``: a browser context, whose pages must not complain, however many.

    Nor may any of them ask for an address that does not begin like one of ``own``, or alert.
    That a request was answered 4xx, or by nobody, is no complaint.
    """
    contexts: list[Context] = []
    trouble: list[str] = []

    def fresh(**settings: Any) -> Context:
        context = browser.new_context(**{**usual, **settings})
        contexts.append(context)
        context.on("request", asked)
        context.on("console", said)
        context.on("weberror", lambda error: trouble.append(str(error.error)))
        context.on("dialog", alerted)
        return context

    def asked(request: Any) -> None:
        if not request.url.startswith(own):
            trouble.append(f"asked for {request.url}")

    def said(message: Any) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            trouble.append(f"{message.type}: {message.text}")

    def alerted(dialog: Any) -> None:
        trouble.append(f"an alert: {dialog.message}")
        dialog.dismiss()

    try:
        yield fresh
    finally:
        for context in contexts:
            context.close()
    assert not trouble, "; ".join(trouble)


def screenshots(otherwise: Path) -> Path:
    """The folder for pictures of pages, which stands then."""
    folder = Path(os.environ.get("DEPLOYBENCH_SCREENSHOTS") or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def serious(page: Page) -> list[str]:
    """What axe-core finds that keeps people out: its serious and critical rules, with where."""
    module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    found = module.Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {[node['html'][:200] for node in rule['nodes'][:3]]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]


def too_wide(page: Page) -> bool:
    """Whether the document can be scrolled sideways."""
    found: bool = page.evaluate(
        "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"
    )
    return found
