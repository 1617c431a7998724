"""Artifact: one model file (or folder) and how it came to be; and the store.

The store is content-addressed: an artifact's key covers the whole chain that
made it (weights, the source of each step, its options, the calibration set,
library versions), so an existing folder of that name never needs rebuilding.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import TypeAdapter

RECORD = "artifact.json"


@dataclass(frozen=True)
class LayerWork:
    """What one layer of a network costs for one image, counted from its graph.

    ``weight_bytes`` are its weights and bias as the file stores them;
    ``activation_bytes`` its input and output, in INT8 where they are passed on
    quantised. ``name`` is the node's. ``precision`` is that of its operands:
    INT8 where both are, and what the file leaves a runtime to compute in otherwise.
    """

    name: str
    macs: int
    weight_bytes: int
    activation_bytes: int
    precision: str = "fp32"


@dataclass(frozen=True)
class Artifact:
    """One model file, with what is known about it.

    ``file`` is the name of the entry file inside ``folder``; ``size_bytes``
    covers all files that have to be shipped (external data, .bin).
    ``parameters`` counts weights and biases as stored in the file;
    ``nonzero_parameters`` leaves out zeros of the fp32 parent (pruned ones),
    ``rounded_to_zero`` counts further zeros that only quantisation made.
    ``macs`` are multiply-accumulates for one image, ``layers`` those and the
    bytes by layer. ``fixes`` says what the
    file cannot do without, for instance ``{"instruction_set": "avx512_vnni"}``;
    it is empty for a plain .onnx. ``facts`` holds what a step has to say about
    its result, ``provenance`` what the key is a hash of. ``build_s`` and
    ``build_peak_bytes`` are about the last step. ``preprocess`` is the JSON of the
    ``export.images.Preprocess`` by which its weights take an image.
    """

    # What pydantic's ConfigDict is: importing pydantic would make up a third of the time that a
    # measuring child takes to start.
    __pydantic_config__ = {"extra": "forbid", "ser_json_inf_nan": "constants"}  # noqa: RUF012

    key: str
    variant: str
    weights: str
    recipe: str
    format: str
    folder: str
    file: str
    size_bytes: int
    sha256: str
    parameters: int
    nonzero_parameters: int
    rounded_to_zero: int
    macs: int
    input_size: tuple[int, int]
    class_names: tuple[str, ...]
    placeholder_names: bool
    reference: str
    build_s: float = 0.0
    build_peak_bytes: int = 0
    layers: tuple[LayerWork, ...] = ()
    fixes: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    preprocess: str = ""

    @property
    def path(self) -> Path:
        """Where the entry file stands."""
        return Path(self.folder) / self.file

    @property
    def assumed_names(self) -> bool:
        """Whether its class names are those of some folders, which somebody said are its own."""
        return bool(self.facts.get("assumed_names"))

    @property
    def learnt_size(self) -> tuple[int, int] | None:
        """Height and width that its weights were trained at; ``None``: nobody said."""
        said = self.facts.get("learnt_size")
        return (said[0], said[1]) if said else None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of one prepared image: (3, height, width) unless the file takes them otherwise."""
        return tuple(self.facts.get("image_shape", (3, *self.input_size)))

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Artifact:
        """What ``artifact_adapter().dump_python(..., mode="json")`` gave, unchecked.

        For a child that takes it from the process that started it.
        """
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        layers = tuple(LayerWork(**layer) for layer in values.get("layers", ()))
        return cls(**{**values, **lists, "layers": layers})


@functools.cache
def artifact_adapter() -> TypeAdapter[Artifact]:
    """Reads, checks and writes artifacts."""
    from pydantic import TypeAdapter

    return TypeAdapter(Artifact)


class Store:
    """Artifacts in a folder, by key. Safe for two processes at once.

    An artifact is written into ``<root>/tmp`` and its whole folder is renamed
    to ``<root>/<key>``: a half-written one is never taken for a whole one, and
    no file inside is renamed (an .onnx names its data file).
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, key: str) -> Path:
        """Where the artifact of ``key`` stands or will stand."""
        return self.root / key

    def find(self, key: str) -> Artifact | None:
        """The artifact of ``key`` if it is there and whole."""
        from pydantic import ValidationError

        folder = self.folder(key)
        try:
            text = (folder / RECORD).read_bytes()
            artifact = artifact_adapter().validate_json(text)
        except (FileNotFoundError, ValidationError):
            # Not there, or written by another version of this class: to be built again.
            return None
        located = replace(
            artifact, folder=str(folder), reference=str(self.folder(artifact.reference))
        )
        return located if folder_bytes(folder) == located.size_bytes else None

    @contextlib.contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        """A scratch folder that becomes the folder of ``key`` if the block ends well."""
        # Not tempfile's: its folders are private, and a store may be shared.
        work = self.root / "tmp" / f"{key}.{os.getpid()}.{secrets.token_hex(4)}"
        work.mkdir(parents=True)
        try:
            yield work
            self._settle(work, self.folder(key))
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _settle(self, work: Path, final: Path) -> None:
        """Rename into place; what stands there and is no whole artifact gives way."""
        if final.exists() and self.find(final.name) is None:
            shutil.rmtree(final)
        try:
            work.rename(final)
        except OSError:
            # Another process put the same artifact there just now: take that one.
            if self.find(final.name) is None:
                raise

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Let one process at a time build what ``name`` stands for."""
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def write_record(folder: Path, artifact: Artifact) -> None:
    """Put ``artifact`` beside its files. Paths are not stored: a store can be moved."""
    stored = replace(artifact, folder="", reference=Path(artifact.reference).name)
    (folder / RECORD).write_bytes(artifact_adapter().dump_json(stored, indent=1))


def folder_bytes(folder: Path) -> int:
    """Bytes of all model files in ``folder``, the record not counted."""
    return sum(file.stat().st_size for file in model_files(folder))


def model_files(folder: Path) -> list[Path]:
    """All that has to be shipped of an artifact: every file in ``folder`` but the record."""
    return [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != RECORD]


def folder_sha256(folder: Path) -> str:
    """One hash over the names and contents of all model files in ``folder``."""
    whole = hashlib.sha256()
    for file in model_files(folder):
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{file.relative_to(folder)}\0{digest}\n".encode())
    return whole.hexdigest()


def key_of(facts: Mapping[str, object]) -> str:
    """A short hash of ``facts``, which must be JSON."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def default_store() -> Path:
    """The user's cache folder (``XDG_CACHE_HOME``), unless ``--store`` says otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "deploybench"
