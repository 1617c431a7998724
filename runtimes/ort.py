"""ONNX Runtime on its CPU execution provider."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.artifact import Artifact
from runtimes import PROFILED, Loaded, Unsupported, computed_in, medians


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


def explain(
    artifact: Artifact,
    *,
    threads: int,
    precision: str,
    batch_size: int,
    inputs: NDArray[np.float32],
) -> Mapping[str, Any]:
    """What ran in one profiled inference; see :class:`runtimes.Explains`."""
    if precision != "fp32":
        raise Unsupported(f"ort computes in the file's own precision, not in {precision}")
    options = _options(artifact, threads)
    # Weights that are packed ahead are missing in the profile, and with them a kernel's size.
    options.add_session_config_entry("session.disable_prepacking", "1")
    ran = [_Node.of(event) for event in _kernels(artifact, options, inputs, 1)]
    behind = artifact.facts.get("behind_convolutions", ())
    return {
        "source": "profile of one inference",
        "macs": _macs(ran, artifact, batch_size),
        "operators": dict(Counter(node.operator for node in ran)),
        "operator_us": _operator_us(artifact, threads, inputs),
        "quantize_nodes": sum(node.operator in _QUANTIZERS for node in ran),
        "unfused": sum(
            node.is_scaling or (node.operator in _UNFUSED and node.name in behind) for node in ran
        ),
    }


def _kernels(
    artifact: Artifact,
    options: onnxruntime.SessionOptions,
    inputs: NDArray[np.float32],
    inferences: int,
) -> list[Mapping[str, Any]]:
    """The profile's events of kernels, in the order in which they ran."""
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = _session(str(artifact.path), options)
        for _ in range(inferences):
            session.run(None, {session.get_inputs()[0].name: inputs})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return sorted(
        (event for event in events if event["name"].endswith(_KERNEL)), key=lambda one: one["ts"]
    )


def _operator_us(
    artifact: Artifact, threads: int, inputs: NDArray[np.float32]
) -> Mapping[str, float]:
    """Microseconds in one batch by operator, with weights packed as in the session that is timed.

    The first inference, which allocates, is left out.
    """
    events = _kernels(artifact, _options(artifact, threads), inputs, 1 + PROFILED)
    each = len(events) // (1 + PROFILED)
    spent_us: list[Counter[str]] = [Counter() for _ in range(PROFILED)]
    for place, event in enumerate(events[each:]):
        spent_us[place // each][event["args"]["op_name"]] += event["dur"]
    return medians(spent_us)


_KERNEL = "_kernel_time"
_PADDED = "_nchwc"
"""How ONNX Runtime calls convolutions of its own layout, whose channels it fills up."""
_QUANTIZERS = ("DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear")
_UNFUSED = ("BatchNormalization", "Relu")
_INTEGER = {"int8", "uint8"}
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "FusedConv": 1, "QLinearConv": 3}
"""Operator -> which of its inputs are the weights, (out, in / groups, height, width)."""
_PRODUCTS = (
    "DynamicQuantizeMatMul",
    "FusedGemm",
    "FusedMatMul",
    "Gemm",
    "MatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "QGemm",
    "QLinearMatMul",
)
_INTEGER_INSIDE = ("DynamicQuantizeMatMul",)
"""They take floats and quantise them before they multiply."""
_NAMES = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16"}


class _Node(NamedTuple):
    """A node that ran: its inputs' types and shapes, and its output's shape."""

    name: str
    operator: str
    inputs: Sequence[tuple[str, Sequence[int]]]
    output: Sequence[int]

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> _Node:
        facts = event["args"]
        inputs = [next(iter(one.items())) for one in facts["input_type_shape"]]
        output = next(iter(facts["output_type_shape"][0].values()))
        return cls(event["name"].removesuffix(_KERNEL), facts["op_name"], inputs, output)

    @property
    def precision(self) -> str:
        """What it multiplies in."""
        kind = self.inputs[0][0]
        integer = kind in _INTEGER or self.operator in _INTEGER_INSIDE
        return "int8" if integer else _NAMES.get(kind, kind)

    @property
    def is_scaling(self) -> bool:
        """Whether it is what a BatchNorm that stands alone becomes in ONNX Runtime's own layout.

        A convolution of each channel with one number (nchwc_transformer.cc).
        """
        if self.operator != "Conv" or not self.name.endswith(_PADDED):
            return False
        (_, data), (_, weights) = self.inputs[:2]
        return list(weights[1:]) == [1, 1, 1] and data[1] == weights[0]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a convolution or a matrix product; 0 for anything else."""
        if self.is_scaling:
            return 0
        if self.operator in _CONVOLUTIONS:
            _, weights = self.inputs[_CONVOLUTIONS[self.operator]]
            return math.prod(self.output) * math.prod(weights[1:])
        if self.operator in _PRODUCTS:
            return math.prod(self.output) * self.inputs[0][1][-1]
        return 0


def _macs(ran: Sequence[_Node], artifact: Artifact, batch_size: int) -> dict[str, int]:
    """For one image, by precision. Of padded convolutions what the network has, not the padding."""
    found: Counter[str] = Counter()
    padded: Counter[str] = Counter()
    for node in ran:
        (padded if node.name.endswith(_PADDED) else found)[node.precision] += node.macs
    left = artifact.macs * batch_size - found.total()
    for precision, macs in padded.items():
        found[precision] += min(macs, left) if len(padded) == 1 and left > 0 else macs
    return {precision: macs // batch_size for precision, macs in found.items() if macs}


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
