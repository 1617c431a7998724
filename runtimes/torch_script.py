"""TorchScript: traced, frozen and optimised for inference, as many older services run."""

from __future__ import annotations

import warnings
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
    """Open an exported program, trace, freeze and optimise it for one batch size.

    TorchScript is deprecated upstream, and still what many a service has in production.
    """
    if precision != "fp32":
        raise Unsupported(f"torch-script computes in the file's own precision, not in {precision}")
    if artifact.format != "pt2" or not zipfile.is_zipfile(artifact.path):
        raise Unsupported(f"{artifact.path} is not a whole .pt2 file: build it again")
    torch.set_num_threads(threads)
    program = torch.export.load(str(artifact.path)).module(check_guards=False)
    program._forward_pre_hooks.clear()  # they compare symbolic shapes, which a trace can't hold
    example = torch.zeros(batch_size, 3, *artifact.input_size)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(program, example, check_trace=False)  # type: ignore[no-untyped-call]
        frozen = torch.jit.optimize_for_inference(torch.jit.freeze(traced.eval()))

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return frozen(torch.from_numpy(images)).numpy()  # type: ignore[no-any-return]

    notes = {"threads": str(torch.get_num_threads()), "isa": instruction_sets()}
    return Loaded(run, computed_in(artifact), notes)
