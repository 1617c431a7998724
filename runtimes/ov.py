"""OpenVINO on its CPU plugin."""

from __future__ import annotations

import datetime
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.artifact import Artifact
from runtimes import PROFILED, Loaded, Unsupported, computed_in, medians

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
    compiled = _compiled(core, artifact, threads, precision, batch_size)
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


def _compiled(
    core: openvino.Core,
    artifact: Artifact,
    threads: int,
    precision: str,
    batch_size: int,
    more: Mapping[str, object] = MappingProxyType({}),
) -> openvino.CompiledModel:
    """The model as it is measured; with ``more`` settings, as it is not."""
    if precision not in _HINTS:
        raise Unsupported(f"openvino computes in {' or '.join(_HINTS)}, not in {precision}")
    if precision == "bf16" and "BF16" not in _capabilities(core):
        raise Unsupported("openvino's CPU plugin says that this CPU has no bf16 instructions")
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        **more,
    }
    try:
        # Never convert_model, which reports to its makers.
        model = core.read_model(str(artifact.path))
        model.reshape([batch_size, *artifact.image_shape])
        return core.compile_model(model, "CPU", settings)
    except RuntimeError as exc:
        raise Unsupported(f"openvino cannot open {artifact.path}: {_sentence(exc)}") from exc


def explain(
    artifact: Artifact,
    *,
    threads: int,
    precision: str,
    batch_size: int,
    inputs: NDArray[np.float32],
) -> Mapping[str, Any]:
    """What stands in the plugin's own graph; see :class:`runtimes.Explains`."""
    compiled = _compiled(openvino.Core(), artifact, threads, precision, batch_size)
    nodes = [_Node.of(op) for op in compiled.get_runtime_model().get_ordered_ops()]
    nodes = [node for node in nodes if node.layer not in _NO_WORK]
    macs: Counter[str] = Counter()
    for node in nodes:
        macs[node.precision] += node.macs
    behind = set(artifact.facts.get("behind_convolutions", ()))
    quantizers = set(artifact.facts.get("quantizers", ()))
    alone = [node for node in nodes if node.layer not in _WORKING]
    return {
        "source": "runtime model",
        "macs": {name: count // batch_size for name, count in macs.items() if count},
        "operators": dict(Counter(node.layer for node in nodes)),
        "operator_us": _operator_us(artifact, threads, precision, inputs),
        "quantize_nodes": sum(node.is_quantizer(quantizers) for node in alone),
        "unfused": sum(len(behind.intersection(node.made_of)) for node in alone),
    }


def _operator_us(
    artifact: Artifact, threads: int, precision: str, inputs: NDArray[np.float32]
) -> Mapping[str, float]:
    """Microseconds in one batch by layer type, without the first inference, which allocates."""
    compiled = _compiled(
        openvino.Core(), artifact, threads, precision, len(inputs), {"PERF_COUNT": True}
    )
    # The profile calls a layer by its type in the file, the runtime model by what it became.
    layers = {
        op.get_friendly_name(): _Node.of(op).layer
        for op in compiled.get_runtime_model().get_ordered_ops()
    }
    request = compiled.create_infer_request()
    spent_us: list[Counter[str]] = [Counter() for _ in range(PROFILED)]
    request.infer([inputs])
    for inference in spent_us:
        request.infer([inputs])
        for layer in request.profiling_info:
            name = layers.get(layer.node_name, layer.node_type)
            if layer.status == openvino.ProfilingInfo.Status.EXECUTED and name not in _NO_WORK:
                inference[name] += layer.real_time / datetime.timedelta(microseconds=1)
    return medians(spent_us)


_NO_WORK = ("Const", "Input", "Output")
_WORKING = ("Convolution", "FullyConnected", "MatMul")
"""Layer types of the CPU plugin that multiply and accumulate."""
_PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}


class _Node(NamedTuple):
    """A node of the runtime model, and which nodes of the file it was made of."""

    layer: str
    made_of: frozenset[str]
    types: Sequence[str]
    shapes: Sequence[Sequence[int]]
    output: Sequence[int]

    @classmethod
    def of(cls, op: openvino.Node) -> _Node:
        facts = op.get_rt_info()
        layer, names = (str(facts[key].astype(str)) for key in ("layerType", "originalLayersNames"))
        values = [source.get_element_type().get_type_name() for source in op.inputs()]
        shapes = [_sizes(source) for source in op.inputs()]
        outputs = op.outputs()
        output = _sizes(outputs[0]) if outputs else []
        return cls(layer, frozenset(names.split(",")) - {""}, values, shapes, output)

    @property
    def precision(self) -> str:
        """What it multiplies in: the type of its data."""
        kind = self.types[0] if self.types else ""
        return _PRECISIONS.get(kind, kind)

    @property
    def macs(self) -> int:
        """Multiply-accumulates; 0 for what does something else."""
        if self.layer not in _WORKING:
            return 0
        if self.layer == "Convolution":
            weights = self.shapes[1]
            grouped = len(weights) == len(self.output) + 1
            return math.prod(self.output) * math.prod(weights[2 if grouped else 1 :])
        return math.prod(self.output) * self.shapes[0][-1]

    def is_quantizer(self, names: set[str]) -> bool:
        """Whether it does nothing but quantise or dequantise."""
        return self.layer == "FakeQuantize" or (bool(self.made_of) and self.made_of <= names)


def _sizes(port: openvino.Output) -> list[int]:
    shape = port.get_partial_shape()
    return list(shape.to_shape()) if shape.is_static else []


def _capabilities(core: openvino.Core) -> list[str]:
    return list(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _sentence(exc: RuntimeError) -> str:
    """OpenVINO's messages begin with places in its source; the reason is the last line."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
