"""PyTorch, operator by operator: what a model that nobody exported runs in."""

from __future__ import annotations

import zipfile

import numpy as np
import torch
import torch.export.pt2_archive  # what torch.export.load would import: not load time
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
    """Open an exported program. ``torch.export.load`` unpickles: only files of our own store."""
    del batch_size
    if precision != "fp32":
        raise Unsupported(f"torch-eager computes in the file's own precision, not in {precision}")
    if artifact.format != "pt2":
        raise Unsupported(f"torch-eager opens pt2 files, not {artifact.format}")
    if not zipfile.is_zipfile(artifact.path):
        raise Unsupported(f"{artifact.path} is not a whole .pt2 file: build it again")
    torch.set_num_threads(threads)
    program = torch.export.load(str(artifact.path)).module()

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return program(torch.from_numpy(images)).numpy()  # type: ignore[no-any-return]

    notes = {"threads": str(torch.get_num_threads()), "isa": instruction_sets()}
    return Loaded(run, computed_in(artifact), notes)
