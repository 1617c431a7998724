"""The worker's language: what it is asked and what it answers, pinned to its number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

import runtimes
from bench import launch, load_test, worker
from bench.block import Effort, load_message, run_block
from bench.case import Case
from export.artifact import Artifact
from runtimes import Unsupported
from tests.bench.test_load_test import needs_loadgen

CASE = Case("revisited-base", "fp32", "null", 1)
_FILE = "do artifact runtime threads precision batch_size inputs"
_AROUND = " ".join(
    f"surroundings.{name}"
    for name in "wall_s realtime_s boottime_s foreign_cpu_s steal_s involuntary_switches "
    "voluntary_switches".split()
)
_MEMORY = " ".join(
    f"memory.{name}"
    for name in "steady_bytes peak_bytes anonymous_bytes file_bytes shareable_bytes".split()
)
SPOKEN: Mapping[int, Mapping[str, tuple[str, str]]] = {
    4: {
        "load": (
            _FILE,
            "status import_s read_s load_s first_s cold_start_s resident_share runtime_version "
            "precision notes imported_bytes",
        ),
        "warm": (
            "do",
            "status warmup_s warmup_inferences warmup_settled warmup_foreign_cpu_s "
            "warmup_steal_s warmup_switches",
        ),
        "measure": (
            "do seconds least idle_s",
            f"status begun_ns latencies_ns cpu_s idle_cpu_s {_MEMORY} {_AROUND}",
        ),
        "infer": ("do inputs", "status outputs"),
        "picture": ("do pixels", "status outputs"),
        "scenario": (
            "do scenario batch_size expected_s least_s most_s queries samples_per_query rate "
            "bound_s",
            "status metric value valid reasons early_stopping queries percentiles_s facts "
            f"{_AROUND}",
        ),
        "explain": (_FILE, "status execution"),
        "refusal": ("do", "status reason"),
    },
}
"""``bench.worker.PROTOCOL`` -> kind of message -> the keys of what is asked, and of the answer.

What stands under a number never changes: another version that speaks that number goes by it.
"""


def check(kind: str, asked: Mapping[str, Any], answered: Mapping[str, Any]) -> None:
    """Both against what is pinned."""
    number = worker.PROTOCOL
    assert number in SPOKEN, (
        f"PROTOCOL of bench/worker.py is {number} now: list here what that means, in the place of "
        "the number before it"
    )
    pinned = tuple(set(names.split()) for names in SPOKEN[number][kind])
    assert (set(asked), keys(answered)) == pinned, (
        f"{kind} is no longer what protocol {number} means by it, so that --against would mix up "
        "two versions: raise PROTOCOL in bench/worker.py and list the new keys here under it"
    )


def keys(answer: Mapping[str, Any]) -> set[str]:
    """The names of an answer's fields, with those of the two that have fields of their own."""
    inner = {"memory", "surroundings"} & answer.keys()
    return (answer.keys() - inner) | {f"{name}.{key}" for name in inner for key in answer[name]}


Heard = list[tuple[dict[str, Any], dict[str, Any]]]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """Every message of a test with its answer, as they come."""
    said: Heard = []
    ask = launch.Child.ask

    def asking(self: launch.Child, message: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        answer = ask(self, message, limit_s)
        said.append((dict(message), dict(answer)))
        return answer

    monkeypatch.setattr(launch.Child, "ask", asking)
    return said


def test_what_a_block_asks_and_hears_is_in_the_protocol(
    artifact: Artifact, tmp_path: Path, heard: Heard
) -> None:
    """The messages that are really sent: a changed key needs another number."""
    effort = Effort(seconds=0.01, samples=1, logs=tmp_path)
    assert run_block(CASE, 0, artifact, effort).status == "ok"
    assert [asked["do"] for asked, _ in heard] == ["load", "warm", "measure", "infer"]
    for asked, answered in heard:
        check(asked["do"], asked, answered)


@needs_loadgen
def test_what_loadgen_says_is_in_the_protocol(
    artifact: Artifact, tmp_path: Path, heard: Heard
) -> None:
    """One more message behind our own loop."""
    effort = Effort(seconds=0.01, samples=1, logs=tmp_path)
    block = load_test.run(CASE, 1, artifact, effort, load_test.Limits(0.01, 1.0))
    assert block.status == "ok", block.reason
    assert heard[-1][0]["do"] == "scenario"
    check("scenario", *heard[-1])


def test_what_a_runtime_made_of_a_file_is_in_the_protocol(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked of an adapter that explains; the keys below ``execution`` are those of a record."""

    class Explaining:
        """An adapter that knows one thing."""

        @staticmethod
        def explain(*_: object, inputs: NDArray[Any], **__: object) -> Mapping[str, Any]:
            return {"source": f"{len(inputs)} image"}

    monkeypatch.setattr(runtimes, "adapter", lambda name: Explaining)
    asked = {**load_message(CASE, artifact), "do": "explain"}
    answered = worker.answer(worker.Session(), asked)
    assert answered["execution"] == {"source": "1 image"}
    check("explain", asked, answered)


def test_a_refusal_is_in_the_protocol() -> None:
    """The same for every kind of message: here nothing was loaded."""
    asked = {"do": "warm"}
    check("refusal", asked, worker.answer(worker.Session(), asked))


def test_a_changed_key_fails_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself: one key more on either side, and a number that means nothing yet."""
    asked, answered = (
        dict.fromkeys(names.split(), 0) for names in SPOKEN[worker.PROTOCOL]["infer"]
    )
    check("infer", asked, answered)
    for question, answer in (({**asked, "more": 1}, answered), (asked, {**answered, "more": 1})):
        with pytest.raises(AssertionError, match=r"raise PROTOCOL in bench/worker\.py and list"):
            check("infer", question, answer)
    monkeypatch.setattr(worker, "PROTOCOL", 1 + max(SPOKEN))
    with pytest.raises(AssertionError, match="list here what that means"):
        check("infer", asked, answered)


@pytest.mark.parametrize("raised", [Unsupported, RuntimeError])
def test_a_reason_moves_no_terminal(
    raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime quotes the names in the file; a reason goes into records and onto screens."""
    session = worker.Session()

    def load(message: worker.Message) -> dict[str, Any]:
        raise raised("no operator Own\x1b[31m\nand more")

    monkeypatch.setattr(session, "load", load)
    assert worker.answer(session, {"do": "load"})["reason"].endswith("no operator Own\ufffd[31m")
