"""tract, a small inference engine in Rust. Its Python package computes on one thread."""

from __future__ import annotations

import numpy as np
import tract
from numpy.typing import NDArray

from export.artifact import Artifact
from runtimes import Loaded, Unsupported, computed_in


def version() -> str:
    """The version of the native library."""
    return str(tract.version())


def instruction_sets() -> str:
    """tract chooses its kernels by itself and does not say which."""
    return ""


def load(artifact: Artifact, *, threads: int, precision: str, batch_size: int) -> Loaded:
    """Read an .onnx file and optimise it for one shape."""
    if precision != "fp32":
        raise Unsupported(f"tract computes in the file's own precision, not in {precision}")
    if threads != 1:
        raise Unsupported("tract computes on one thread: its Python package has no setting")
    shape = ",".join(map(str, (batch_size, *artifact.image_shape)))
    try:
        inference = tract.onnx().load(str(artifact.path))
        inference.set_input_fact(0, f"{shape},f32")
        runnable = inference.into_model().into_runnable()
    except tract.TractError as exc:
        raise Unsupported(f"tract cannot open {artifact.path}: {_sentence(exc)}") from exc
    state = runnable.spawn_state()

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return state.run([images])[0].to_numpy()  # type: ignore[no-any-return]

    return Loaded(run, computed_in(artifact), {"threads": "1"})


def _sentence(exc: Exception) -> str:
    """tract's messages are a chain of causes, a line each, with a stack below: the ends of it."""
    chain = str(exc).partition("Stack backtrace")[0].splitlines()
    causes = [line.strip() for line in chain if line.strip() and line.strip() != "Caused by:"]
    return ": ".join(dict.fromkeys([causes[0], causes[-1]])) if causes else "no reason given"
