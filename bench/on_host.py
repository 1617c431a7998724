"""What a machine of a fleet does for the process that drives it: these functions run there.

Nothing here knows how they are reached (``bench.cluster`` does). Each does what ``bench.run`` does
on its own machine, through the same modules; what it is given by path it has been sent before.
"""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from bench import block, blocks, files, header, host, labelled, parcel, peaks
from bench.block import Effort
from bench.case import Case
from bench.files import FileKey, Files
from bench.labelled import Question
from bench.options import Options, UsageError
from bench.parcel import Fetch, Parcel
from bench.record import Answers, Measurement, Peaks
from export import build as export_build
from export.artifact import Artifact, default_store
from export.build import Int8
from export.images import ImageFolder
from export.variants import register

_STORE_ID = "fleet-id"
_PEAK_SECONDS = 0.3
_MORE = (
    "torch",
    "scipy",
    "pydantic",
    "Pillow",
    "ray",
    "onnxslim",
    "onnx-ir",
    "safetensors",
    "scikit-learn",
)
"""Compared beside what a run's header has: they build files, prepare images or carry all this."""
_MACHINE_ID = Path("/etc/machine-id")


@dataclass(frozen=True)
class Described:
    """What a machine says of itself.

    ``machine`` tells machines apart and means nothing else; ``store`` is where it keeps files,
    and ``store_id`` is the same on all machines that see the same folder there. ``niceness``
    is that of the processes that start children. ``versions`` are of what is installed,
    ``code`` is a hash of this project's.
    """

    facts: Mapping[str, str]
    cores: int
    instruction_sets: str
    machine: str
    store: str
    store_id: str
    niceness: int
    versions: Mapping[str, str]
    code: str


def describe(store: str) -> Described:
    """This machine; ``store`` is the driver's, which is used where it can be seen."""
    place = store_here(store)
    return Described(
        facts=dict(host.describe()),
        cores=host.usable_cores(),
        instruction_sets=export_build.instruction_sets(),
        machine=machine(),
        store=str(place.absolute()),
        store_id=store_id(place),
        niceness=os.nice(0),
        versions=versions(),
        code=header.code_of(header.ROOT),
    )


def store_here(store: str) -> Path:
    """Where this machine keeps files: the folder that was named, where it is seen, or its cache."""
    return Path(store) if store and Path(store).is_dir() else default_store().absolute()


def versions() -> Mapping[str, str]:
    """What is installed here and can change a figure or a file, Python included."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {**header.installed(), **host.versions(_MORE), "Python": python}


@functools.cache
def machine() -> str:
    """Eight hex digits that another machine would not have."""
    known = _MACHINE_ID.read_text() if _MACHINE_ID.exists() else ""
    return hashlib.sha256(f"{socket.gethostname()} {known}".encode()).hexdigest()[:8]


def store_id(store: Path) -> str:
    """The same for everybody who sees this folder, another for any other folder."""
    store.mkdir(parents=True, exist_ok=True)
    file = store / _STORE_ID
    aside = store / f".{_STORE_ID}.{os.getpid()}.{secrets.token_hex(4)}"
    aside.write_text(secrets.token_hex(8))
    try:
        # A link fails where the name is taken: of several at once the first one counts.
        os.link(aside, file)
    except FileExistsError:
        pass
    finally:
        aside.unlink()
    return file.read_text()


# --- what is sent


@dataclass(frozen=True)
class Sent:
    """Files of the driver's that a machine needs: by their path, or by references to pieces.

    ``is_folder``: the path is that of their folder, even if there is one file; else that file's.
    """

    path: str
    parcel: Parcel
    is_folder: bool
    pieces: tuple[Any, ...] = ()


def arrived(sent: Sent, store: Path, fetch: Fetch) -> str:
    """Where the files stand on this machine, fetched if they are not there.

    A path that holds the same here (a shared folder) is used as it is.
    """
    if _same_here(sent.path, sent.parcel):
        return sent.path
    target = Path(arrived_apart(sent, store, fetch))
    return str(target if sent.is_folder else target / sent.parcel.parts[0].name)


def arrived_among_others(sent: Sent, store: Path, fetch: Fetch) -> str:
    """As ``arrived``, for files of a folder in which others may stand: nobody looks for those."""
    if _stand_here(sent.path, sent.parcel):
        return sent.path
    return arrived_apart(sent, store, fetch)


def arrived_apart(sent: Sent, store: Path, fetch: Fetch) -> str:
    """As ``arrived``, but never the driver's own path: its folder may have other files."""
    target = store / "sent" / sent.parcel.digest
    if target not in _ARRIVED:
        parcel.unpack(sent.parcel, sent.pieces, fetch, target)
        _ARRIVED.add(target)
    return str(target)


_ARRIVED: set[Path] = set()
"""Targets that this process has seen whole: it need not read gigabytes for every order."""


@functools.cache
def _same_here(path: str, expected: Parcel) -> bool:
    place = Path(path)
    return place.exists() and parcel.packed(place) == expected


@functools.cache
def _stand_here(path: str, expected: Parcel) -> bool:
    return parcel.stands_in(expected, Path(path))


@dataclass(frozen=True)
class Inputs:
    """What the options name by path, to be had on a machine. ``given`` in their order."""

    data: Sent | None = None
    weights: Sent | None = None
    checkpoints: Sent | None = None
    given: tuple[Sent, ...] = ()


def options_here(options: Options, inputs: Inputs, store: Path, fetch: Fetch) -> Options:
    """``options`` with the paths of this machine; models of the user's are known from now on.

    Without checkpoints in ``inputs`` none of the driver's is used: whatever else is at its path
    here was not meant.
    """

    def place(sent: Sent | None, otherwise: str) -> str:
        return arrived(sent, store, fetch) if sent else otherwise

    rows = tuple(
        replace(row, given=replace(row.given, file=str(Path(folder) / Path(row.given.file).name)))
        for row, sent in zip(options.given, inputs.given, strict=True)
        if row.given is not None
        for folder in [arrived_among_others(sent, store, fetch)]
    )
    register(rows)
    own = inputs.checkpoints
    return replace(
        options,
        data=place(inputs.data, options.data),
        weights=place(inputs.weights, options.weights),
        # The driver's folder may have others here, which it has not chosen.
        checkpoints=arrived_apart(own, store, fetch) if own else "",
        given=rows,
        store=store,
    )


# --- building


@dataclass(frozen=True)
class Order:
    """Some files that one machine is asked to build."""

    keys: tuple[FileKey, ...]
    options: Options
    inputs: Inputs
    int8: Mapping[str, Int8] | None = None


@dataclass(frozen=True)
class Made:
    """What came of an order. ``parcels``: name of a folder in the store -> what is in it."""

    files: Files
    parcels: Mapping[str, Parcel] = field(default_factory=dict)


def build(order: Order, store: str, fetch: Fetch) -> Made:
    """Build (or find) the files of an order in this machine's store."""
    options = options_here(order.options, order.inputs, store_here(store), fetch)
    made = files.build_files(order.keys, options, lambda event: None, int8=order.int8)
    reasons = {key: header.without_paths(text, options) for key, text in made.reasons.items()}
    folders = {
        Path(place)
        for artifact in made.artifacts.values()
        for place in (artifact.folder, artifact.reference)
    }
    return Made(
        replace(made, reasons=reasons),
        {folder.name: parcel.packed(folder) for folder in sorted(folders)},
    )


def take(name: str, sent: Parcel, pieces: Sequence[Any], store: str, fetch: Fetch) -> None:
    """Put one folder of the store here, where it is not yet."""
    parcel.unpack(sent, pieces, fetch, store_here(store) / name)


def artifact_here(artifact: Artifact, store: Path) -> Artifact:
    """An artifact with the places that it and its reference have on this machine."""
    return replace(
        artifact,
        folder=str(store / Path(artifact.folder).name),
        reference=str(store / Path(artifact.reference).name),
    )


# --- measuring


def sendable(question: Question) -> Question:
    """A question without the images themselves, which another machine opens by itself."""
    return replace(question, images=replace(question.images, folder=cast(ImageFolder, None)))


def _question_here(question: Question, store: Path, folder: ImageFolder | None = None) -> Question:
    images = replace(question.images, folder=folder or question.images.folder)
    return replace(question, images=images, cache=store / "pixels")


def prepare(questions: Sequence[Question], data: Sent, store: str, fetch: Fetch) -> None:
    """Have the resized images of these questions ready on this machine.

    Raises ``OSError`` where this machine can't keep them, and ``UsageError`` for images that
    nobody can read.
    """
    place = store_here(store)
    folder = ImageFolder.open(Path(arrived(data, place, fetch)))
    asked = [_question_here(one, place, folder) for one in questions]
    try:
        labelled.prepare(asked, lambda text: None)
    except UsageError as exc:
        if isinstance(exc.__cause__, OSError):
            raise exc.__cause__ from exc
        raise


@dataclass(frozen=True)
class Task:
    """One block to measure. ``question`` is a reference to one, ``None``: nothing is asked."""

    case: Case
    number: int
    artifact: Artifact
    effort: Effort
    options: Options
    store: str
    question: Any = None


def measure(task: Task, fetch: Fetch) -> Measurement:
    """One block, as ``bench.run`` measures it on its own machine."""
    store = store_here(task.store)
    options = replace(task.options, store=store)
    artifact = artifact_here(task.artifact, store)
    done = blocks.measure(task.case, task.number, artifact, _effort(task, store, fetch), options)
    return replace(
        done,
        reason=header.without_paths(done.reason, options),
        machine=machine(),
    )


def answer(measured: Measurement, task: Task, fetch: Fetch) -> tuple[Answers | None, str]:
    """What a child says to all labelled images, or why it does not."""
    store = store_here(task.store)
    effort = _effort(task, store, fetch)
    assert effort.question is not None
    bare = replace(measured, reason="")
    artifact = artifact_here(task.artifact, store)
    done = block.with_answers(bare, artifact, effort, effort.question)
    options = replace(task.options, store=store)
    return done.answers, header.without_paths(done.reason, options)


def _effort(task: Task, store: Path, fetch: Fetch) -> Effort:
    """What is asked of a block, with the places and the memory of this machine."""
    question = None if task.question is None else _question_here(fetch(task.question), store)
    return replace(
        task.effort,
        memory_bytes=blocks.memory_limit(task.options),
        logs=store / "logs",
        question=question,
        tied=True,
    )


def peak(threads: int, store: str) -> tuple[Peaks, tuple[str, ...]]:
    """What this machine reaches with so many threads, and what there is to say about it."""
    said: list[str] = []
    found = peaks.measure(threads, _PEAK_SECONDS, store_here(store), said.append)
    return found, tuple(said)
