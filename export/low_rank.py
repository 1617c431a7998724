"""Fully connected layers split in two by a truncated singular value decomposition.

``x W`` becomes ``(x A) B`` with A (inputs, rank) and B (rank, outputs). The rank is the
smallest at which the layer's own outputs, all together and on calibration images that had
no part in choosing the directions, are off by no more than a limit. As these images choose
the rank, others may be off by somewhat more; how far any input may be is stated as well.
How the directions are chosen, and what bounds the error, stands in ``export.factors``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from export.anatomy import initializer_array
from export.batches import batch_of
from export.build import CannotShrink
from export.factors import LEAST_SAVING, Array, Factors, Split, factorized
from export.linear import bias_of, linear_layers, linear_matrices
from export.optimize import stamp
from export.printable import printable
from export.rewrite import (
    Writer,
    fresh_name,
    read_model,
    replace_nodes,
    replace_tensors,
    save_rewritten,
    tensor_writer,
    used_names,
)

ERROR_BOUND = 0.05
"""Largest error of a layer's outputs, less their mean, as a share of them, on the images that
choose the rank."""
METADATA = "deploybench.low_rank"
_LEAST_IMAGES = 6
_NOTED = 3  # layers that a note tells of; the metadata have all
_ORT_ERRORS_ONLY = 3


def low_rank(
    source: Path, target: Path, images: NDArray[np.float32], bound: float = ERROR_BOUND
) -> dict[str, Any]:
    """Split every fully connected layer of ``source`` that saves weights by it.

    ``source`` comes from ``export.quantize.prepare``; ``images`` are inputs of the
    network, the first axis the batch, at least six (``ValueError``). A network in which
    no layer gains is a ``CannotShrink``. Returns the facts, which stand in the file's
    metadata as well: the bound that ranks were chosen by, and for each layer that was split a
    :class:`Split`; and a note of the errors for people.
    """
    if len(images) < _LEAST_IMAGES:
        raise ValueError(
            f"{len(images)} calibration images are too few for low-rank: give "
            f"{_LEAST_IMAGES} or more (--calibration-images)"
        )
    model = read_model(source)
    if not linear_layers(model.graph):
        raise CannotShrink(f"{source.name} has no fully connected layer to split")
    features = _features(model, source, images)
    splits: dict[str, Split] = {}
    with tensor_writer(source, target) as write:
        _rewrite(model, source, features, bound, write, splits)
    if not splits:
        raise CannotShrink(
            f"no fully connected layer can do with a lower rank: each would lose more than "
            f"{bound:.0%} of its outputs or save less than {LEAST_SAVING:.0%} of its weights"
        )
    save_rewritten(model, source, target)
    facts = {"bound": bound, "layers": {name: asdict(split) for name, split in splits.items()}}
    stamp(target, {METADATA: json.dumps(facts)})
    return {"low_rank": facts, "note": _note(splits)}


def _note(splits: Mapping[str, Split]) -> str:
    """What each layer gave up: what some images showed, and what no input can pass."""
    told = [
        f"{printable(name)} has rank {one.rank} of {min(one.inputs, one.outputs)}, off by "
        f"{100 * one.error:.2g} % on {one.images} images (at most {100 * one.worst_error:.2g} % on "
        "any inputs as far from the mean)"
        for name, one in list(splits.items())[:_NOTED]
    ]
    more = len(splits) - _NOTED
    return "; ".join([*told, *([f"and {more} more"] if more > 0 else [])])


def _rewrite(
    model: onnx.ModelProto,
    source: Path,
    features: Mapping[str, NDArray[np.float32]],
    bound: float,
    write: Writer,
    splits: dict[str, Split],
) -> None:
    """Put factors in the place of the layers that gain, and note each in ``splits``."""
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    nodes = list(graph.node)
    written: list[onnx.TensorProto] = []
    for layer in list(linear_matrices(model, source)):
        node, bias = layer.node, bias_of(layer.node)
        if bias and bias not in tensors:
            continue  # it is computed: nothing that could take what all images have in common
        factors = factorized(layer.matrix, features[node.input[0]], bound)
        if factors is None:
            continue
        splits[node.name or node.output[0]] = factors.split
        shift = factors.shift
        if bias:
            shift = shift + np.asarray(initializer_array(tensors[bias], source), np.float64)
        place = nodes.index(node)
        nodes[place : place + 1], values = _as_two(node, factors, shift, graph)
        written += [write(name, array) for name, array in values.items()]
    used = used_names(graph, nodes)
    written += [write(n, initializer_array(t, source)) for n, t in tensors.items() if n in used]
    replace_nodes(graph, nodes)
    replace_tensors(graph, written)


def _as_two(
    node: onnx.NodeProto, factors: Factors, bias: Array, graph: onnx.GraphProto
) -> tuple[list[onnx.NodeProto], dict[str, NDArray[np.float32]]]:
    """The two products in a layer's place, and the tensors that they need."""
    base = node.name or node.output[0]
    first, second, shift, between = (
        fresh_name(f"{base}_{part}", graph) for part in ("reduce", "expand", "bias", "reduced")
    )
    nodes = [
        onnx.helper.make_node("MatMul", [node.input[0], first], [between], name=first),
        onnx.helper.make_node("Gemm", [between, second, shift], node.output, name=second),
    ]
    values = {first: factors.first, second: factors.second, shift: bias.astype(np.float32)}
    return nodes, values


def _features(
    model: onnx.ModelProto, source: Path, images: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """What goes into each fully connected layer for each image: (images, inputs)."""
    names = list(dict.fromkeys(node.input[0] for node in linear_layers(model.graph)))
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ORT_ERRORS_ONLY
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(source.parent)
    )
    session = onnxruntime.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = session.get_inputs()[0]
    found = [session.run(names, {given.name: batch_of(image, given.shape)}) for image in images]
    return {
        name: np.concatenate([row[:1] for row in rows])
        for name, rows in zip(names, zip(*found, strict=True), strict=True)
    }
