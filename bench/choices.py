"""Choice files: how ``bench.search`` found each variant is best quantised; bench.run builds so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.options import UsageError
from bench.text import difference_text
from bench.turned import Turned
from export.build import Int8


@dataclass(frozen=True)
class Score:
    """How many of the same images the fp32 file and an INT8 file name rightly.

    ``lost`` of them only the fp32 file does, ``gained`` only the other.
    """

    images: int
    fp32: int
    int8: int
    lost: int
    gained: int

    @property
    def drop(self) -> float:
        """Of the accuracy, in percentage points; negative where INT8 is better."""
        return 100 * (self.fp32 - self.int8) / self.images

    @property
    def turned(self) -> Turned:
        """The two as the tables compare a row with its parent."""
        return Turned(self.images, self.lost, self.gained)

    def __str__(self) -> str:
        accuracy = f"{self.int8 / self.images:.2%} of {self.images} right"
        return f"{accuracy}, {difference_text(self.turned.difference, 100)} points against fp32"


@dataclass(frozen=True)
class Blamed:
    """A layer and its harm: 1 - centred cosine of the outputs when it alone is in INT8.

    ``name`` is that of its node in the prepared graph, ``layer`` what its weight is called
    (empty in files of before that was kept; ``bench.name_layers`` adds it).
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    error: float
    layer: str = ""

    @property
    def shown(self) -> str:
        """For people: a node's number says nothing to them."""
        return self.layer or self.name


@dataclass(frozen=True)
class Made:
    """Where a search was begun, and by what; as in a run's header."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    started: str
    command: str
    commit: str
    host: Mapping[str, str]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Choice:
    """How one variant with certain weights is quantised, and what that rests on.

    ``val`` decided; ``test`` was looked at afterwards; ``None``: not yet. ``looks`` is how
    often searches with the same log have looked at it by then, this time included (0 in
    files that were written before looks were counted, after one look or more).
    ``max_drop`` is what was asked for, in points, ``met_on_val`` and ``met_on_test`` say
    which part keeps it, ``verdict`` says so in words, with what the parts could tell.
    ``warning`` says why the weights may have learnt the images of ``val``.
    ``blamed`` are the layers that cost most, in the order of their harm: those that had to
    stay in fp32, or, where the limit is not kept even so, the first of the ranking.
    ``plain`` is what every option being the usual one (min-max) came to on ``val``, and
    ``made`` says where it was searched; ``None`` in older files.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    variant: str
    weights: str
    int8: Int8
    data: str
    max_drop: float
    met_on_val: bool = False
    met_on_test: bool | None = None
    val: Score | None = None
    test: Score | None = None
    blamed: tuple[Blamed, ...] = ()
    tried: int = 0
    verdict: str = ""
    warning: str = ""
    finished: bool = False
    looks: int = 0
    plain: Score | None = None
    made: Made | None = None

    @property
    def met(self) -> bool:
        """Whether every part that was asked about keeps the limit."""
        return self.met_on_val and self.met_on_test is not False

    def layer(self, node: str) -> str:
        """What a node in ``int8.keep_fp32`` is called, where that is known."""
        return next((one.shown for one in self.blamed if one.name == node), node)


_CHOICE = TypeAdapter(Choice)


def path_of(folder: Path, variant: str, weights: str) -> Path:
    """Where the choice for a variant with weights of that name stands."""
    return folder / f"{variant}@{weights}.json"


def write(folder: Path, choice: Choice) -> None:
    """Put it in its place at once: a reader never sees half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, choice.variant, choice.weights)
    draft = path.with_suffix(".part")
    draft.write_bytes(_CHOICE.dump_json(choice, indent=2) + b"\n")
    draft.replace(path)


def read(path: Path) -> Choice:
    """One choice; a file that is none, or has a key too many, is a :class:`UsageError`."""
    try:
        return _CHOICE.validate_json(path.read_bytes())
    except OSError as exc:
        raise UsageError(f"--int8-choice: {path} can't be read: {exc.strerror}") from exc
    except ValidationError as exc:
        error = exc.errors()[0]
        place = ".".join(map(str, error["loc"])) or "it"
        raise UsageError(
            f"--int8-choice: {path} is no choice of python -m bench.search: {place}: {error['msg']}"
        ) from exc


def chosen(folder: Path, weights: Mapping[str, str]) -> Mapping[str, Choice]:
    """Variant -> how it is quantised and why so, of those in ``weights`` (to the weights' names).

    A variant without a choice for just these weights is left out; if all are, it is a
    :class:`UsageError`.
    """
    paths = {variant: path_of(folder, variant, name) for variant, name in weights.items()}
    found = {variant: read(path) for variant, path in paths.items() if path.exists()}
    if not found:
        wanted = ", ".join(path.name for path in paths.values())
        others = ", ".join(path.name for path in sorted(folder.glob("*@*.json"))) or "nothing"
        raise UsageError(
            f"--int8-choice {folder} has no choice for these variants and weights ({wanted}), but "
            f"{others}; make one by python -m bench.search --out {folder}"
        )
    return found
