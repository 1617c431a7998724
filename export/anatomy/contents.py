"""What a model file holds, whatever its format: tensors, and the layers that they belong to."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from export.printable import escaped

Array = NDArray[np.generic]
Shape = tuple[int, ...]
Role = Literal["parameter", "other", "optimizer", "unused"]

CHUNK = 1 << 24
"""Elements that are looked at together: a mapped file is never copied whole."""
OPTIMIZER = "optimiser state"
"""The layer of everything that only going on with a training needs."""


class UnreadableFile(ValueError):
    """A file that can't be taken apart; the message names it, the reason and the remedy."""


@dataclass(frozen=True)
class Tensor:
    """One tensor as the file stores it.

    ``role``: a ``parameter`` was learnt by training; ``other`` are running statistics,
    scales, zero points and constants; ``optimizer`` is needed only to go on training;
    ``unused`` is read by nothing. ``output_axis`` is the axis of the outputs (filters,
    units) where it is a layer's weights. ``zeros`` counts elements that stand for 0.
    ``values`` gives them, mapped where the file allows.
    """

    name: str
    shape: Shape
    dtype: str
    size_bytes: int
    values: Callable[[], Array] = field(repr=False, compare=False)
    layer: str = ""
    role: Role = "parameter"
    output_axis: int | None = None
    zeros: int = 0

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layer:
    """What one layer takes: bytes, parameters, and multiply-accumulates for one image.

    ``macs`` is ``None`` where no graph tells.
    """

    name: str
    kind: str
    size_bytes: int
    parameters: int
    zeros: int
    macs: int | None = None


@dataclass(frozen=True)
class Contents:
    """A whole file. ``size_bytes`` counts its data files, too; ``no_macs`` says why there are none.

    ``metadata`` is what the file says about itself; ``groups`` a block for each layer where
    the graph divides them and names do not.
    """

    file: Path
    format: str
    size_bytes: int
    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    no_macs: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def macs(self) -> int | None:
        """Of all layers together."""
        known = [layer.macs for layer in self.layers if layer.macs is not None]
        return None if self.no_macs else sum(known)

    @property
    def parameters(self) -> int:
        """What was learnt, optimiser state not counted."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors)


def layers_of(tensors: Iterable[Tensor], kinds: Mapping[str, str]) -> tuple[Layer, ...]:
    """The layers that tensors name, in their order; those without one are left out."""
    members: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.layer:
            members.setdefault(tensor.layer, []).append(tensor)
    return tuple(layer(name, kinds.get(name, ""), found) for name, found in members.items())


def layer(name: str, kind: str, tensors: Iterable[Tensor], macs: int | None = None) -> Layer:
    """One layer of these tensors."""
    found = list(tensors)
    learnt = [tensor for tensor in found if tensor.role == "parameter"]
    return Layer(
        name,
        kind,
        sum(tensor.size_bytes for tensor in found),
        sum(tensor.elements for tensor in learnt),
        sum(tensor.zeros for tensor in learnt),
        macs,
    )


def kinds(tensors: tuple[Tensor, ...]) -> dict[str, str]:
    """What each layer seems to be, by the shape of its weights."""
    ranks: dict[str, int] = {}
    for tensor in tensors:
        if tensor.role == "parameter":
            ranks[tensor.layer] = max(ranks.get(tensor.layer, 0), len(tensor.shape))
    said = {0: "scalar", 1: "norm or bias", 2: "fully connected", 3: "convolution (1-D)"}
    return {
        name: said.get(rank, "convolution") if name != OPTIMIZER else ""
        for name, rank in ranks.items()
    }


def stem(name: str) -> str:
    """The layer that a tensor's name speaks of: ``features.0`` of ``features.0.weight``."""
    return re.sub(r"[./][^./]*$", "", name) if re.search(r"[./]", name) else name


def count_zeros(values: Array) -> int:
    """How many elements are 0, counted in pieces."""
    flat = values.reshape(-1)
    starts = range(0, flat.size, CHUNK)
    return sum(int(np.count_nonzero(flat[i : i + CHUNK] == 0)) for i in starts)


def shown(name: str, most: int = 60) -> str:
    """A name for people: what no screen shows is escaped, the middle of a long one left out."""
    text = escaped(name)
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"
