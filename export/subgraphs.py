"""What stands in a graph and in the bodies of its control-flow nodes (If, Loop, Scan).

A body reads values of the graph around it by their names alone: they are no inputs of its
node, and who looks at those only takes them for unused.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node holds, without those inside them."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """All values that a node takes, those that its bodies take from outside among them."""
    yield from node.input
    yield from read_inside(node)


def read_inside(node: onnx.NodeProto) -> Iterator[str]:
    """The names that the bodies of a node read, those from outside among them."""
    for body in bodies(node):
        for inner in body.node:
            yield from read_by(inner)
        yield from (value.name for value in body.output)


def made_inside(node: onnx.NodeProto) -> Iterator[str]:
    """The names that the bodies of a node give: none of them may hide one from outside."""
    for body in bodies(node):
        yield from (value.name for value in (*body.input, *body.initializer))
        for inner in body.node:
            yield from inner.output
            yield from made_inside(inner)


def tensors_inside(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    """The tensors in the bodies of a node, however deep."""
    for body in bodies(node):
        yield from _tensors_of(body)


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model, those of Constants, of bodies and of functions among them."""
    yield from _tensors_of(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _tensors_held(node)


def _tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from _tensors_held(node)


def _tensors_held(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
    yield from tensors_inside(node)
