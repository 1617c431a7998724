"""What a browser's pages are watched for: a test of a page would say nothing without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bench import browser

REFUSED = """<meta http-equiv="Content-Security-Policy" content="style-src 'none'">
<p style="color: red">text</p>"""


def visited(chromium: Any, *files: Path) -> None:
    """Each of these in a page of its own, all of them in one context."""
    with browser.visits(chromium, own=("file:",)) as fresh:
        context = fresh()
        for file in files:
            context.new_page().goto(file.as_uri())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (REFUSED, "Content Security Policy"),
        ("<script>throw new Error('a mistake')</script>", "a mistake"),
        ("<script>alert('hello')</script>", "an alert: hello"),
        ("<img src='http://127.0.0.1:9/a.png'>", "asked for http://127.0.0.1:9/a.png"),
    ],
)
def test_whatever_page_of_a_context_complains_is_heard(
    chromium: Any, tmp_path: Path, text: str, words: str
) -> None:
    """A refused style, a mistake, an alert, a request elsewhere: of a second page, too."""
    files = [tmp_path / "first.html", tmp_path / "second.html"]
    for file, content in zip(files, ("well", text), strict=True):
        file.write_text(f"<!doctype html><title>t</title>{content}")
    with pytest.raises(AssertionError, match=words):
        visited(chromium, *files)
