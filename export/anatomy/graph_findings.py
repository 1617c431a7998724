"""What could be computed before it is shipped, or stands in the way of that: graphs only."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from export.anatomy.contents import shown
from export.anatomy.finding import Finding, Remedy, several
from export.anatomy.onnx_file import Net, opset

OLDEST_OPSET = 13
"""QuantizeLinear and DequantizeLinear have an axis from this opset on (ONNX's changelog)."""

_LISTED = 5
_LINEAR = ("Conv", "ConvTranspose", "Gemm")
_KEPT = ("DequantizeLinear", "QuantizeLinear")
"""Constants that stand in the file quantised on purpose: folding would undo it."""
_CHANCE = ("Bernoulli", "Multinomial", "RandomNormal", "RandomUniform")
_CHANCE_LIKE = ("RandomNormalLike", "RandomUniformLike")


def graph_findings(net: Net) -> Iterator[Finding]:
    """All of them."""
    yield from unfused_norms(net)
    yield from foldable(net)
    yield from dynamic_batch(net)
    yield from old_opset(net)


def unfused_norms(net: Net) -> Iterator[Finding]:
    """BatchNormalization whose factors a convolution could have in its weights."""
    saved, evidence = 0, []
    for node in net.graph.nodes:
        above = net.producer(node.input[0]) if node.op_type == "BatchNormalization" else None
        if above is None or above.op_type not in _LINEAR or len(node.output) > 1:
            continue
        weights = net.weights(above)
        if weights is None or net.only_reader(above.output[0]) is None:
            continue
        parts = [net.tensors.get(name) for name in node.input[1:5]]
        stored = [part for part in parts if part is not None]
        sizes = [part.size_bytes for part in stored]  # none where they are computed
        bias = 0 if len(above.input) > 2 and above.input[2] else max(sizes, default=0)
        saved += sum(sizes) - bias
        evidence.append(f"{shown(net.layer(node))} behind {shown(net.layer(above))}")
    if evidence:
        remedy = Remedy(
            "fold them into the weights before (recipe fp32-opt)", saved, 0, len(evidence)
        )
        title = f"not folded into the layer before: {several(len(evidence), 'BatchNormalization')}"
        yield Finding("unfused-batchnorm", title, _some(evidence), (remedy,))


def foldable(net: Net) -> Iterator[Finding]:
    """Nodes whose inputs are all constants."""
    nodes = constant_nodes(net, set())
    if not nodes:
        return
    saved, unknown = _bytes_saved(net, nodes)
    macs = [net.macs(node) for node in nodes]
    remedy = Remedy(
        "compute them once (recipe fp32-opt)",
        saved,
        None if net.contents.no_macs else sum(x or 0 for x in macs),
        len(nodes),
    )
    evidence = [_named(net, node) for node in nodes]
    if unknown:
        evidence.insert(0, f"{unknown} results are of unknown size, not counted")
    title = f"constants are computed anew for every image by {several(len(nodes), 'node')}"
    yield Finding("foldable-constants", title, _some(evidence), (remedy,))


def _bytes_saved(net: Net, nodes: list[onnx.NodeProto]) -> tuple[int, int]:
    """What goes when nodes are computed once: their inputs, less the results that are kept.

    And how many results are of unknown size.
    """
    inside = {id(node) for node in nodes}
    kept = [name for node in nodes for name in node.output if _outside(net, name, inside)]
    gone = [
        tensor.size_bytes
        for name, tensor in net.tensors.items()
        if tensor.role != "unused" and not _outside(net, name, inside)
    ]
    sizes = [_value_bytes(net, name) for name in kept]
    known = [size for size in sizes if size is not None]
    return sum(gone) - sum(known), len(sizes) - len(known)


def constant_nodes(net: Net, known: set[str]) -> list[onnx.NodeProto]:
    """The nodes that read only stored tensors, what is ``known``, and what such nodes make."""
    constant = {*net.tensors, *known}
    found = []
    for node in net.graph.nodes:
        inputs = [name for name in node.input if name]
        if node.op_type == "Constant":
            constant.update(node.output)
        elif inputs and _can_fold(node) and constant.issuperset(inputs):
            found.append(node)
            constant.update(node.output)
    return found


def _can_fold(node: onnx.NodeProto) -> bool:
    bodies = any(a.HasField("g") or a.graphs for a in node.attribute)
    standard = node.domain in ("", "ai.onnx")
    return standard and not bodies and node.op_type not in (*_KEPT, *_CHANCE, *_CHANCE_LIKE)


def _outside(net: Net, name: str, inside: set[int]) -> bool:
    """Whether somebody else than the constant nodes reads a value."""
    readers = net.graph.consumers.get(name, [])
    return name in net.outputs or any(id(node) not in inside for node in readers)


def _value_bytes(net: Net, name: str) -> int | None:
    if name not in net.graph.shapes or name not in net.graph.element_bytes:
        return None
    elements = 1
    for size in net.graph.shapes[name]:
        elements *= size
    return elements * net.graph.element_bytes[name]


def dynamic_batch(net: Net) -> Iterator[Finding]:
    """Nodes that compute shapes, which a fixed batch would make constants."""
    free = {
        value.name
        for value in net.model.graph.input
        if value.name not in net.tensors
        and value.type.tensor_type.shape.dim
        and not value.type.tensor_type.shape.dim[0].HasField("dim_value")
    }
    shapes = [
        node
        for node in net.graph.nodes
        if node.op_type == "Shape" and node.input[0] in net.graph.shapes
    ]
    if not free or not shapes:
        return
    already = constant_nodes(net, set())
    before = {id(node) for node in already}
    behind = constant_nodes(net, {node.output[0] for node in shapes})
    nodes = [node for node in (*shapes, *behind) if id(node) not in before]
    saved = _bytes_saved(net, [*already, *nodes])[0] - _bytes_saved(net, already)[0]
    if nodes:
        evidence = [_named(net, node) for node in nodes]
        name = shown(sorted(free)[0])
        title = (
            f"the free batch of input {name} keeps {several(len(nodes), 'node')} computing shapes"
        )
        remedy = Remedy("fix the batch, then fold constants", saved, 0, len(nodes))
        yield Finding("dynamic-batch", title, _some(evidence), (remedy,))


def old_opset(net: Net) -> Iterator[Finding]:
    """An opset that a later step can't work with."""
    version = opset(net.model)
    if version < OLDEST_OPSET:
        evidence = (
            f"opset {version}; DequantizeLinear takes a scale for each channel only from "
            f"opset {OLDEST_OPSET} on",
        )
        remedy = Remedy(
            f"export it anew with opset {OLDEST_OPSET} or later, or convert it "
            "(onnx.version_converter)"
        )
        title = f"opset {version} is too old for INT8 by channel"
        yield Finding("old-opset", title, evidence, (remedy,))


def _named(net: Net, node: onnx.NodeProto) -> str:
    return f"{shown(node.op_type)} {shown(net.layer(node))}"


def _some(lines: list[str]) -> tuple[str, ...]:
    more = (f"and {len(lines) - _LISTED} more",) if len(lines) > _LISTED else ()
    return (*lines[:_LISTED], *more)
