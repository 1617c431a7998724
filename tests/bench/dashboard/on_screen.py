"""What the README shows and says of the pages: ``python -m tests.bench.dashboard.on_screen``.

``pictures ADDRESS OUT`` takes ``desk.webp`` (1280 pixels wide) and ``phone.webp`` (390) with all
models chosen; ``times ADDRESS`` says how long a visitor waits who uploads a file, in a fresh
browser context each time; ``opened FILE...`` how long report pages take to open from the disk,
without a network. ``DEPLOYBENCH_CHROMIUM`` names the browser, as for the tests.
"""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from bench.dashboard.uploads import drawn
from tests.bench.browser import DESK, PHONE, launched
from tests.bench.dashboard.visitor import send

VISITS = 6
MOST_BYTES = 250_000
_LONG_MS = 900_000


def main(words: Sequence[str]) -> None:
    """Do what is asked, in a browser that nobody sees."""
    what, *rest = words
    with launched() as browser:
        if what == "pictures":
            pictures(browser, *rest)
        elif what == "times":
            times(browser, *rest)
        else:
            opened(browser, *rest)


def pictures(browser: Any, address: str, out: str) -> None:
    """The page after all of it is measured: above the results too, and on a phone from there on."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    page = browser.new_context(viewport=DESK).new_page()
    page.goto(address)
    page.locator("#models input").first.wait_for()
    for box in page.locator("#models input").all():
        box.check()
    page.locator("#samples button", has_text="drawn").click()
    page.get_by_text("All is measured.").wait_for(timeout=_LONG_MS)
    _keep(page, folder / "desk.webp")
    page.set_viewport_size(PHONE)
    page.locator("#results").scroll_into_view_if_needed()
    card = page.locator(".card").first.bounding_box()
    top = page.locator("#results").bounding_box()["y"] + page.evaluate("scrollY") - 12
    end = card["y"] + page.evaluate("scrollY") + card["height"] + 20
    _keep(
        page,
        folder / "phone.webp",
        {"x": 0, "y": top, "width": PHONE["width"], "height": end - top},
    )


def _keep(page: Any, file: Path, clip: dict[str, float] | None = None) -> None:
    """As small as it can be read, lossy until it is below ``MOST_BYTES``, which it has to be."""
    image = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip))).convert("RGB")
    packed = io.BytesIO()
    for quality in (80, 65, 50, 40, 30):
        packed = io.BytesIO()
        image.save(packed, "WEBP", quality=quality, method=6)
        if packed.tell() < MOST_BYTES:
            break
    else:
        raise SystemExit(f"{file.name} has {packed.tell()} bytes at the lowest quality")
    file.write_bytes(packed.getvalue())
    print(file, image.size, packed.tell(), "bytes")


def times(browser: Any, address: str) -> None:
    """From asking for the page until models can be chosen; the rest from the moment of an upload.

    ``first advice`` names a model before the end ("After 24 of 72 runs, not final: ..."),
    ``final advice`` is what stays.
    """
    picture = _picture()
    found: dict[str, list[float]] = {"page ready": []}
    for _ in range(VISITS):
        page = browser.new_context(viewport=DESK).new_page()
        page.goto(address, wait_until="commit")
        page.locator("#models input").first.wait_for()
        found["page ready"].append(page.evaluate("performance.now()") / 1000)
        begun = time.perf_counter()
        send(page, picture)
        for what, seen in _stages(page).items():
            seen.wait_for(timeout=_LONG_MS)
            found.setdefault(what, []).append(time.perf_counter() - begun)
        page.context.close()
    _say(found)


def _stages(page: Any) -> dict[str, Any]:
    """What a visitor sees one after another, the one before included."""
    final = page.locator("#advice:not(.open) #headline")
    return {
        "first class": page.locator("#results .card", has_text="%").first,
        "first advice": page.locator("#headline", has_text=re.compile("^After")).or_(final).first,
        "final advice": final,
        "all measured": page.get_by_text("All is measured."),
    }


def _picture() -> bytes:
    """A file that a visitor may upload: the drawn sample as a JPEG."""
    packed = io.BytesIO()
    drawn().save(packed, "JPEG")
    return packed.getvalue()


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
