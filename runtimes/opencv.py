"""OpenCV's DNN module, its own CPU backend."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from export.artifact import Artifact
from runtimes import Loaded, Unsupported, computed_in


def version() -> str:
    """OpenCV's own version."""
    return str(cv2.__version__)


def instruction_sets() -> str:
    """What OpenCV was compiled for or dispatches to here: unmarked and ``*`` ones."""
    return str(cv2.getCPUFeaturesLine())


def load(artifact: Artifact, *, threads: int, precision: str, batch_size: int) -> Loaded:
    """Read an .onnx file; OpenCV sets its layers up for one shape, at the first inference.

    Its new engine, the default, can't run quantised files (5.0.0: "bufidx >= 0");
    they go to the classic one.
    """
    del batch_size
    if precision != "fp32":
        raise Unsupported(f"opencv computes in the file's own precision, not in {precision}")
    cv2.setNumThreads(threads)
    try:
        classic = computed_in(artifact) == "int8"
        engine = cv2.dnn.ENGINE_CLASSIC if classic else cv2.dnn.ENGINE_AUTO
        net = cv2.dnn.readNetFromONNX(str(artifact.path), engine)
    except cv2.error as exc:
        raise Unsupported(f"opencv cannot read {artifact.path}: {_sentence(exc)}") from exc

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            net.setInput(images)
            return np.asarray(net.forward(), np.float32)
        except cv2.error as exc:
            # Layers are checked when they are first set up, not when the file is read.
            raise Unsupported(f"opencv cannot run {artifact.path}: {_sentence(exc)}") from exc

    notes = {
        "threads": str(cv2.getNumThreads()),
        "isa": instruction_sets(),
        "engine": "classic" if classic else "auto",
    }
    return Loaded(run, computed_in(artifact), notes)


def _sentence(exc: cv2.error) -> str:
    """The reason in OpenCV's message, without the place in its source."""
    return " ".join(str(exc.err if getattr(exc, "err", "") else exc).split())
