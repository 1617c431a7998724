"""OpenVINO on its CPU plugin."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from export.artifact import Artifact
from runtimes import Loaded, Unsupported, computed_in

# Importing openvino starts its reporter (an id in the home folder, a message to its makers)
# unless that package, which it treats as optional, can't be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402

_HINTS = {"fp32": "f32", "bf16": "bf16"}


def version() -> str:
    """OpenVINO's own version."""
    return str(openvino.get_version().partition("-")[0])


def instruction_sets() -> str:
    """What the CPU plugin says it can compute in natively."""
    return " ".join(sorted(_capabilities(openvino.Core())))


def load(artifact: Artifact, *, threads: int, precision: str, batch_size: int) -> Loaded:
    """Read and compile ``artifact``; what is not quantised in it is computed in ``precision``.

    Left alone the plugin computes fp32 files in bf16 where the CPU can.
    """
    core = openvino.Core()
    if precision not in _HINTS:
        raise Unsupported(f"openvino computes in {' or '.join(_HINTS)}, not in {precision}")
    if precision == "bf16" and "BF16" not in _capabilities(core):
        raise Unsupported("openvino's CPU plugin says that this CPU has no bf16 instructions")
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    height, width = artifact.input_size
    try:
        # Never convert_model, which reports to its makers.
        model = core.read_model(str(artifact.path))
        model.reshape([batch_size, 3, height, width])
        compiled = core.compile_model(model, "CPU", settings)
    except RuntimeError as exc:
        raise Unsupported(f"openvino cannot open {artifact.path}: {_sentence(exc)}") from exc
    request = compiled.create_infer_request()
    output = compiled.output(0)

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return request.infer(images, share_inputs=True, share_outputs=True)[output]  # type: ignore[no-any-return]

    ran = str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
    names = {hint: name for name, hint in _HINTS.items()}
    notes = {
        "threads": str(compiled.get_property("INFERENCE_NUM_THREADS")),
        "isa": " ".join(sorted(_capabilities(core))),
    }
    return Loaded(run, computed_in(artifact, names.get(ran, ran)), notes)


def _capabilities(core: openvino.Core) -> list[str]:
    return list(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _sentence(exc: RuntimeError) -> str:
    """OpenVINO's messages begin with places in its source; the reason is the last line."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
