"""Who is who: what each browser session has sent and asked for, kept within bounds."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from bench.dashboard.runs import Run
from bench.dashboard.uploads import Picture

COOKIE = "deploybench_session"
MOST_SESSIONS = 1000
MOST_PICTURES = 24
"""Of one session."""
MOST_RUNS = 24
MOST_RECEIVING = 2
"""Uploads of one session that are taken at once: a slow sender must not keep others waiting."""
MOST_RECEIVING_OF_ADDRESS = 6
"""Of one address, whatever its cookies: they cost nothing."""
MOST_BYTES = 256 << 20
"""Of all sessions' pictures: the oldest go."""
_TOKEN = re.compile(r"[\w-]{32}")


@dataclass(eq=False)
class Session:
    """One browser, or one address that keeps no cookies."""

    id: str
    pictures: OrderedDict[str, Picture] = field(default_factory=OrderedDict)
    runs: OrderedDict[str, Run] = field(default_factory=OrderedDict)
    receiving: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_RECEIVING))

    def last_run(self, picture: Picture) -> Run | None:
        """The newest run about a picture."""
        return next((run for run in reversed(self.runs.values()) if run.picture is picture), None)


class Sessions:
    """All sessions with pictures, those seen last at the end. Nothing is written anywhere.

    One without a picture is nobody's memory: it goes with the request that it came with, so that
    no number of cookies pushes out who has sent something. ``cancel`` ends a run whose picture
    is forgotten: it would keep the picture in memory.
    """

    def __init__(self, cancel: Callable[[Run], None], most_bytes: int = MOST_BYTES) -> None:
        self._known: OrderedDict[str, Session] = OrderedDict()
        self._asking: WeakValueDictionary[str, Session] = WeakValueDictionary()
        self._pictures: OrderedDict[str, tuple[Session, Picture]] = OrderedDict()
        self._receiving: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._cancel = cancel
        self._most_bytes = most_bytes

    def receiving(self, address: str) -> asyncio.Semaphore:
        """How many uploads of an address are taken at once; forgotten with the last of them."""
        fresh = asyncio.Semaphore(MOST_RECEIVING_OF_ADDRESS)
        return self._receiving.setdefault(address, fresh)

    def of(self, token: str | None, address: str) -> Session:
        """The session of a cookie, or of an address that sent none."""
        name = token if token and _TOKEN.fullmatch(token) else f"address {address}"
        if name in self._known:
            self._known.move_to_end(name)
            return self._known[name]
        # Requests at the same time share one: they count its uploads.
        return self._asking.setdefault(name, Session(name))

    def keep(self, session: Session, picture: Picture) -> None:
        """Remember a picture; of the session, and of all sessions, the oldest give way."""
        self._known[session.id] = session
        self._known.move_to_end(session.id)
        _forget_runs(session)
        session.pictures[picture.id] = picture
        self._pictures[picture.id] = (session, picture)
        while len(session.pictures) > MOST_PICTURES:
            self.drop(session, next(iter(session.pictures)))
        while self.size_bytes > self._most_bytes and len(self._pictures) > 1:
            owner, oldest = next(iter(self._pictures.values()))
            self.drop(owner, oldest.id)
        while len(self._known) > MOST_SESSIONS:
            self._forget_oldest()

    def drop(self, session: Session, picture_id: str) -> None:
        """Forget a picture and the runs about it, which end if they are not over."""
        session.pictures.pop(picture_id, None)
        self._pictures.pop(picture_id, None)
        for run in list(session.runs.values()):
            if run.picture.id == picture_id and not run.over:
                self._cancel(run)
        _forget_runs(session)
        if not session.pictures:
            self._known.pop(session.id, None)

    @property
    def runs(self) -> list[Run]:
        """Those of all sessions."""
        return [run for session in self._known.values() for run in session.runs.values()]

    @property
    def size_bytes(self) -> int:
        """What all pictures take."""
        return sum(picture.size_bytes for _, picture in self._pictures.values())

    def _forget_oldest(self) -> None:
        session = next(iter(self._known.values()))
        for name in list(session.pictures):
            self.drop(session, name)


def new_token() -> str:
    """What a cookie holds: 192 random bits."""
    return secrets.token_urlsafe(24)


def _forget_runs(session: Session) -> None:
    """Runs that are over hold their picture: they go with it."""
    for name, run in list(session.runs.items()):
        if run.over and run.picture.id not in session.pictures:
            del session.runs[name]


def remember(session: Session, run: Run) -> None:
    """Keep a run to look at again; the oldest that is over gives way."""
    session.runs[run.id] = run
    over = [name for name, one in session.runs.items() if one.over]
    for name in over[: max(0, len(session.runs) - MOST_RUNS)]:
        del session.runs[name]
