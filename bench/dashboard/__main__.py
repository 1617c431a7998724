"""``python -m bench.dashboard``: serve the page until Ctrl-C."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.dashboard.settings import Settings, missing_libraries, read
from bench.options import UsageError
from export.printable import complain

_EXPOSED = (
    "warning: other machines can reach this page, and it asks nobody who they are: anyone who "
    "does may use this machine's cores and memory. Put a proxy that authenticates before it; "
    "it is not meant to face the internet by itself."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when it was ended; 2 for a bad argument, a missing library or a taken port."""
    try:
        settings = read(argv)
        if reason := missing_libraries():
            raise UsageError(reason)
        with _listening(settings) as place:
            _serve(settings, place)
    except UsageError as exc:
        complain(exc)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


def _listening(settings: Settings) -> socket.socket:
    """A socket that listens, so that a taken port is told before anything is started."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=512)
    except OSError as exc:
        raise UsageError(
            f"--host {settings.host} --port {settings.port}: {exc.strerror or exc}; "
            "name another port, or 0 for any free one"
        ) from exc


def _serve(settings: Settings, place: socket.socket) -> None:
    # Here, because --help must work without them.
    import uvicorn

    from bench.dashboard.app import application
    from bench.dashboard.page import page, scratch

    if settings.exposed:
        print(_EXPOSED, file=sys.stderr)
    port = place.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"http://{host}:{port} (Ctrl-C ends it)", flush=True)
    with scratch() as logs:
        config = uvicorn.Config(
            application(page(settings, Path(logs))),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        uvicorn.Server(config).run(sockets=[place])


if __name__ == "__main__":
    sys.exit(main())
