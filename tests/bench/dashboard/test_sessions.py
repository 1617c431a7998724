"""What is kept of whom."""

from __future__ import annotations

import gc

import pytest

from bench.dashboard import sessions, uploads
from bench.dashboard.runs import Run, turns_of
from bench.dashboard.sessions import MOST_PICTURES, Session, Sessions, new_token, remember
from bench.dashboard.uploads import Picture
from tests.bench.dashboard.conftest import PREPROCESS, RED, ModelOf, file_of


def picture() -> Picture:
    """Any."""
    return uploads.taken(file_of(RED), [PREPROCESS], 10_000)


def cancelled(run: Run) -> None:
    """In the place of the desk."""
    run.state = "cancelled"


def test_a_cookie_is_a_session_and_nonsense_is_an_address() -> None:
    """Tokens that we can't have made are nobody's."""
    known = Sessions(cancelled)
    token = new_token()
    assert known.of(token, "10.0.0.1") is known.of(token, "10.0.0.2")
    assert known.of("../../x", "10.0.0.1") is known.of(None, "10.0.0.1")
    assert known.of(None, "10.0.0.1") is not known.of(None, "10.0.0.2")


def test_a_session_keeps_its_newest_pictures() -> None:
    """So many; the oldest give way."""
    known = Sessions(cancelled)
    session = known.of(None, "a")
    kept = [picture() for _ in range(MOST_PICTURES + 3)]
    for one in kept:
        known.keep(session, one)
    assert list(session.pictures) == [one.id for one in kept[3:]]
    assert known.size_bytes == sum(one.size_bytes for one in kept[3:])


def test_all_sessions_together_stay_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whosever it is: the oldest picture goes; and the oldest session."""
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 3)
    first = picture()
    known = Sessions(cancelled, most_bytes=2 * first.size_bytes)
    owners = [known.of(None, str(i)) for i in range(3)]
    for owner, one in zip(owners, [first, picture(), picture()], strict=True):
        known.keep(owner, one)
    assert [len(owner.pictures) for owner in owners] == [0, 1, 1]
    many = Sessions(cancelled)
    sent = [many.of(None, str(i)) for i in range(4)]
    for owner in sent:
        many.keep(owner, picture())
    assert [len(owner.pictures) for owner in sent] == [0, 1, 1, 1]
    assert list(many._known) == [owner.id for owner in sent[1:]]


def test_who_has_sent_nothing_takes_nobody_s_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cookies cost nothing: asking with as many as one likes pushes no picture out."""
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 2)
    known = Sessions(cancelled)
    session = known.of(new_token(), "10.0.0.1")
    known.keep(session, picture())
    for _ in range(10):
        known.of(new_token(), "10.0.0.2")
    assert len(session.pictures) == 1
    assert known.of(session.id, "10.0.0.3") is session
    gc.collect()
    assert len(known._asking) == 1, "nothing is kept of who asked"


def test_requests_at_the_same_time_are_of_one_session() -> None:
    """Two first uploads with one cookie are counted, and kept, together."""
    known, token = Sessions(cancelled), new_token()
    one, other = known.of(token, "a"), known.of(token, "a")
    assert one is other
    known.keep(one, picture())
    known.drop(one, next(iter(one.pictures)))
    assert known.of(token, "a") is one, "somebody still holds it"


def test_runs_go_with_their_picture(model_of: ModelOf) -> None:
    """Whether they are over or not: a run would keep in memory what nobody counts any more."""
    known, session = Sessions(cancelled), Session("a")
    one, other = picture(), picture()
    known.keep(session, one)
    known.keep(session, other)
    over, going, another = (Run("a", of, [model_of()], 6) for of in (one, one, other))
    over.state = "done"
    for run in (over, going, another):
        remember(session, run)
    assert session.last_run(one) is going
    known.drop(session, one.id)
    assert (over.state, going.state, another.state) == ("done", "cancelled", "waiting")
    assert list(session.runs.values()) == [another]


def test_a_picture_that_gives_way_to_others_ends_its_run(model_of: ModelOf) -> None:
    """Whoever sent the others: memory is bounded for all sessions together."""
    first = picture()
    known = Sessions(cancelled, most_bytes=first.size_bytes)
    session = known.of(None, "a")
    known.keep(session, first)
    run = Run(session.id, first, [model_of()], 6)
    remember(session, run)
    known.keep(known.of(None, "b"), picture())
    assert run.state == "cancelled"
    assert not session.runs


def test_uploads_of_an_address_are_counted_while_there_are_any() -> None:
    """By address, whatever its cookies; nothing is remembered of who has none."""
    known = Sessions(cancelled)
    here = known.receiving("10.0.0.1")
    assert known.receiving("10.0.0.1") is here
    assert known.receiving("10.0.0.2") is not here
    del here
    gc.collect()
    assert not known._receiving


def test_rounds_go_forth_and_back(model_of: ModelOf) -> None:
    """The baseline first, every second round the other way, at last all at once where asked for."""
    models = [model_of("fp32"), model_of("int8-dynamic"), model_of("int8-static")]
    run = Run("a", picture(), models, 72, beside=True)
    found = [tuple(model.case.recipe for model in turn.models) for turn in turns_of(run)]
    forth = [("fp32",), ("int8-dynamic",), ("int8-static",)]
    assert found == [*forth, *forth[::-1], *forth, ("fp32", "int8-dynamic", "int8-static")]
