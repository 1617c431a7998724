"""Whether a graph can be walked: each node has its inputs, and none needs its own output."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx

from export.anatomy import _LAYERS, _STANDARD_DOMAINS
from export.anatomy.contents import UnreadableFile


def check_wiring(model: onnx.ModelProto, version: int, file: Path) -> None:
    """Raise ``UnreadableFile`` for a graph that no tool could run, and that we could not walk.

    ``version`` is its opset's.
    """
    version = min(version, onnx.defs.onnx_opset_version())
    producers: dict[str, int] = {tensor.name: -1 for tensor in model.graph.initializer}
    for number, node in enumerate(model.graph.node):
        if not any(node.output) or len(node.input) < _least_inputs(node, version):
            raise UnreadableFile(
                f"{file}: node {number} ({node.op_type} {node.name!a}) lacks inputs or outputs: "
                "the file is damaged"
            )
        for name in filter(None, node.output):
            if name in producers:
                raise UnreadableFile(f"{file}: {name!a} is made twice: the file is damaged")
            producers[name] = number
    _check_order(model, producers, file)


def _least_inputs(node: onnx.NodeProto, version: int) -> int:
    """How many inputs an operator has at least."""
    own = 0
    if node.op_type in _LAYERS:
        layer = _LAYERS[node.op_type]
        own = 1 + max(layer.data, layer.weights)
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "")
    except onnx.defs.SchemaError:
        return own
    # Another domain's operator of the same name may have fewer, but not none.
    known = schema.min_input if node.domain in _STANDARD_DOMAINS else min(1, schema.min_input)
    return max(own, known)


def _check_order(model: onnx.ModelProto, producers: dict[str, int], file: Path) -> None:
    """No node needs what is made from its own output; they may stand in any order."""
    above = {
        number: {producers[name] for name in node.input if producers.get(name, -1) >= 0}
        for number, node in enumerate(model.graph.node)
    }
    try:
        TopologicalSorter(above).prepare()
    except CycleError as exc:
        raise UnreadableFile(
            f"{file}: node {exc.args[1][0]} needs its own output: the file is damaged"
        ) from exc
