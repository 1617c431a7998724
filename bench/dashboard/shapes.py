"""What the API takes and gives, besides cards: plain frozen dataclasses, which OpenAPI tells."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from bench.dashboard.advice import Advice
from bench.dashboard.cards import Card
from bench.dashboard.measuring import ROUNDS
from bench.dashboard.models import Model, baseline, usual
from bench.dashboard.offer import Progress
from bench.dashboard.page import Page
from bench.dashboard.runs import Run, RunState
from bench.dashboard.sessions import Session
from bench.dashboard.uploads import Picture
from bench.text import megabytes
from export.variants import VARIANTS


@dataclass(frozen=True)
class OfferedModel:
    """What can be put on a card. ``rows``: how many stored benchmark rows there are of it."""

    name: str
    title: str
    variant: str
    recipe: str
    runtime: str
    threads: int
    size: str
    story: str
    weights: str
    trained: bool
    chosen: bool
    baseline: bool
    rows: int


@dataclass(frozen=True)
class Offered:
    """All that can be chosen, and what a card will be made of."""

    models: list[OfferedModel]
    samples: list[str]
    progress: Progress
    runs: int
    rounds: int
    most_upload_bytes: int
    most_pixels: int
    exposed: bool


@dataclass(frozen=True)
class PictureShown:
    """A picture of this session; ``run`` is the newest run about it, or empty.

    ``going``: that run is not over.
    """

    id: str
    width: int
    height: int
    sample: str
    run: str
    going: bool


@dataclass(frozen=True)
class RunRequest:
    """``models`` are names; ``beside``: afterwards all at once, to show what that does."""

    picture: str
    models: list[str]
    beside: bool = False


@dataclass(frozen=True)
class RunShown:
    """A run as it is now. ``ahead``: pieces of work that come before its next one."""

    id: str
    picture: str
    state: RunState
    ahead: int | None
    cards: list[Card]
    advice: Advice


@dataclass(frozen=True)
class Health:
    """``status`` is starting while there are no models yet, ok or failed.

    ``reason`` says why it is not ok.

    ``warm`` models are loaded, ``waiting`` pieces of work wait.
    """

    status: Literal["starting", "ok", "failed"]
    reason: str
    models: int
    warm: list[str]
    waiting: int


def health_of(page: Page) -> Health:
    """How a page is at this moment."""
    progress, models = page.offer.progress, len(page.offer.models)
    status: Literal["starting", "ok", "failed"] = "ok" if models else "starting"
    if page.ended or (not models and progress.state == "failed"):
        status = "failed"
    text = "; ".join([progress.text, *progress.failed]) if status == "failed" else progress.text
    reason = page.ended or ("" if models else text)
    return Health(status, reason, models, page.pool.names(), page.desk.waiting)


def offered(page: Page) -> Offered:
    """What a page offers at this moment."""
    found = list(page.offer.models.values())
    chosen = usual(found)
    first = baseline(chosen or found)
    names = {model.name for model in chosen}
    ordered = [*chosen, *(model for model in found if model.name not in names)]
    settings = page.settings
    return Offered(
        models=[_model(model, names, first, page) for model in ordered],
        samples=list(page.samples),
        progress=page.offer.progress,
        runs=settings.runs,
        rounds=ROUNDS,
        most_upload_bytes=settings.most_upload_bytes,
        most_pixels=settings.most_pixels,
        exposed=settings.exposed,
    )


def _model(model: Model, chosen: Collection[str], first: Model | None, page: Page) -> OfferedModel:
    case, artifact = model.case, model.artifact
    return OfferedModel(
        name=model.name,
        title=model.title,
        variant=case.variant,
        recipe=case.recipe,
        runtime=case.runtime,
        threads=case.threads,
        size=f"{megabytes(artifact.size_bytes)} MB",
        story=VARIANTS[case.variant].story if case.variant in VARIANTS else "",
        weights=artifact.weights,
        trained=model.trained,
        chosen=model.name in chosen,
        baseline=model is first,
        rows=len(page.found.get(model.name, ())),
    )


def picture_shown(session: Session, picture: Picture) -> PictureShown:
    """What the page's history has of a picture."""
    run = session.last_run(picture)
    name, going = (run.id, not run.over) if run else ("", False)
    return PictureShown(picture.id, picture.width, picture.height, picture.sample, name, going)


def run_shown(page: Page, run: Run) -> RunShown:
    """A run with its cards."""
    cards = page.desk.cards(run)
    advice = page.desk.advice(run, cards)
    return RunShown(run.id, run.picture.id, run.state, run.ahead, cards, advice)
