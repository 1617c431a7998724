"""The HTTP server around the application, which ends in order."""

from __future__ import annotations

import socket
from types import FrameType

import uvicorn

from bench.dashboard.app import application
from bench.dashboard.page import Page


class Server(uvicorn.Server):
    """Serves ``page`` by ``run(sockets=[...])`` until it is told to end.

    A second signal changes nothing: what has begun to end has children to end.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        config = uvicorn.Config(
            application(page),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """What a signal does."""
        del sig, frame
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams first: they would outlast the wait, and be broken off with a trace."""
        self.page.end_streams()
        await super().shutdown(sockets)
