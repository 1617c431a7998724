"""The images that a bundle's self-test stores, and what the measured adapter answers to them."""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import DecompressionBombError

from bench import host, launch
from bench.accuracy import LIMITS, agreement, judged_precision
from bench.block import load_message
from bench.bundle import Tolerance
from bench.case import Case
from bench.labelled import PART
from bench.options import UsageError
from export.artifact import Artifact
from export.images import ImageFolder, ImagesError, Preprocess, crops, sample_photographs, spread

COUNT = 4
_SEED = 5
_UNREADABLE = (EOFError, OSError, SyntaxError, ValueError, struct.error, DecompressionBombError)
"""What Pillow raises on a damaged PNG."""
_SUM_ERROR = 1e-2
"""Of probabilities: what bf16 leaves of a sum of 1."""
_MOST_ERROR_HERE = 1e-3
"""Of the largest answer, on the machine that gave the stored ones."""
_SIDE = 160
"""Pixels of a stored image's longer side at most: they show that answers are the same, no more."""


def tolerance(case: Case) -> Tolerance:
    """How far answers may be from others: the limits that parity has for the row."""
    limit = LIMITS[judged_precision(case)]
    most = limit.max_error if math.isfinite(limit.max_error) else None
    return Tolerance(most, limit.min_cosine if math.isfinite(limit.min_cosine) else None)


def tolerance_when_packed(case: Case) -> Tolerance:
    """What the same machine has to keep: it computes with the same instructions.

    The limits of parity leave room for other ones, which for INT8 is a lot: a wrong resize
    would fit in.
    """
    most = tolerance(case).max_error
    return Tolerance(min(_MOST_ERROR_HERE, most or math.inf), None)


def are_probabilities(outputs: NDArray[np.float32]) -> bool:
    """Whether answers went through a softmax in the model itself, as those of Keras do."""
    sums = outputs.sum(axis=1, dtype=np.float64)
    return bool((outputs >= 0).all() and (np.abs(sums - 1) <= _SUM_ERROR).all())


def store_images(folder: Path, data: str) -> None:
    """Write the images as small PNGs: crops of scikit-learn's photographs, or the user's own.

    Raises :class:`UsageError` where there are none.
    """
    folder.mkdir()
    for number, image in enumerate(_images(data)):
        image.thumbnail((_SIDE, _SIDE))
        image.save(folder / f"{number}.png")


def _images(data: str) -> Sequence[Image.Image]:
    try:
        if not data:
            return crops(sample_photographs(), COUNT, _SEED)
        own = ImageFolder.open(Path(data))
        found = own.load(spread(own.part(PART), COUNT, _SEED)).images
    except (ImagesError, OSError) as exc:
        raise UsageError(f"{'--with-images: ' if data else ''}{exc}") from exc
    if len(found) < 2:
        raise UsageError(f"--with-images {data} has fewer than two images in its test part")
    return found


def inputs(folder: Path, preprocess: Preprocess) -> NDArray[np.float32]:
    """What the network takes of the stored images, (n, *what an image becomes).

    Raises :class:`UsageError` where there are none, or one can't be read.
    """
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise UsageError(f"{folder} holds no images")
    try:
        # As PNG only: a name can't choose another decoder.
        return preprocess.batch(Image.open(path, formats=("PNG",)) for path in paths)
    except _UNREADABLE as exc:
        raise UsageError(f"{folder} holds an image that can't be read: {exc}") from exc


def answers(case: Case, artifact: Artifact, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The outputs of the very adapter that was measured, from a child of its own.

    Raises ``launch.ChildDied`` where it has none, and :class:`UsageError` for answers that
    prove nothing: not finite, or the same for every image.
    """
    with tempfile.TemporaryDirectory(prefix="deploybench-") as scratch:
        np.save(Path(scratch, "inputs.npy"), images)
        here = replace(artifact, reference=scratch)
        setting = launch.Setting(case.threads, host.child_memory_bytes())
        with launch.Child(setting, Path(scratch, "log")) as child:
            loaded = child.ask(load_message(case, here), launch.LOAD_LIMIT_S)
            if loaded["status"] != "ok":
                raise launch.ChildDied(loaded["reason"])
            outputs = child.infer(Path(scratch, "inputs.npy"), launch.LOAD_LIMIT_S)
    if not agreement(outputs, outputs, judged_precision(case)).passed:
        raise UsageError(
            f"{case} answers the self-test's images all alike, or with what is no number: such a "
            "test would prove nothing; --with-images DIR_OR_ZIP takes others"
        )
    return outputs
