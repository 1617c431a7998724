"""The application: the pages, the API with its description, and who may ask."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from bench.dashboard.api import api, upload
from bench.dashboard.guard import Guard
from bench.dashboard.page import Page, alive
from bench.dashboard.sessions import COOKIE, new_token
from bench.dashboard.uploads import Refused

STATIC = Path(__file__).parent / "static"
MOST_JSON_BYTES = 64 << 10
_SLACK_BYTES = 1 << 20
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {"requestBody": {"required": True, "content": {"image/*": _BINARY}}}

pages = APIRouter(include_in_schema=False)


def application(page: Page) -> FastAPI:
    """The whole application around the state of a page."""

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        del app
        async with alive(page):
            yield

    app = FastAPI(
        title="deploybench",
        description="Upload a picture, choose models, read what each of them answers and costs.",
        docs_url=None,
        redoc_url=None,
        lifespan=life,
        max_body_size=MOST_JSON_BYTES,
    )
    # Swagger UI 4, which the bundle holds, reads no 3.1.
    app.openapi_version = "3.0.3"
    app.state.page = page
    app.include_router(pages)
    app.include_router(api)
    # Its limit is its own: the routes' is for JSON.
    app.add_api_route(
        "/api/pictures",
        upload,
        methods=["POST"],
        status_code=201,
        tags=["pictures"],
        openapi_extra=_BODY,
        max_body_size=page.settings.most_upload_bytes + _SLACK_BYTES,
    )
    app.mount("/static", StaticFiles(directory=STATIC))
    # By name: the package has no type information.
    swagger = importlib.import_module("swagger_ui_bundle").swagger_ui_path
    app.mount("/swagger", StaticFiles(directory=Path(str(swagger))))
    app.add_exception_handler(Refused, _refused)
    app.add_middleware(Guard, names=page.settings.names)
    return app


async def _refused(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, Refused)
    # A part of the body may not have been read: the rest must not be taken for a request.
    headers = {"connection": "close"} if request.method == "POST" else None
    return JSONResponse({"detail": exc.reason}, exc.status, headers)


@pages.get("/")
async def index(request: Request) -> FileResponse:
    """The page itself, and with it a session."""
    response = FileResponse(STATIC / "index.html")
    if COOKIE not in request.cookies:
        response.set_cookie(COOKIE, new_token(), httponly=True, samesite="strict")
    return response


@pages.get("/docs")
async def docs() -> FileResponse:
    """The API's documentation, from files of this machine."""
    return FileResponse(STATIC / "docs.html")


@pages.get("/favicon.ico")
async def icon() -> FileResponse:
    """What browsers ask for without being told."""
    return FileResponse(STATIC / "icon.svg")
