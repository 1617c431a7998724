"""What one server holds: the offer, the warm models, the desk, who has sent what."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from bench import launch
from bench.dashboard import reasons, stored, uploads
from bench.dashboard.desk import Desk
from bench.dashboard.models import Model
from bench.dashboard.offer import Offer
from bench.dashboard.pool import Pool
from bench.dashboard.sessions import Sessions
from bench.dashboard.settings import Settings
from bench.dashboard.stored import Found

RECEIVING, DECODING = 8, 2
"""Uploads that are in memory at once, and those of them that are being decoded."""
_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class Page:
    """All state of a server; made by ``page``, brought to life by ``alive``.

    ``thumbnails`` are JPEGs of the samples.
    """

    settings: Settings
    offer: Offer
    pool: Pool
    desk: Desk
    samples: dict[str, Image.Image]
    thumbnails: dict[str, bytes]
    sessions: Sessions
    found: dict[str, list[Found]] = field(default_factory=dict)
    receiving: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(RECEIVING))
    decoding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DECODING))
    ended: str = ""
    """Why nothing is measured any more; empty: all is well."""

    @property
    def preprocesses(self) -> list[str]:
        """How the offered networks take a picture."""
        texts = (model.artifact.preprocess for model in self.offer.models.values())
        return list(dict.fromkeys(texts))

    def end_streams(self) -> None:
        """Nobody is told any more, as the server ends."""
        self.offer.feed.close()
        for run in self.sessions.runs:
            run.feed.close()


def page(
    settings: Settings,
    logs: Path,
    offered: Sequence[Model] | None = None,
    worker: tuple[str, ...] = launch.WORKER,
) -> Page:
    """A page that offers what ``settings`` say, or ``offered``. Children write into ``logs``."""
    pool = Pool(settings.most_models, settings.most_memory_bytes, logs, worker)
    offer = Offer(settings)
    if offered is not None:
        offer.show(offered)
    desk, samples = Desk(pool), uploads.samples()
    small = {name: uploads.thumbnail(image) for name, image in samples.items()}
    return Page(settings, offer, pool, desk, samples, small, Sessions(desk.cancel))


@contextlib.asynccontextmanager
async def alive(one: Page) -> AsyncIterator[None]:
    """Find or build the models, and measure what is asked for, as long as the server runs."""
    preparing = asyncio.create_task(_prepare(one))
    working = asyncio.create_task(one.desk.work())
    for task in (preparing, working):
        task.add_done_callback(lambda ended: _note(one, ended))
    try:
        yield
    finally:
        one.pool.close()
        for task in (preparing, working):
            task.cancel()
        await asyncio.gather(preparing, working, return_exceptions=True)


async def _prepare(one: Page) -> None:
    try:
        found = list(one.offer.models.values()) or await one.offer.find()
        one.offer.show(found)
        await _read_rows(one, found)
    except Exception as exc:
        one.offer.give_up(reasons.mistake(exc))
        raise
    finally:
        # Whatever happened: a page that is told nothing more would ask again and again.
        one.offer.feed.publish("rows", "", sum(map(len, one.found.values())))
        one.offer.feed.close()


async def _read_rows(one: Page, found: Sequence[Model]) -> None:
    """What a results folder has of the models; it takes seconds, for which nobody has to wait.

    The page does without one that can't be read, whatever is wrong with it.
    """
    records = one.settings.records
    if records is None:
        return
    try:
        rows = await asyncio.to_thread(stored.find, records, found)
        one.found, one.desk.accuracies = rows, stored.accuracies(rows)
    except Exception as exc:
        _LOG.warning("--records %s can't be used", records, exc_info=exc)
        one.offer.complain(f"--records {records.name} can't be used: {exc}")


def _note(one: Page, task: asyncio.Task[None]) -> None:
    """A task that failed is no secret: ``/health`` tells it, and the log has the trace."""
    if not task.cancelled() and (exc := task.exception()) is not None:
        one.ended = f"{type(exc).__name__}: {reasons.shown(exc)}"
        one.desk.give_up(one.ended)
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "the page can't go on", "exception": exc})


def scratch() -> TemporaryDirectory[str]:
    """A folder for what children print, which goes with the server."""
    return TemporaryDirectory(prefix="deploybench-page-", ignore_cleanup_errors=True)
