"""TorchScript: traced and frozen, as many older services run."""

from __future__ import annotations

import warnings
import zipfile

import numpy as np
import torch
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
    """Read a frozen program and let PyTorch fuse and lay out its operators for this CPU.

    Reading unpickles: only files of our own store.
    """
    del batch_size
    if precision != "fp32":
        raise Unsupported(f"torch-script computes in the file's own precision, not in {precision}")
    if artifact.format != "torchscript" or not zipfile.is_zipfile(artifact.path):
        raise Unsupported(f"{artifact.path} is not a whole TorchScript file: build it again")
    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        # It is deprecated upstream, and still what many a service has in production.
        warnings.simplefilter("ignore", DeprecationWarning)
        frozen = torch.jit.load(str(artifact.path))  # type: ignore[no-untyped-call]
        program = torch.jit.optimize_for_inference(frozen)

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return program(torch.from_numpy(images)).numpy()  # type: ignore[no-any-return]

    notes = {"threads": str(torch.get_num_threads()), "isa": instruction_sets()}
    return Loaded(run, computed_in(artifact), notes)
