"""What the README shows and says of the pages: ``python -m tests.bench.dashboard.on_screen``.

``pictures ADDRESS OUT`` takes ``desk.webp`` (1280 pixels wide) and ``phone.webp`` (390) with all
models chosen; ``times ADDRESS`` says how long a visitor waits, in a fresh browser context each
time; ``opened FILE...`` how long report pages take to open from the disk, without a network.
"""

from __future__ import annotations

import io
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

VISITS = 6
MOST_BYTES = 150_000
_LONG_MS = 900_000


def main(words: Sequence[str]) -> None:
    """Do what is asked, in a browser that nobody sees."""
    from playwright.sync_api import sync_playwright

    what, *rest = words
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        if what == "pictures":
            pictures(browser, *rest)
        elif what == "times":
            times(browser, *rest)
        else:
            opened(browser, *rest)
        browser.close()


def pictures(browser: Any, address: str, out: str) -> None:
    """The page after all of it is measured: above the results too, and on a phone from there on."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(address)
    page.locator("#models input").first.wait_for()
    for box in page.locator("#models input").all():
        box.check()
    page.locator("#samples button", has_text="drawn").click()
    page.get_by_text("All is measured.").wait_for(timeout=_LONG_MS)
    _keep(page, folder / "desk.webp")
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#results").scroll_into_view_if_needed()
    card = page.locator(".card").first.bounding_box()
    top = page.locator("#results").bounding_box()["y"] + page.evaluate("scrollY") - 12
    end = card["y"] + page.evaluate("scrollY") + card["height"] + 20
    _keep(page, folder / "phone.webp", {"x": 0, "y": top, "width": 390, "height": end - top})


def _keep(page: Any, file: Path, clip: dict[str, float] | None = None) -> None:
    """As small as it can be read, lossy below ``MOST_BYTES``."""
    image = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip))).convert("RGB")
    packed = io.BytesIO()
    for quality in (80, 65, 50, 40, 30):
        packed = io.BytesIO()
        image.save(packed, "WEBP", quality=quality, method=6)
        if packed.tell() < MOST_BYTES:
            break
    file.write_bytes(packed.getvalue())
    print(file, image.size, packed.tell(), "bytes")


def times(browser: Any, address: str) -> None:
    """From asking for the page until models can be chosen; from the click to a class, to all."""
    ready, first, whole = [], [], []
    for _ in range(VISITS):
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.goto(address, wait_until="commit")
        page.locator("#models input").first.wait_for()
        ready.append(page.evaluate("performance.now()") / 1000)
        page.locator("#samples button", has_text="drawn").click()
        begun = time.perf_counter()
        page.locator("#results .card", has_text="%").first.wait_for(timeout=_LONG_MS)
        first.append(time.perf_counter() - begun)
        page.get_by_text("All is measured.").wait_for(timeout=_LONG_MS)
        whole.append(time.perf_counter() - begun)
        page.context.close()
    _say({"page ready": ready, "first class": first, "all measured": whole})


def opened(browser: Any, *files: str) -> None:
    """From the beginning of the navigation to the load event's end."""
    for file in files:
        spent = []
        for _ in range(VISITS):
            page = browser.new_context(offline=True).new_page()
            page.goto(Path(file).absolute().as_uri(), wait_until="load")
            spent.append(
                page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000
            )
            page.context.close()
        _say({f"{file} ({Path(file).stat().st_size / 1e6:.2f} MB)": spent})


def _say(found: dict[str, list[float]]) -> None:
    for name, seconds in found.items():
        print(f"{name}: {', '.join(f'{one:.2f}' for one in seconds)} s")


if __name__ == "__main__":
    main(sys.argv[1:])
