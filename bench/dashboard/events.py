"""Server-sent events: the newest state of each thing, to whoever listens.

A reader gets all that is known, then what changes. Of what it did not read in time only the
newest state is kept, so that a slow one costs no memory, and one that comes back needs no history.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

KEEP_ALIVE_S = 15.0
"""So often a silent stream says that it is alive: proxies cut off what is silent for long."""
_COMMENT = b": still here\n\n"


@dataclass(frozen=True)
class Event:
    """``data`` is JSON on one line; a later event with the same kind and key replaces this one."""

    kind: str
    key: str
    data: str

    def encoded(self) -> bytes:
        """As the stream has it (HTML, "Server-sent events", 9.2.6)."""
        return f"event: {self.kind}\ndata: {self.data}\n\n".encode()


def event(kind: str, key: str, data: object) -> Event:
    """An event about a dataclass or plain values. Raises ``ValueError`` for NaN: no JSON is."""
    plain: Any = asdict(data) if is_dataclass(data) and not isinstance(data, type) else data
    return Event(kind, key, json.dumps(plain, allow_nan=False, separators=(",", ":")))


class _Reader:
    """One listener: what it has not read yet."""

    def __init__(self, known: dict[tuple[str, str], Event]) -> None:
        self.pending = dict(known)
        self.news = asyncio.Event()
        self.news.set()

    def put(self, one: Event) -> None:
        key = (one.kind, one.key)
        self.pending.pop(key, None)
        self.pending[key] = one
        self.news.set()

    def taken(self) -> list[Event]:
        found = list(self.pending.values())
        self.pending.clear()
        self.news.clear()
        return found


class Feed:
    """What happens to one thing. Belongs to the event loop: other threads must not touch it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Event] = {}
        self._readers: set[_Reader] = set()
        self.closed = False

    @property
    def readers(self) -> int:
        """How many listen at this moment."""
        return len(self._readers)

    def publish(self, kind: str, key: str, data: object) -> None:
        """Tell everybody, unless it is what was told last."""
        one = event(kind, key, data)
        if self._known.get((kind, key)) == one:
            return
        self._known[kind, key] = one
        for reader in self._readers:
            reader.put(one)

    def close(self) -> None:
        """Nothing more will happen: streams end when all is read."""
        self.closed = True
        for reader in self._readers:
            reader.news.set()

    async def read(self, keep_alive_s: float = KEEP_ALIVE_S) -> AsyncGenerator[bytes, None]:
        """All that is known, then what changes, encoded; ends after ``close``."""
        reader = _Reader(self._known)
        self._readers.add(reader)
        try:
            while True:
                try:
                    await asyncio.wait_for(reader.news.wait(), keep_alive_s)
                except TimeoutError:
                    yield _COMMENT
                    continue
                for one in reader.taken():
                    yield one.encoded()
                if self.closed and not reader.pending:
                    return
        finally:
            self._readers.discard(reader)
