"""A bundle: the folder that ``bench.ship`` writes and ``bench.verify`` doubts; its files.

``model.json`` is what its ``predict.py`` reads, ``provenance.json`` how the model came to be,
``measured.jsonl`` the raw blocks of its row, as a record file has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.case import Case
from bench.options import UsageError
from bench.record import Run, read_run
from export.artifact import Artifact, Store, key_of

SCHEMA = 1
MODEL = "model.json"
PROVENANCE = "provenance.json"
MEASURED = "measured.jsonl"
SUMS = "SHA256SUMS"
README = "README.md"
FILES = "model"
"""The folder of the model's own files, which keep their names: an .onnx names its data."""
SELFTEST = "selftest"
ANSWERS = f"{SELFTEST}/answers.npy"
MOBILE = "mobile"


@dataclass(frozen=True)
class Tolerance:
    """How far answers may be from the stored ones, as parity has it; ``None``: no such limit."""

    max_error: float | None
    min_cosine: float | None


@dataclass(frozen=True)
class Model:
    """What ``predict.py`` has to know. ``file`` is relative to the bundle.

    ``environment`` are variables that the measured process was started with. Shapes are
    (batch, *what an image becomes) and (batch, classes). ``probabilities``: the outputs are
    some already, as of a model that ends in a softmax. ``tolerance`` is for any machine,
    ``tolerance_when_packed`` for the one on which the stored answers were given.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    case: str
    runtime: str
    file: str
    format: str
    precision: str
    computed_in: str
    threads: int
    input_shape: tuple[int, int, int, int]
    output_shape: tuple[int, int]
    probabilities: bool
    preprocess: Mapping[str, Any]
    classes: tuple[str, ...]
    placeholder_names: bool
    environment: Mapping[str, str]
    fixes: Mapping[str, str]
    tolerance: Tolerance
    tolerance_when_packed: Tolerance


@dataclass(frozen=True)
class Link:
    """One artifact of the chain; its key ends in the hash of ``provenance``.

    ``sha256`` is empty where its files were no longer in the store: what is known of it
    then is its key alone.
    """

    key: str
    recipe: str = ""
    format: str = ""
    size_bytes: int = 0
    sha256: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """How the model came to be: its ``chain`` from the weights on, the model last.

    ``reference`` holds the parity images and the answers to them of the fp32 torch
    module, or of the given file as it was.
    ``usual_canary_s`` is that of the whole run, by which the row's verdict was reached.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    schema: int
    case: Case
    artifact: Artifact
    chain: tuple[Link, ...]
    reference: Link
    usual_canary_s: float | None = None


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read; its files may still be others than it says."""

    folder: Path
    model: Model
    provenance: Provenance
    run: Run


MODEL_JSON = TypeAdapter(Model)
PROVENANCE_JSON = TypeAdapter(Provenance)


def is_bundle(folder: Path) -> bool:
    """Whether a folder looks like one of ours."""
    return (folder / PROVENANCE).is_file() and (folder / SUMS).is_file()


def read(folder: Path) -> Bundle:
    """Raises :class:`UsageError` for a folder that is no whole bundle of this version."""
    try:
        model = MODEL_JSON.validate_json((folder / MODEL).read_bytes())
        provenance = PROVENANCE_JSON.validate_json((folder / PROVENANCE).read_bytes())
    except OSError as exc:
        raise UsageError(f"{folder} is no whole bundle: {exc.filename}: {exc.strerror}") from exc
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, error["loc"]))
        raise UsageError(f"{folder} is no bundle of this version: {place}: {error['msg']}") from exc
    if provenance.schema != SCHEMA:
        raise UsageError(
            f"{folder} has schema {provenance.schema}, this version reads {SCHEMA}: check it with "
            "the version that wrote it"
        )
    return Bundle(folder, model, provenance, read_run(folder / MEASURED))


def read_answers(folder: Path) -> NDArray[np.floating]:
    """What the self-test stores, (images, classes); raises :class:`UsageError` and ``OSError``."""
    path = folder / ANSWERS
    try:
        # Mapped at first: for what a header claims no room is made, it is held against the file.
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ArithmeticError, EOFError, MemoryError, ValueError) as exc:
        raise UsageError(f"{path} holds no answers: {exc}") from exc
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind != "f":
        raise UsageError(f"{path} holds no answers: they are numbers, (images, classes)")
    return np.array(found)


def chain_of(artifact: Artifact, store: Store) -> tuple[Link, ...]:
    """The artifacts that ``artifact`` was made from, in order, itself last."""
    links = [link_of(artifact)]
    source = artifact.provenance.get("source")
    while isinstance(source, str):
        found = store.find(source)
        links.append(link_of(found) if found else Link(source))
        source = found.provenance.get("source") if found else None
    return tuple(reversed(links))


def reference_of(artifact: Artifact, store: Store) -> Link:
    """What holds the parity images of ``artifact``, and the answers to them."""
    key = Path(artifact.reference).name
    found = store.find(key)
    return link_of(found) if found else Link(key)


def link_of(artifact: Artifact) -> Link:
    """What of an artifact stands in a chain."""
    return Link(
        artifact.key,
        artifact.recipe,
        artifact.format,
        artifact.size_bytes,
        artifact.sha256,
        artifact.provenance,
    )


def follows(link: Link) -> bool:
    """Whether a key is the one that its provenance makes."""
    return link.key.rpartition(".")[2] == key_of(link.provenance)


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` over every other file, as ``sha256sum -c`` reads it."""
    lines = [f"{sha256(folder / name)}  {name}\n" for name in names(folder)]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str]:
    """Name -> hash; raises :class:`UsageError` for lines that are none, or lead out of it."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as exc:
        raise UsageError(f"{folder / SUMS} is no text: {exc}") from exc
    found = {}
    for number, line in enumerate(lines, 1):
        digest, gap, name = line.partition("  ")
        inside = not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        if len(digest) != 64 or not gap or not inside:
            raise UsageError(f"{folder / SUMS} line {number}: no hash and name of a file inside")
        found[name] = digest
    return found


def names(folder: Path) -> list[str]:
    """Every file of a bundle but the sums, with forward slashes; what Python caches as well."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = [path.relative_to(folder).as_posix() for path in files]
    return [name for name in found if name != SUMS]


def sha256(path: Path) -> str:
    """Of one file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
