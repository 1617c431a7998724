"""ncnn, from the .param and .bin that pnnx writes."""

from __future__ import annotations

import ncnn
import numpy as np
from numpy.typing import NDArray

from export.artifact import Artifact
from runtimes import Loaded, Unsupported

_SETS = ("avx", "fma", "avx2", "avx_vnni", "avx512", "avx512_vnni", "avx512_bf16", "avx512_fp16")


def version() -> str:
    """ncnn's own version."""
    return str(ncnn.__version__)


def instruction_sets() -> str:
    """The x86 extensions that ncnn found, of those that its package lets one ask for."""
    asked = {name: getattr(ncnn, f"cpu_support_x86_{name}", None) for name in _SETS}
    found = [name for name, ask in asked.items() if ask and ask()]
    silent = [name for name, ask in asked.items() if ask is None]
    return " ".join([*found, *([f"(not told: {', '.join(silent)})"] if silent else [])])


def load(artifact: Artifact, *, threads: int, precision: str, batch_size: int) -> Loaded:
    """Read a net. Its options have to stand before the .param is read."""
    if batch_size != 1:
        raise Unsupported("ncnn takes one image at a time: its layers know no batch")
    if precision not in ("fp32", "bf16"):
        raise Unsupported(f"ncnn computes in fp32 or bf16, not in {precision}")
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = False
    net.opt.use_fp16_storage = False
    net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = precision == "bf16"
    weights = artifact.path.with_suffix(".bin")
    if net.load_param(str(artifact.path)):
        raise Unsupported(f"ncnn cannot read {artifact.path}: it is damaged or has unknown layers")
    if net.load_model(str(weights)):
        raise Unsupported(f"{weights} is not whole: build it again")

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        extractor = net.create_extractor()
        given = extractor.input("in0", ncnn.Mat(images[0]))  # borrows numpy's memory
        code, output = extractor.extract("out0")
        if given or code:
            raise RuntimeError(f"ncnn failed to run the net (code {given or code})")
        return np.array(output)[np.newaxis]

    notes = {"threads": str(threads), "isa": instruction_sets()}
    return Loaded(run, precision, notes)
