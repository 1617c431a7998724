"""The JSON API: models and stored rows, pictures, runs with their streams of events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from bench.dashboard import uploads
from bench.dashboard.models import Model
from bench.dashboard.page import Page
from bench.dashboard.runs import UNHEARD_S, Run
from bench.dashboard.sessions import COOKIE, Session, remember
from bench.dashboard.shapes import (
    Health,
    Offered,
    PictureShown,
    RunRequest,
    RunShown,
    health_of,
    offered,
    picture_shown,
    run_shown,
)
from bench.dashboard.stored import StoredRow
from bench.dashboard.uploads import UPLOAD_LIMIT_S, Picture, Refused

api = APIRouter()


# Both are coroutines: what is none would be called in another thread than all else.


async def page_of(request: Request) -> Page:
    """The state behind a request."""
    page: Page = request.app.state.page
    return page


async def session_of(request: Request) -> Session:
    """Whose request it is: by the cookie, else by the address."""
    page = await page_of(request)
    return page.sessions.of(request.cookies.get(COOKIE), _address(request))


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


ThePage = Annotated[Page, Depends(page_of)]
TheSession = Annotated[Session, Depends(session_of)]


# --- the server


@api.get("/health", tags=["server"])
async def health(page: ThePage, response: Response) -> Health:
    """Whether it can measure, or will once its models are built; 503 where it can't go on."""
    found = health_of(page)
    response.status_code = 503 if found.status == "failed" else 200
    return found


@api.get("/api/models", tags=["server"])
async def models(page: ThePage) -> Offered:
    """What can be chosen, how far building is, and the limits."""
    return offered(page)


@api.get("/api/building", tags=["server"], response_class=StreamingResponse)
async def building(page: ThePage) -> StreamingResponse:
    """Events ``building`` as models are found or built, at last ``rows`` with the stored rows."""
    return _stream(page.offer.feed.read())


@api.get("/api/rows", tags=["server"])
async def rows(page: ThePage, model: str = "") -> list[StoredRow]:
    """The stored benchmark rows of one model, or of all that are offered."""
    names = [model] if model else list(page.found)
    return [one.shown for name in names for one in page.found.get(name, ())]


# --- pictures


@api.get("/api/samples/{name}", tags=["pictures"], response_class=Response)
async def sample(page: ThePage, name: str) -> Response:
    """A sample, small, as a JPEG."""
    if name not in page.samples:
        raise Refused(404, f"there is no sample {name[:40]!r}; there are {', '.join(page.samples)}")
    return Response(page.thumbnails[name], media_type="image/jpeg")


async def upload(request: Request, page: ThePage, session: TheSession) -> PictureShown:
    """Take a picture: the body is the file. Nothing of it is written to a disk."""
    settings = page.settings
    of_address = page.sessions.receiving(_address(request))
    async with session.receiving, of_address, page.receiving:
        declared = request.headers.get("content-length")
        try:
            async with asyncio.timeout(UPLOAD_LIMIT_S):
                chunks = request.stream()
                content = await uploads.limited(chunks, declared, settings.most_upload_bytes)
        except TimeoutError as exc:
            raise Refused(408, f"the upload took longer than {UPLOAD_LIMIT_S:.0f} s") from exc
        except ClientDisconnect as exc:
            raise Refused(400, "the upload was broken off") from exc
        # Not before: who is refused while still sending may see a broken connection, and no reason.
        preprocesses = _ready(page)
        async with page.decoding:
            picture = await asyncio.to_thread(
                uploads.taken, content, preprocesses, settings.most_pixels
            )
    page.sessions.keep(session, picture)
    return picture_shown(session, picture)


@api.post("/api/samples/{name}", status_code=201, tags=["pictures"])
async def take_sample(page: ThePage, session: TheSession, name: str) -> PictureShown:
    """Take a sample as if it had been uploaded."""
    preprocesses = _ready(page)
    if name not in page.samples:
        raise Refused(404, f"there is no sample {name[:40]!r}; there are {', '.join(page.samples)}")
    async with page.decoding:
        picture = await asyncio.to_thread(uploads.kept, page.samples[name], preprocesses, name)
    page.sessions.keep(session, picture)
    return picture_shown(session, picture)


@api.get("/api/pictures", tags=["pictures"])
async def pictures(session: TheSession) -> list[PictureShown]:
    """This session's pictures, the newest first."""
    return [picture_shown(session, one) for one in reversed(session.pictures.values())]


@api.get("/api/pictures/{name}", tags=["pictures"], response_class=Response)
async def thumbnail(session: TheSession, name: str) -> Response:
    """A small copy of a picture of this session, a JPEG without metadata."""
    return Response(_picture(session, name).thumbnail, media_type="image/jpeg")


@api.delete("/api/pictures/{name}", status_code=204, tags=["pictures"])
async def forget(page: ThePage, session: TheSession, name: str) -> None:
    """Forget a picture."""
    page.sessions.drop(session, _picture(session, name).id)


def _ready(page: Page) -> list[str]:
    if not page.offer.models:
        raise Refused(503, f"there are no models yet: {page.offer.progress.text}")
    return page.preprocesses


def _picture(session: Session, name: str) -> Picture:
    if name not in session.pictures:
        raise Refused(404, "this session has no such picture: upload it again")
    return session.pictures[name]


# --- runs


@api.post("/api/runs", status_code=201, tags=["runs"])
async def start(page: ThePage, session: TheSession, asked: RunRequest) -> RunShown:
    """Queue a picture for some models; ``/api/runs/{id}/events`` tells what becomes of it."""
    if page.ended:
        raise Refused(503, f"nothing can be measured any more ({page.ended}): start the page anew")
    picture = _picture(session, asked.picture)
    chosen = _chosen(page, asked.models)
    absent = [model for model in chosen if model.artifact.preprocess not in picture.pixels]
    if absent:
        raise Refused(409, f"the picture is older than {absent[0].name}: upload it again")
    run = Run(session.id, picture, chosen, page.settings.runs, asked.beside)
    page.desk.submit(run)
    remember(session, run)
    return run_shown(page, run)


@api.get("/api/runs/{name}", tags=["runs"])
async def shown(page: ThePage, session: TheSession, name: str) -> RunShown:
    """A run of this session as it is now."""
    return run_shown(page, _run(session, name))


@api.get("/api/runs/{name}/events", tags=["runs"], response_class=StreamingResponse)
async def events(page: ThePage, session: TheSession, name: str) -> StreamingResponse:
    """Events ``card``, ``advice`` and ``place``: the state of each, then every change.

    The stream ends with the run, whose last ``place`` has the state done or cancelled.
    """
    run = _run(session, name)
    return _stream(_heard(page, run))


@api.delete("/api/runs/{name}", status_code=204, tags=["runs"])
async def cancel(page: ThePage, session: TheSession, name: str) -> None:
    """Measure no more of a run; what is known of it stays."""
    page.desk.cancel(_run(session, name))


def _chosen(page: Page, names: list[str]) -> list[Model]:
    known = page.offer.models
    wanted = list(dict.fromkeys(names))
    if not wanted:
        raise Refused(422, "no model is chosen: name one of /api/models at least")
    absent = [name for name in wanted if name not in known]
    if absent:
        raise Refused(404, f"there is no model {absent[0][:80]!r}: /api/models names them")
    return [known[name] for name in wanted]


def _run(session: Session, name: str) -> Run:
    if name not in session.runs:
        raise Refused(404, "this session has no such run")
    return session.runs[name]


async def _heard(page: Page, run: Run) -> AsyncIterator[bytes]:
    """A run's events; one to which nobody listens any more is cancelled after a while."""
    try:
        async with contextlib.aclosing(run.feed.read()) as chunks:
            async for chunk in chunks:
                yield chunk
    finally:
        asyncio.get_running_loop().call_later(UNHEARD_S, page.desk.unheard, run)


def _stream(chunks: AsyncIterator[bytes]) -> StreamingResponse:
    # X-Accel-Buffering: nginx would hold events back until its buffer is full.
    headers = {"x-accel-buffering": "no"}
    return StreamingResponse(chunks, media_type="text/event-stream", headers=headers)
