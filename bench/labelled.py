"""Labelled images: which ones a run is about, and what a child is asked about them.

This process decodes and resizes them, once for each input size, and keeps them in the
store; the children only normalise and answer. Nothing of it is timed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from bench import launch
from bench.case import BASE, NULL, Case
from bench.options import Options, UsageError
from bench.record import Answers, Labelled
from bench.rows import main_setting
from export.artifact import Artifact
from export.build import SEEDED as SEEDED_FACTS
from export.build import WeightsFacts, class_names
from export.checkpoints import SEEDED
from export.classes import conflict, listed
from export.images import Entry, ImageFolder, ImagesError, Preprocess, spread
from export.variants import VARIANTS

PART = "test"
"""The part of the data that is reported on; calibration and searches see the train part only."""
MOST_SAMPLED = 64
LEAST_SAMPLED = 8
SAMPLE_S = 5.0
"""A session that was timed is asked about as many images as it answers in this time."""
_SEED = 3
_IMAGE_LIMIT_S = 0.1
"""For one image besides the model: to read and normalise it, at worst."""


@dataclass(frozen=True)
class Images:
    """The labelled images of a run, in the order in which they are asked about.

    It is that of ``export.images.spread``: any first few are spread over the classes.
    """

    folder: ImageFolder
    entries: tuple[Entry, ...]
    labelled: Labelled


@dataclass(frozen=True)
class Question:
    """What the children of one case are asked about ``images``.

    Output number ``columns[i]`` of the model is class ``i`` of the images; ``whole``: all of
    them are asked about, and not only a sample. ``cache`` is where resized images are kept.
    """

    images: Images
    preprocess: Preprocess
    columns: tuple[int, ...]
    whole: bool
    cache: Path

    @property
    def pixels(self) -> Path:
        """Where the resized images are kept, uint8 (N, height, width, channels).

        Another Pillow may decode or resize otherwise: its pixels are others.
        """
        wanted = self.preprocess
        facts = (
            self.images.labelled.images,
            [entry.name for entry in self.images.entries],
            (wanted.size, wanted.first, wanted.resize, wanted.filter),
            PIL.__version__,
            *([wanted.channel_order] if wanted.channels == 1 else []),
        )
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        return self.cache / f"{wanted.size[0]}x{wanted.size[1]}-{digest}.npy"

    def message(self, count: int) -> dict[str, Any]:
        """What a child is sent; see ``bench.worker.Session.classify``."""
        return {
            "do": "classify",
            "pixels": str(self.pixels),
            "preprocess": self.preprocess.to_json(),
            "columns": self.columns,
            "labels": self.images.labelled.labels[:count],
        }


@dataclass(frozen=True)
class Asked:
    """The questions by case, why other cases get none, and what a person should know of them."""

    questions: Mapping[Case, Question] = field(default_factory=dict)
    reasons: Mapping[Case, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


# --- which images


def extent(case: Case, options: Options) -> str:
    """``"all"``, ``"sample"`` or ``"none"``: how many of the images a case is asked about.

    Unless somebody says otherwise all where the weights are trained ones: seeded weights
    guess. A constant, another scenario of the same file and another version of the code
    are not asked.
    """
    if not options.data or case.runtime == NULL or case.scenario != "single" or case.copy == BASE:
        return "none"
    return options.accuracy or ("none" if case.weights == SEEDED else "all")


def chosen(cases: Iterable[Case], options: Options) -> Images | None:
    """The images by which the rows of ``cases`` are judged; ``None``: no row is.

    Raises :class:`UsageError` for data that has none.
    """
    if all(extent(case, options) == "none" for case in cases):
        return None
    try:
        folder = ImageFolder.open(Path(options.data))
        part = folder.part(PART)
        entries = tuple(spread(part, options.accuracy_images or len(part), _SEED))
        fingerprint = folder.fingerprint(entries)
    except (ImagesError, OSError) as exc:
        raise UsageError(f"--data: {exc}") from exc
    if not entries:
        raise UsageError(
            f"--data: {folder.path} has no images left for a test part: give each class "
            "two images or more, or say --accuracy none"
        )
    labels = tuple(entry.label for entry in entries)
    name = Path(options.data).name
    return Images(folder, entries, Labelled(name, PART, fingerprint, folder.class_names, labels))


# --- what is asked


@dataclass(frozen=True)
class Known:
    """The classes that a model's outputs stand for; ``owner`` says whose they are."""

    owner: str
    names: tuple[str, ...]
    made_up: bool


def check(
    images: Images,
    cases: Iterable[Case],
    weights: Mapping[str, WeightsFacts],
    options: Options,
) -> None:
    """Raise :class:`UsageError` where ``questions`` would, before anything is built.

    ``weights`` by variant; seeded where it says nothing.
    """
    known = {
        case: _known_weights(case.variant, weights.get(case.variant, SEEDED_FACTS))
        for case in cases
        if extent(case, options) != "none"
    }
    _refused(known, images.labelled, options)


def _known_weights(variant: str, facts: WeightsFacts) -> Known:
    names = class_names(VARIANTS[variant], facts)
    return Known(_owner(variant, facts.name), names, facts.placeholder_names)


def _known(artifact: Artifact) -> Known:
    owner = _owner(artifact.variant, artifact.weights)
    return Known(owner, artifact.class_names, artifact.placeholder_names)


def _owner(variant: str, weights: str) -> str:
    return f"{variant} with its weights ({weights})"


def _refused(
    known: Mapping[Case, Known], labelled: Labelled, options: Options
) -> Mapping[Case, str]:
    """Why the models of some cases can't be asked about the images.

    Raises :class:`UsageError` where as many classes have other names, and where no case's
    classes are as many.
    """
    other = {case: _conflict(model, labelled) for case, model in known.items()}
    fits = list(dict.fromkeys(case.variant for case, reason in other.items() if not reason))
    for case, reason in other.items():
        renamed = len(known[case].names) == len(labelled.class_names)
        if reason and (renamed or not fits):
            hint = f"; it has the classes of {listed(fits)}" if fits else ""
            raise UsageError(
                f"--data: {reason}{hint}: give images of the classes that these weights were "
                "trained for, name the folders after them, or say --accuracy none"
            )
    return {
        case: reason
        for case, model in known.items()
        if (reason := other[case] or _unnamed(model, labelled, options))
    }


def _conflict(model: Known, labelled: Labelled) -> str:
    """Why a model's classes are not the images'; empty: they are, or as many without names."""
    return conflict(
        model.owner, model.names, labelled.data, labelled.class_names, made_up=model.made_up
    )


def _unnamed(model: Known, labelled: Labelled, options: Options) -> str:
    """Why nothing is known of a model's classes but their number; empty: it is, or is assumed."""
    if not model.made_up or options.folder_order:
        return ""
    return (
        f"{model.owner} does not name its classes: that its outputs stand in the order of the "
        f"folders of {labelled.data} would be a guess; --folder-order says that they do"
    )


def unfit(artifact: Artifact, labelled: Labelled, options: Options) -> str:
    """Why a model can't be asked about labelled images; empty: it can."""
    return _unfit(_known(artifact), labelled, options)


def unfit_weights(variant: str, facts: WeightsFacts, labelled: Labelled, options: Options) -> str:
    """The same of weights, before any file is built with them."""
    return _unfit(_known_weights(variant, facts), labelled, options)


def _unfit(known: Known, labelled: Labelled, options: Options) -> str:
    return _conflict(known, labelled) or _unnamed(known, labelled, options)


def questions(images: Images, artifacts: Mapping[Case, Artifact], options: Options) -> Asked:
    """What each case is asked, of those that have a file.

    All images are asked about at one setting of threads and batch size for each file,
    runtime and precision, the run's main one or else the first: the others may differ from it
    in rounding only, and have the sample of their own timed session to show it.

    A case whose model has another number of classes gets none, nor does one whose classes
    have no names, unless somebody says that they stand in the folders' order. Raises
    :class:`UsageError` if the number is another in all, and where the names are: what
    ``check`` says earlier, of the files that were built.
    """
    asked = {case: row for case, row in artifacts.items() if extent(case, options) != "none"}
    known = {case: _known(row) for case, row in asked.items()}
    old = {case: _too_old(row) for case, row in asked.items() if not row.preprocess}
    if old and len(old) == len(asked):
        reason = next(iter(old.values()))
        raise UsageError(f"--data: {reason}; say --accuracy none to go without it")
    reasons = {**old, **_refused(known, images.labelled, options)}
    fitting = {case: row for case, row in asked.items() if case not in reasons}
    whole = _at_one_setting(case for case in fitting if extent(case, options) == "all")
    cache = options.store.absolute() / "pixels"
    made = {
        case: Question(
            images,
            Preprocess.from_json(row.preprocess),
            columns(row, images.labelled),
            case in whole,
            cache,
        )
        for case, row in fitting.items()
    }
    return Asked(made, reasons, _notes(asked.values(), images.labelled, options))


def columns(artifact: Artifact, labelled: Labelled) -> tuple[int, ...]:
    """For each class of the images the number of the model's output that stands for it.

    By name, whatever the order; where the weights name nothing, in the order of the
    folders. The model must fit the images (``unfit``).
    """
    ours = labelled.class_names
    if artifact.placeholder_names:
        return tuple(range(len(ours)))
    return tuple(artifact.class_names.index(name) for name in ours)


def _too_old(artifact: Artifact) -> str:
    return (
        f"{artifact.key} was built before files said how they take an image: remove it from "
        "the store, and it is built again"
    )


def _notes(artifacts: Iterable[Artifact], labelled: Labelled, options: Options) -> tuple[str, ...]:
    """Of weights without names for as many classes, what is assumed or not told, in a line."""
    count = len(labelled.class_names)
    rows = [
        row
        for row in artifacts
        if (row.placeholder_names or row.assumed_names) and len(row.class_names) == count
    ]
    if not rows:
        return ()
    shown = listed([f"{i}: {name}" for i, name in enumerate(labelled.class_names)])
    then = (
        f"that their outputs stand in the order of the folders ({shown}) is assumed"
        if options.folder_order
        else f"--folder-order says that they stand in the order of the folders ({shown}); "
        "without it these rows have no accuracy"
    )
    names = listed(list(dict.fromkeys(row.variant for row in rows)))
    return (f"accuracy: the weights of {names} don't name their classes; {then}",)


def _at_one_setting(cases: Iterable[Case]) -> frozenset[Case]:
    """Those that are asked about all images; see ``questions``."""
    cases = tuple(cases)
    usual = main_setting(cases)
    ordered = sorted(cases, key=lambda case: _setting(case) != usual)
    first: dict[tuple[str, ...], tuple[int, int]] = {}
    for case in ordered:
        first.setdefault(_model(case), _setting(case))
    return frozenset(case for case in cases if first[_model(case)] == _setting(case))


def _setting(case: Case) -> tuple[int, int]:
    return case.threads, case.batch_size


def _model(case: Case) -> tuple[str, ...]:
    return case.variant, case.weights, case.recipe, case.runtime, case.precision


# --- resized images


def prepare(asked: Iterable[Question], say: Callable[[str], object]) -> None:
    """Make sure that the resized images of these questions are in the cache.

    Raises :class:`UsageError` where an image can't be read, or the cache not be written.
    """
    for path, question in {question.pixels: question for question in asked}.items():
        if path.exists():
            continue
        height, width = question.preprocess.size
        say(f"accuracy: resizing {len(question.images.entries)} images to {height} x {width}")
        try:
            _write(path, question)
        except ImagesError as exc:
            raise UsageError(f"--data: {exc}") from exc
        except OSError as exc:
            raise UsageError(
                f"--store: {path} can't be written ({exc.strerror}): make room, or name another "
                "folder; --accuracy-images takes fewer"
            ) from exc


def _write(path: Path, question: Question) -> None:
    """The resized images as a .npy, renamed into place as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    entries = question.images.entries
    header = {
        "descr": "|u1",
        "fortran_order": False,
        "shape": (len(entries), *question.preprocess.size, question.preprocess.channels),
    }
    unreadable = []
    try:
        # Not through a memory map: on a full disk that is a signal, and not an error.
        with aside.open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for entry in entries:
                try:
                    image = question.images.folder.read(entry)
                except ImagesError:
                    unreadable.append(entry.name)
                    continue
                stream.write(_pixels(question.preprocess, image, entry.name).tobytes())
            stream.flush()
            os.fsync(stream.fileno())
        if unreadable:
            raise ImagesError(
                f"{len(unreadable)} of the {len(entries)} images that accuracy is judged by can't "
                f"be read: {listed(unreadable, 5)}; repair them or take them out"
            )
        aside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def _pixels(preprocess: Preprocess, image: Image.Image, name: str) -> NDArray[np.uint8]:
    """A resized image; an ``ImagesError`` that names it where that can't be."""
    try:
        return preprocess.pixels(image)
    except ValueError as exc:
        raise ImagesError(
            f"{name} can't be taken as the model takes images ({exc}): take it out, or say a "
            f"larger --first, {max(preprocess.size)} for images of any proportions"
        ) from exc


# --- asking


def sample_count(image_s: float, images: int) -> int:
    """How many of ``images`` a session answers that needs ``image_s`` for one."""
    fits = int(SAMPLE_S / image_s) if image_s > 0 else MOST_SAMPLED
    return min(images, max(LEAST_SAMPLED, min(MOST_SAMPLED, fits)))


def ask(child: launch.Child, question: Question, image_s: float, sample: bool = False) -> Answers:
    """What a child with a loaded model answers about all images, or about a ``sample``.

    ``image_s`` is how long it took for one when it was timed. Raises :class:`launch.ChildDied`.
    """
    whole = len(question.images.entries)
    count = sample_count(image_s, whole) if sample else whole
    limit_s = launch.LOAD_LIMIT_S + count * (3 * image_s + _IMAGE_LIMIT_S)
    answer = child.ask(question.message(count), limit_s)
    if answer["status"] != "ok":
        raise launch.ChildDied(answer["reason"])
    indices = tuple(range(count)) if sample else ()
    return Answers(tuple(answer["predicted"]), tuple(answer["ranks"]), indices)
