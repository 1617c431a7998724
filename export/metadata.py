"""What a checkpoint says about itself in the metadata of its file; read without torch.

All values are strings, as safetensors has it: ``classes`` is a JSON list of names in
output order, ``mean`` and ``std`` three numbers like ``0.485,0.456,0.406``, ``first`` the
pixels of the square that images are resized to before the network's own size, ``input``
the size (``224x224``: height, width) that the network was trained at last; files from elsewhere
may tell that in ``trained``, in words.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from export.build import WeightsFacts
from export.checkpoints import RESERVED_NAMES
from export.download import IMAGENET_MEAN, IMAGENET_STD, Triple, WeightsError
from export.variants import weights_name


def checkpoint_facts(path: Path) -> WeightsFacts:
    """What is known of a .safetensors file from its header; its tensors are not read.

    Raises ``WeightsError`` for what is no such file or contradicts itself.
    """
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as exc:
        raise WeightsError(
            f"{path} is truncated or not a safetensors file ({exc}): fetch or save it again"
        ) from exc
    try:
        count = head_outputs(shapes)
        names = class_names(metadata, count)
        return WeightsFacts(
            short_name(path),
            key=digest[:16],
            class_names=names or placeholders(count),
            placeholder_names=not names,
            mean=triple(metadata, "mean", IMAGENET_MEAN),
            std=triple(metadata, "std", IMAGENET_STD),
            first=first(metadata),
            learnt_size=learnt_size(metadata),
        )
    except WeightsError as exc:
        raise WeightsError(f"{path}: {exc}") from exc


def head_outputs(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The number of classes: what the head's own weight, the last Linear, puts out.

    The head is ``fc`` or the highest-numbered layer of ``classifier``; a
    ``WeightsError`` where there is neither.
    """
    heads = {}
    for key, shape in shapes.items():
        head = re.fullmatch(r"(?:module\.)?(?:fc|last_linear|classifier)((?:\.\d+)*)\.weight", key)
        if head and len(shape) == 2:
            heads[tuple(map(int, head[1].split(".")[1:]))] = shape[0]
    if not heads:
        raise WeightsError("there is no output layer: neither fc.weight nor classifier.*.weight")
    return heads[max(heads)]


def class_names(metadata: Mapping[str, str], count: int) -> tuple[str, ...]:
    """The names in the metadata, which must be as many as the head's outputs; or none."""
    if "classes" not in metadata:
        return ()
    try:
        names = json.loads(metadata["classes"])
    except json.JSONDecodeError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WeightsError("the metadata's 'classes' should be a JSON list of names")
    if len(names) != count:
        raise WeightsError(f"the metadata names {len(names)} classes, but the head has {count}")
    return tuple(names)


def placeholders(count: int) -> tuple[str, ...]:
    """Made-up class names."""
    return tuple(f"class_{number:04d}" for number in range(count))


def triple(metadata: Mapping[str, str], field: str, default: Triple) -> Triple:
    """Three finite numbers from the metadata; above 0 where it is ``std``."""
    if field not in metadata:
        return default
    try:
        red, green, blue = _numbers(metadata[field].split(","))
    except ValueError:
        red = green = blue = math.nan
    if not math.isfinite(red + green + blue) or (field == "std" and min(red, green, blue) <= 0):
        raise WeightsError(
            f"the metadata's {field!r} should be three numbers like 0.485,0.456,0.406, "
            f"not {metadata[field]!r}"
        )
    return red, green, blue


def first(metadata: Mapping[str, str]) -> int | None:
    """Side of the square that images are resized to first; ``None``: they are not.

    Files that say it in words (``input``: "... from 256x256") are understood as well.
    """
    said = re.search(r"from (\d+)x\1\b", metadata.get("input", ""))
    text = metadata.get("first", said[1] if said else "")
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise WeightsError(f"the metadata's 'first' should be a number of pixels, not {text!r}")
    return int(text)


def learnt_size(metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """Height and width that the weights were trained at last; ``None``: it doesn't say.

    Files that tell it in words (``trained``: "... 12 epochs at 72 px, 6 at 112, 1 at 224, ...")
    are understood as well: squares, as the first of them says in pixels.
    """
    said = re.fullmatch(r"(\d{1,5})x(\d{1,5})", metadata.get("input", ""))
    if said:
        return int(said[1]), int(said[2])
    sides = re.search(
        r"\b\d+ epochs? at (\d{1,5}) px((?:, \d+ at \d{1,5})*)", metadata.get("trained", "")
    )
    if not sides:
        return None
    last = int(re.findall(r"\d+", f"{sides[1]}{sides[2]}")[-1])
    return last, last


def short_name(path: Path) -> str:
    """The stem without a leading variant name, fit to stand in a row key."""
    name = weights_name(str(path))
    if name in RESERVED_NAMES:
        raise WeightsError(f"{path} would be called {name!r}, which has a meaning: rename it")
    return name


def _numbers(words: Iterable[str]) -> list[float]:
    return [float(word) for word in words]
