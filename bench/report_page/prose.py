"""A line of our Markdown as HTML, and as plain text.

Only what ``bench.text`` and the tables make is known: code, bold, escaped characters and links.
All else is text: names that come from outside can't become elements.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_MARKS = re.compile(
    r"\\(?P<escaped>[\\`*<\[|])"
    r"|`(?P<code>[^`]+)`"
    r"|\*\*(?P<bold>.+?)\*\*"
    # What a link leads to does not travel with the file.
    r"|\[(?P<link>[^\]]+)\]\([^)\s]+\)"
)


def html(text: str) -> Markup:
    """One line of Markdown as HTML."""
    found: list[Markup] = []
    end = 0
    for mark in _MARKS.finditer(text):
        found += [escape(text[end : mark.start()]), _marked(mark)]
        end = mark.end()
    return Markup("").join([*found, escape(text[end:])])


def _marked(mark: re.Match[str]) -> Markup:
    if mark["code"]:
        return Markup("<code>{}</code>").format(mark["code"])
    if mark["bold"]:
        return Markup("<strong>{}</strong>").format(html(mark["bold"]))
    return html(mark["link"]) if mark["link"] else escape(mark["escaped"])


def words(text: str) -> str:
    """The same without any mark, on one line."""
    return html(text).striptags()


def bullets(text: str) -> tuple[Markup, ...]:
    """The items of a Markdown list, each on one line; what stands before the first is left out."""
    _, *items = re.split(r"(?:^|\n)- ", text)
    return tuple(html(" ".join(item.split())) for item in items)
