"""The runtimes: one small file each, and the table that names them.

A runtime is a module with two functions (see :class:`Runtime`). It is imported
only in the child process that measures it, so its heavy import stands at the
top of its file. This package itself is pure.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, cast, runtime_checkable

from export.artifact import Artifact

Array = Any
"""A numpy array; this package does not import numpy itself."""


class Unsupported(Exception):
    """The runtime cannot do what was asked: a result with a reason, not a failure."""


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to answer.

    ``run`` maps a float32 array (N, 3, H, W) to logits, float32 (N, classes),
    and leaves its argument as it was. ``precision`` and ``notes`` say what the
    runtime really does: "fp32", "int8"; threads, instruction set, providers.
    """

    run: Callable[[Array], Array]
    precision: str
    notes: Mapping[str, str] = field(default_factory=dict)


class Runtime(Protocol):
    """What an adapter module offers."""

    def version(self) -> str:
        """The version of the library underneath."""

    def instruction_sets(self) -> str:
        """What the library says of the CPU's instruction sets; empty: it doesn't say."""

    def load(self, artifact: Artifact, *, threads: int, precision: str, batch_size: int) -> Loaded:
        """Read, parse and optimise ``artifact`` for batches of ``batch_size`` images.

        ``precision`` is what it must compute in where the file leaves that
        open. Raises :class:`Unsupported` with a reason.
        """


@runtime_checkable
class Explains(Protocol):
    """What an adapter module may offer besides."""

    def explain(
        self,
        artifact: Artifact,
        *,
        threads: int,
        precision: str,
        batch_size: int,
        inputs: Array,
    ) -> Mapping[str, Any]:
        """What the runtime made of ``artifact`` by its own optimisation.

        ``inputs`` is one batch, float32 (batch_size, 3, H, W). The keys are those of
        ``bench.record.Execution``: ``source`` says how it was asked; ``macs`` are
        multiply-accumulates for one image by the precision in which they run ("fp32",
        "bf16", "int8"); ``operators`` counts the nodes that run by type; ``operator_us`` are
        microseconds by type in one batch, medians over ``PROFILED`` inferences behind a first one;
        ``quantize_nodes`` those that quantise or dequantise and nothing else; ``unfused``
        the BatchNorm and Relu nodes that still stand alone behind a convolution.
        An .onnx artifact's ``facts`` name these in the file (``export.anatomy.Structure``).
        Runs in a child of its own, in which nothing is timed. Raises :class:`Unsupported`.
        """


PROFILED = 5
"""Inferences over which ``explain`` takes the median time of an operator."""


def medians(inferences: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """By operator the median over inferences of what it took in each; without those of no time."""
    names = dict.fromkeys(name for one in inferences for name in one)
    found = {name: statistics.median(one.get(name, 0) for one in inferences) for name in names}
    return {name: us for name, us in found.items() if us > 0}


@dataclass(frozen=True)
class Entry:
    """A row of the registry.

    ``formats`` stands here and not in the adapter, because a plan is made
    without importing any runtime. ``distribution`` is what pip installs
    (``None``: nothing), ``extra`` the extra of this project that brings it.
    ``precisions`` are those that it can be told to compute an fp32 file in;
    ``refuses`` are others that one might ask for, and why there is no such row;
    ``most_threads`` 0: as many as are asked for. ``explains``: the adapter has a
    function :class:`Explains`.
    """

    module: str
    formats: tuple[str, ...]
    distribution: str | None
    extra: str
    summary: str
    precisions: tuple[str, ...] = ("fp32",)
    refuses: Mapping[str, str] = field(default_factory=dict)
    most_threads: int = 0
    explains: bool = False


REGISTRY: Mapping[str, Entry] = MappingProxyType(
    {
        "torch-eager": Entry(
            "runtimes.torch_eager", ("pt2",), "torch", "torch", "PyTorch, operator by operator"
        ),
        "torch-inductor": Entry(
            "runtimes.torch_inductor",
            ("aoti",),
            "torch",
            "torch",
            "PyTorch, compiled ahead of time to C++ (AOTInductor)",
            precisions=("fp32", "bf16"),
        ),
        "torch-script": Entry(
            "runtimes.torch_script",
            ("torchscript",),
            "torch",
            "torch-script",
            "PyTorch's deprecated TorchScript",
        ),
        "ort": Entry(
            "runtimes.ort",
            ("onnx",),
            "onnxruntime",
            "ort",
            "ONNX Runtime, CPU execution provider",
            explains=True,
        ),
        "openvino": Entry(
            "runtimes.ov",
            ("onnx",),
            "openvino",
            "openvino",
            "OpenVINO, CPU plugin",
            precisions=("fp32", "bf16"),
            explains=True,
        ),
        "opencv": Entry(
            "runtimes.opencv",
            ("onnx",),
            "opencv-python-headless",
            "opencv",
            "OpenCV's DNN module",
        ),
        "ncnn": Entry(
            "runtimes.ncnn_net",
            ("ncnn",),
            "ncnn",
            "ncnn",
            "ncnn, from pnnx's .param and .bin",
            precisions=("fp32", "bf16"),
        ),
        "mnn": Entry(
            "runtimes.mnn_net",
            ("mnn",),
            "MNN",
            "mnn",
            "MNN, from its own converter's .mnn",
            # Seen with 3.6.1 on a CPU with AVX512-BF16, on vgg19-gap, xception and revisited-v6.
            refuses={
                "bf16": "under the precisions low and Low_BF16 MNN answers bit by bit as in fp32"
            },
        ),
        "litert": Entry(
            "runtimes.litert",
            ("tflite",),
            "ai-edge-litert",
            "litert",
            "LiteRT (TensorFlow Lite) with XNNPACK",
        ),
        "executorch": Entry(
            "runtimes.executorch_pte",
            ("pte",),
            "executorch",
            "executorch",
            "ExecuTorch with the XNNPACK delegate",
        ),
        "tract": Entry(
            "runtimes.tract_onnx",
            ("onnx",),
            "tract",
            "tract",
            "tract, written in Rust",
            most_threads=1,
        ),
        "null": Entry(
            "runtimes.null", ("onnx", "pt2"), None, "", "answers a constant: the harness's overhead"
        ),
    }
)


def computed_in(artifact: Artifact, precision: str = "fp32") -> str:
    """What a file is computed in: what it was quantised to, else ``precision``."""
    return "int8" if artifact.recipe.startswith("int8") else precision


def one_line(exc: BaseException) -> str:
    """A library's message without its line breaks."""
    return " ".join(str(exc).split())


def missing(name: str) -> str | None:
    """Why runtime ``name`` can't be used here and how to get it; ``None`` if it can."""
    entry = REGISTRY[name]
    if entry.distribution is None:
        return None
    try:
        importlib.metadata.version(entry.distribution)
    except importlib.metadata.PackageNotFoundError:
        return f"not installed: pip install 'deploybench[{entry.extra}]'"
    return None


def available() -> tuple[str, ...]:
    """The names of the runtimes whose library is installed, in REGISTRY order."""
    return tuple(name for name in REGISTRY if missing(name) is None)


def adapter(name: str) -> Runtime:
    """Import the adapter of runtime ``name``, and with it the runtime's library.

    Raises :class:`Unsupported` if the library is not installed.
    """
    try:
        return cast(Runtime, importlib.import_module(REGISTRY[name].module))
    except ModuleNotFoundError as exc:
        reason = missing(name) or f"{exc}: pip install 'deploybench[{REGISTRY[name].extra}]'"
        raise Unsupported(reason) from exc
