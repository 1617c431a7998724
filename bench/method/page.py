"""Raw data -> ``results/method/README.md``: pure functions but for reading and writing files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.method import EXPERIMENTS
from bench.method.experiment import Experiment, Outcome, load
from bench.method.journal import Journal, find, read
from bench.text import code, plain

PAGE = "README.md"

_INTRODUCTION = """\
# How the method is proven

Made from the files beside it by `python -m bench.method report`: not to be edited.
What is not an experiment is a test: the coverage of the intervals in simulation stands in
`tests/bench/test_simulation.py`."""


def render(out: Path) -> str:
    """The page that follows from the data below ``out``; raises ``RecordError``."""
    sections = []
    for name in EXPERIMENTS:
        path = find(out, name)
        if path is not None:
            experiment = load(name)
            sections.append(section(name, experiment, read(path, experiment.line)))
    return page(sections)


def page(sections: Iterable[str]) -> str:
    """The sections under the introduction."""
    body = [*sections] or ["Nothing has been measured yet."]
    return "\n\n".join([_INTRODUCTION, *body]) + "\n"


def section(name: str, experiment: Experiment[Any], journal: Journal[Any]) -> str:
    """One experiment: what was asked, what came out, and how it was made."""
    header, units = journal.header, experiment.units(journal.header.size)
    facts = {
        "Command": code(header.command),
        "Measured": f"{plain(header.started)}, commit {plain(header.commit)}",
        "Host": "; ".join(f"{plain(k)} {plain(v)}" for k, v in header.host.items()),
        "Versions": ", ".join(f"{plain(k)} {plain(v)}" for k, v in header.versions.items()),
    }
    parts = [f"## {name}", experiment.question]
    if len(journal.lines) < units:
        done = f"{len(journal.lines)} of {units} units"
        parts.append(f"**Interrupted**: {done} are measured; the same command goes on.")
    if journal.lines:
        outcome = experiment.judge(header.size, journal.lines)
        parts += [f"{verdict(outcome)}{outcome.answer}", outcome.table]
    if len(journal.lines) == units:
        parts.append(f"![{name}]({name}.svg)")
    parts.append("\n".join(f"- {title}: {text}" for title, text in facts.items()))
    return "\n\n".join(part for part in parts if part)


def verdict(outcome: Outcome) -> str:
    """Whether it came out as it must, where anything is demanded."""
    if outcome.passed is None:
        return ""
    return "**As it must be.** " if outcome.passed else "**Not as it must be.** "
