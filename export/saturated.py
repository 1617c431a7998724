"""What saturated sums would cost: a small INT8 network computed as without VNNI, in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from export.images import Preprocess, spread
from export.onnx_arguments import classes_of, folder_for
from export.qdq import Integers, Layer, grouped, quantised_layers, unfused, windows
from export.saturation import LEAST, MOST, can_saturate, pair_sums


def saturated_answers(file: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (n, classes) of a QDQ ``.onnx`` for float32 (n, 3, height, width), without VNNI.

    Every sum of two products that leaves 16 bits is cut off there; the rest is as
    ONNX Runtime computes the graph unfused. In numpy: for small networks.
    """
    model = onnx.load(file)
    suspects = [x for x in quantised_layers(model) if _is_suspect(x)]
    given = [model.graph.input[0].name]
    steps = []
    for layer in suspects:
        steps.append((layer, unfused(_part(model, given, layer.input))))
        given.append(layer.node.output[0])
    last = unfused(_part(model, given, model.graph.output[0].name))
    tensors = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}

    def value(name: str) -> NDArray[np.float32]:
        """What a DequantizeLinear makes of a constant."""
        integers, scale = (tensors[x] for x in made[name].input[:2])
        product: NDArray[np.float32] = integers * scale
        return product

    def one(image: NDArray[np.float32]) -> NDArray[np.float32]:
        known = {given[0]: image}
        for layer, session in steps:
            (inputs,) = _run(session, known)
            sums = saturated_sums(layer, layer.unsigned(inputs))
            scales = [tensors[made[name].input[1]] for name in layer.node.input[:2]]
            bias = value(layer.node.input[2]) if len(layer.node.input) > 2 else np.float32(0)
            outputs = sums * (scales[0] * scales[1]) + bias
            known[layer.node.output[0]] = _shaped(layer, outputs.astype(np.float32), inputs)
        logits: NDArray[np.float32] = _run(last, known)[0]
        return logits

    return np.concatenate([one(images[i : i + 1]) for i in range(len(images))])


def exact_answers(file: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same with whole sums, whatever this CPU can do."""
    model = onnx.load(file)
    session, name = unfused(model), model.graph.input[0].name
    return np.concatenate(
        [session.run(None, {name: images[i : i + 1]})[0] for i in range(len(images))]
    )


def saturated_sums(layer: Layer, values: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Accumulations of one image, the zero point taken off: (places, output channels)."""
    if layer.node.op_type == "Conv":
        patches = windows(layer, values[0])
        rows = grouped(layer, patches.reshape(-1, *patches.shape[2:]))
    else:
        rows = values.reshape(1, -1, layer.reduction)
    return np.concatenate(
        [
            _group_sums(taken, weights, layer.zero_point)
            for taken, weights in zip(rows, layer.weights, strict=True)
        ],
        axis=1,
    )


def _group_sums(rows: NDArray[np.uint8], weights: Integers, zero_point: int) -> NDArray[np.float64]:
    """(n, outputs): whole sums, less what is cut off from those of two."""
    exact = rows.astype(np.float64) @ weights.astype(np.float64).T
    for i, one in enumerate(weights):
        sums = pair_sums(rows, one)
        exact[:, i] += (np.clip(sums, LEAST, MOST) - sums).sum(axis=1)
    less: NDArray[np.float64] = exact - zero_point * weights.sum(axis=1, dtype=np.int64)
    return less


def _shaped(layer: Layer, outputs: NDArray[np.float32], inputs: Integers) -> NDArray[np.float32]:
    """(places, channels) as the layer's node would give them out."""
    if layer.node.op_type != "Conv":
        return outputs.reshape(*inputs.shape[:-1], -1)
    height, width = windows(layer, layer.unsigned(inputs[0])).shape[:2]
    return outputs.T.reshape(1, -1, height, width)


def _run(
    session: onnxruntime.InferenceSession, known: Mapping[str, NDArray[Any]]
) -> Sequence[NDArray[Any]]:
    taken = {x.name: known[x.name] for x in session.get_inputs()}
    outputs: Sequence[NDArray[Any]] = session.run(None, taken)
    return outputs


def _part(model: onnx.ModelProto, given: Sequence[str], wanted: str) -> onnx.ModelProto:
    """What computes ``wanted`` out of ``given``, as a model of its own."""
    made = {name: i for i, node in enumerate(model.graph.node) for name in node.output}
    left, needed, used = [wanted], set(), set()
    while left:
        name = left.pop()
        used.add(name)
        if name not in given and name in made and made[name] not in needed:
            needed.add(made[name])
            left += model.graph.node[made[name]].input
    types = {x.name: x.type.tensor_type.elem_type for x in model.graph.output}
    inputs = [
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in given
        if name in used
    ]
    zero = {n.output[0]: n.input[2] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    kinds = {x.name: x.data_type for x in model.graph.initializer}
    kind = types[wanted] if wanted in types else kinds[zero[wanted]]
    graph = onnx.helper.make_graph(
        [model.graph.node[i] for i in sorted(needed)],
        "part",
        inputs,
        [onnx.helper.make_tensor_value_info(wanted, kind, None)],
        [x for x in model.graph.initializer if x.name in used],
    )
    return onnx.helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version
    )


def _is_suspect(layer: Layer) -> bool:
    """Whether anything can saturate in it."""
    flat = layer.weights.reshape(-1, layer.reduction)
    return not layer.immune and any(can_saturate(one).any() for one in flat)


def effect(file: Path, preprocess: Preprocess, data: str, count: int) -> str:
    """Top-1 on ``count`` images of the validation part with whole and with saturated sums.

    Without ``data``, or where its classes aren't the file's, it is a ``ValueError``.
    """
    if not data:
        raise ValueError("--effect needs labelled images: name them with --data")
    folder = folder_for(file, data)
    names, made_up = classes_of(file)
    if made_up or not names:
        raise ValueError(
            f"{file} does not name its classes: what the labels of {data} mean to it would be a "
            "guess; build it from weights that name them"
        )
    loaded = folder.load(spread(folder.part("val"), count, seed=0))
    images = preprocess.batch(loaded.images)
    labels = np.array([names.index(folder.class_names[x.label]) for x in loaded.entries])
    exact = exact_answers(file, images).argmax(axis=1)
    cut = saturated_answers(file, images).argmax(axis=1)
    return (
        f"top-1 on {len(labels)} validation images: {np.mean(exact == labels):.2%} with whole "
        f"sums, {np.mean(cut == labels):.2%} with saturated ones; {np.mean(exact == cut):.2%} "
        "answered alike"
    )
