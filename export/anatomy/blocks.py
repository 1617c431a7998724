"""Layers put together to blocks: by the beginning of their names, or by the graph's stages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from export.anatomy.contents import Contents, Layer

LARGE = 0.5
"""Share of all bytes from which a block is shown by its parts."""
OTHERS = "(no weights)"
"""The block of constants, statistics and optimiser state that stand alone."""
_MOST_PARTS = 40


@dataclass(frozen=True)
class Block:
    """Layers that belong together, in their order."""

    name: str
    layers: tuple[Layer, ...]

    @property
    def size_bytes(self) -> int:
        """Of all its layers."""
        return sum(layer.size_bytes for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Of all its layers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int | None:
        """Of all its layers; ``None`` where unknown."""
        known = [layer.macs for layer in self.layers if layer.macs is not None]
        return sum(known) if known else None


def blocks(contents: Contents) -> tuple[Block, ...]:
    """The blocks of a file: by names where they have parts, else by what the graph says."""
    layers = [layer for layer in contents.layers if layer.parameters or layer.macs]
    others = tuple(layer for layer in contents.layers if not (layer.parameters or layer.macs))
    rest = (Block(OTHERS, others),) if others else ()
    named = sum(len(_parts(layer.name)) > 1 for layer in layers)
    if named <= len(layers) / 2 and contents.groups:
        grouped = _grouped((contents.groups.get(layer.name, ""), layer) for layer in layers)
        return (*grouped, *rest)
    common = _common([_parts(layer.name) for layer in layers])
    return (*_divided(layers, common, sum(layer.size_bytes for layer in layers)), *rest)


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[./]", name.partition(" ")[0]) if part]


def _common(names: list[list[str]]) -> int:
    """How many parts all names begin with alike, one of each left."""
    depth = 0
    while names and all(len(name) > depth + 1 for name in names):
        if len({name[depth] for name in names}) > 1:
            break
        depth += 1
    return depth


def _divided(layers: Iterable[Layer], depth: int, whole: int) -> list[Block]:
    """Blocks by the first ``depth + 1`` parts; what is too large, by one part more."""
    found = []
    for block in _grouped((_prefix(layer.name, depth), layer) for layer in layers):
        deeper = {_prefix(layer.name, depth + 1) for layer in block.layers}
        large = block.size_bytes > LARGE * whole
        if large and deeper != {block.name} and len(deeper) <= _MOST_PARTS:
            found += _divided(block.layers, depth + 1, whole)
        else:
            found.append(block)
    return found


def _prefix(name: str, depth: int) -> str:
    parts = _parts(name)
    return ".".join(parts[: depth + 1]) if parts else name


def _grouped(pairs: Iterable[tuple[str, Layer]]) -> tuple[Block, ...]:
    members: dict[str, list[Layer]] = {}
    for name, layer in pairs:
        members.setdefault(name, []).append(layer)
    return tuple(Block(name, tuple(found)) for name, found in members.items())
