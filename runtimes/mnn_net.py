"""MNN, from the .mnn that its own converter writes."""

from __future__ import annotations

import importlib.metadata

import MNN
import numpy as np
from numpy.typing import NDArray

from export.artifact import Artifact
from runtimes import Loaded, Unsupported, computed_in


def version() -> str:
    """MNN's own version."""
    return importlib.metadata.version("MNN")


def instruction_sets() -> str:
    """MNN prints them when it is imported, and has no function to ask."""
    return ""


def load(artifact: Artifact, *, threads: int, precision: str, batch_size: int) -> Loaded:
    """Read a net, give it one shape, and let MNN choose its kernels."""
    if precision != "fp32":
        raise Unsupported(f"mnn computes in fp32, not in {precision}")
    try:
        interpreter = MNN.Interpreter(str(artifact.path))
        session = interpreter.createSession(
            {"backend": "CPU", "numThread": threads, "precision": "high"}
        )
        source = interpreter.getSessionInput(session)
    except Exception as exc:  # MNN raises plain ones
        raise Unsupported(f"mnn cannot open {artifact.path}: {exc}") from exc
    shape = (batch_size, *artifact.image_shape)
    interpreter.resizeTensor(source, shape)
    if not interpreter.resizeSession(session):
        raise Unsupported(f"mnn cannot run {artifact.path} on {batch_size} images at once")
    target = interpreter.getSessionOutput(session)
    answer_shape = (batch_size, len(artifact.class_names))
    floats, layout = MNN.Halide_Type_Float, MNN.Tensor_DimensionType_Caffe
    answer = MNN.Tensor(answer_shape, floats, np.zeros(answer_shape, np.float32), layout)

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        # After a failure the previous answer would still stand there.
        ran = source.copyFrom(MNN.Tensor(shape, floats, images, layout))
        code = interpreter.runSession(session)
        if not ran or code or not target.copyToHostTensor(answer):
            raise RuntimeError(f"mnn failed to run the session (code {code})")
        return np.array(answer.getNumpyData()).reshape(answer_shape)

    return Loaded(run, computed_in(artifact), {"threads": str(threads)})
