"""A ``bench.figure.Figure`` -> SVG by matplotlib, which is the extra ``plots``.

Only this module knows matplotlib, and only it may be imported where that is installed. The same
figure gives the same text: sizes are set and not found by trying, the user's own settings count
for nothing, text is laid out with the font that matplotlib brings, and coordinates have two
decimals of a point, so that another processor's last digit doesn't show.

Text stays text, which is small, can be searched and copied, and takes the reader's font where
DejaVu Sans is not there. A style sheet turns ink and paper round where the reader prefers dark
pages; the colours of marks and lines (for all kinds of colour vision) are readable on both, and
they differ by their shapes as well.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib import style
from matplotlib.figure import Figure as Canvas

from bench.drawn_panel import INK, PAPER, RULE, draw, handles
from bench.figure import Figure, Panel

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

VERSION = mpl.__version__
_WIDTH, _RIGHT, _EDGE = 10.0, 0.3, 0.12
_HEAD, _TITLE, _AXIS, _GAP = 0.32, 0.28, 0.46, 0.14
_BODY, _NAME, _LINE, _FOOT = 2.7, 0.19, 0.19, 0.14
_AXIS_TEXT, _BETWEEN = 0.75, 0.3
"""Inches: the page; what stands above and below a panel; its height, a line of names, of the
legend, of the footer; the room on the left for an axis with numbers, and for one without."""
_LETTER, _LEGEND_LETTER, _HANDLE = 0.069, 0.072, 0.55
"""Inches that a letter of a name takes, one in the legend, and what stands before that."""
_FOOTER_LETTERS = 150

_STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "axes.formatter.useoffset": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": RULE,
}
_DARK = {INK: "#e6edf3", PAPER: "#0d1117", RULE: "#3d444d"}
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")


def svg(figure: Figure, name: str, source: str) -> str:
    """The plot as text. ``name`` is the file's; ``source`` says in it what it was made from."""
    facts = {"Date": None, "Title": figure.title, "Source": source}
    stream = io.StringIO()
    with style.context("default"), warnings.catch_warnings():
        # The reader's font may have what this one lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        mpl.rcParams.update({**_STYLE, "svg.hashsalt": name})
        _laid_out(figure).savefig(stream, format="svg", metadata=facts)
    return _finished(stream.getvalue())


def _finished(text: str) -> str:
    """With the style sheet for dark pages, without indentation and long numbers."""
    rules = "".join(
        f'[style*="{what}: {light}"]{{{what}:{dark}!important}}'
        for light, dark in _DARK.items()
        for what in ("fill", "stroke")
    )
    sheet = f"@media (prefers-color-scheme:dark){{{rules}}}</style>"
    text = re.sub(r"<[^<>]+>", lambda tag: _tight(tag[0]), re.sub(r"\n +<", "\n<", text))
    return text.replace("</style>", sheet, 1)


def _tight(tag: str) -> str:
    """An element with short numbers, and paths without line breaks."""
    return _LONG_NUMBER.sub(_shorter, tag).replace(" \n", "")


def _shorter(number: re.Match[str]) -> str:
    text = f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


# --- where everything stands, in inches


def _laid_out(figure: Figure) -> Canvas:
    foot = [line for text in figure.footer for line in textwrap.wrap(text, _FOOTER_LETTERS)]
    heights = [_height(row) for row in figure.rows]
    height = _HEAD + sum(heights) + _FOOT * len(foot) + _EDGE
    canvas = Canvas(figsize=(_WIDTH, height), dpi=72, facecolor=PAPER)
    _write(canvas, _EDGE, height - _HEAD + 0.08, figure.title, fontsize=10, fontweight="bold")
    top = height - _HEAD
    for row, own in zip(figure.rows, heights, strict=True):
        _row(canvas, row, top)
        top -= own
    for place, line in enumerate(foot):
        _write(canvas, _EDGE, top - _FOOT * (place + 1) + 0.03, line, fontsize=7)
    return canvas


def _write(canvas: Canvas, left: float, bottom: float, text: str, **how: Any) -> None:
    canvas.text(left / _WIDTH, bottom / canvas.get_figheight(), text, va="bottom", **how)


def _height(row: Sequence[Panel]) -> float:
    lines = math.ceil(len(handles(row)) / _columns(row))
    return _TITLE + _body(row) + _AXIS + _LINE * lines + _GAP


def _body(row: Sequence[Panel]) -> float:
    """The height of the axes themselves."""
    names = max(len(panel.names) for panel in row)
    return max(2 * _NAME, _NAME * names) if names else _BODY


def _columns(row: Sequence[Panel]) -> int:
    """How many entries of the legend stand side by side."""
    longest = max((len(name) for name in handles(row)), default=1)
    return max(1, int((_WIDTH - _AXIS_TEXT) / (_HANDLE + _LEGEND_LETTER * longest)))


def _row(canvas: Canvas, row: Sequence[Panel], top: float) -> None:
    """Panels of equal width side by side, and their legend below."""
    height = canvas.get_figheight()
    lefts = [_left(panel, first=place == 0) for place, panel in enumerate(row)]
    width = (_WIDTH - _RIGHT - sum(lefts)) / len(row)
    bottom, x = top - _TITLE - _body(row), 0.0
    for place, (panel, left) in enumerate(zip(row, lefts, strict=True)):
        x += left
        corner = (x / _WIDTH, bottom / height, width / _WIDTH, _body(row) / height)
        draw(canvas.add_axes(corner), panel, named=place == 0)
        x += width
    entries = handles(row)
    if entries:
        canvas.legend(
            list(entries.values()),
            list(entries),
            loc="upper left",
            bbox_to_anchor=(_EDGE / _WIDTH, (bottom - _AXIS) / height),
            ncols=_columns(row),
            fontsize=8,
            borderpad=0,
            borderaxespad=0,
            handletextpad=0.5,
        )


def _left(panel: Panel, first: bool) -> float:
    """The room for what stands on the left of a panel."""
    if not panel.names:
        return _AXIS_TEXT
    return _BETWEEN + (_LETTER * max(map(len, panel.names)) if first else 0.0)
