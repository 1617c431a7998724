"""Runs: one picture and some models, and in which order what is measured."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.dashboard.cards import Seen
from bench.dashboard.events import Feed
from bench.dashboard.measuring import ROUNDS
from bench.dashboard.models import Model, baseline
from bench.dashboard.uploads import Picture

UNHEARD_S = 20.0
"""So long a run goes on whose page was closed; a page that comes back in time finds it."""

RunState = Literal["waiting", "working", "done", "cancelled"]


@dataclass(frozen=True)
class Place:
    """``ahead``: pieces of work before this run's next one, with the one that is being done;
    ``None``: it is its turn.
    """

    state: RunState
    ahead: int | None


@dataclass(eq=False)
class Run:
    """What somebody asked for, and what became of it. ``beside``: afterwards all at once, too."""

    session: str
    picture: Picture
    models: Sequence[Model]
    runs: int
    beside: bool = False
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    seen: dict[str, Seen] = field(default_factory=dict)
    feed: Feed = field(default_factory=Feed)
    state: RunState = "waiting"
    ahead: int | None = None

    def __post_init__(self) -> None:
        self.seen = {model.name: Seen(model) for model in self.models}

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ("done", "cancelled")

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return self.state != "cancelled"


@dataclass(frozen=True, eq=False)
class Turn:
    """One piece of work: a round of one model, or of several at once."""

    run: Run
    models: tuple[Model, ...]
    number: int


def turns_of(run: Run) -> list[Turn]:
    """Round by round, the baseline first, every second round back the way that the one before came.

    A slow drift of the machine then hits all models alike, as in a run (``bench.case.crossover``).
    """
    first = baseline(run.models)
    ordered = sorted(run.models, key=lambda model: model != first)
    rounds = [ordered[::-1] if number % 2 else ordered for number in range(ROUNDS)]
    found = [Turn(run, (model,), number) for number, row in enumerate(rounds) for model in row]
    return [*found, Turn(run, tuple(ordered), ROUNDS)] if run.beside else found
