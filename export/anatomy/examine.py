"""A model file of any kind -> its contents, blocks and findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from export.anatomy.blocks import Block, blocks
from export.anatomy.contents import Contents, UnreadableFile
from export.anatomy.filters import filters_of_graph, filters_of_state
from export.anatomy.finding import Finding, worst_first
from export.anatomy.graph_findings import graph_findings
from export.anatomy.head import flattened_head, guessed_head
from export.anatomy.low_rank import low_rank
from export.anatomy.missing import missing
from export.anatomy.onnx_file import Net, read_onnx
from export.anatomy.stored import stored_findings
from export.inspecting import KERAS, SUFFIXES


@dataclass(frozen=True)
class Examination:
    """What is in a file, and what was found, worst first."""

    contents: Contents
    blocks: tuple[Block, ...]
    findings: tuple[Finding, ...]


def examine(file: Path) -> Examination:
    """Look into a file; an ``UnreadableFile`` where that is not possible."""
    if not file.is_file():
        raise UnreadableFile(f"there is no file {file}: check the path")
    if file.suffix.lower() == ".onnx":
        net = read_onnx(file)
        contents, found = net.contents, _of_graph(net)
    else:
        contents = _read_state(file)
        found = _of_state(contents)
    general = (*stored_findings(contents), *low_rank(contents), *missing(contents))
    findings = worst_first((*found, *general), contents)
    return Examination(contents, blocks(contents), findings)


def _read_state(file: Path) -> Contents:
    """A file without a graph; its library is imported only here."""
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise UnreadableFile(f"{file} should end in {', '.join(SUFFIXES)}")
    if suffix in KERAS:
        from export.anatomy.keras_file import read_keras

        return read_keras(file)
    from export.anatomy.state_file import read_pickle, read_safetensors

    return read_safetensors(file) if suffix == ".safetensors" else read_pickle(file)


def _of_graph(net: Net) -> Iterator[Finding]:
    yield from flattened_head(net)
    yield from graph_findings(net)
    yield from filters_of_graph(net)


def _of_state(contents: Contents) -> Iterator[Finding]:
    yield from guessed_head(contents)
    yield from filters_of_state(contents)
