"""What the commands that look into one .onnx file take: the file, and images for it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.build import CALIBRATION_SEED
from export.checkpoints import SEEDED
from export.classes import conflict
from export.counts import count, count_or_0
from export.images import ImageFolder, Preprocess, crops, sample_photographs, spread
from export.optimize import read_metadata


def parser(prog: str, description: str, images: int, which: str) -> argparse.ArgumentParser:
    """``FILE``, ``--data`` and ``--images``, a number that defaults to ``images``.

    It is above 0, unless 0 is the default and means another one.
    """
    made = argparse.ArgumentParser(prog=prog, description=description)
    add = made.add_argument
    add("file", type=Path, metavar="FILE.onnx")
    add("--data", default="", metavar="DIR_OR_ZIP", help="images (default: sample photographs)")
    add("--images", type=count if images else count_or_0, default=images, metavar="N", help=which)
    return made


def images_for(file: Path, data: str, count: int) -> NDArray[np.float32]:
    """Those that calibration takes of the training part; without ``data`` of the photographs.

    As ``file`` takes them. A ``ValueError`` where their classes aren't the file's.
    """
    preprocess = preprocess_of(file)
    if not data:
        return preprocess.batch(crops(sample_photographs(), count, CALIBRATION_SEED))
    folder = folder_for(file, data)
    chosen = spread(folder.part("train"), 2 * count, CALIBRATION_SEED)
    return preprocess.batch(folder.load(chosen, count).images)


def folder_for(file: Path, data: str) -> ImageFolder:
    """The labelled images in ``data``; a ``ValueError`` where ``file`` knows other classes."""
    folder = ImageFolder.open(Path(data))
    names, made_up = classes_of(file)
    # Seeded weights were never taught any classes.
    taught = names and read_metadata(file).get("deploybench.weights") != SEEDED
    if taught and (reason := conflict(str(file), names, data, folder.class_names, made_up=made_up)):
        raise ValueError(f"{reason}; give images of the file's classes, or leave --data out")
    return folder


def classes_of(file: Path) -> tuple[tuple[str, ...], bool]:
    """The class names in an ``.onnx`` of ours, and whether they are made up; none: not said."""
    said = read_metadata(file)
    made_up = said.get("deploybench.class_names_are_placeholders") == "true"
    return tuple(json.loads(said.get("deploybench.class_names", "[]"))), made_up


def preprocess_of(file: Path) -> Preprocess:
    """What an ``.onnx`` of ours says about its images; any other is a ``ValueError``."""
    text = read_metadata(file).get("deploybench.preprocess")
    if text is None:
        raise ValueError(f"{file} does not say how images are preprocessed: build it by export.run")
    return Preprocess.from_json(text)
