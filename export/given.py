"""A model file that the user has: what goes into it, what comes out, and how images are prepared.

Pure: what stands in the file itself is read by ``export.adopt``, in a process of its own.
How an image is prepared comes from flags, else from a TOML file beside the model, else from
what the model's own metadata say. Nothing of it is guessed: what nobody says is an error.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from export.classes import WHOLE, listed, sides
from export.images import (
    CHANNEL_ORDERS,
    FILTERS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    LAYOUTS,
    RESIZES,
    Preprocess,
)
from export.printable import printable
from export.variants import Given, Variant

FAMILY = "own"
_MOST_PIXELS = 16_000_000
"""Of an input: 4000 x 4000. What claims more would fill the memory before it is found out."""
_MOST_CLASSES = 1_000_000
_MOST_TEXT_BYTES = 16 << 20
_MOST_LITERAL = 250_000
"""Characters of what may be a Python literal: its syntax tree takes hundreds of bytes for each."""
_NO_SCALE = 1.0
_BYTE = 1 / 255
_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "torch": {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "scale": _BYTE, "channel_order": "RGB"},
    "tf": {"mean": (1.0,) * 3, "std": (1.0,) * 3, "scale": 1 / 127.5, "channel_order": "RGB"},
    "caffe": {
        "mean": (103.939, 116.779, 123.68),
        "std": (1.0,) * 3,
        "scale": _NO_SCALE,
        "channel_order": "BGR",
    },
    "unit": {"mean": (0.0,) * 3, "std": (1.0,) * 3, "scale": _BYTE, "channel_order": "RGB"},
    "bytes": {"mean": (0.0,) * 3, "std": (1.0,) * 3, "scale": _NO_SCALE, "channel_order": "RGB"},
}
PRESETS = tuple(_PRESETS)
"""What pixels become, by the names that Keras gives the first three (keras.applications)."""
_TOLD = ("mean", "std", "scale", "channel_order", "resize", "filter")
"""What must be said by somebody: no graph shows it."""
_METADATA_NAMES = ("deploybench.class_names", "class_names", "classes", "labels", "names")
_METADATA_PREPROCESS = "deploybench.preprocess"
_MADE_UP = "deploybench.class_names_are_placeholders"
METADATA = (*_METADATA_NAMES, _METADATA_PREPROCESS, _MADE_UP)
"""What is read of a file's own metadata; a file may hold any amount of others."""
MOST_METADATA = 4 << 20
"""Characters of one of them."""


class GivenError(ValueError):
    """A model that can't be used as it was given; the message names the file and the remedy."""


@dataclass(frozen=True)
class Port:
    """An input or output of a graph. ``shape``: a number, or ``None`` where it is left open."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Described:
    """What an .onnx file says of itself (``export.adopt``). ``sha256`` covers its data files."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    file: str
    sha256: str
    size_bytes: int
    opset: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    data_files: tuple[str, ...] = ()


DESCRIBED = TypeAdapter(Described)


@dataclass(frozen=True)
class Said:
    """What somebody says about a model, in flags or in its TOML file; ``None``: nothing.

    ``size`` is height and width. ``first`` are pixels, or 0: nothing is resized to before, and
    what is cropped just covers ``size``. ``preset`` names the values that ``mean``, ``std``,
    ``scale`` and ``channel_order`` have where they are not said themselves.
    ``class_names`` is a list, or the name of a file with one.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    preset: str | None = None
    size: tuple[int, int] | None = None
    resize: str | None = None
    first: int | None = None
    filter: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    scale: float | None = None
    channel_order: str | None = None
    layout: str | None = None
    output: str | None = None
    class_names: str | tuple[str, ...] | None = None


_SAID = TypeAdapter(Said)
_CHOICES = {
    "preset": PRESETS,
    "resize": RESIZES,
    "filter": FILTERS,
    "channel_order": tuple(CHANNEL_ORDERS),
    "layout": LAYOUTS,
}


def checked(values: Mapping[str, Any], where: str) -> Said:
    """``values`` as they stand in a TOML file or in flags; a ``GivenError`` says what is wrong."""
    known = [row.name for row in fields(Said)]
    for name in values:
        if name not in known:
            raise GivenError(f"{where}: {name!r} is unknown; known are {', '.join(known)}")
    try:
        said = _SAID.validate_python(dict(values))
    except ValidationError as exc:
        error = exc.errors()[0]
        raise GivenError(
            f"{where}: {error['loc'][0]} {error['input']!r}: {error['msg'].lower()}"
        ) from exc
    for name, choices in _CHOICES.items():
        value = getattr(said, name)
        if value is not None and value not in choices:
            raise GivenError(f"{where}: {name} is {value!r}; known are {', '.join(choices)}")
    return said


def settings_beside(model: Path) -> Said:
    """What the TOML file beside a model says: ``model.toml`` for ``model.onnx``; or nothing.

    A file that it names must stand beside it.
    """
    file = model.with_suffix(".toml")
    if not file.exists():
        return Said()
    try:
        table = tomllib.loads(_text_of(file))
    except OSError as exc:
        raise GivenError(f"{file}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise GivenError(f"{file} is not TOML: {exc}") from exc
    said = checked({key.replace("-", "_"): value for key, value in table.items()}, str(file))
    if isinstance(said.class_names, str):
        if Path(said.class_names).name != said.class_names:
            raise GivenError(
                f"{file}: class_names {said.class_names!r} should be the name of a file beside it"
            )
        said = replace(said, class_names=str(file.parent / said.class_names))
    return said


def _text_of(file: Path) -> str:
    """The text of a small regular file; an ``OSError`` for any other."""
    if not file.is_file():
        raise OSError(None, "this is no regular file")
    if file.stat().st_size > _MOST_TEXT_BYTES:
        raise OSError(None, f"it is larger than {_MOST_TEXT_BYTES >> 20} MiB")
    return file.read_text(encoding="utf-8")


def variant(described: Described, flags: Said, beside: Said) -> Variant:
    """The variant that stands for a file, once all is known that is needed to use it.

    What flags say goes before what the TOML file says, and this before the file's own
    metadata. Raises ``GivenError``.
    """
    path = Path(described.file)
    merged = _merged(flags, beside)
    source = _input(described)
    preprocess, batch = _preprocess(described, source, merged)
    target, count = _output(described, merged)
    return Variant(
        # It stands in row keys, whose parts are set apart by other signs, and in tables.
        name=re.sub(r"[^\w.+-]+", "-", path.name),
        family=FAMILY,
        builder="",
        input_size=preprocess.size,
        classes=count,
        story=f"a file of opset {described.opset} that was given",
        given=Given(
            file=described.file,
            sha256=described.sha256,
            input=source.name,
            output=target.name,
            batch=batch,
            preprocess=preprocess.to_json(),
            class_names=class_names(described, flags, beside, count),
            data_files=described.data_files,
        ),
    )


def _merged(first: Said, second: Said) -> Said:
    """What ``first`` says, and of the rest what ``second`` says.

    Who names a preset of their own means its values, and not those of the other; who names a
    resize means all of it, and not the other's ``first``.
    """
    values = {row.name: getattr(first, row.name) for row in fields(Said)}
    replaced = {*_PRESETS.get(first.preset or "", {}), *_replaced(first)}
    for name, value in values.items():
        if value is None and name not in replaced:
            values[name] = getattr(second, name)
    return Said(**values)


def _replaced(said: Said) -> tuple[str, ...]:
    """What a resize of somebody's own stands for besides."""
    return () if said.resize is None else ("first",)


# --- what goes in


def _input(described: Described) -> Port:
    if len(described.inputs) != 1:
        names = listed([port.name for port in described.inputs]) or "none"
        raise GivenError(
            f"{described.file} has {len(described.inputs)} inputs ({names}): an image classifier "
            "has one; cut the others off before"
        )
    (source,) = described.inputs
    if source.shape is None or len(source.shape) != 4:
        shown = "no shape" if source.shape is None else f"the shape {_shown(source.shape)}"
        raise GivenError(
            f"{described.file}: its input {source.name!r} has {shown}; batches of images have four "
            "dimensions"
        )
    return source


def _shown(shape: Sequence[int | None]) -> str:
    return " x ".join("?" if side is None else str(side) for side in shape)


def _preprocess(described: Described, source: Port, said: Said) -> tuple[Preprocess, int | None]:
    """How an image is prepared, and the batch that the graph fixes, if any."""
    assert source.shape is not None
    own = _own_preprocess(described)
    values: dict[str, Any] = {} if own is None else _as_dict(own)
    for name in _replaced(said):
        values.pop(name, None)
    values |= _PRESETS.get(said.preset or "", {})
    _check_order(described, said)
    values |= {
        name: value
        for name in (*_TOLD, "first", "layout", "size")
        if (value := getattr(said, name)) is not None
    }
    # What the shorter side becomes before a crop shows in no graph either.
    told = (*_TOLD, "first") if values.get("resize") == "crop" else _TOLD
    missing = [name for name in told if name not in values]
    if missing:
        raise GivenError(_nothing_said(described, missing))
    values["first"] = values.get("first") or None
    values["layout"] = _layout(described, source, values)
    values["size"] = _size(described, source, values)
    try:
        preprocess = Preprocess(**values)
    except ValueError as exc:
        raise GivenError(f"{described.file}: {exc}") from exc
    check_sides(preprocess, described.file)
    _check_channels(described, source, preprocess)
    return preprocess, source.shape[0]


def _check_order(described: Described, said: Said) -> None:
    """Refuse a preset whose numbers, channel by channel, would meet the wrong channels."""
    preset = _PRESETS.get(said.preset or "", {})
    if said.channel_order in (None, preset.get("channel_order", said.channel_order)):
        return
    uneven = [
        name
        for name in ("mean", "std")
        if getattr(said, name) is None and len(set(preset[name])) > 1
    ]
    if uneven:
        flags = " and ".join(f"--{name}" for name in uneven)
        raise GivenError(
            f"{described.file}: --preset {said.preset} has its {' and '.join(uneven)} in the order "
            f"{preset['channel_order']}, and --channel-order is {said.channel_order}: say {flags} "
            "in that order"
        )


def _as_dict(preprocess: Preprocess) -> dict[str, Any]:
    return {row.name: getattr(preprocess, row.name) for row in dataclasses.fields(preprocess)}


def _own_preprocess(described: Described) -> Preprocess | None:
    """What the file's metadata say, if they do."""
    text = described.metadata.get(_METADATA_PREPROCESS)
    if text is None:
        return None
    try:
        return Preprocess.from_json(text)
    except (ValueError, TypeError, RecursionError) as exc:
        raise GivenError(f"{described.file}: its metadata's {_METADATA_PREPROCESS}: {exc}") from exc


def _nothing_said(described: Described, missing: Sequence[str]) -> str:
    flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
    beside = Path(described.file).with_suffix(".toml").name
    hint = f"--preset {' or '.join(PRESETS[:3])} says all but resize, first and filter"
    if "first" in missing:
        hint = "pixels of the shorter side before the crop, or 0: it just covers the size"
    return (
        f"{described.file}: nobody says how images are prepared for it ({', '.join(missing)}), and "
        f"a guess would cost accuracy unseen: say it with {flags} ({hint}), or in {beside} beside "
        "it"
    )


def _layout(described: Described, source: Port, values: Mapping[str, Any]) -> str:
    """NCHW or NHWC: as said, else where the graph's own shape leaves no doubt."""
    assert source.shape is not None
    channels = CHANNEL_ORDERS[values["channel_order"]]
    fits = [
        layout
        for layout, place in (("NCHW", 1), ("NHWC", 3))
        if source.shape[place] in (channels, None)
    ]
    said = values.get("layout")
    clear = [x for x in fits if source.shape[1 if x == "NCHW" else 3] == channels] or fits
    if said is None and len(clear) == 1:
        return clear[0]
    if said is None:
        raise GivenError(
            f"{described.file}: its input of {_shown(source.shape)} may be NCHW or NHWC, or "
            f"neither with {channels} channels: say it with --layout"
        )
    if said not in fits:
        raise GivenError(
            f"{described.file}: its input of {_shown(source.shape)} is not {said} with {channels} "
            f"channels ({values['channel_order']})"
        )
    return str(said)


def _size(described: Described, source: Port, values: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width: the graph's own, else as said; both must agree."""
    assert source.shape is not None
    place = 2 if values["layout"] == "NCHW" else 1
    fixed = source.shape[place : place + 2]
    said = values.get("size") or (None, None)
    sides = []
    for name, own, wanted in zip(("height", "width"), fixed, said, strict=True):
        if own is None and wanted is None:
            raise GivenError(
                f"{described.file} takes images of any {name}: say with --size HEIGHTxWIDTH which "
                "to measure, best that which it was trained at"
            )
        if own is not None and wanted is not None and own != wanted:
            raise GivenError(
                f"{described.file} takes images of {name} {own} only, and not of {wanted}: leave "
                "--size out"
            )
        sides.append(wanted if own is None else own)
    return sides[0], sides[1]


def check_sides(preprocess: Preprocess, owner: str) -> None:
    """Raise ``GivenError`` where images would be made larger than any classifier takes them.

    What a file or a bundle says of ``first`` and ``size`` is resized to in the process of the
    user as well.
    """
    first = preprocess.first or 0
    for (height, width), what in (
        (preprocess.size, "takes images of"),
        ((first, first), "has images resized at first to"),
    ):
        if height * width > _MOST_PIXELS:
            raise GivenError(
                f"{owner} {what} {height} x {width} pixels, more than {_MOST_PIXELS}: that is no "
                "image classifier"
            )


def _check_channels(described: Described, source: Port, preprocess: Preprocess) -> None:
    assert source.shape is not None
    place = 1 if preprocess.layout == "NCHW" else 3
    if source.shape[place] not in (preprocess.channels, None):
        raise GivenError(
            f"{described.file} takes {source.shape[place]} channels, and "
            f"{preprocess.channel_order} has {preprocess.channels}"
        )


# --- what comes out


def _output(described: Described, said: Said) -> tuple[Port, int]:
    """The output that holds a number for each class, and how many there are."""
    named = {port.name: port for port in described.outputs}
    if said.output is not None and said.output not in named:
        raise GivenError(
            f"{described.file} has no output {said.output!r}; it has {listed(list(named))}"
        )
    chosen = [named[said.output]] if said.output is not None else list(described.outputs)
    if len(chosen) != 1:
        raise GivenError(
            f"{described.file} has {len(chosen)} outputs ({listed(list(named))}): say with "
            "--output which one holds the classes"
        )
    target = chosen[0]
    shape = target.shape or ()
    rest = [side for side in shape[2:] if side != 1]
    if len(shape) < 2 or shape[1] is None or rest:
        shown = _shown(shape) if target.shape else "unknown"
        raise GivenError(
            f"{described.file}: its output {target.name!r} has the shape {shown}; a classifier's "
            "is batch x classes"
        )
    if shape[1] > _MOST_CLASSES:
        raise GivenError(
            f"{described.file}: its output {target.name!r} has {shape[1]} numbers for an image, "
            f"more classes than {_MOST_CLASSES}"
        )
    return target, shape[1]


# --- class names


def class_names(described: Described, flags: Said, beside: Said, count: int) -> tuple[str, ...]:
    """The names of the outputs in their order; none where nobody says any.

    Where several say them, they must say the same: an error names both sides.
    """
    found: dict[str, tuple[str, ...]] = {}
    for owner, names in (
        ("--class-names", _listed_names(flags)),
        (str(Path(described.file).with_suffix(".toml")), _listed_names(beside)),
        (f"the metadata of {described.file}", _own_names(described)),
    ):
        if names is not None:
            found[owner] = names
    for owner, names in found.items():
        if len(names) != count:
            raise GivenError(
                f"{owner} has {len(names)} class names ({listed(names, WHOLE)}), and "
                f"{described.file} {count} outputs"
            )
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise GivenError(f"{owner} names the class {twice!r} twice")
    (first, names), *others = found.items() if found else [("", ())]
    for other, theirs in others:
        if theirs != names:
            raise GivenError(
                f"{first} says {listed(names, WHOLE)}; {other} says {listed(theirs, WHOLE)}: "
                f"{sides(names, theirs, first, other)}"
            )
    return names


def _listed_names(said: Said) -> tuple[str, ...] | None:
    if not isinstance(said.class_names, str):
        return said.class_names
    file = Path(said.class_names)
    try:
        text = _text_of(file)
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise GivenError(f"class names: {file} can't be read: {reason}") from exc
    if file.suffix.lower() == ".json":
        names = _names_in(text)
        if names is None:
            raise GivenError(
                f"class names: {file} is neither a JSON list of names nor numbers to names"
            )
        return names
    return tuple(printable(line).strip() for line in text.splitlines() if line.strip())


def _own_names(described: Described) -> tuple[str, ...] | None:
    """The first of the usual metadata that holds names; made-up ones are none."""
    if described.metadata.get(_MADE_UP) == "true":
        return None
    found = (_names_in(described.metadata.get(key, "")) for key in _METADATA_NAMES)
    return next((names for names in found if names), None)


def _names_in(text: str) -> tuple[str, ...] | None:
    """A list of names, or numbers from 0 on with a name each, as JSON or as Python writes it."""
    value = _value_in(text)
    if isinstance(value, dict) and isinstance(value.get("names"), list):
        value = value["names"]  # as deploybench inspect --write has it
    if isinstance(value, dict):
        value = [value.get(number, value.get(str(number))) for number in range(len(value))]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return None
    return tuple(printable(re.sub(r"\s+", " ", name)).strip() for name in value) or None


def _value_in(text: str) -> object:
    """What ``text`` says as JSON or as a Python literal; ``None`` where it is neither.

    It is a stranger's: lists within lists without end, a list as a key, numbers of any length.
    """
    try:
        return json.loads(text)
    except RecursionError:
        return None
    except ValueError:
        pass
    if len(text) > _MOST_LITERAL:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
