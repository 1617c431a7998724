"""Whose turn it is: sessions one after another, each with its own work in order. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """A queue that no session can fill for the others.

    One piece of work of each session is taken before the second of any: who has much to do
    waits longer for its end, and lets nobody else wait for it.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Item]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, session: str, item: Item) -> None:
        """Behind what the session has already; a new session comes last."""
        self._waiting.setdefault(session, deque()).append(item)

    def take(self) -> Item | None:
        """The next piece of work; its session goes to the end of the line."""
        if not self._waiting:
            return None
        session, items = self._waiting.popitem(last=False)
        item = items.popleft()
        if items:
            self._waiting[session] = items
        return item

    def drop(self, unwanted: Callable[[Item], bool]) -> list[Item]:
        """Take out what is no longer wanted; returns it."""
        dropped: list[Item] = []
        for session, items in list(self._waiting.items()):
            dropped += [item for item in items if unwanted(item)]
            kept = deque(item for item in items if not unwanted(item))
            if kept:
                self._waiting[session] = kept
            else:
                del self._waiting[session]
        return dropped

    def count(self, session: str) -> int:
        """How much a session has waiting."""
        return len(self._waiting.get(session, ()))

    def order(self) -> list[Item]:
        """All that waits, in the order in which it would be taken."""
        found: list[Item] = []
        queues = [deque(items) for items in self._waiting.values()]
        while queues:
            found += [queue.popleft() for queue in queues]
            queues = [queue for queue in queues if queue]
        return found
