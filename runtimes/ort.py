"""ONNX Runtime on its CPU execution provider."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.artifact import Artifact
from runtimes import Loaded, Unsupported, computed_in


def version() -> str:
    """ONNX Runtime's own version."""
    return str(onnxruntime.__version__)


def instruction_sets() -> str:
    """ONNX Runtime chooses its kernels by itself and does not say which."""
    return ""


def load(artifact: Artifact, *, threads: int, precision: str, batch_size: int) -> Loaded:
    """Open ``artifact`` with all graph optimisations, unless its file went through them already."""
    del batch_size
    if precision != "fp32":
        raise Unsupported(f"ort computes in the file's own precision, not in {precision}")
    session = _session(str(artifact.path), _options(artifact, threads))
    name = session.get_inputs()[0].name
    outputs = [session.get_outputs()[0].name]

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return session.run(outputs, {name: images})[0]  # type: ignore[no-any-return]

    notes = {"providers": ",".join(session.get_providers())}
    return Loaded(run, computed_in(artifact), notes)


def _options(artifact: Artifact, threads: int) -> onnxruntime.SessionOptions:
    """Explicit threads; no second optimisation of a file that was optimised ahead of time."""
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    done = artifact.fixes.get("graph_level") == "all"
    options.graph_optimization_level = levels.ORT_DISABLE_ALL if done else levels.ORT_ENABLE_ALL
    return options


def _session(path: str, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    """A session, with ORT's many exceptions mapped to one that names the file."""
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented as exc:
        raise Unsupported(f"onnxruntime has no kernel for this file: {exc}") from exc
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail as exc:
        raise Unsupported(f"onnxruntime cannot open {path}: {exc}") from exc
    except onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf as exc:
        raise Unsupported(f"{path} is not a whole .onnx file: {exc}") from exc
    except onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph as exc:
        raise Unsupported(f"{path} holds a graph that onnxruntime refuses: {exc}") from exc
