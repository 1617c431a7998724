"""What a reader of a feed gets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from bench.dashboard.events import Feed, event


@dataclass(frozen=True)
class Thing:
    size: int


async def all_of(feed: Feed) -> list[bytes]:
    """What a reader gets until the end."""
    return [chunk async for chunk in feed.read()]


def test_an_event_is_one_line_of_json() -> None:
    """With its kind, as the standard has it, and a blank line behind it."""
    assert event("card", "a", Thing(1)).encoded() == b'event: card\ndata: {"size":1}\n\n'
    assert b"\\n" in event("card", "a", "two\nlines").encoded()
    with pytest.raises(ValueError, match="Out of range"):
        event("card", "a", {"size": float("nan")})


def test_a_late_reader_gets_the_newest_state_of_each_thing() -> None:
    """Not the history: whoever comes back after a break needs none."""
    feed = Feed()
    feed.publish("card", "a", Thing(1))
    feed.publish("card", "b", Thing(2))
    feed.publish("card", "a", Thing(3))
    feed.close()
    found = asyncio.run(all_of(feed))
    assert [chunk.split(b"data: ")[1].strip() for chunk in found] == [b'{"size":3}', b'{"size":2}']


def test_a_slow_reader_costs_one_event_for_each_thing() -> None:
    """However much happens while it does not read; what is told twice is told once."""

    async def scene() -> list[bytes]:
        feed = Feed()
        feed.publish("card", "a", Thing(0))
        reading = feed.read()
        first = await anext(reading)
        for size in range(1000):
            feed.publish("card", "a", Thing(size))
            feed.publish("card", "a", Thing(size))
        feed.close()
        rest = [chunk async for chunk in reading]
        assert feed.readers == 0
        return [first, *rest]

    assert len(asyncio.run(scene())) == 2


def test_a_silent_stream_says_that_it_is_alive() -> None:
    """By a comment, which browsers ignore."""

    async def scene() -> bytes:
        reading = Feed().read(keep_alive_s=0.01)
        chunk = await anext(reading)
        await reading.aclose()
        return chunk

    assert asyncio.run(scene()).startswith(b":")
