"""``python -m bench.dashboard``: serve the page until Ctrl-C."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.dashboard.settings import Settings, missing_libraries, opened, read
from bench.options import UsageError
from export.printable import complain

_EXPOSED = (
    "warning: other machines can reach this page, and it asks nobody who they are: anyone who "
    "does may use this machine's cores and memory. Put a proxy that authenticates before it; "
    "it is not meant to face the internet by itself."
)
_UNBOUNDED = (
    "warning: this machine does not tell how much memory is free: models are bounded by their "
    "number alone (--most-models {}); give --most-memory a size to bound what they take"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when it was ended; 2 for a bad argument, a missing library or a taken port."""
    try:
        settings = read(argv)
        if reason := missing_libraries():
            raise UsageError(reason)
        with _listening(settings) as place:
            _serve(opened(settings), place)
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
        # Python adds which address it tried: the flags say that.
        reason = (exc.strerror or str(exc)).partition(" (while")[0]
        raise UsageError(
            f"--host {settings.host} --port {settings.port}: {reason}; "
            "name another port, or 0 for any free one"
        ) from exc


def warnings(settings: Settings) -> list[str]:
    """What whoever starts the page should know."""
    found = [_EXPOSED] if settings.exposed else []
    unbounded = settings.most_memory_bytes == 0
    return [*found, _UNBOUNDED.format(settings.most_models)] if unbounded else found


def _serve(settings: Settings, place: socket.socket) -> None:
    # Here, because --help must work without them.
    from bench.dashboard.page import page, scratch
    from bench.dashboard.server import Server

    for warning in warnings(settings):
        print(warning, file=sys.stderr)
    port = place.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"http://{host}:{port} (Ctrl-C ends it)", flush=True)
    with scratch() as logs:
        server = Server(page(settings, Path(logs)))
        for number in (signal.SIGINT, signal.SIGTERM):
            # Before the server listens to them, too, and while its loop is being closed.
            signal.signal(number, server.handle_exit)
        server.run(sockets=[place])
        for number in (signal.SIGINT, signal.SIGTERM):
            # Python itself takes handlers away before it ends, and one more signal would end it so.
            signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
