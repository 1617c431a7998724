"""ExecuTorch, its program lowered to the XNNPACK delegate."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime
from numpy.typing import NDArray

from export.artifact import Artifact
from runtimes import Loaded, Unsupported, computed_in, one_line


def version() -> str:
    """The version of the package."""
    return importlib.metadata.version("executorch")


def instruction_sets() -> str:
    """XNNPACK chooses its kernels by itself and does not say which."""
    return ""


def load(artifact: Artifact, *, threads: int, precision: str, batch_size: int) -> Loaded:
    """Read a program and its method ``forward``."""
    most = int(artifact.fixes.get("most_batch", batch_size))
    if batch_size > most:
        raise Unsupported(f"{artifact.path} has memory planned for {most} images at once")
    if precision != "fp32":
        raise Unsupported(f"executorch computes in the file's own precision, not in {precision}")
    portable_lib._unsafe_reset_threadpool(threads)
    try:
        program = Runtime.get().load_program(artifact.path)
        method = program.load_method("forward")
    except RuntimeError as exc:
        raise Unsupported(f"executorch cannot open {artifact.path}: {one_line(exc)}") from exc
    if method is None:
        raise Unsupported(f"{artifact.path} has no method forward")

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return method.execute([torch.from_numpy(images)])[0].numpy()  # type: ignore[no-any-return]

    return Loaded(run, computed_in(artifact), {"threads": str(threads)})
