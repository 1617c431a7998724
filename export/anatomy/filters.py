"""Filters that hardly do anything: by their norm, and what removing them would save.

The rule: a filter could go where its L2 norm is under a tenth of the median of its layer's
(Li et al., 2017, arXiv:1608.08710, take the L1 norm; ``export.surgery`` the L2 norm, too).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from export.anatomy import _CONVOLUTIONS, _LAYERS, _PRODUCTS
from export.anatomy.contents import CHUNK, Contents, Tensor, shown
from export.anatomy.finding import Finding, Remedy, percent, several
from export.anatomy.onnx_file import Net

WEAK = 0.1
"""Of the median norm of its layer."""

_BY_CHANNEL = (
    *("AveragePool", "BatchNormalization", "Clip", "Dropout", "Elu", "GlobalAveragePool"),
    *("GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "MaxPool"),
    *("ReduceMean", "Relu", "Sigmoid", "Tanh"),
)
_FLATTENING = ("Flatten", "Reshape", "Squeeze")
_LISTED = 8


@dataclass(frozen=True)
class Weak:
    """Of one layer's filters, how many could go; ``zero`` of them are 0 throughout."""

    tensor: Tensor
    filters: int
    weak: int
    zero: int
    median: float


def weak_filters(tensor: Tensor) -> Weak:
    """Count the filters of a convolution whose norm is small."""
    norms = filter_norms(tensor)
    median = float(np.median(norms))
    zero = int(np.count_nonzero(norms == 0))
    # Where over half of them are 0 the median is 0, too, and nothing is under a tenth of it.
    weak = max(zero, int(np.count_nonzero(norms < WEAK * median)))
    return Weak(tensor, norms.size, weak, zero, median)


def filter_norms(tensor: Tensor) -> NDArray[np.float64]:
    """The L2 norm of each filter (outputs,), read a few filters at a time."""
    values, axis = tensor.values(), tensor.output_axis or 0
    if axis == 0:
        step = max(1, CHUNK // max(1, values[0].size))
        parts = [
            _norms(values[i : i + step].reshape(len(values[i : i + step]), -1))
            for i in range(0, len(values), step)
        ]
        return np.concatenate(parts)
    return _norms(values.reshape(-1, values.shape[-1]).T)


def _norms(rows: NDArray[np.generic]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.linalg.norm(rows.astype(np.float64), axis=1)
    return found


def weak_of(contents: Contents) -> list[Weak]:
    """The convolutions that have such filters; INT8 has no norm without its scales."""
    found = [
        weak_filters(tensor)
        for tensor in contents.tensors
        if tensor.role == "parameter"
        and tensor.output_axis is not None
        and len(tensor.shape) > 2
        and tensor.elements
        and "float" in tensor.dtype.replace("double", "float")
    ]
    return [one for one in found if one.weak]


def filters_of_graph(net: Net) -> Iterator[Finding]:
    """With what goes with the filters in the layers that read them."""
    found = {one.tensor.name: one for one in weak_of(net.contents)}
    if not found:
        return
    convolutions: dict[str, list[onnx.NodeProto]] = {}
    for node in net.graph.nodes:
        weights = net.weights(node) if node.op_type == "Conv" else None
        if weights is not None and weights.name in found:
            convolutions.setdefault(weights.name, []).append(node)
    # What two convolutions share goes from both or from none, and is no saving twice.
    alone = {name: nodes[0] for name, nodes in convolutions.items() if len(nodes) == 1}
    cut = {
        id(node): found[name].weak
        for name, node in alone.items()
        if _groups(node) == 1 and reader(net, node) is not None
    }
    saved = removal(net, cut)
    kept = len(found) - len(cut)
    extra = (
        f"in {several(kept, 'layer')} of these no filter can go alone (maps are added, or it is "
        "grouped or shared): left out of the figures"
    )
    yield _finding(list(found.values()), saved, (extra,) if kept else ())


def filters_of_state(contents: Contents) -> Iterator[Finding]:
    """Without a graph only the filters' own bytes are known to go."""
    found = weak_of(contents)
    if found:
        saved = sum(x.weak * (x.tensor.size_bytes // x.filters) for x in found)
        extra = "no graph tells which layers read them: these would shrink, too"
        yield _finding(found, (saved, None), (extra,))


def _finding(found: list[Weak], saved: tuple[int, int | None], extra: tuple[str, ...]) -> Finding:
    found.sort(key=lambda one: one.weak / one.filters, reverse=True)
    lines = [
        f"{shown(x.tensor.name)}: {x.weak} of {x.filters} ({percent(x.weak, x.filters)}) {_why(x)}"
        for x in found[:_LISTED]
    ]
    more = (f"and {len(found) - _LISTED} layers more",) if len(found) > _LISTED else ()
    weak = sum(one.weak for one in found)
    remedy = Remedy(
        "remove them and what reads them, then fine-tune", saved[0], saved[1], retrain=True
    )
    title = f"{several(weak, 'filter')} of {several(len(found), 'layer')} could go, by their norm"
    return Finding("weak-filters", title, (*lines, *more, *extra), (remedy,))


def _why(one: Weak) -> str:
    if one.zero == one.weak:
        return "are 0 throughout"
    zero = f", {one.zero} of them 0" if one.zero else ""
    return f"under {WEAK:g} of the median norm {one.median:.2g}{zero}"


@dataclass(frozen=True)
class Reader:
    """Who reads a convolution's maps, through what.

    ``node`` is a layer that takes ``places`` inputs of each map; ``between`` are norms and
    depthwise convolutions on the way, which have something for each map themselves.
    """

    node: onnx.NodeProto
    places: int
    between: tuple[onnx.NodeProto, ...]


def reader(net: Net, node: onnx.NodeProto) -> Reader | None:
    """The one layer that reads a convolution's maps; ``None`` where others read or add to them."""
    between: list[onnx.NodeProto] = []
    maps = net.shape(node.output[0])
    places = 1
    current = net.only_reader(node.output[0])
    while current is not None:
        if current.op_type in _CONVOLUTIONS and not _is_depthwise(net, current):
            return Reader(current, 1, tuple(between)) if _groups(current) == 1 else None
        if current.op_type in _PRODUCTS:
            return Reader(current, places, tuple(between))
        if current.op_type in _FLATTENING:
            flat = net.shape(current.input[0])
            if len(flat) != 4 or not maps or flat[1] != maps[1]:
                return None
            places = flat[2] * flat[3]
        elif current.op_type in _CONVOLUTIONS or current.op_type == "BatchNormalization":
            between.append(current)
        elif current.op_type not in _BY_CHANNEL or not _keeps_channels(net, current, maps):
            return None
        current = net.only_reader(current.output[0])
    return None


def _keeps_channels(net: Net, node: onnx.NodeProto, maps: tuple[int, ...]) -> bool:
    """Whether a node makes one map, or one number, of each map that it takes."""
    made = net.shape(node.output[0])
    return len(made) > 1 and len(maps) > 1 and made[1] == maps[1]


def _groups(node: onnx.NodeProto) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "group"), 1)


def _is_depthwise(net: Net, node: onnx.NodeProto) -> bool:
    weights = net.weights(node, _LAYERS[node.op_type].weights)
    return weights is not None and weights.shape[0] == _groups(node) > 1


def removal(net: Net, cut: Mapping[int, int]) -> tuple[int, int | None]:
    """Bytes and multiply-accumulates that go with so many filters of each convolution.

    ``cut`` is by ``id`` of the node; what reads the maps of such a node gets narrower, too.
    """
    outputs: dict[int, float] = {}
    inputs: dict[int, float] = {}
    touched: dict[int, onnx.NodeProto] = {}
    for node in net.graph.nodes:
        if id(node) in cut and (behind := reader(net, node)) is not None:
            weights = net.weights(node)
            assert weights is not None  # it was counted by them
            share = cut[id(node)] / weights.shape[0]
            outputs[id(node)] = share
            inputs[id(behind.node)] = share
            outputs |= {id(one): share for one in behind.between}
            for one in (node, behind.node, *behind.between):
                touched[id(one)] = one
    size, macs = 0.0, 0.0
    for key, node in touched.items():
        left = (1 - outputs.get(key, 0.0)) * (1 - inputs.get(key, 0.0))
        size += _bytes_gone(net, node, left, outputs.get(key, 0.0))
        macs += (net.macs(node) or 0) * (1 - left)
    return round(size), None if net.contents.no_macs else round(macs)


def _bytes_gone(net: Net, node: onnx.NodeProto, left: float, outputs: float) -> float:
    """Of the weights what is not ``left``, of what has one number a filter its share."""
    gone = 0.0
    for name in dict.fromkeys(node.input):
        tensor = net.tensors.get(name)
        if tensor is not None:
            wide = tensor.output_axis is not None
            gone += tensor.size_bytes * ((1 - left) if wide else outputs)
    return gone
