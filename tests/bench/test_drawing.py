"""What matplotlib makes of a figure: the same text each time, readable on light and dark pages."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

mpl = pytest.importorskip("matplotlib", reason="plots need matplotlib (extra plots)")

from bench.drawing import VERSION, svg  # noqa: E402
from bench.drawn_panel import COLOURS, INK  # noqa: E402
from bench.figure import Axis, Figure, Line, Mark, Panel, Part, Series  # noqa: E402
from bench.stats import Estimate  # noqa: E402
from bench.time_plots import MOST_CURVES  # noqa: E402

NUMBER = re.compile(r"-?\d+\.\d+")


def at(x: float, y: float, **more) -> Mark:
    """A mark with an interval on both axes."""
    return Mark(Estimate(x, 0.9 * x, 1.1 * x), Estimate(y, y - 1, y + 1), **more)


DOTS = Panel(
    "<&> costs $5$",
    Axis("ms", log=True),
    Axis("%"),
    series=(
        Series("one", 0, (at(1, 50, label="first"), at(10, 60, label="second", hollow=True))),
        Series("two", 1, (at(5, 55, area=1.0), at(20, 70)), joined=True),
    ),
    lines=(Line("front", ((1, 50), (20, 70)), steps=True),),
)
BARS = Panel(
    "b", Axis("MB"), parts=(Part("p", (1.0, 2.0)), Part("q", (3.0, 0.0))), names=("x", "y")
)
CURVES = Panel(
    "c",
    Axis("ms"),
    Axis("share", log=True, most=100),
    lines=tuple(Line(f"l{i}", ((1, 100), (2, 10.5), (3 + i, 0.1)), i) for i in range(6)),
)
FIGURE = Figure("All kinds", ((DOTS,), (BARS,), (CURVES, CURVES)), ("Host, date.", "n: 3"))


def drawn(figure: Figure = FIGURE) -> str:
    """As a plot of some run."""
    return svg(figure, "run-kind.svg", "made by a test")


def texts(svg: str) -> list[str]:
    """What is written in a plot, as an XML reader sees it."""
    root = ElementTree.fromstring(svg)
    return [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_the_same_figure_gives_the_same_bytes_whatever_the_users_settings_are() -> None:
    """Twice, the second time under other settings, which are left as they were."""
    first = drawn()
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert drawn() == first
        assert mpl.rcParams["font.size"] == 20
    assert "<dc:date>" not in first
    assert f"Matplotlib v{VERSION}" in first and "made by a test" in first


def test_text_stays_text() -> None:
    """Titles, axes, names, legend and footer can be searched; markup and dollars mean nothing."""
    found = texts(drawn())
    wanted = {"<&> costs $5$", "ms", "x", "y", "one", "front", "p", "Host, date.", "All kinds"}
    assert wanted <= set(found)


def test_ink_and_paper_turn_round_on_a_dark_page() -> None:
    """By a style sheet in the file; the marks' colours are the same on both."""
    found = drawn()
    sheet = found[found.index("@media (prefers-color-scheme:dark)") : found.index("</style>")]
    assert f'[style*="fill: {INK}"]' in sheet and f'[style*="stroke: {INK}"]' in sheet
    assert f"fill: {INK}" in found.partition("</style>")[2]
    assert not any(colour in sheet for colour in COLOURS if colour != INK)


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2)."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """Of two colours (WCAG 2)."""
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("page", ["#ffffff", "#0d1117"])
def test_colours_are_seen_on_both_pages(page: str) -> None:
    """A contrast of 3 to 1, which WCAG asks of graphics: a curve has no outline in the ink."""
    for colour in (one for one in COLOURS if one != INK):
        assert contrast(colour, page) >= 3, colour


@pytest.mark.parametrize("page", ["#ffffff", "#0d1117"])
def test_every_curve_that_may_be_drawn_is_seen(page: str) -> None:
    """In the colour that its file has, which a dark page changes for the ink alone."""
    lines = tuple(Line(f"l{i}", ((1, 100), (2, 10.5)), i) for i in range(MOST_CURVES))
    found = drawn(Figure("f", ((Panel("c", Axis("ms"), Axis("%"), lines=lines),),)))
    strokes = set(re.findall(r"stroke: (#\w{6})", found)) & set(COLOURS)
    assert len(strokes) == MOST_CURVES
    for colour in strokes - {INK}:
        assert contrast(colour, page) >= 3, colour


def test_numbers_in_the_file_have_two_decimals_at_most() -> None:
    """A last digit that differs between processors would make another file of the same plot."""
    tags = re.findall(r"<[^<>?!]+>", drawn())
    assert all(len(one.partition(".")[2]) <= 2 for tag in tags for one in NUMBER.findall(tag))


def test_a_hollow_mark_has_no_fill() -> None:
    """The others have their series' colour."""
    own = replace(DOTS, series=(replace(DOTS.series[0], marks=(at(1, 50), at(2, 60))),), lines=())
    hollow = replace(own.series[0], marks=(at(1, 50), at(2, 60, hollow=True)))
    filled = f"fill: {COLOURS[0]}"
    both = drawn(Figure("f", ((own,),))).count(filled)
    assert drawn(Figure("f", ((replace(own, series=(hollow,)),),))).count(filled) == both - 1


def test_labels_of_neighbours_do_not_cover_each_other() -> None:
    """Two marks in one place: the second name stands lower."""
    marks = (at(1, 50, label="base"), at(1.001, 50, label="v2"), at(9, 80, label="v6"))
    panel = Panel("t", Axis("x"), Axis("y"), series=(Series("s", 0, marks),))
    root = ElementTree.fromstring(drawn(Figure("f", ((panel,),))))
    nodes = root.iter("{http://www.w3.org/2000/svg}text")
    heights = {node.text: float(node.attrib["y"]) for node in nodes if node.text in ("base", "v2")}
    assert abs(heights["base"] - heights["v2"]) >= 8


def test_a_full_plot_is_small() -> None:
    """Eight variants in 26 ways, twice, with intervals: under 150 kB."""
    ways = tuple(f"int8-static runtime-{i}" for i in range(26))
    series = tuple(
        Series(
            f"variant {v}",
            v,
            tuple(replace(at(1 + v + i, 0), y=Estimate(i + v / 10)) for i in range(26)),
        )
        for v in range(8)
    )
    panel = Panel("t", Axis("ms", log=True), series=series, names=ways)
    assert len(drawn(Figure("f", ((panel, panel),))).encode()) < 150_000


def test_six_pairs_of_curves_in_four_tables_are_small() -> None:
    """A hundred points and forty each: under 150 kB."""
    points = tuple((1 + i / 7 + (i % 3) / 9, float(i)) for i in range(1, 101))
    lines = tuple(Line(f"l{i}", tuple((x + i, y) for x, y in points), i) for i in range(6))
    left = Panel("t", Axis("ms"), Axis("%"), lines=lines)
    right = replace(left, lines=tuple(replace(line, points=line.points[:40]) for line in lines))
    assert len(drawn(Figure("f", ((left, right),) * 4)).encode()) < 150_000


def test_a_series_without_a_name_is_not_in_the_legend() -> None:
    """One kind of marks that are labelled themselves needs no explanation."""
    panel = replace(DOTS, series=(Series("", 0, (at(1, 50, label="a"), at(2, 60))),), lines=())
    named = replace(panel, series=(replace(panel.series[0], name="kind"),))
    assert "kind" in texts(drawn(Figure("f", ((named,),))))
    assert len(texts(drawn(Figure("f", ((panel,),))))) == (
        len(texts(drawn(Figure("f", ((named,),))))) - 1
    )
