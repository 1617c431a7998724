"""PyTorch compiled ahead of time: a package of C++ code and weights (AOTInductor)."""

from __future__ import annotations

import zipfile

import numpy as np
import torch
import torch._inductor
import torch._inductor.package  # what aoti_load_package would import: not load time
from numpy.typing import NDArray

from export.artifact import Artifact
from runtimes import Loaded, Unsupported, computed_in


def version() -> str:
    """PyTorch's own version."""
    return str(torch.__version__)


def instruction_sets() -> str:
    """The widest vectors that PyTorch's own kernels use here."""
    return str(torch.backends.cpu.get_cpu_capability())


def load(artifact: Artifact, *, threads: int, precision: str, batch_size: int) -> Loaded:
    """Open a compiled package. It is code: only files of our own store."""
    del batch_size
    if artifact.fixes.get("precision", "fp32") != precision:
        raise Unsupported(f"{artifact.path} is not compiled for {precision}")
    if not zipfile.is_zipfile(artifact.path):
        raise Unsupported(f"{artifact.path} is not a whole package: build it again")
    torch.set_num_threads(threads)
    model = torch._inductor.aoti_load_package(str(artifact.path))

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return model(torch.from_numpy(images)).float().numpy()  # type: ignore[no-any-return]

    notes = {"threads": str(torch.get_num_threads()), "isa": instruction_sets()}
    return Loaded(run, computed_in(artifact, precision), notes)
