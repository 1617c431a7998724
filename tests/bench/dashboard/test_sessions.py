"""What is kept of whom."""

from __future__ import annotations

from bench.dashboard import sessions, uploads
from bench.dashboard.runs import Run, turns_of
from bench.dashboard.sessions import MOST_PICTURES, Session, Sessions, new_token, remember
from bench.dashboard.uploads import Picture
from tests.bench.dashboard.conftest import PREPROCESS, RED, ModelOf, file_of


def picture() -> Picture:
    """Any."""
    return uploads.taken(file_of(RED), [PREPROCESS], 10_000)


def test_a_cookie_is_a_session_and_nonsense_is_an_address() -> None:
    """Tokens that we can't have made are nobody's."""
    known = Sessions()
    token = new_token()
    assert known.of(token, "10.0.0.1") is known.of(token, "10.0.0.2")
    assert known.of("../../x", "10.0.0.1") is known.of(None, "10.0.0.1")
    assert known.of(None, "10.0.0.1") is not known.of(None, "10.0.0.2")


def test_a_session_keeps_its_newest_pictures() -> None:
    """So many; the oldest give way."""
    known = Sessions()
    session = known.of(None, "a")
    kept = [picture() for _ in range(MOST_PICTURES + 3)]
    for one in kept:
        known.keep(session, one)
    assert list(session.pictures) == [one.id for one in kept[3:]]
    assert known.size_bytes == sum(one.size_bytes for one in kept[3:])


def test_all_sessions_together_stay_within_bounds() -> None:
    """Whosever it is: the oldest picture goes; and the oldest session."""
    first = picture()
    known = Sessions(most_bytes=2 * first.size_bytes)
    owners = [known.of(None, str(i)) for i in range(3)]
    for owner, one in zip(owners, [first, picture(), picture()], strict=True):
        known.keep(owner, one)
    assert [len(owner.pictures) for owner in owners] == [0, 1, 1]
    for i in range(sessions.MOST_SESSIONS):
        known.of(None, f"other {i}")
    assert known.size_bytes == 0


def test_runs_go_with_their_picture(model_of: ModelOf) -> None:
    """Those that are over; one that is not is still wanted."""
    known, session = Sessions(), Session("a")
    one = picture()
    known.keep(session, one)
    over, going = (Run("a", one, [model_of()], 6) for _ in range(2))
    over.state = "done"
    remember(session, over)
    remember(session, going)
    assert session.last_run(one) is going
    known.drop(session, one.id)
    assert list(session.runs.values()) == [going]


def test_rounds_go_forth_and_back(model_of: ModelOf) -> None:
    """The baseline first, every second round the other way, at last all at once where asked for."""
    models = [model_of("fp32"), model_of("int8-dynamic"), model_of("int8-static")]
    run = Run("a", picture(), models, 72, beside=True)
    found = [tuple(model.case.recipe for model in turn.models) for turn in turns_of(run)]
    forth = [("fp32",), ("int8-dynamic",), ("int8-static",)]
    assert found == [*forth, *forth[::-1], *forth, ("fp32", "int8-dynamic", "int8-static")]
