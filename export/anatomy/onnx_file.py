"""What an .onnx file holds, quantised or not, with external data or without."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from export.anatomy import (
    _CONVOLUTIONS,
    _LAYERS,
    _PASSING_ON,
    CannotCount,
    _check_countable,
    _Graph,
    _name,
    _Stored,
    initializer_array,
)
from export.anatomy.contents import (
    Array,
    Contents,
    Layer,
    Role,
    Tensor,
    UnreadableFile,
    count_zeros,
    layer,
    stem,
)
from export.anatomy.light import is_packed, light_model, stored_bytes
from export.anatomy.wiring import check_wiring
from export.optimize import beside
from export.subgraphs import read_inside, tensors_inside

# The look-ups above are private to the package whose source is part of every built file's
# key: to make them public would build everything anew.

_IMAGE_RANK = 4


@dataclass(frozen=True)
class Net:
    """An .onnx file's graph with what the findings look up in it."""

    contents: Contents
    model: onnx.ModelProto
    graph: _Graph
    layer_of: Mapping[int, str]
    macs_of: Mapping[int, int]

    @functools.cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """Stored tensors by their names."""
        return {tensor.name: tensor for tensor in self.contents.tensors}

    @functools.cached_property
    def outputs(self) -> frozenset[str]:
        """The names of what the graph gives out."""
        return frozenset(value.name for value in self.model.graph.output)

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a value; ``None`` for inputs and stored tensors."""
        return self.graph.producers.get(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """For a batch of 1; empty where it isn't known."""
        return self.graph.shapes.get(name, ())

    def macs(self, node: onnx.NodeProto) -> int | None:
        """Multiply-accumulates of a node; ``None`` where they aren't known."""
        return None if self.contents.no_macs else self.macs_of.get(id(node), 0)

    def layer(self, node: onnx.NodeProto) -> str:
        """The layer that a node is."""
        return self.layer_of.get(id(node), _name(node))

    def weights(self, node: onnx.NodeProto, index: int = 1) -> Tensor | None:
        """What is stored behind an input of a node."""
        found = list(self.graph._stored(node, index))
        return self.tensors.get(found[0].tensor) if found else None

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """Who reads a value, where it is one node and the value is no output of the graph."""
        readers = self.graph.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None


def read_onnx(file: Path) -> Net:
    """Take an .onnx file apart; an ``UnreadableFile`` where that is not possible."""
    model = light_model(file)
    check_wiring(model, opset(model), file)
    _set_aside_shapeless(model)
    batch = _free_batch(model)
    try:
        graph = _Graph(model, file)
    except KeyError as exc:
        raise UnreadableFile(f"{file}: a value has type {exc}, which ONNX does not know") from exc
    except (RuntimeError, onnx.shape_inference.InferenceError) as exc:
        raise UnreadableFile(f"{file}: its shapes contradict one another: {exc}") from exc
    _complete_shapes(model, graph)
    layer_of = _named_layers(graph)
    tensors = tuple(_tensors(model, graph, layer_of))
    macs_of, no_macs = _macs(graph, batch)
    contents = Contents(
        file=file,
        format="ONNX",
        size_bytes=_file_bytes(file, model),
        tensors=tensors,
        layers=tuple(_layers(graph, tensors, layer_of, macs_of)),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        no_macs=no_macs,
        groups=_stages(graph, layer_of),
    )
    return Net(contents, model, graph, layer_of, macs_of)


def opset(model: onnx.ModelProto) -> int:
    """The version of the standard operators."""
    return max((x.version for x in model.opset_import if x.domain in ("", "ai.onnx")), default=0)


def _set_aside_shapeless(model: onnx.ModelProto) -> None:
    """Of inputs without dimensions only the types are kept: there is no batch among those."""
    inputs = model.graph.input
    for i in reversed(range(len(inputs))):
        if not inputs[i].type.tensor_type.shape.dim:
            model.graph.value_info.add().CopyFrom(inputs[i])
            del inputs[i]


def _free_batch(model: onnx.ModelProto) -> int:
    """The batch that the graph fixes, 1 where it is free; a free one without a name gets one."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [x.type.tensor_type.shape.dim for x in model.graph.input if x.name not in stored]
    for dims in filter(len, inputs):
        if not dims[0].HasField("dim_value"):
            dims[0].dim_param = dims[0].dim_param or "batch"
        elif dims[0].dim_value <= 0:  # tools that write 0 or -1 mean "free"
            dims[0].dim_param = "batch"
    # Other inputs may be anything: a vector of ten factors is no batch of ten.
    images = next((dims for dims in inputs if len(dims) == _IMAGE_RANK), None)
    if images is None and len(inputs) == 1 and len(inputs[0]) > 1:
        images = inputs[0]
    return max(1, images[0].dim_value) if images else 1


def _complete_shapes(model: onnx.ModelProto, graph: _Graph) -> None:
    """Add shapes that follow only from values: of a Reshape to what a Concat computes, say."""
    one = onnx.ModelProto()
    one.CopyFrom(model)
    stored = {tensor.name for tensor in model.graph.initializer}
    for value in one.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in stored and dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = 1
    del one.graph.value_info[:]
    for value in one.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(one, data_prop=True).graph
    except onnx.shape_inference.InferenceError:
        return  # the shapes without values are known, and this only adds to them
    for value in (*inferred.value_info, *inferred.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            graph.shapes.setdefault(value.name, tuple(dim.dim_value for dim in tensor.shape.dim))


def _file_bytes(file: Path, model: onnx.ModelProto) -> int:
    names = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if tensor.data_location == onnx.TensorProto.EXTERNAL and entry.key == "location"
    }
    return sum(path.stat().st_size for path in {file, *(file.with_name(x) for x in names)})


def _named_layers(graph: _Graph) -> dict[int, str]:
    """A name for each node: of its weights where that says something, else its own."""
    taken: set[str] = set()
    found = {}
    # Layers choose first: a DequantizeLinear before one reads the same weights.
    for node in sorted(graph.nodes, key=lambda node: node.op_type not in _LAYERS):
        own = _name(node)
        name = _said_by_weights(graph, node) or own.strip("/") or node.op_type
        if name in taken:
            name = f"{name} ({own})" if f"{name} ({own})" not in taken else node.output[0]
        taken.add(name)
        found[id(node)] = name
    return found


def _said_by_weights(graph: _Graph, node: onnx.NodeProto) -> str:
    """The layer that the names of a node's weights speak of; empty where they don't."""
    if node.op_type in _PASSING_ON:
        return ""
    stored = [name for name in node.input if name in graph.tensors]
    if node.op_type in _LAYERS:
        stored = [x.tensor for x in graph._stored(node, _LAYERS[node.op_type].weights)]
    return next((stem(x) for x in stored if ("." in x or "/" in x) and "::" not in x), "")


def _tensors(
    model: onnx.ModelProto, graph: _Graph, layer_of: Mapping[int, str]
) -> Iterator[Tensor]:
    learnt = {stored.tensor: stored for stored in graph.parameters()}
    outputs = {value.name for value in model.graph.output}
    inside: dict[str, onnx.NodeProto] = {}
    for node in graph.nodes:
        for name in read_inside(node):
            inside.setdefault(name, node)
    axes = dict(_output_axes(graph))
    for name, proto in graph.tensors.items():
        reader = _reader(graph, name) or inside.get(name)
        role: Role = "parameter" if name in learnt else "other"
        if reader is None and name not in outputs:
            role = "unused"
        tensor = Tensor(
            name=name,
            shape=tuple(proto.dims),
            dtype=onnx.TensorProto.DataType.Name(proto.data_type).lower(),
            size_bytes=stored_bytes(proto),
            values=_values(proto, graph.file),
            layer="" if reader is None else layer_of[id(reader)],
            role=role,
            output_axis=axes.get(name),
        )
        yield replace(tensor, zeros=_zeros(graph, tensor, learnt.get(name)))
    for node in graph.nodes:
        for i, proto in enumerate(tensors_inside(node)):
            name = f"{_name(node)}/{proto.name or i}"
            size = stored_bytes(proto)
            kind = onnx.TensorProto.DataType.Name(proto.data_type).lower()
            shape, values = tuple(proto.dims), _values(proto, graph.file)
            yield Tensor(name, shape, kind, size, values, layer_of[id(node)], "other")


def _zeros(graph: _Graph, tensor: Tensor, stored: _Stored | None) -> int:
    if stored is None or tensor.dtype.endswith(("int4", "int2")):
        return 0
    if is_packed(graph.tensors[tensor.name]):
        return count_zeros(tensor.values())
    try:
        return graph.size_and_zeros(stored)[1]
    except TypeError:  # a type that numpy can't compare
        return count_zeros(tensor.values())


def _values(proto: onnx.TensorProto, file: Path) -> Callable[[], Array]:
    if is_packed(proto) and proto.data_location == onnx.TensorProto.EXTERNAL:
        return lambda: _unpacked(proto, file)
    return lambda: initializer_array(proto, file)


def _unpacked(proto: onnx.TensorProto, file: Path) -> Array:
    """Values of less than a byte, read and not mapped: element by element they would be others."""
    place = {entry.key: entry.value for entry in proto.external_data}
    with beside(file, place["location"]).open("rb") as stream:
        stream.seek(int(place.get("offset", 0)))
        raw = stream.read(stored_bytes(proto))
    whole = onnx.TensorProto(dims=proto.dims, data_type=proto.data_type, raw_data=raw)
    array: Array = onnx.numpy_helper.to_array(whole)
    return array


def _output_axes(graph: _Graph) -> Iterator[tuple[str, int]]:
    """Of each layer's weights, the axis of its outputs."""
    for node in graph.nodes:
        if node.op_type in _LAYERS:
            for stored in graph._stored(node, _LAYERS[node.op_type].weights):
                yield stored.tensor, _axis_of(node, stored, graph)


def _axis_of(node: onnx.NodeProto, stored: _Stored, graph: _Graph) -> int:
    if node.op_type in _CONVOLUTIONS:
        return 0
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    name = node.input[_LAYERS[node.op_type].weights]
    while name in graph.producers:  # weights that a Transpose turns
        transposed ^= graph.producers[name].op_type == "Transpose"
        name = graph.producers[name].input[0]
    return 0 if transposed else len(graph.tensors[stored.tensor].dims) - 1


def _reader(graph: _Graph, name: str) -> onnx.NodeProto | None:
    """The first node that uses a tensor, behind those that only pass it on."""
    readers = graph.consumers.get(name, [])
    if not readers:
        return None
    node = readers[0]
    while node.op_type in _PASSING_ON and node.input[0] == name:
        behind = graph.consumers.get(node.output[0], [])
        if not behind:
            return node
        name, node = node.output[0], behind[0]
    return node


def _macs(graph: _Graph, batch: int) -> tuple[dict[int, int], str]:
    """Multiply-accumulates for one image by node, or why they aren't known."""
    found = {}
    try:
        for node in graph.nodes:
            _check_countable(node)
            if node.op_type in _LAYERS:
                found[id(node)] = graph.macs(node) // batch
    except (CannotCount, ValueError, IndexError) as exc:
        return {}, str(exc)
    return found, ""


def _layers(
    graph: _Graph,
    tensors: tuple[Tensor, ...],
    layer_of: Mapping[int, str],
    macs_of: Mapping[int, int],
) -> Iterator[Layer]:
    """The nodes that hold bytes or multiply, in the order of the graph."""
    members: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        members.setdefault(tensor.layer, []).append(tensor)
    for node in graph.nodes:
        name = layer_of[id(node)]
        if name in members or macs_of.get(id(node)):
            macs = macs_of.get(id(node), 0) if macs_of else None
            yield layer(name, node.op_type, members.get(name, ()), macs)


def _stages(graph: _Graph, layer_of: Mapping[int, str]) -> dict[str, str]:
    """Layers by the size of the maps that they make: what a network's stages are."""
    found = {}
    stage = ""
    for node in graph.nodes:
        shape = graph.shapes.get(node.output[0], ()) if node.output else ()
        if len(shape) == 4:
            stage = f"maps of {shape[2]}×{shape[3]}"
        elif node.op_type in _LAYERS and len(shape) == 2:
            stage = "head"
        found[layer_of[id(node)]] = stage or "graph"
    return found
