"""A Ray cluster: the one module that imports Ray. Where things run is Ray's to decide and do.

Everything that a machine does is a function of ``bench.on_host``; this module only has it run.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import ray
from ray._private import ray_constants
from ray._raylet import Config  # type: ignore[attr-defined]
from ray.exceptions import (
    ActorUnschedulableError,
    AuthenticationError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RaySystemError,
    RayTaskError,
    RpcError,
    TaskCancelledError,
    TaskUnschedulableError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bench.files import BuildError
from bench.kinds import KIND_RESOURCE, Node
from bench.options import ClusterLost, UsageError
from bench.parcel import ParcelError

LOCAL = "local"
LOOPBACK = "127.0.0.1"
_ANSWER_S = 5.0
_ALIVE_S = 60.0
"""A node that is there starts a process for a question within this time."""
_OTHER_VERSIONS = "Version mismatch"
"""How Ray begins what it says of them."""
_NOT_IMPORTED = "failed to import on the worker"
"""What Ray says in the place of a function that it could not unpickle (2.60)."""
_LOST = (
    ActorUnschedulableError,
    NodeDiedError,
    ObjectLostError,
    TaskCancelledError,
    TaskUnschedulableError,
)
_DIED = (OutOfMemoryError, RayActorError, WorkerCrashedError)
"""Of a process; Ray says the same, at first, where its node is gone."""
_FULL = (ObjectStoreFullError, OutOfDiskError)
_GONE = (AuthenticationError, ConnectionError, LocalRayletDiedError, RaySystemError, RpcError)
"""What the driver hears once the head is gone; a client hears the second one."""
T = TypeVar("T")


class HostLost(Exception):
    """A machine does not do what it was asked to; the text says why, in its own or Ray's words."""


class ProcessDied(HostLost):
    """The process that was asked is gone; :meth:`Cluster.answers` tells whether its node is."""


class HostTrouble(HostLost):
    """A machine says that it can't: its disk is full, say. ``node_id`` is empty if Ray says so."""

    def __init__(self, text: str, node_id: str = "") -> None:
        super().__init__(text, node_id)
        self.node_id = node_id

    def __str__(self) -> str:
        return str(self.args[0])


_OURS = (BuildError, HostLost, UsageError)
"""What a function of ours raises, to be told as it is."""


def fetch(reference: Any) -> Any:
    """What a reference stands for, on whichever machine this runs."""
    return ray.get(reference)


class Reply(Generic[T]):
    """What a function that runs elsewhere will return."""

    def __init__(self, reference: Any) -> None:
        self.reference = reference

    def get(self) -> T:
        """Wait for it. Raises :class:`HostLost`, and what the function raised."""
        try:
            value: T = ray.get(self.reference)
        except RayTaskError as exc:
            # Ray's own copy of the cause says its whole traceback, where ours says a sentence.
            own = exc.cause if isinstance(exc.cause, _OURS) else None
            lost = own or _lost(exc.cause) or _unlike(exc.cause)
            cause: Exception = lost or exc.as_instanceof_cause()  # type: ignore[no-untyped-call]
            raise cause from exc
        except RayError as exc:
            if (lost := _lost(exc)) is None:
                raise
            raise lost from exc
        return value


_MEANINGS: tuple[tuple[tuple[type[RayError], ...], Callable[[str], HostLost]], ...] = (
    (_DIED, ProcessDied),
    (_FULL, HostTrouble),
    (_LOST, HostLost),
)


def _lost(exc: BaseException) -> HostLost | None:
    """What Ray's own error says of a machine; ``None``: nothing."""
    for kinds, meaning in _MEANINGS:
        if isinstance(exc, kinds):
            return meaning(_sentence(exc))
    return None


def _unlike(exc: BaseException) -> HostLost | None:
    """What Ray says where this project is missing or another one; ``None``: something else.

    A function that can't be imported is replaced by one that raises ``RuntimeError``; arguments
    that name what is not there are a trouble of Ray's own.
    """
    missing = isinstance(exc, RuntimeError) and _NOT_IMPORTED in str(exc)
    if isinstance(exc, RaySystemError):
        missing = isinstance(exc.client_exc, ImportError | AttributeError)
        exc = exc.client_exc if missing else exc
    if not missing:
        return None
    lines = str(exc).strip().splitlines() or [type(exc).__name__]
    return HostLost(
        f"this project can't be imported there ({lines[-1]}): install the same deploybench on it "
        "(pip install -c constraints.txt), for the Python that Ray runs in"
    )


class Reserved:
    """A machine of which nobody else gets a core until it is freed."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def call(self, function: Callable[..., T], *arguments: object) -> Reply[T]:
        """Have a function run there, after those that were asked before."""
        return Reply(self._actor.call.remote(function, arguments))

    def free(self) -> None:
        """Give all cores back."""
        with contextlib.suppress(RayError, ConnectionError):
            ray.kill(self._actor)


class Cluster:
    """A cluster that this process drives. ``dashboard`` is the address of Ray's own page.

    Threads may share it; after ``abandon`` whoever asks for something gets :class:`HostLost`.
    """

    def __init__(self, dashboard: str) -> None:
        self.dashboard = dashboard
        self._pending: weakref.WeakSet[Reply[Any]] = weakref.WeakSet()
        self._reserved: weakref.WeakSet[Reserved] = weakref.WeakSet()
        self._abandoned = False
        self._lock = threading.Lock()
        """Held while something is begun: all of that is known, or it is not begun any more."""

    def nodes(self) -> tuple[Node, ...]:
        """Those that are alive and have a CPU, in the order of their addresses."""
        alive = (row for row in ray.nodes() if row["Alive"])  # type: ignore[no-untyped-call]
        found = (_node(row) for row in alive if row["Resources"].get("CPU", 0) >= 1)
        return tuple(sorted(found, key=lambda node: (node.address, node.id)))

    def answers(self, node: Node) -> bool:
        """Whether a node is alive, which it has to show: Ray learns late that one is gone."""
        if node.id not in {alive.id for alive in self.nodes()}:
            return False
        try:
            ray.get(self.on(node, 0, os.getpid).reference, timeout=_ALIVE_S)
        except (HostLost, RayError):
            return False
        return True

    def on(self, node: Node, cpus: int, function: Callable[..., T], *arguments: object) -> Reply[T]:
        """Have a function run on one node, on so many of its CPUs once they are free."""
        task = _run.options(num_cpus=cpus, scheduling_strategy=_pinned(node))
        return self._begun(task, function, arguments)

    def on_and_tell(
        self, node: Node, cpus: int, function: Callable[..., T], *arguments: object
    ) -> Reply[tuple[str, T]]:
        """As ``on``, with the answer of ``anywhere``."""
        task = _run_and_tell.options(
            num_cpus=cpus, scheduling_strategy=_pinned(node), max_retries=0
        )
        return self._begun(task, function, arguments)

    def anywhere(
        self, cpus: int, function: Callable[..., T], *arguments: object
    ) -> Reply[tuple[str, T]]:
        """Have a function run on whichever node Ray chooses; the answer names the node.

        Should that node die, Ray chooses another one.
        """
        task = _run_and_tell.options(num_cpus=cpus, scheduling_strategy="SPREAD")
        return self._begun(task, function, arguments)

    def reserve(self, node: Node) -> Reserved:
        """All CPUs of a node, once nobody uses any."""
        actor = _HOST.options(num_cpus=node.cpus, scheduling_strategy=_pinned(node))
        with self._lock:
            self._check_wanted()
            reserved = Reserved(actor.remote())
            self._reserved.add(reserved)
        return reserved

    def _begun(
        self, task: Any, function: Callable[..., Any], arguments: tuple[object, ...]
    ) -> Reply[Any]:
        with self._lock:
            self._check_wanted()
            reply: Reply[Any] = Reply(task.remote(function, arguments))
            self._pending.add(reply)
        return reply

    def _check_wanted(self) -> None:
        if self._abandoned:
            raise HostLost("the run is being ended")

    def first(self, replies: Iterable[Reply[T]]) -> Reply[T]:
        """Wait for one of these: the first that is there, or will never be."""
        by_reference = {reply.reference: reply for reply in replies}
        (reference, *_), _ = ray.wait(list(by_reference), num_returns=1)
        return by_reference[reference]

    def wait(self, replies: Sequence[Reply[Any]]) -> None:
        """Wait until all of these are there, or will never be; they stay where they are."""
        references = [reply.reference for reply in replies]
        ray.wait(references, num_returns=len(references), fetch_local=False)

    def keep(self, value: object) -> Any:
        """A reference to a value of this process, which other machines can fetch."""
        return ray.put(value)

    def abandon(self) -> None:
        """Ends whatever runs for this process, so that who waits for it hears so at once.

        Nothing is begun any more: what came later would hold a machine that nobody frees.
        """
        with self._lock:
            self._abandoned = True
            begun, pending = tuple(self._reserved), tuple(self._pending)
        for reserved in begun:
            reserved.free()
        for reply in pending:
            with contextlib.suppress(RayError, ConnectionError, TypeError):
                ray.cancel(reply.reference, force=True)


@contextlib.contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """The cluster at ``address``, or ``"local"``: one of this machine alone, for this run.

    Raises :class:`UsageError` where there is none, and :class:`ClusterLost` where Ray itself says
    that it is gone.
    """
    _check_answers(address)
    # Read by raylets that are started here: what is measured is no background work.
    os.environ.setdefault("RAY_worker_niceness", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    alone = contextlib.ExitStack()
    try:
        if address == LOCAL:
            alone.enter_context(on_the_loopback())
            # Ray asks for a token by default, and would leave it in the home folder for ever.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            context = ray.init(
                _node_ip_address=LOOPBACK, dashboard_host=LOOPBACK, address="local", **quiet
            )
        else:
            context = ray.init(address=address, **quiet)
    except (ConnectionError, RayError, RuntimeError, ValueError, TimeoutError) as exc:
        alone.close()
        raise UsageError(f"--ray {address}: {_refusal(exc)}") from exc
    try:
        yield Cluster(_dashboard(context))
    except _GONE as exc:
        if isinstance(exc, RayTaskError):
            raise  # what a function of ours has raised on a machine
        raise ClusterLost(
            f"--ray {address}: the cluster is gone ({_sentence(exc)}); what was measured is kept: "
            "start the cluster again, and the same command goes on"
        ) from exc
    finally:
        ray.shutdown()
        alone.close()


@contextlib.contextmanager
def on_the_loopback() -> Iterator[None]:
    """Have what Ray starts listen on 127.0.0.1 alone, as it does by itself on other systems.

    On Linux it takes another address where it is told that one, and listens on all of them (Ray
    2.60, ``services.resolve_ip_for_localhost``). Its variable is read when Ray is imported.
    """
    with contextlib.ExitStack() as undone:
        for where, name, value in (
            (os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"),
            (vars(ray_constants), "ENABLE_RAY_CLUSTER", False),
        ):
            undone.callback(_put, where, name, where.get(name))
            _put(where, name, value)
        yield


def ask_for_a_token() -> None:
    """Have a cluster that is started here without ``ray start`` let in nobody without its token.

    That is made here, for this process and its children. Ray reads the mode when it is imported.
    """
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    Config.initialize("")


def _put(where: MutableMapping[str, Any], name: str, value: object) -> None:
    if value is None:
        where.pop(name, None)
    else:
        where[name] = value


def _refusal(exc: Exception) -> str:
    """Why there is no connection, and what to do about it."""
    if _OTHER_VERSIONS in str(exc):
        # Both versions stand in the lines after the first.
        said = " ".join(str(exc).split())
        return (
            f"the cluster has another Ray or Python ({said}): install the same on all machines "
            "(the same Python, pip install -c constraints.txt) and start the cluster again"
        )
    return (
        f"no cluster lets this machine in there ({_sentence(exc)}); start one with ray start "
        "--head, or use --ray local; one that asks for a token needs RAY_AUTH_MODE=token here, "
        "too, and its own token (~/.ray/auth_token, RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH)"
    )


def _check_answers(address: str) -> None:
    """Ray itself tries for two minutes to reach who does not answer."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), _ANSWER_S).close()
    except OSError as exc:
        raise UsageError(
            f"--ray {address}: no cluster answers there ({exc.strerror or exc}); start one with "
            "ray start --head, or use --ray local"
        ) from exc


def _dashboard(context: Any) -> str:
    url = getattr(context, "dashboard_url", "") or ""
    return f"http://{url}" if url and "://" not in url else url


def _node(row: dict[str, Any]) -> Node:
    labels = [name for name in row["Resources"] if name.startswith(KIND_RESOURCE)]
    return Node(
        id=row["NodeID"],
        address=row["NodeManagerAddress"],
        cpus=int(row["Resources"]["CPU"]),
        label=labels[0].removeprefix(KIND_RESOURCE) if labels else "",
    )


def _pinned(node: Node) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def _sentence(exc: BaseException) -> str:
    """The first line of what Ray says; the rest is for its own developers."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[0] if lines else type(exc).__name__


def _done(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What a function returns on this machine, whose own trouble is told as that."""
    try:
        return function(*arguments)
    except (MemoryError, OSError, ParcelError) as exc:
        raise HostTrouble(_trouble(exc), ray.get_runtime_context().get_node_id()) from exc


def _trouble(exc: BaseException) -> str:
    """What went wrong, without the folders of the machine: it is written down."""
    if isinstance(exc, OSError) and exc.strerror:
        file = f" ({Path(str(exc.filename)).name})" if exc.filename else ""
        return f"{exc.strerror}{file}"
    return str(exc) or type(exc).__name__


@ray.remote(max_retries=0)
def _run(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return _done(function, arguments)


@ray.remote
def _run_and_tell(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    return ray.get_runtime_context().get_node_id(), _done(function, arguments)


class _HoldingAll:
    """A process that holds all of a machine's CPUs: what it calls starts children, as ever."""

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return _done(function, arguments)


_HOST: Any = ray.remote(max_restarts=0)(_HoldingAll)
