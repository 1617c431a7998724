"""module -> .onnx, compared with torch, carrying labels, preprocessing and provenance.

What stands in the file depends on the module alone: not on the folder it was
exported in, nor on where the libraries are installed.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from export.optimize import LARGEST_SINGLE_FILE, stamp

__all__ = ["ExportError", "check_against", "stamp", "write_onnx"]

INPUT, OUTPUT = "input", "logits"

_EXAMPLE_BATCH = 2  # an example of 1 would be taken for a constant
_SEED = 0
_CHATTY_LOGGER = "torch.onnx._internal.exporter._registration"


class ExportError(RuntimeError):
    """An exported file that does not compute what its module computes."""


def write_onnx(
    module: nn.Module, file: Path, input_size: tuple[int, int], metadata: Mapping[str, str]
) -> None:
    """Write ``module`` as an .onnx file with input ``input`` and output ``logits``.

    ``input`` is float32 ``(batch, 3, height, width)`` with ``input_size`` =
    (height, width) fixed and the batch free; ``metadata`` becomes the model's
    ``metadata_props``. Weights over protobuf's limit go to ``<file>.data`` beside
    it, whose name is written inside ``file``: move both, rename neither. The
    module must be in eval mode (``ValueError``).
    """
    if module.training:
        raise ValueError("a module in training mode can't be exported: call .eval() first")
    model = _exported(module, input_size).model
    _restore_zero_biases(model, module)
    _strip(model)
    model.metadata_props.clear()
    model.metadata_props.update(metadata)
    large = _weight_bytes(model) > LARGEST_SINGLE_FILE
    onnx_ir.save(model, file, external_data=f"{file.name}.data" if large else None)
    del model  # before the checker reads the file
    onnx.checker.check_model(file)


def check_against(
    file: Path, inputs: NDArray[np.float32], reference: NDArray[np.float32], limit: float = 5e-4
) -> float:
    """Largest absolute error of ``file`` on ``inputs`` over the largest ``reference`` output.

    Runs ONNX Runtime's CPU provider, one image at a time. ``inputs`` is
    ``(n, 3, height, width)``, ``reference`` ``(n, classes)``. An error above
    ``limit`` (or no number at all) is an ``ExportError``.
    """
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    answers = [session.run([OUTPUT], {INPUT: image[None]})[0] for image in inputs]
    error = np.abs(np.concatenate(answers) - reference).max() / np.abs(reference).max()
    if not error <= limit:
        raise ExportError(
            f"{file.name} differs from its torch module by {error:.1e} of the largest output, "
            f"more than {limit:.0e}"
        )
    return float(error)


def _exported(module: nn.Module, input_size: tuple[int, int]) -> torch.onnx.ONNXProgram:
    generator = torch.Generator().manual_seed(_SEED)
    example = torch.randn(_EXAMPLE_BATCH, 3, *input_size, generator=generator)
    with _quiet_exporter():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
    if program is None:  # only by its type: dynamo=True returns a program
        raise ExportError("torch.onnx.export returned nothing")
    return program


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what the exporter says about torchvision and about torch itself."""
    logger = logging.getLogger(_CHATTY_LOGGER)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _restore_zero_biases(model: onnx_ir.Model, module: nn.Module) -> None:
    """Put back the biases that the exporter dropped because all their values are zero.

    Biases start at zero, so an untrained network would otherwise lose parameters
    that the same network has once it is trained.
    """
    known = model.graph.initializers
    for name, tensor in module.state_dict().items():
        weight = known.get(f"{name.removesuffix('bias')}weight")
        if not name.endswith(".bias") or name in known or weight is None:
            continue
        for node in weight.consumers():
            if node.op_type in ("Conv", "Gemm") and len(node.inputs) == 2:
                value = onnx_ir.val(name, const_value=onnx_ir.tensor(tensor.numpy(), name=name))
                model.graph.register_initializer(value)
                node.resize_inputs(3)
                node.replace_input_with(2, value)


def _strip(model: onnx_ir.Model) -> None:
    """Remove stack traces and paths, shapes of inner values, and counted names.

    Where initialisers are listed among the shapes, ``quantize_dynamic`` later
    fails with "Inferred shape and existing shape differ".
    """
    graph = model.graph
    graph.metadata_props.clear()
    graph.doc_string = None
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        _strip_value(value)
    for initializer in graph.initializers.values():
        initializer.shape = initializer.type = None
    for i, node in enumerate(graph):
        node.name = f"{node.op_type}_{i}"
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            _strip_value(value)
            if not value.is_graph_output():
                value.shape = value.type = None


def _strip_value(value: onnx_ir.Value) -> None:
    value.metadata_props.clear()
    value.doc_string = None
    if value.const_value is not None:
        value.const_value.metadata_props.clear()
        value.const_value.doc_string = None


def _weight_bytes(model: onnx_ir.Model) -> int:
    tensors = [value.const_value for value in model.graph.initializers.values()]
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
