"""The recipes: ordered chains of steps that make one file out of a variant.

Pure data. A chain is given per file format, because a runtime that opens
exported torch programs needs other steps than one that opens .onnx files.
Every prefix of a chain is an artifact of its own in the store, so that
``fp32`` and ``int8-static`` share one export.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Step:
    """One function that writes one model file.

    ``function`` is a dotted path. A step whose ``source`` is ``"module"`` takes
    a torch module, one whose source is ``"file"`` takes the file of the step
    before it; ``makes`` is the format of what it writes. ``options`` names the
    fields of ``export.build.Options`` that it reads, and ``libraries`` the
    distributions whose versions can change what it writes: both enter the
    artifact's key, and so does the source of ``function``'s module and of
    ``code``, the modules that it calls. The file of a ``host_bound`` step is for
    this CPU's instruction sets; ``fixes`` says what else it can't do without.
    ``"given"`` is the source of the one that takes a file of the user's.
    An ``isolated`` step gets a process of its own, and ``programs`` must be on the
    ``PATH``. ``int8`` are fields of ``export.build.Int8`` that the step sets itself.
    """

    function: str
    source: str
    libraries: tuple[str, ...]
    options: tuple[str, ...] = ()
    makes: str = "onnx"
    code: tuple[str, ...] = ("export.anatomy:", "export.nbits:", "export.optimize:")
    host_bound: bool = False
    isolated: bool = False
    programs: tuple[str, ...] = ()
    fixes: Mapping[str, str] = field(default_factory=dict)
    int8: Mapping[str, Any] = field(default_factory=dict)


MOST_IMAGES = 64
"""In one batch of an ExecuTorch program, whose memory is planned for the largest one."""
_ONNX = ("onnx", "onnxruntime")
_MODULE = ("export.to_pt2:",)
"""What counts the layers of a module whose file isn't taken apart."""
_CALIBRATED = ("calibration_images", "data")
_REWRITTEN = (
    "export.anatomy:",
    "export.nbits:",
    "export.optimize:",
    "export.rewrite:",
    "export.subgraphs:",
)
_LINEAR = (*_REWRITTEN, "export.linear:")
"""What the steps share that know fully connected layers."""
_STATIC = Step(
    "export.quantize:quantize_static",
    source="file",
    libraries=_ONNX,
    options=("int8", "data"),
    code=(*_LINEAR, "export.batches:"),
)
_GRAPH_TO_NCNN = Step(
    "export.convert:onnx_to_ncnn",
    source="file",
    makes="ncnn",
    libraries=("onnx", "pnnx"),
    code=(),
    fixes={"batch": "1"},
)

STEPS: Mapping[str, Step] = MappingProxyType(
    {
        "adopt": Step(
            "export.adopt:adopt",
            source="given",
            libraries=("onnx",),
            code=("export.anatomy:", "export.nbits:", "export.optimize:", "export.subgraphs:"),
        ),
        "to-onnx": Step(
            "export.to_onnx:write_onnx",
            source="module",
            libraries=("torch", "onnxscript", *_ONNX),
        ),
        "to-pt2": Step(
            "export.to_pt2:write_pt2", source="module", makes="pt2", libraries=("torch",), code=()
        ),
        "quantize-linear-to-pt2": Step(
            "export.to_pt2:quantize_linear",
            source="module",
            makes="pt2",
            libraries=("torch", "torchao"),
            code=(),
        ),
        "optimize": Step(
            "export.optimize:optimize",
            source="file",
            libraries=_ONNX,
            options=("graph_level",),
            host_bound=True,
        ),
        "ort-tools": Step(
            "export.optimize:ort_tools",
            source="file",
            libraries=("onnxruntime-tools", *_ONNX),
            options=("ort_tools_level",),
            isolated=True,  # its package hides modules of onnxruntime's own quantiser
        ),
        "weights-to-fp16": Step(
            "export.fp16_weights:fp16_weights", source="file", libraries=_ONNX, code=_REWRITTEN
        ),
        "slim": Step(
            "export.slim:slim", source="file", libraries=("onnxslim", *_ONNX), code=_REWRITTEN
        ),
        "low-rank": Step(
            "export.low_rank:low_rank",
            source="file",
            libraries=("scipy", *_ONNX),
            options=_CALIBRATED,
            code=(*_LINEAR, "export.batches:", "export.factors:"),
        ),
        "linear-to-int4": Step(
            "export.int4_weights:int4_weights",
            source="file",
            libraries=("onnx-ir", *_ONNX),
            code=_LINEAR,
        ),
        "prepare": Step("export.quantize:prepare", source="file", libraries=_ONNX),
        "quantize-dynamic": Step(
            "export.quantize:quantize_dynamic", source="file", libraries=_ONNX, code=_LINEAR
        ),
        "quantize-static": _STATIC,
        "quantize-static-7bit": replace(_STATIC, int8={"reduce_range": True}),
        "quantize-static-u8u8": replace(
            _STATIC, int8={"activation_type": "u8", "weight_type": "u8"}
        ),
        "to-torchscript": Step(
            "export.convert:to_torchscript",
            source="module",
            makes="torchscript",
            libraries=("torch",),
            code=_MODULE,
        ),
        "to-aoti": Step(
            "export.convert:to_aoti",
            source="module",
            makes="aoti",
            libraries=("torch",),
            code=_MODULE,
            programs=("g++",),
            host_bound=True,
        ),
        "to-aoti-bf16": Step(
            "export.convert:to_aoti_bf16",
            source="module",
            makes="aoti-bf16",
            libraries=("torch",),
            code=_MODULE,
            fixes={"precision": "bf16"},
            programs=("g++",),
            host_bound=True,
        ),
        "quantize-to-aoti": Step(
            "export.convert:quantize_to_aoti",
            source="module",
            makes="aoti",
            libraries=("torch", "torchao"),
            code=_MODULE,
            options=_CALIBRATED,
            programs=("g++",),
            host_bound=True,
        ),
        "to-ncnn": Step(
            "export.convert:to_ncnn",
            source="module",
            makes="ncnn",
            libraries=("torch", "pnnx"),
            code=_MODULE,
            fixes={"batch": "1"},
        ),
        "to-ncnn-fp16": Step(
            "export.convert:to_ncnn_fp16",
            source="module",
            makes="ncnn",
            libraries=("torch", "pnnx"),
            code=_MODULE,
            fixes={"batch": "1"},
        ),
        "onnx-to-ncnn": _GRAPH_TO_NCNN,
        "onnx-to-ncnn-fp16": replace(_GRAPH_TO_NCNN, function="export.convert:onnx_to_ncnn_fp16"),
        "to-mnn": Step(
            "export.convert:to_mnn", source="file", makes="mnn", libraries=("MNN",), code=()
        ),
        "to-mnn-fp16": Step(
            "export.convert:to_mnn_fp16", source="file", makes="mnn", libraries=("MNN",), code=()
        ),
        "quantize-mnn": Step(
            "export.convert:quantize_mnn",
            source="file",
            makes="mnn",
            libraries=("MNN",),
            code=(),
            options=_CALIBRATED,
        ),
        "to-tflite": Step(
            "export.convert:to_tflite",
            source="module",
            makes="tflite",
            libraries=("torch", "litert-torch", "litert-converter"),
            code=_MODULE,
        ),
        "quantize-tflite": Step(
            "export.convert:quantize_tflite",
            source="file",
            makes="tflite",
            libraries=("ai-edge-quantizer", "ai-edge-litert"),
            code=(),
            options=_CALIBRATED,
        ),
        "to-pte": Step(
            "export.convert:to_pte",
            source="module",
            makes="pte",
            libraries=("torch", "executorch"),
            code=_MODULE,
            fixes={"most_batch": str(MOST_IMAGES)},
        ),
        "quantize-to-pte": Step(
            "export.convert:quantize_to_pte",
            source="module",
            makes="pte",
            libraries=("torch", "executorch", "torchao"),
            code=_MODULE,
            fixes={"most_batch": str(MOST_IMAGES)},
            options=_CALIBRATED,
        ),
    }
)


@dataclass(frozen=True)
class Recipe:
    """How a variant becomes a file: ``chains`` maps a format to its steps.

    ``runtimes`` limits a recipe whose file only some runtimes can open;
    ``impossible`` names runtimes that would need a file nobody can make, and why;
    ``tried`` what else was tried where a runtime's file turns out wrong.
    ``precision`` is what the weights of the heavy layers are stored in; ``parity``
    names a limit of ``bench.accuracy`` of its own where the network is another one.
    """

    name: str
    precision: str
    summary: str
    chains: Mapping[str, tuple[str, ...]]
    runtimes: tuple[str, ...] | None = field(default=None)
    impossible: Mapping[str, str] = field(default_factory=dict)
    tried: Mapping[str, str] = field(default_factory=dict)
    parity: str = ""


_ROWS = (
    Recipe(
        "fp32",
        precision="fp32",
        summary="what the exporter writes",
        chains={
            "onnx": ("to-onnx",),
            "pt2": ("to-pt2",),
            "torchscript": ("to-torchscript",),
            "aoti": ("to-aoti",),
            "aoti-bf16": ("to-aoti-bf16",),
            "ncnn": ("to-ncnn",),
            "mnn": ("to-onnx", "to-mnn"),
            "tflite": ("to-tflite",),
            "pte": ("to-pte",),
        },
    ),
    Recipe(
        "fp32-opt",
        precision="fp32",
        summary="ONNX Runtime's graph optimisation, done ahead of time",
        chains={"onnx": ("to-onnx", "optimize")},
        runtimes=("ort",),
    ),
    Recipe(
        "fp32-ort-tools",
        precision="fp32",
        summary="the graph optimiser of the deprecated onnxruntime-tools",
        chains={"onnx": ("to-onnx", "ort-tools")},
        runtimes=("ort",),
    ),
    Recipe(
        "fp16-weights",
        precision="fp16",
        summary="weights stored in fp16 and computed with in fp32",
        chains={
            "onnx": ("to-onnx", "weights-to-fp16"),
            "ncnn": ("to-ncnn-fp16",),
            "mnn": ("to-onnx", "to-mnn-fp16"),
        },
    ),
    Recipe(
        "fp32-slim",
        precision="fp32",
        summary="constants folded and operators fused by onnxslim, in ONNX's own operators",
        chains={"onnx": ("to-onnx", "slim")},
    ),
    Recipe(
        "low-rank",
        precision="fp32",
        summary="fully connected layers split in two by SVD, each off by about 5 %",
        chains={"onnx": ("to-onnx", "prepare", "low-rank")},
        parity="low-rank",
    ),
    Recipe(
        "int4-weights",
        precision="int4",
        summary="fully connected layers with weights of 4 bits, computed with in fp32",
        chains={"onnx": ("to-onnx", "prepare", "linear-to-int4")},
        runtimes=("ort",),
    ),
    Recipe(
        "int8-dynamic",
        precision="int8",
        summary="fully connected layers in INT8, activations quantised as they come",
        chains={
            "onnx": ("to-onnx", "prepare", "quantize-dynamic"),
            "pt2": ("quantize-linear-to-pt2",),
        },
    ),
    Recipe(
        "int8-static",
        precision="int8",
        summary="weights and activations in INT8 (QDQ), calibrated on real images",
        chains={
            "onnx": ("to-onnx", "prepare", "quantize-static"),
            "aoti": ("quantize-to-aoti",),
            "mnn": ("to-onnx", "to-mnn", "quantize-mnn"),
            "tflite": ("to-tflite", "quantize-tflite"),
            "pte": ("quantize-to-pte",),
        },
        impossible={
            "torch-eager": "operator by operator PyTorch computes such a program in fp32, between "
            "quantising and dequantising: only compiled is it INT8 (torch-inductor)",
            "torch-script": "TorchScript's INT8 comes from torch.ao.quantization's eager mode, "
            "which is deprecated",
            "ncnn": "ncnn's own quantiser (ncnn2table, ncnn2int8) is in no PyPI or Debian package",
        },
        tried={
            "mnn": "of the methods of MNN 3.6.1's quantiser KL ended with a segmentation fault and "
            "ADMM with a broken heap; EMA wrote this file",
        },
    ),
    Recipe(
        "int8-static-7bit",
        precision="int8",
        summary="int8-static with weights of 7 bits, whose sums can't saturate on CPUs without "
        "VNNI",
        chains={"onnx": ("to-onnx", "prepare", "quantize-static-7bit")},
    ),
    Recipe(
        "int8-static-u8u8",
        precision="int8",
        summary="int8-static with unsigned weights, which ONNX Runtime multiplies in 16 bits: "
        "exact on CPUs without VNNI",
        chains={"onnx": ("to-onnx", "prepare", "quantize-static-u8u8")},
        runtimes=("ort",),
    ),
)
FILE_LEVEL = ("fp16-weights", "fp32-slim", "low-rank", "int4-weights")
"""What makes another .onnx file of one, and says nothing new of most variants."""
REMEDIES = ("int8-static-7bit", "int8-static-u8u8")
"""For CPUs without VNNI (``export.saturation``): built where they are named."""


def chains_of(recipe: Recipe, *, given: bool) -> Mapping[str, tuple[str, ...]]:
    """The chains of a recipe; of a ``given`` file those that need no PyTorch module."""
    if not given:
        return recipe.chains
    instead: dict[str, tuple[str, ...]] = {"to-onnx": ("adopt",)}
    # ncnn's files are made from the module where there is one: pnnx was written for that.
    instead |= {name: ("adopt", f"onnx-{name}") for name in ("to-ncnn", "to-ncnn-fp16")}
    return {
        name: (*instead[steps[0]], *steps[1:])
        for name, steps in recipe.chains.items()
        if steps[0] in instead
    }


RECIPES: Mapping[str, Recipe] = MappingProxyType({row.name: row for row in _ROWS})
FORMATS = tuple(dict.fromkeys(name for row in _ROWS for name in row.chains))
