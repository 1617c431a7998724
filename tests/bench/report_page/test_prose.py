"""Markdown of ours as HTML: marks become elements, all else stays text."""

from __future__ import annotations

import pytest

pytest.importorskip("markupsafe", reason="the page needs: pip install 'deploybench[report]'")

from bench.report_page.prose import bullets, html, words
from bench.text import code, plain


def test_marks_become_elements() -> None:
    """Code and bold are marked, a link keeps its text: what it leads to is not in the file."""
    text = "**best `ort`**: `a <b>` at [the end](#end)"
    assert html(text) == (
        "<strong>best <code>ort</code></strong>: <code>a &lt;b&gt;</code> at the end"
    )


@pytest.mark.parametrize("name", ["<b>bold</b>", "a*b**c**", "`code`", "[x](y)", "\\", "a & b"])
def test_foreign_text_stays_what_it_is(name: str) -> None:
    """What ``bench.text`` escaped comes out as it was, and as text alone."""
    assert words(plain(name)) == name
    assert "<b>" not in html(plain(name))
    assert words(code(name)) == name.replace("`", "'")


def test_a_pipe_in_a_cell_is_a_pipe() -> None:
    """Tables escape it, so that it opens no column."""
    assert words(r"a\|b") == "a|b"


def test_a_list_is_taken_apart() -> None:
    """Each item on one line; the heading above is no item."""
    assert bullets("## Head\n\n- one\n  goes on\n- `two`") == ("one goes on", "<code>two</code>")
