"""A fully connected layer behind a Flatten: what GlobalAveragePooling would leave of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import onnx

from export.anatomy import _LAYERS, _PRODUCTS
from export.anatomy.contents import Contents, Tensor, shown
from export.anatomy.finding import Finding, Remedy, percent
from export.anatomy.onnx_file import Net

LEAST_SHARE = 0.1
"""Of the file's bytes that such layers must hold to be worth a word."""

_SAME_SHAPE = (
    *("Add", "BatchNormalization", "Cast", "Clip", "DequantizeLinear", "Dropout", "Elu"),
    *("HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Mul", "QuantizeLinear", "Relu"),
    *("Sigmoid", "Softmax", "LogSoftmax", "Tanh"),
)
_FLATTENING = ("Flatten", "Reshape")
_TO_CHANNELS_LAST = [0, 2, 3, 1]


@dataclass(frozen=True)
class _Head:
    """Fully connected layers behind a Flatten of ``channels`` maps of ``positions`` places.

    ``inner_bytes`` and so on are those of the first layer's weights alone, the others of all
    layers with their biases; ``macs`` are ``None`` where unknown.
    """

    names: tuple[str, ...]
    channels: int
    positions: int
    first_bytes: int
    first_macs: int | None
    all_bytes: int
    all_macs: int | None
    one_layer: int
    one_layer_bytes: int


def flattened_head(net: Net) -> Iterator[Finding]:
    """Of a graph: where a Flatten feeds a fully connected layer that holds many weights."""
    for node in net.graph.nodes:
        if node.op_type not in _PRODUCTS:
            continue
        layer = _LAYERS[node.op_type]
        weights = net.weights(node, layer.weights)
        size = _flattened(net, node.input[layer.data])
        if weights is None or size is None or len(weights.shape) != 2:
            continue
        found = _head(net, node, size)
        if found.first_bytes >= LEAST_SHARE * net.contents.stored_bytes:
            yield _finding(found, net.contents, inferred=False)


def _flattened(net: Net, name: str) -> tuple[int, int] | None:
    """Channels and places of the maps that are flattened into a value; ``None``: they are not."""
    node = net.producer(name)
    while node is not None and node.op_type in _SAME_SHAPE:
        node = net.producer(node.input[0])
    if node is None or node.op_type not in _FLATTENING:
        return None
    maps, flat = net.shape(node.input[0]), net.shape(node.output[0])
    if len(maps) != 4 or not flat or flat[-1] != math.prod(maps[1:]):
        return None
    above = net.producer(node.input[0])
    last = above is not None and above.op_type == "Transpose" and _perm(above) == _TO_CHANNELS_LAST
    channels = maps[3 if last else 1]
    places = math.prod(maps[1:]) // max(1, channels)
    return (channels, places) if places > 1 else None


def _perm(node: onnx.NodeProto) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == "perm"), [])


def _head(net: Net, first: onnx.NodeProto, size: tuple[int, int]) -> _Head:
    """The layers from the first one to where something else than fully connected comes."""
    path = [first]
    while (following := net.only_reader(path[-1].output[0])) is not None:
        if following.op_type not in (*_SAME_SHAPE, *_PRODUCTS):
            break
        path.append(following)
    products = [node for node in path if node.op_type in _PRODUCTS]
    # What stands behind the last layer (a Softmax) would stay.
    path = path[: path.index(products[-1]) + 2]
    names = {net.layer(node) for node in path}
    tensors = [t for t in net.contents.tensors if t.layer in names]
    macs = [net.macs(node) for node in products]
    known = [x for x in macs if x is not None]
    first_weights = net.weights(first, _LAYERS[first.op_type].weights)
    last = net.weights(products[-1], _LAYERS[products[-1].op_type].weights)
    assert first_weights is not None  # asked before
    outputs = _outputs(last) if last is not None else 0
    item = first_weights.size_bytes // max(1, first_weights.elements)
    return _Head(
        names=tuple(net.layer(node) for node in products),
        channels=size[0],
        positions=size[1],
        first_bytes=first_weights.size_bytes,
        first_macs=macs[0],
        all_bytes=sum(t.size_bytes for t in tensors),
        all_macs=sum(known) if len(known) == len(macs) else None,
        one_layer=outputs,
        one_layer_bytes=(size[0] + 1) * outputs * item,
    )


def _outputs(weights: Tensor) -> int:
    return weights.shape[weights.output_axis or 0]


def guessed_head(contents: Contents) -> Iterator[Finding]:
    """Of a state dict: a fully connected layer that takes a multiple of the last filters.

    There is no graph to prove it; the shapes of the tensors say it, and their order.
    """
    filters, products = 0, list[Tensor]()
    for tensor in contents.tensors:
        if tensor.role == "parameter" and len(tensor.shape) == 4:
            # Keras has one output for each channel of a depthwise convolution: (h, w, C, 1).
            depthwise = tensor.output_axis and _outputs(tensor) == 1
            filters = tensor.shape[2] if depthwise else _outputs(tensor)
        elif tensor.role == "parameter" and len(tensor.shape) == 2:
            products.append(tensor)
    if not filters or not products:
        return
    first, last = products[0], products[-1]
    inputs = first.elements // _outputs(first)
    if inputs % filters or inputs == filters:
        return
    names = {tensor.layer for tensor in products}
    item = first.size_bytes // first.elements if first.size_bytes else 0
    head = _Head(
        names=tuple(tensor.layer for tensor in products),
        channels=filters,
        positions=inputs // filters,
        first_bytes=first.size_bytes,
        first_macs=None,
        all_bytes=sum(t.size_bytes for t in contents.tensors if t.layer in names),
        all_macs=None,
        one_layer=_outputs(last),
        one_layer_bytes=(filters + 1) * _outputs(last) * item,
    )
    if head.first_bytes >= LEAST_SHARE * contents.stored_bytes:
        yield _finding(head, contents, inferred=True)


def _finding(head: _Head, contents: Contents, inferred: bool) -> Finding:
    inputs = head.channels * head.positions
    seen = "shapes and order of the tensors say so" if inferred else "the graph says so"
    # Not of the file: two thirds of that may be an optimiser's.
    weights = sum(tensor.size_bytes for tensor in contents.tensors if tensor.role == "parameter")
    share = percent(head.first_bytes, weights)
    evidence = [
        f"{shown(head.names[0])} takes {inputs} inputs: {head.channels} maps of "
        f"{head.positions} places, flattened ({seen})"
    ]
    if len(head.names) > 1:
        evidence.append(
            f"with the fully connected layers behind it ({', '.join(map(shown, head.names[1:]))}) "
            f"it holds {percent(head.all_bytes, weights)}"
        )
    return Finding(
        "flattened-head",
        f"{shown(head.names[0])}, behind a Flatten, holds {share} of the weights",
        tuple(evidence),
        tuple(_remedies(head)),
    )


def _remedies(head: _Head) -> Iterator[Remedy]:
    left = head.first_bytes // head.positions
    macs = head.first_macs
    yield Remedy(
        f"GlobalAveragePooling instead of the Flatten: {shown(head.names[0])} keeps "
        f"{head.channels} of {head.channels * head.positions} inputs",
        head.first_bytes - left,
        None if macs is None else macs - macs // head.positions,
        retrain=True,
    )
    if len(head.names) > 1 and head.one_layer:
        macs = head.all_macs
        yield Remedy(
            f"GlobalAveragePooling and one fully connected layer of {head.one_layer} outputs "
            f"instead of {len(head.names)}",
            head.all_bytes - head.one_layer_bytes,
            None if macs is None else macs - head.channels * head.one_layer,
            retrain=True,
        )
