"""What Ray's errors say of a machine, and that nothing is left behind; no cluster is started."""

from __future__ import annotations

import errno
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from bench.files import BuildError
from bench.kinds import Node
from bench.options import ClusterLost, UsageError
from bench.parcel import ParcelError

pytest.importorskip("ray", reason="needs Ray: pip install 'deploybench[ray]'")

import ray
from ray.exceptions import (
    ActorDiedError,
    AuthenticationError,
    GetTimeoutError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectStoreFullError,
    OutOfMemoryError,
    RaySystemError,
    RayTaskError,
    WorkerCrashedError,
)

from bench import cluster
from bench.cluster import Cluster, HostLost, HostTrouble, ProcessDied, Reply

NODE = Node("01" * 28, "10.0.0.1", 4)


def raising(monkeypatch: pytest.MonkeyPatch, exc: Exception) -> None:
    """Whoever waits for something hears this."""

    def get(reference: object, timeout: float | None = None) -> None:
        raise exc

    monkeypatch.setattr(ray, "get", get)


@pytest.mark.parametrize(
    ("exc", "meaning"),
    [
        (ActorDiedError(), ProcessDied),
        (WorkerCrashedError(), ProcessDied),
        (OutOfMemoryError("the node was low on memory"), ProcessDied),
        (NodeDiedError("its node is dead"), HostLost),
        (ObjectStoreFullError("full"), HostTrouble),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_what_ray_says_of_a_machine_is_told(
    exc: Exception, meaning: type[HostLost], inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the process that was asked, or of whom that one asked."""
    raising(monkeypatch, RayTaskError("f", "traceback", exc, ip="") if inside else exc)
    with pytest.raises(HostLost) as caught:
        Reply(None).get()
    assert type(caught.value) is meaning
    assert str(caught.value) in str(exc)


def test_what_is_ray_s_own_trouble_is_not_a_machine_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the run, as it did."""
    raising(monkeypatch, RaySystemError("made up"))
    with pytest.raises(RaySystemError):
        Reply(None).get()


@pytest.mark.parametrize(
    ("exc", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (FileNotFoundError(2, "No such file", "/root/x/model.onnx"), "No such file (model.onnx)"),
        (ParcelError("model.onnx arrived damaged"), "model.onnx arrived damaged"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_a_machine_s_own_trouble_says_whose_it_is(
    exc: Exception, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its folders; the process that drives gets it as it was told."""
    here = SimpleNamespace(get_node_id=lambda: NODE.id)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: here)

    def fail() -> None:
        raise exc

    with pytest.raises(HostTrouble) as caught:
        cluster._done(fail, ())
    assert (str(caught.value), caught.value.node_id) == (text, NODE.id)
    raising(monkeypatch, RayTaskError("f", "traceback", caught.value, ip=""))
    with pytest.raises(HostTrouble) as heard:
        Reply(None).get()
    assert heard.value is caught.value


NOT_IMPORTED = (
    "The remote function failed to import on the worker. This may be because needed library "
    "dependencies are not installed in the worker environment or cannot be found from sys.path "
    "['/usr/lib/python3']:\n\nTraceback (most recent call last):\n"
    "ModuleNotFoundError: No module named 'bench'\n"
)


@pytest.mark.parametrize(
    ("exc", "why"),
    [
        (RuntimeError(NOT_IMPORTED), "ModuleNotFoundError: No module named 'bench'"),
        (RaySystemError(AttributeError("no attribute 'peak'")), "no attribute 'peak'"),
    ],
)
def test_a_machine_without_this_project_says_so(
    exc: Exception, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or with another one; what to do about it stands in one sentence."""
    raising(monkeypatch, RayTaskError("f", "traceback", exc, ip=""))
    with pytest.raises(HostLost) as caught:
        Reply(None).get()
    told = str(caught.value)
    assert told.startswith(f"this project can't be imported there ({why}): install the same")
    assert "\n" not in told


@pytest.mark.parametrize("exc", [UsageError("--data: no images"), BuildError("it ended")])
def test_what_we_say_ourselves_is_told_as_it_is(
    exc: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the traceback of the machine that said it."""
    raising(monkeypatch, RayTaskError("f", "traceback", exc, ip=""))
    with pytest.raises(type(exc)) as caught:
        Reply(None).get()
    assert caught.value is exc


def test_any_other_error_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours on a machine ends the run, and is not the machine's."""

    def fail() -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        cluster._done(fail, ())
    raising(monkeypatch, RayTaskError("f", "traceback", KeyError("ours"), ip=""))
    with pytest.raises(KeyError):
        Reply(None).get()
    raising(monkeypatch, RayTaskError("f", "traceback", RuntimeError("ours"), ip=""))
    with pytest.raises(RuntimeError):
        Reply(None).get()


@pytest.mark.parametrize(
    "exc",
    [
        RaySystemError("Broken pipe\nat a place"),
        LocalRayletDiedError(),
        AuthenticationError("another token"),
        ConnectionError("Client is shutting down."),
    ],
)
def test_a_cluster_that_is_gone_is_told_in_a_sentence(
    exc: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do; it is nobody's bad argument."""
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setattr(ray, "init", lambda **_: None)
    with pytest.raises(ClusterLost) as caught, cluster.connected("auto"):
        raise exc
    told = str(caught.value)
    assert told.startswith("--ray auto: the cluster is gone (")
    assert told.endswith("start the cluster again, and the same command goes on")
    assert "\n" not in told


def test_what_a_function_has_raised_does_not_mean_that_the_cluster_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though it may be an error of the same name."""
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setattr(ray, "init", lambda **_: None)
    raised = RayTaskError("f", "traceback", ConnectionError("made up"), ip="")
    with pytest.raises(ConnectionError), cluster.connected("auto"):
        raise raised.as_instanceof_cause()


# --- who is alive


class Task:
    """Something remote, which counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0

    def options(self, **_: object) -> Task:
        """As it is."""
        return self

    def remote(self, *_: object) -> object:
        """One more."""
        self.begun += 1
        return SimpleNamespace(number=self.begun)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the nodes that Ray believes to be alive."""
    ids = [NODE.id]

    def nodes() -> list[dict[str, Any]]:
        return [
            {
                "Alive": True,
                "NodeID": one,
                "NodeManagerAddress": "10.0.0.1",
                "Resources": {"CPU": 1},
            }
            for one in ids
        ]

    monkeypatch.setattr(ray, "nodes", nodes)
    monkeypatch.setattr(cluster, "_run", Task())
    return ids


def test_a_node_that_answers_is_alive(listed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not listed any more is not asked."""
    monkeypatch.setattr(ray, "get", lambda reference, timeout: 1)
    assert Cluster("").answers(NODE)
    listed.clear()
    assert not Cluster("").answers(NODE)


@pytest.mark.parametrize("exc", [WorkerCrashedError(), NodeDiedError("x"), GetTimeoutError("x")])
def test_a_node_that_does_not_answer_is_lost(
    exc: Exception, listed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even while Ray still lists it."""
    raising(monkeypatch, exc)
    assert listed == [NODE.id]
    assert not Cluster("").answers(NODE)


# --- the end


def test_after_the_end_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was reserved then would stay so."""
    host, run = Task(), Task()
    monkeypatch.setattr(cluster, "_HOST", host)
    monkeypatch.setattr(cluster, "_run", run)
    one = Cluster("")
    one.abandon()
    with pytest.raises(HostLost, match="the run is being ended"):
        one.reserve(NODE)
    with pytest.raises(HostLost, match="the run is being ended"):
        one.on(NODE, 0, id, 1)
    assert (host.begun, run.begun) == (0, 0)


def test_a_machine_that_is_being_reserved_at_the_end_is_freed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever ends waits until it is known."""
    entered, go = threading.Event(), threading.Event()
    killed: list[object] = []

    class Slow(Task):
        def remote(self, *_: object) -> object:
            entered.set()
            assert go.wait(60)
            return super().remote()

    monkeypatch.setattr(cluster, "_HOST", Slow())
    monkeypatch.setattr(ray, "kill", killed.append)
    one = Cluster("")
    kept: list[object] = []
    reserving = threading.Thread(target=lambda: kept.append(one.reserve(NODE)))
    reserving.start()
    assert entered.wait(60)
    ending = threading.Thread(target=one.abandon)
    ending.start()
    # Who does not wait for the other one is done by then.
    ending.join(0.5)
    go.set()
    reserving.join(60)
    ending.join(60)
    assert len(kept) == 1
    assert len(killed) == 1


def test_what_is_begun_meanwhile_does_not_disturb_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that ask for machines while all is ended: each is freed or was refused."""
    host = Task()
    killed: list[object] = []
    monkeypatch.setattr(cluster, "_HOST", host)
    monkeypatch.setattr(ray, "kill", killed.append)
    one = Cluster("")
    kept: list[list[object]] = [[] for _ in range(8)]
    begun = threading.Barrier(9)

    def ask(own: list[object]) -> None:
        begun.wait(60)
        try:
            while len(own) < 100_000:
                own.append(one.reserve(NODE))
        except HostLost:
            return

    threads = [threading.Thread(target=ask, args=(own,)) for own in kept]
    for thread in threads:
        thread.start()
    begun.wait(60)
    one.abandon()
    for thread in threads:
        thread.join(60)
    assert len(killed) == host.begun == sum(map(len, kept))
