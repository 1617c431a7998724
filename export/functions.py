"""Functions of an .onnx file's own: whether they can be put in the places where they are called.

One that calls itself has no end, and a few that call one another twice each make any number of
nodes. Whoever inlines such a file (``onnx.inliner``, ONNX Runtime) finds out too late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

import onnx

from export.subgraphs import bodies

MOST_NODES = 1_000_000
"""Of a graph with all functions in their places."""
_Name = tuple[str, str, str]
"""Domain, operator and overload, by which a node calls a function."""


class EndlessFunctions(ValueError):
    """Functions that no graph has room for; the message says which, and why."""


def check_functions(model: onnx.ModelProto) -> None:
    """Raise ``EndlessFunctions`` where one calls itself by whatever way, or they are too many."""
    calls: dict[_Name, list[_Name]] = {}
    for function in model.functions:
        own = _name(function.domain, function.name, function.overload)
        calls.setdefault(own, []).extend(_called(function.node))
    if not calls:
        return
    sizes: dict[_Name, int] = {}
    try:
        for name in TopologicalSorter(calls).static_order():
            sizes[name] = sum(sizes[one] for one in calls[name]) if name in calls else 1
    except CycleError as exc:
        domain, name, _ = exc.args[1][0]
        raise EndlessFunctions(
            f"its function {domain!a}.{name!a} calls itself, or another that calls it: no end"
        ) from exc
    whole = sum(sizes.get(one, 1) for one in _called(model.graph.node))
    if whole > MOST_NODES:
        raise EndlessFunctions(f"its functions make a graph of more than {MOST_NODES} nodes")


def _called(nodes: Iterable[onnx.NodeProto]) -> Iterator[_Name]:
    """What nodes are called, those in their bodies as well."""
    for node in nodes:
        yield _name(node.domain, node.op_type, node.overload)
        for body in bodies(node):
            yield from _called(body.node)


def _name(domain: str, operator: str, overload: str) -> _Name:
    return "" if domain == "ai.onnx" else domain, operator, overload
