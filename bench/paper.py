"""The published figures of the eight storage-efficient networks beside ours, and its Figure 10.

Hao Tu, "ResNet Revisited: An Empirical Discovery on Storage Efficient Image Classification
Models" (UC San Diego), Tables 2 and 5. Pure functions over ``bench.rows``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from types import MappingProxyType

from bench import scores
from bench.case import Case
from bench.client_table import parameters
from bench.figure import Axis, Figure, Mark, Panel, Series, scaled
from bench.matrix import Grid, mark
from bench.record import RunHeader
from bench.rows import Row, Table, fp32_rows, main_setting
from bench.shown import HOLLOW, counts, footer, hollow_note
from bench.stats import Estimate
from bench.text import NOTHING, difference_text, number, percent_interval

BASE = "revisited-base"
BEST = ("revisited-alpha", "revisited-v6")
"""The two that stand out in the paper."""
LEAST_NETWORKS = 2
CLASSES = frozenset("airplane automobile bird cat deer dog frog horse ship truck".split())
"""CIFAR-10's: on other images the published accuracies say nothing."""
MIB = 1 << 20


@dataclass(frozen=True)
class Published:
    """A line of Table 5, its size from Table 2 where that has one.

    ``accuracy`` of validation in percent, ``time_ms`` an image on the author's machine,
    ``size_mib`` of the state dict (the paper writes MB: it is 2^20 bytes), ``parameters``
    learnable ones.
    """

    accuracy: float
    time_ms: float
    size_mib: float
    parameters: int


PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "revisited-base": Published(73.09, 0.408, 0.5218, 136_380),
        "revisited-v1": Published(72.78, 0.755, 0.5222, 136_430),
        "revisited-v2": Published(73.71, 0.414, 0.5224, 136_500),
        "revisited-v3": Published(70.39, 0.781, 0.5229, 136_354),
        "revisited-v4": Published(70.10, 1.192, 0.5239, 136_536),
        "revisited-v5": Published(68.03, 1.029, 0.5271, 137_066),
        "revisited-v6": Published(80.67, 0.848, 0.5268, 136_960),
        "revisited-alpha": Published(81.04, 1.400, 0.512, 131_970),
    }
)

STATE_BYTES: Mapping[str, int] = MappingProxyType(
    {
        "revisited-base": 547_096,
        "revisited-v1": 547_488,
        "revisited-v2": 547_744,
        "revisited-v3": 548_008,
        "revisited-v4": 548_952,
        "revisited-v5": 553_152,
        "revisited-v6": 552_376,
        "revisited-alpha": 537_256,
    }
)
"""Of the built modules' state dicts at 10 classes: parameters, BatchNorm's means and variances
in fp32, and its counters of eight bytes. That is what the paper's sizes are."""


def applies(table: Table) -> bool:
    """Whether a table has at least two of the networks, and CIFAR-10's classes."""
    if table.labelled is None or {name.lower() for name in table.labelled.class_names} != CLASSES:
        return False
    return len(_networks(table)) >= LEAST_NETWORKS


def _networks(table: Table) -> dict[str, Row]:
    """Network -> the fp32 row whose accuracy is shown: all images, in ort if measured there."""
    found: dict[str, Row] = {}
    for name in PUBLISHED:
        rows = [row for row in fp32_rows(name, table) if row.answers]
        found |= {name: rows[0]} if rows else {}
    return found


def beside(table: Table) -> Grid:
    """Accuracy, time, size and parameters, the paper's and ours."""
    threads, batch_size = main_setting(row.case for row in table.rows)
    where = f"{threads} thread{'' if threads == 1 else 's'}, batch {batch_size}"
    return Grid(
        f"ResNet Revisited, Tables 2 and 5, beside ours (p50 in fp32, {where})",
        (
            "network",
            "accuracy, %: paper (validation)",
            f"ours ({table.labelled.split if table.labelled else ''})",
            "over the base, points: paper",
            "ours",
            "ms: paper",
            "ours, ort",
            "ours, torch-eager",
            "state dict, MiB: paper",
            "ours",
            "parameters: paper",
            "stored by our files",
        ),
        tuple(_line(name, row, table) for name, row in _networks(table).items()),
    )


def _line(name: str, row: Row, table: Table) -> tuple[str, ...]:
    paper = PUBLISHED[name]
    gained = _over_base(row, table)
    return (
        name,
        f"{paper.accuracy:.2f}",
        percent_interval(_accuracy(row, table)),
        NOTHING if name == BASE else f"{_published_lead(name):+.2f}",
        difference_text(gained, 100) if gained else NOTHING,
        f"{paper.time_ms:.3f}",
        *(_time(name, runtime, table) for runtime in ("ort", "torch-eager")),
        f"{paper.size_mib:g}",
        f"{STATE_BYTES[name] / MIB:.4f}",
        f"{paper.parameters:,}",
        f"{parameters(name, table):,}",
    )


def _accuracy(row: Row, table: Table) -> Estimate:
    return scores.top(table.scored[row.case], 1)


def _over_base(row: Row, table: Table) -> Estimate | None:
    """What a network gains on the base, image by image."""
    compared = table.derived.get(row.case)
    return compared.paired.difference if compared else None


def _timed(name: str, runtime: str, table: Table) -> Row | None:
    """The fp32 row at the main setting."""
    threads, batch_size = main_setting(row.case for row in table.rows)
    wanted = Case(name, "fp32", runtime, threads, batch_size)
    rows = (row for row in table.rows if replace(row.case, weights=wanted.weights) == wanted)
    return next(rows, None)


def _time(name: str, runtime: str, table: Table) -> str:
    """Its p50, with what speaks against it."""
    row = _timed(name, runtime, table)
    p50 = row.latency_s(0.5) if row else None
    return NOTHING if row is None or p50 is None else f"{number(p50, 1e3)}{mark(row)}"


def findings(table: Table) -> tuple[str, ...]:
    """The rank correlation, who is on top by how much and why not by more, who changed places."""
    found = (_correlation(table), _order(table), _other_order(table), _smaller_lead(table))
    return (*(text for text in found if text), _DIFFERENT)


_DIFFERENT = (
    "The paper trained in batches of 4 on the data's own pixels and reports what it decided by; "
    "how the weights that come with deploybench were trained stands in docs/training.md."
)
FOURS: Mapping[str, tuple[int, float, float]] = MappingProxyType(
    {"revisited-alpha": (5, 5.7, 3.1), "revisited-v6": (8, 5.3, 2.3)}
)
"""Network -> the last epoch to which it came in batches of 4, its lead over the base there in
points of the validation part, and its lead after as many epochs in batches of 16."""


def _other_order(table: Table) -> str:
    """Which networks are ahead of one that the paper has ahead; empty: none is."""
    rows = _networks(table)
    swapped = [
        f"{better} ahead of {worse}, {difference_text(pair.difference, 100)}"
        for better, worse in permutations(rows, 2)
        if PUBLISHED[better].accuracy < PUBLISHED[worse].accuracy
        and _accuracy(rows[better], table).value > _accuracy(rows[worse], table).value
        and (pair := scores.paired(*(table.scored[rows[name].case] for name in (worse, better))))
    ]
    return f"In another order than the paper's, in points: {'; '.join(swapped)}." if swapped else ""


def _smaller_lead(table: Table) -> str:
    """What is known of why the two best lead by less than the paper's; empty: they don't."""
    rows = _networks(table)
    leads = {name: _over_base(rows[name], table) for name in BEST if name in rows}
    smaller = [
        name for name, lead in leads.items() if lead and 100 * lead.value < _published_lead(name)
    ]
    if not smaller:
        return ""
    tried = ", ".join(
        f"{name} led by {fours:g} points after {epoch} epochs (in batches of 16: {sixteens:g})"
        for name, (epoch, fours, sixteens) in FOURS.items()
    )
    return (
        f"{' and '.join(smaller)} lead{'s' if len(smaller) == 1 else ''} by less than in the "
        "paper. The batches are a part of it: the weights that come with deploybench learnt in "
        f"batches of 16, a quarter of the paper's steps, and in batches of 4 {tried}, by the "
        "validation part. The pixels may be another: these images went through JPEG once more, "
        "and the data's own could not be tried."
    )


def _published_lead(name: str) -> float:
    """Over the base, in points."""
    return PUBLISHED[name].accuracy - PUBLISHED[BASE].accuracy


def _correlation(table: Table) -> str:
    from scipy.stats import spearmanr

    rows = _networks(table)
    ours = [_accuracy(row, table).value for row in rows.values()]
    if len(set(ours)) < LEAST_NETWORKS:
        return ""
    found = spearmanr([PUBLISHED[name].accuracy for name in rows], ours)
    return (
        f"Spearman's rank correlation of the paper's accuracies and ours, over {len(rows)} "
        f"networks: {found.statistic:.2f}."
    )


def _order(table: Table) -> str:
    """Who is on top; nothing where one of the three that it takes is missing."""
    rows = _networks(table)
    if not {BASE, *BEST} <= rows.keys():
        return ""
    ranked = sorted(rows, key=lambda name: -_accuracy(rows[name], table).value)
    first = ranked[: len(BEST)]
    gains = [(name, gain) for name in first if (gain := _over_base(rows[name], table))]
    ours = ", ".join(f"{name} {difference_text(gain, 100)}" for name, gain in gains)
    paper = ", ".join(f"{name} {_published_lead(name):+.2f}" for name in BEST)
    verdict = "as in the paper" if set(first) == set(BEST) else "not as in the paper"
    return (
        f"On top, {verdict}: {' and '.join(first)}; over {BASE}, in points: {ours or NOTHING} "
        f"(the paper's: {paper})."
    )


def figure(header: RunHeader, table: Table) -> Figure:
    """Its Figure 10, accuracy against time, and the same of our rows beside it."""
    rows = _networks(table)
    published = tuple(
        Mark(Estimate(known.time_ms), Estimate(known.accuracy), label=_short(name))
        for name, known in PUBLISHED.items()
        if name in rows
    )
    panels = [_panel("paper, Figure 10", "validation accuracy, %", published)]
    for runtime in ("ort", "torch-eager"):
        ours = tuple(_marks(runtime, table))
        if len(ours) >= LEAST_NETWORKS:
            split = table.labelled.split if table.labelled else ""
            panels.append(_panel(f"ours, {runtime} in fp32", f"{split} accuracy, %", ours))
    images = f"accuracy of {len(table.labelled.labels)} images" if table.labelled else ""
    hollow = hollow_note((one for panel in panels for one in panel.series), HOLLOW)
    return Figure(
        "Accuracy against time, in the paper and here",
        (tuple(panels),),
        footer(header, list(rows.values()), images, _THEIRS, hollow),
    )


_THEIRS = "paper: as published, measured on its author's machine, without intervals"


def _marks(runtime: str, table: Table) -> Iterator[Mark]:
    """Our networks in one runtime; hollow where the time can't be believed."""
    for name, row in _networks(table).items():
        timed = _timed(name, runtime, table)
        p50 = timed.latency_s(0.5) if timed else None
        if timed is not None and p50 is not None:
            place = scaled(p50, 1e3), scaled(_accuracy(row, table), 100)
            yield Mark(*place, label=_short(name), hollow=not counts(timed))


def _panel(title: str, y_title: str, marks: tuple[Mark, ...]) -> Panel:
    return Panel(title, Axis("ms an image", least=0), Axis(y_title), series=(Series("", 0, marks),))


def _short(name: str) -> str:
    return name.removeprefix("revisited-")
