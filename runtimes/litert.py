"""LiteRT (once TensorFlow Lite), with the XNNPACK delegate that it applies by itself."""

from __future__ import annotations

import importlib.metadata

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from export.artifact import Artifact
from runtimes import Loaded, Unsupported, computed_in, one_line


def version() -> str:
    """The version of the package; the library itself has none to ask for."""
    return importlib.metadata.version("ai-edge-litert")


def instruction_sets() -> str:
    """XNNPACK chooses its kernels by itself and does not say which."""
    return ""


def load(artifact: Artifact, *, threads: int, precision: str, batch_size: int) -> Loaded:
    """Read a .tflite file and allocate its tensors for ``batch_size`` images."""
    if precision != "fp32":
        raise Unsupported(f"litert computes in the file's own precision, not in {precision}")
    try:
        interpreter = Interpreter(str(artifact.path), num_threads=threads)
        source = interpreter.get_input_details()[0]
        shape = [batch_size, *source["shape"][1:]]
        if list(source["shape"]) != shape:
            interpreter.resize_tensor_input(source["index"], shape)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as exc:
        what = f"{artifact.path} for batches of {batch_size}"
        raise Unsupported(f"litert cannot open {what}: {one_line(exc)}") from exc
    target = interpreter.get_output_details()[0]["index"]

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(source["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(target)  # type: ignore[no-any-return]

    return Loaded(run, computed_in(artifact), {"threads": str(threads)})
