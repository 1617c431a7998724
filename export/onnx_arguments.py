"""What the commands that look into one .onnx file take: the file, and images for it."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.build import CALIBRATION_SEED
from export.images import ImageFolder, Preprocess, crops, sample_photographs, spread
from export.optimize import read_metadata


def parser(prog: str, description: str, images: int, which: str) -> argparse.ArgumentParser:
    """``FILE``, ``--data`` and ``--images``, a number that defaults to ``images``."""
    made = argparse.ArgumentParser(prog=prog, description=description)
    add = made.add_argument
    add("file", type=Path, metavar="FILE.onnx")
    add("--data", default="", metavar="DIR_OR_ZIP", help="images (default: sample photographs)")
    add("--images", type=int, default=images, metavar="N", help=which)
    return made


def images_for(preprocess: Preprocess, data: str, count: int) -> NDArray[np.float32]:
    """Those that calibration takes of the training part; without ``data`` of the photographs."""
    if not data:
        return preprocess.batch(crops(sample_photographs(), count, CALIBRATION_SEED))
    folder = ImageFolder.open(Path(data))
    chosen = spread(folder.part("train"), 2 * count, CALIBRATION_SEED)
    return preprocess.batch(folder.load(chosen, count).images)


def preprocess_of(file: Path) -> Preprocess:
    """What an ``.onnx`` of ours says about its images; any other is a ``ValueError``."""
    text = read_metadata(file).get("deploybench.preprocess")
    if text is None:
        raise ValueError(f"{file} does not say how images are preprocessed: build it by export.run")
    return Preprocess.from_json(text)
