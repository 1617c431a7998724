"""The recipes: ordered chains of steps that make one file out of a variant.

Pure data. A chain is given per file format, because a runtime that opens
exported torch programs needs other steps than one that opens .onnx files.
Every prefix of a chain is an artifact of its own in the store, so that
``fp32`` and ``int8-static`` share one export.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Step:
    """One function that writes one model file.

    ``function`` is a dotted path. A step whose ``source`` is ``"module"`` takes
    a torch module, one whose source is ``"file"`` takes the file of the step
    before it. ``options`` names the fields of ``export.build.Options`` that it
    reads, and ``libraries`` the distributions whose versions can change what it
    writes: both enter the artifact's key, and so does the source of ``function``'s
    module and of ``code``, the modules that it calls. An ``isolated`` step gets a process of
    its own.
    """

    function: str
    source: str
    libraries: tuple[str, ...]
    options: tuple[str, ...] = ()
    code: tuple[str, ...] = ("export.anatomy:", "export.optimize:")
    host_bound: bool = False
    isolated: bool = False


_ONNX = ("onnx", "onnxruntime")

STEPS: Mapping[str, Step] = MappingProxyType(
    {
        "to-onnx": Step(
            "export.to_onnx:write_onnx",
            source="module",
            libraries=("torch", "onnxscript", *_ONNX),
        ),
        "to-pt2": Step("export.to_pt2:write_pt2", source="module", libraries=("torch",), code=()),
        "quantize-linear-to-pt2": Step(
            "export.to_pt2:quantize_linear",
            source="module",
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
        "prepare": Step("export.quantize:prepare", source="file", libraries=_ONNX),
        "quantize-dynamic": Step(
            "export.quantize:quantize_dynamic", source="file", libraries=_ONNX
        ),
        "quantize-static": Step(
            "export.quantize:quantize_static",
            source="file",
            libraries=_ONNX,
            options=("calibration_method", "calibration_images", "data"),
        ),
    }
)


@dataclass(frozen=True)
class Recipe:
    """How a variant becomes a file: ``chains`` maps a format to its steps.

    ``runtimes`` limits a recipe whose file only some runtimes can open.
    ``precision`` is what the weights of the heavy layers are stored in.
    """

    name: str
    precision: str
    summary: str
    chains: Mapping[str, tuple[str, ...]]
    runtimes: tuple[str, ...] | None = field(default=None)


_ROWS = (
    Recipe(
        "fp32",
        precision="fp32",
        summary="what the exporter writes",
        chains={"onnx": ("to-onnx",), "pt2": ("to-pt2",)},
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
        chains={"onnx": ("to-onnx", "prepare", "quantize-static")},
    ),
)

RECIPES: Mapping[str, Recipe] = MappingProxyType({row.name: row for row in _ROWS})
