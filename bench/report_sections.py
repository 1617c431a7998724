"""A run as sections of a page, as Markdown: whole, or in a few lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench import (
    client_table,
    executed,
    int8_tables,
    own_quantisers,
    paper,
    plots,
    resize_table,
)
from bench.figure import Figure
from bench.record import Run
from bench.report_facts import facts, interruption, labelled_fact, title
from bench.report_family import family_text
from bench.report_glance import glance
from bench.report_grids import grid_lines, grid_text, headed
from bench.report_tables import against_fp32, building
from bench.rows import Table
from bench.text import code, plain


def section(run: Run, found: Mapping[tuple[str, str], Table], figures: Mapping[str, Figure]) -> str:
    """Where and how, at a glance, the tables; then what explains them, what building cost."""
    parts = [
        f"## {title(run)}",
        "\n".join(f"- {name}: {text}" for name, text in facts(run).items()),
        interruption(run),
        *_at_the_front(run, glance(found), figures),
        *(family_text(*key, table) for key, table in found.items()),
        _further_plots(run, figures),
        int8_tables.saturation(run.header.host, found.values()),
        own_quantisers.remark(run.header, found.values()),
        _int8_choices(run, found.values()),
        *(old_against_new(table) for table in found.values()),
        *(beside_paper(run, figures, *key, table) for key, table in found.items()),
        _quantisation(found.values()),
        _executed(found.values()),
        _building(found.values()),
    ]
    return "\n\n".join(part for part in parts if part)


def _at_the_front(run: Run, said: str, figures: Mapping[str, Figure]) -> tuple[str, str]:
    """What answers the question: the sentences, and the two plots that show what they choose of."""
    sentences = f"### At a glance\n\n{said}" if said else ""
    return sentences, plots.embedded(run.header.run, figures, ("tradeoff", "times"))


def _further_plots(run: Run, figures: Mapping[str, Figure]) -> str:
    """What the tables say in detail, as pictures."""
    shown = plots.embedded(run.header.run, figures, ("latencies", "scaling", "bytes", "cold-start"))
    return f"### Further plots\n\n{shown}" if shown else ""


def brief(run: Run, found: Mapping[tuple[str, str], Table]) -> str:
    """One run in a few lines, and where the rest of it stands."""
    link = f"### [{title(run)}]({run.header.run}.md)"
    return "\n\n".join(filter(None, [link, code(run.header.command), glance(found)]))


def _int8_choices(run: Run, found: Iterable[Table]) -> str:
    """How the static INT8 files of a run came about, where a search had chosen."""
    chosen = run.header.int8_choices
    if not chosen:
        return ""
    said = "\n".join(f"- {text}" for text in int8_tables.remarks(chosen, found))
    return f"### How INT8 was chosen\n\n{grid_lines(int8_tables.choices(chosen))}\n\n{said}"


def old_against_new(table: Table) -> str:
    """What a client is shown, where both models answered."""
    grids = [grid_text(grid) for grid in client_table.tables(table)]
    if not grids:
        return ""
    return "\n\n".join(["### Old model against new", *grids, client_table.explanation(table)])


def beside_paper(
    run: Run, figures: Mapping[str, Figure], family: str, weights: str, table: Table
) -> str:
    """The published figures of the networks, where ours answered the same kind of images."""
    if not paper.applies(table):
        return ""
    findings = "\n".join(f"- {text}" for text in paper.findings(table))
    plot = plots.embedded(run.header.run, figures, (plots.paper_kind(weights),))
    parts = [f"### {family} beside the paper", grid_text(paper.beside(table)), findings, plot]
    return "\n\n".join(part for part in parts if part)


def resized_section(cost: resize_table.ResizeCost | None) -> str:
    """What another resize filter costs, where that was asked."""
    if cost is None:
        return ""
    header = cost.header
    lines = {
        "Command": code(header.command),
        "Asked": f"{plain(header.started)}, commit {plain(header.commit)}",
        "Versions": ", ".join(f"{plain(k)} {plain(v)}" for k, v in header.versions.items()),
        **labelled_fact(header.labelled),
    }
    asked = "\n".join(f"- {name}: {text}" for name, text in lines.items())
    return (
        f"## What another resize filter costs\n\n{asked}\n\n{grid_text(resize_table.table(cost))}"
    )


def _quantisation(found: Iterable[Table]) -> str:
    return headed(against_fp32(found), ("left", "left", "right", "right", "left"))


def _executed(found: Iterable[Table]) -> str:
    """What the runtimes made of the files, and why a row is not faster than its parent."""
    parts = []
    for table in found:
        grid = executed.grid(table)
        told = executed.sentences(table)
        parts += [grid_text(grid)] if grid else []
        parts += ["\n".join(f"- {text}" for text in told)] if told else []
    return "\n\n".join([f"### Did the optimisation happen?\n\n{EXECUTED}", *parts] if parts else [])


EXECUTED = f"""\
Asked of the runtimes in a child in which nothing is timed: ort's profile of one inference,
OpenVINO's runtime model. Quantisers left are nodes that only quantise or dequantise
({executed.EDGES} at least, at the two ends of an INT8 file); unfused are BatchNorm and Relu nodes
that stand alone behind a convolution. Zeros stored are pruned weights that were not removed, and
the biases of untrained networks. A sentence names rows that are not faster than the row of what
they were made from: their speed-up's interval contains 1 or lies below it, and ends below
{executed.TELLING}."""


def _building(found: Iterable[Table]) -> str:
    return headed(building(found), ("left", "left", "left", "right", "right"))
