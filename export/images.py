"""ImageFolder (a directory or a .zip of one) -> arrays; one Preprocess for all users of it.

Pure: standard library, numpy and Pillow. Nothing that is read is trusted: a zip
is never extracted, its names may not climb out, sizes are checked before decoding.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
import io
import json
import os
import random
import re
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAX_PIXELS = 64_000_000
MAX_FILE_BYTES = 128 << 20
MAX_UNREADABLE = 0.1
"""Above this share of unreadable images the data is refused instead of skipped."""

ALL = "all"
"""The one split of a folder that has no train, val or test level."""

_SPLITS = ("train", "val", "valid", "validation", "test")
_VALIDATION = ("val", "valid", "validation")
PARTS = ("train", "val", "test")
"""What any folder is divided into: to learn from, to decide by, and to report on."""
_BLOCK = 8
"""Neighbours that stay together when a part is set aside: they often show the same thing."""
_SHARE = 10
"""One image in so many is set aside for a part that a folder doesn't have."""
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Named, so that a file can't choose a decoder that starts other programs (EPS: Ghostscript).
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
RESIZES = ("squash", "crop")
FILTERS = tuple(_FILTERS)
CHANNEL_ORDERS = {"RGB": 3, "BGR": 3, "GREY": 1}
LAYOUTS = ("NCHW", "NHWC")
"""What a ``Preprocess`` may say; the numbers are how many channels there are."""
# What Pillow and zipfile raise on damaged, hostile or unknown input.
_UNREADABLE = (
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
_DRIVE = re.compile(r"[A-Za-z]:")


class ImagesError(ValueError):
    """Images that can't be had; the message names them and the remedy."""


@dataclass(frozen=True)
class Preprocess:
    """From an image to what a network takes; stored in every .onnx that we write.

    ``size`` is (height, width) in pixels. ``resize`` is ``"squash"``, straight to
    that size, whatever the image's proportions, or ``"crop"``: the shorter side to
    ``first`` pixels (where that is ``None``, so that it just covers ``size``), then the
    middle of it. A squashed image is squashed to ``first`` x ``first`` before (bilinear)
    where that is a number: some checkpoints were trained so, with 256. ``filter`` is
    Pillow's, which averages over all source pixels when it shrinks. ``channel_order`` is
    RGB, BGR or GREY (one channel). Then every channel is multiplied by ``scale``, less its
    ``mean``, over its ``std``, both in the order of the channels.
    """

    size: tuple[int, int]
    first: int | None = None
    resize: str = "squash"
    filter: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    scale: float = 1 / 255
    channel_order: str = "RGB"
    layout: str = "NCHW"

    def __post_init__(self) -> None:
        _check_pixels("size", self.size, 2)
        _check_pixels("first", (1 if self.first is None else self.first,), 1)
        _check_choice("resize", self.resize, RESIZES)
        _check_choice("filter", self.filter, FILTERS)
        _check_choice("channel_order", self.channel_order, tuple(CHANNEL_ORDERS))
        _check_choice("layout", self.layout, LAYOUTS)
        _check_numbers("mean", self.mean, self.channels)
        _check_numbers("std", self.std, self.channels)
        _check_numbers("scale", (self.scale,), 1)
        if 0 in self.std:
            raise ValueError("preprocess: std must not be 0")
        if self.resize == "crop" and self.first is not None and self.first < min(self.size):
            raise ValueError(
                f"preprocess: {self.size} can't be cropped out of an image whose shorter side is "
                f"{self.first}: first must be {min(self.size)} at least"
            )

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """The image as float32, shaped ``shape``; any mode, EXIF orientation honoured."""
        normalised: NDArray[np.float32] = self.normalised(self.pixels(image)[None])[0]
        return normalised

    @property
    def channels(self) -> int:
        """How many numbers a pixel has."""
        return CHANNEL_ORDERS[self.channel_order]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one prepared image: ``(channels, height, width)``, or with the channels last."""
        height, width = self.size
        first = (self.channels, height, width)
        return first if self.layout == "NCHW" else (height, width, self.channels)

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """The first half: the resized image as uint8 ``(height, width, channels)``, RGB or grey."""
        image = as_rgb(image)
        if self.channel_order == "GREY":
            image = image.convert("L")
        image = self._cropped(image) if self.resize == "crop" else self._squashed(image)
        return np.asarray(image, dtype=np.uint8).reshape(*self.size, self.channels)

    def _squashed(self, image: Image.Image) -> Image.Image:
        if self.first is not None:
            image = image.resize((self.first, self.first), Image.Resampling.BILINEAR)
        height, width = self.size
        return image.resize((width, height), _FILTERS[self.filter])

    def _cropped(self, image: Image.Image) -> Image.Image:
        """The middle of the image, resized without a change of its proportions.

        With ``first`` as torchvision's Resize and CenterCrop do it: the longer side is cut
        off to whole pixels, the corner rounded half to even.
        """
        height, width = self.size
        if self.first is None:
            factor = max(width / image.width, height / image.height)
            sides = (
                max(width, round(image.width * factor)),
                max(height, round(image.height * factor)),
            )
        else:
            longer = int(self.first * max(image.size) / min(image.size))
            sides = (self.first, longer) if image.width <= image.height else (longer, self.first)
        if sides[0] < width or sides[1] < height:
            raise ValueError(
                f"preprocess: an image of {image.width} x {image.height} pixels becomes {sides[0]} "
                f"x {sides[1]}, out of which {width} x {height} can't be cropped"
            )
        left, top = round((sides[0] - width) / 2), round((sides[1] - height) / 2)
        resized = image.resize(sides, _FILTERS[self.filter])
        return resized.crop((left, top, left + width, top + height))

    def normalised(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The second half: uint8 ``(n, height, width, channels)`` as float32 ``(n, *shape)``."""
        mean, std = (np.asarray(values, dtype=np.float32) for values in (self.mean, self.std))
        ordered = pixels[..., ::-1] if self.channel_order == "BGR" else pixels
        values = (ordered.astype(np.float32) * np.float32(self.scale) - mean) / std
        turned = values.transpose(0, 3, 1, 2) if self.layout == "NCHW" else values
        return np.ascontiguousarray(turned, dtype=np.float32)

    def batch(self, images: Iterable[Image.Image]) -> NDArray[np.float32]:
        """All images as float32 ``(n, *shape)``; none: n is 0."""
        arrays = [self(image) for image in images]
        return np.stack(arrays) if arrays else np.zeros((0, *self.shape), np.float32)

    def to_json(self) -> str:
        """One line of JSON with every field; ``from_json`` gives an equal Preprocess."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Preprocess:
        """The inverse of ``to_json``; a field missing, unknown or wrong is a ``ValueError``."""
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError(f"preprocess: an object was expected, not {text[:40]!r}")
        names = {field.name for field in dataclasses.fields(cls)}
        if odd := sorted(names ^ set(fields)):
            raise ValueError(f"preprocess: fields unknown or missing: {', '.join(odd)}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return cls(**values)


def _check_choice(field: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"preprocess: {field} is {value!r}; known are {', '.join(choices)}")


def _check_pixels(field: str, values: object, count: int) -> None:
    _check_numbers(field, values, count)
    if not all(isinstance(v, int) and v > 0 for v in values):  # type: ignore[attr-defined]
        raise ValueError(f"preprocess: {field} must be whole pixels above 0, not {values!r}")


def _check_numbers(field: str, values: object, count: int) -> None:
    numbers = isinstance(values, tuple) and all(type(v) in (int, float) for v in values)
    if not isinstance(values, tuple) or not numbers or len(values) != count:
        raise ValueError(f"preprocess: {field} must be {count} number(s), not {values!r}")


def as_rgb(image: Image.Image) -> Image.Image:
    """The image upright (EXIF) and in mode RGB; transparency is dropped, 16-bit grey scaled."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        # convert() would clip everything above 255 to white.
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


class Entry(NamedTuple):
    """One image of a folder: its name there (with forward slashes) and its class's index."""

    name: str
    label: int


class Loaded(NamedTuple):
    """Decoded images, their entries, and the names that could not be read."""

    images: list[Image.Image]
    entries: list[Entry]
    skipped: list[str]


class _Source(Protocol):
    """Where the files of an ImageFolder are."""

    def names(self) -> list[str]: ...

    def size_bytes(self, name: str) -> int: ...

    def read(self, name: str) -> bytes: ...

    def checksum(self, name: str) -> str: ...


class _Directory:
    """Files below a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        found = []
        for folder, _, files in os.walk(self.path):
            below = Path(folder).relative_to(self.path)
            found += [(below / file).as_posix() for file in files]
        return found

    def size_bytes(self, name: str) -> int:
        return (self.path / name).stat().st_size

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def checksum(self, name: str) -> str:
        return hashlib.sha256(self.read(name)).hexdigest()


class _Zip:
    """Files inside a .zip, never extracted."""

    def __init__(self, path: Path) -> None:
        try:
            self.archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as exc:
            raise ImagesError(
                f"{path} is not a whole zip ({exc}): was it cut off while copying?"
            ) from exc
        self.members = {m.filename: m for m in self.archive.infolist() if not m.is_dir()}
        for member in self.archive.infolist():
            _check_member(path, member)

    def names(self) -> list[str]:
        return list(self.members)

    def size_bytes(self, name: str) -> int:
        return self.members[name].file_size

    def read(self, name: str) -> bytes:
        return self.archive.read(self.members[name])

    def checksum(self, name: str) -> str:
        return f"{self.members[name].CRC:08x}"


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    """Refuse what an honest folder of images would not hold."""
    # orig_filename is what the file says; filename has been tidied by zipfile.
    name = member.orig_filename.replace("\\", "/")
    if name.startswith("/") or _DRIVE.match(name) or ".." in PurePosixPath(name).parts:
        raise ImagesError(f"{path} holds a name that leads out of it: {member.orig_filename!r}")
    if member.flag_bits & 1:
        raise ImagesError(f"{path} is encrypted ({member.filename!r}): give it without a password")
    if member.file_size > MAX_FILE_BYTES:
        raise ImagesError(
            f"{path} holds {member.filename!r} of {member.file_size / 1e6:.0f} MB unpacked; "
            f"more than {MAX_FILE_BYTES / 1e6:.0f} MB is no image to measure with"
        )


class ImageFolder:
    """Class folders of images, with an optional train/val/test level above them.

    Made by ``open``. ``class_names`` are the sorted folder names over all splits,
    their positions the labels. ``splits`` names the levels found, ``("all",)``
    where there are none.
    """

    def __init__(self, path: Path, source: _Source, files: Mapping[str, Mapping[str, str]]) -> None:
        self.path = path
        self._source = source
        self.splits = tuple(files)
        classes = {folder for named in files.values() for folder in named.values()}
        self.class_names = tuple(sorted(classes))
        labels = {name: i for i, name in enumerate(self.class_names)}
        self._entries = {
            split: [Entry(name, labels[named[name]]) for name in sorted(named)]
            for split, named in files.items()
        }

    @classmethod
    def open(cls, path: Path) -> ImageFolder:
        """The images of a directory or a .zip; ``ImagesError`` says what is wrong with it."""
        source = _source(path)
        images = [name for name in source.names() if _is_image(name)]
        if not images:
            raise ImagesError(f"{path} holds no images (looked for {', '.join(_SUFFIXES)})")
        return cls(path, source, _by_split(path, images))

    def entries(self, split: str | None = None) -> list[Entry]:
        """Names and labels of one split, sorted by name; of all splits in turn with None."""
        if split is None:
            return [entry for name in self.splits for entry in self._entries[name]]
        if split not in self._entries:
            raise ImagesError(
                f"{self.path} has no images under {split!r}: it has {', '.join(self.splits)}"
            )
        return list(self._entries[split])

    def read(self, entry: Entry) -> Image.Image:
        """One image, fully decoded; an ``ImagesError`` names it if that can't be done."""
        try:
            size_bytes = self._source.size_bytes(entry.name)
            if size_bytes > MAX_FILE_BYTES:
                raise ValueError(f"{size_bytes / 1e6:.0f} MB")
            return decode(self._source.read(entry.name))
        except _UNREADABLE as exc:
            raise ImagesError(f"{entry.name} in {self.path} can't be read: {exc}") from exc

    def load(self, entries: Sequence[Entry], most: int | None = None) -> Loaded:
        """All that can be read of ``entries``, or the first ``most`` of them.

        A few unreadable ones among many are normal and listed in ``skipped``; more than
        a tenth of ``entries``, or all, are an ``ImagesError`` with their names.
        """
        loaded = Loaded([], [], [])
        for entry in entries:
            if most is not None and len(loaded.images) == most:
                break
            try:
                loaded.images.append(self.read(entry))
                loaded.entries.append(entry)
            except ImagesError:
                loaded.skipped.append(entry.name)
        tried = len(loaded.images) + len(loaded.skipped)
        if len(loaded.skipped) > MAX_UNREADABLE * len(entries):
            raise ImagesError(
                f"{len(loaded.skipped)} of {tried} images in {self.path} can't be read: "
                + _listed(loaded.skipped)
            )
        return loaded

    def part(self, name: str) -> list[Entry]:
        """The entries of ``"train"``, ``"val"`` or ``"test"``, whatever levels the folder has.

        A folder that has all three levels is taken as it is. Where there are two, the
        one beside ``train/`` is the test part, whatever its name, and a seeded tenth of
        ``train/`` the validation part. A folder of one level, or of none, gives a tenth
        for the test part, and of what is left a tenth for the validation part. Tenths
        are taken from each class in whole blocks of up to eight neighbours in the order
        of the numbers in their names. Raises ``ImagesError`` where a class stands in one
        level and not in another, and where levels were found but no ``train/``.
        """
        if name not in PARTS:
            raise ValueError(f"{name!r} is no part of a data set; there are {', '.join(PARTS)}")
        return list(self._parts[name])

    @functools.cached_property
    def _parts(self) -> dict[str, list[Entry]]:
        """All three parts; see ``part``."""
        self._check_classes()
        levels = {"val" if x in _VALIDATION else x: self._entries[x] for x in self.splits}
        if len(levels) == 1:
            rest, test = _set_aside(next(iter(levels.values())), "test")
        elif "train" not in levels:
            raise ImagesError(
                f"{self.path} has {', '.join(self.splits)}, but no train: name the images that "
                "may be learnt and calibrated from so"
            )
        elif len(levels) == len(PARTS):
            return levels
        else:
            rest = levels.pop("train")
            (test,) = levels.values()
        train, val = _set_aside(rest, "val")
        return {"train": train, "val": val, "test": test}

    def _check_classes(self) -> None:
        """Every level must have every class: what misses one is no split of the same data."""
        found = {split: {entry.label for entry in self._entries[split]} for split in self.splits}
        for label, name in enumerate(self.class_names):
            having = [split for split in self.splits if label in found[split]]
            lacking = [split for split in self.splits if label not in found[split]]
            if lacking:
                raise ImagesError(
                    f"{self.path} has images of {name!r} in {', '.join(having)}, but none in "
                    f"{', '.join(lacking)}: add some, or leave the class out everywhere"
                )

    def fingerprint(self, entries: Iterable[Entry]) -> str:
        """A sha256 (hex) over names, sizes and contents (a zip's own CRCs), in any order.

        An ``ImagesError`` names the first file of a directory whose bytes can't be had, a link
        to nowhere for instance: nobody could say later which images these were.
        """
        digest = hashlib.sha256()
        for entry in sorted(entries):
            try:
                facts = [
                    entry.name,
                    self._source.size_bytes(entry.name),
                    self._source.checksum(entry.name),
                ]
            except OSError as exc:
                raise ImagesError(
                    f"{entry.name} in {self.path} can't be read ({exc.strerror or exc}): repair "
                    "it or take it out"
                ) from exc
            digest.update(json.dumps(facts).encode() + b"\n")
        return digest.hexdigest()


def spread(entries: Iterable[Entry], count: int, seed: int) -> list[Entry]:
    """``count`` of them (fewer where there are fewer), the same for the same seed.

    They are spread over the classes: none is taken twice before each that
    still has images was taken once.
    """
    chance = random.Random(seed)
    by_class = _by_class(entries)
    queues = [chance.sample(found, len(found)) for found in by_class.values()]
    chance.shuffle(queues)
    rounds = range(max(map(len, queues), default=0))
    return [queue[i] for i in rounds for queue in queues if i < len(queue)][:count]


def _by_class(entries: Iterable[Entry]) -> dict[int, list[Entry]]:
    by_class: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_class[entry.label].append(entry)
    return by_class


def _set_aside(entries: Sequence[Entry], part: str) -> tuple[list[Entry], list[Entry]]:
    """What is left of ``entries``, and the tenth that becomes ``part``, both in their order."""
    aside: set[Entry] = set()
    for label, found in _by_class(entries).items():
        if len(found) == 1:
            continue
        ordered = sorted(found, key=lambda entry: _numbers_in(entry.name))
        length = max(1, min(_BLOCK, len(found) // _SHARE))
        blocks = [ordered[i : i + length] for i in range(0, len(found), length)]
        count = max(1, round(len(found) / _SHARE / length))
        # Of its own for each class, so that the number of images of one is nothing to another.
        for block in random.Random(f"{part} {label}").sample(blocks, count):
            aside.update(block)
    return [x for x in entries if x not in aside], [x for x in entries if x in aside]


def _numbers_in(name: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts ``leaf_9`` before ``leaf_10``."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(x)) if x.isdecimal() else (1, x) for x in parts)


def decode(content: bytes) -> Image.Image:
    """An image file's bytes, fully decoded, as RGB and upright.

    Raises what Pillow raises (``OSError``, ``ValueError``, ...), and
    ``ValueError`` before decoding where it has more than ``MAX_PIXELS``.
    """
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width} x {height} pixels, more than {MAX_PIXELS}")
        image.load()
        return as_rgb(image)


def _source(path: Path) -> _Source:
    if path.is_dir():
        return _Directory(path)
    if not path.exists():
        raise ImagesError(f"{path} doesn't exist")
    if path.suffix.lower() != ".zip" and not zipfile.is_zipfile(path):
        raise ImagesError(f"{path} is neither a directory nor a .zip of class folders")
    return _Zip(path)


def _is_image(name: str) -> bool:
    """By its ending; what systems leave about (``.DS_Store``, ``__MACOSX/``) is none."""
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not hidden and name.lower().endswith(_SUFFIXES)


def _by_split(path: Path, images: Sequence[str]) -> dict[str, dict[str, str]]:
    """For each split its images, name -> class."""
    parts = {name: PurePosixPath(name).parts for name in images}
    split_level, class_level = _levels(list(parts.values()))
    if loose := sorted(name for name in images if len(parts[name]) < class_level + 2):
        raise ImagesError(
            f"{path} has images outside of class folders: {_listed(loose)}; "
            "put each into a folder named after its class"
        )
    splits: dict[str, dict[str, str]] = defaultdict(dict)
    for name, levels in parts.items():
        split = ALL if split_level is None else levels[split_level]
        splits[split][name] = levels[class_level]
    _check_names_of_val(path, splits)
    return {split: splits[split] for split in (*_SPLITS, ALL) if split in splits}


def _check_names_of_val(path: Path, splits: Iterable[str]) -> None:
    """One of two folders for the same part would be left out, and nobody would know."""
    found = [f"{name}/" for name in _VALIDATION if name in splits]
    if len(found) > 1:
        raise ImagesError(
            f"{path} has {' and '.join(found)}, which both mean the validation part: put their "
            "images into one of them"
        )


def _levels(names: Sequence[tuple[str, ...]]) -> tuple[int | None, int]:
    """At which level of the folders the split stands, if any, and at which the class."""
    tops = {name[0] for name in names if len(name) > 1}
    # A zip often holds the folder itself: dataset/train/class/image.
    wrapped = len(tops) == 1 and not tops <= set(_SPLITS) and min(map(len, names)) > 2
    level = 1 if wrapped else 0
    folders = {name[level] for name in names if len(name) > level + 1}
    return (level, level + 1) if folders and folders <= set(_SPLITS) else (None, level)


def _listed(names: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _photograph_files() -> list[Path]:
    """Where scikit-learn keeps its two photographs; found without importing it."""
    spec = importlib.util.find_spec("sklearn")
    folder = Path(spec.origin).parent / "datasets" / "images" if spec and spec.origin else None
    files = [folder / name for name in ("china.jpg", "flower.jpg")] if folder else []
    if not files or not all(file.is_file() for file in files):
        raise ImagesError(
            "the sample photographs of scikit-learn are not installed: "
            "pip install scikit-learn, or name images of your own with --data"
        )
    return files


def sample_photographs() -> list[Image.Image]:
    """The two photographs (640 x 427) that scikit-learn ships, as RGB."""
    return [decode(file.read_bytes()) for file in _photograph_files()]


def sample_photographs_fingerprint() -> str:
    """A sha256 (hex) over the files of the sample photographs."""
    contents = [file.read_bytes() for file in _photograph_files()]
    return hashlib.sha256(b"".join(contents)).hexdigest()


def crops(photographs: Sequence[Image.Image], count: int, seed: int) -> list[Image.Image]:
    """``count`` square crops at random places, scales and flips; the same for the same seed.

    A side is 25 to 100 % of its photograph's shorter one.
    """
    if not photographs:
        raise ValueError("crops need at least one photograph")
    chance = random.Random(seed)
    return [_crop(photographs[i % len(photographs)], chance) for i in range(count)]


def _crop(photograph: Image.Image, chance: random.Random) -> Image.Image:
    side = max(1, round(min(photograph.size) * chance.uniform(0.25, 1)))
    left = chance.randint(0, photograph.width - side)
    top = chance.randint(0, photograph.height - side)
    crop = photograph.crop((left, top, left + side, top + side))
    return ImageOps.mirror(crop) if chance.random() < 0.5 else crop
