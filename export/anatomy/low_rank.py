"""Fully connected layers whose weights are close to low rank, and what splitting them saves.

A matrix (m, n) becomes two of rank r, (m, r) and (r, n); the rank is the least that holds 99 %
of the energy, the sum of the squared singular values: the rest is at most a tenth of the
matrix in Frobenius norm. A layer counts where the two have at most three quarters of its
weights. The recipe `low-rank` (``export.factors``) judges by what images make of a layer
and may split others. Where the smaller side is over 1024, the singular values come from
a random projection (Halko, Martinsson and Tropp, 2011, arXiv:0909.4061), whose energy is
never more than that of the best matrices of the same rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.anatomy.contents import Contents, Tensor, shown
from export.anatomy.finding import Finding, Remedy, percent, several

ENERGY = 0.99
LEAST_SAVED = 0.25
"""Share of a matrix that splitting must save for it to be called close to low rank."""
_EXACT_SIDE = 1024
_LEAST_ELEMENTS = 1 << 12
_MOST_RANK = 256
_MOST_WORK = 1 << 37  # multiply-accumulates of one pass over the matrix
_ROWS_ELEMENTS = 1 << 24
_LISTED = 8

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class LowRank:
    """The rank that holds ``energy`` of a weight matrix of ``shape``."""

    tensor: Tensor
    rank: int
    energy: float

    @property
    def elements_saved(self) -> int:
        """By the two factors in place of the matrix; less than 0 where they are larger."""
        rows, columns = self.tensor.shape
        return rows * columns - self.rank * (rows + columns)


def low_rank(contents: Contents) -> Iterator[Finding]:
    """The layers that would be smaller as two."""
    found = [rank for tensor in contents.tensors if (rank := rank_of(tensor)) is not None]
    found = [one for one in found if one.elements_saved >= LEAST_SAVED * one.tensor.elements]
    if not found:
        return
    found.sort(key=lambda one: one.elements_saved, reverse=True)
    lines = [
        f"{shown(one.tensor.name)} {one.tensor.shape[0]}×{one.tensor.shape[1]}: rank {one.rank} "
        f"of {min(one.tensor.shape)} holds {percent(one.energy, 1)} of the energy"
        for one in found[:_LISTED]
    ]
    remedy = Remedy(
        f"split each into two layers (SVD, {ENERGY:.0%} of the energy), then measure accuracy; the "
        "recipe low-rank judges by images and may need fewer directions",
        sum(_bytes(one) for one in found),
        _macs(contents, found),
    )
    title = f"close to low rank: the weights of {several(len(found), 'fully connected layer')}"
    yield Finding("low-rank", title, tuple(lines), (remedy,))


def _bytes(one: LowRank) -> int:
    return one.elements_saved * (one.tensor.size_bytes // one.tensor.elements)


def _macs(contents: Contents, found: list[LowRank]) -> int | None:
    """What splitting saves of each layer's, as of its weights; ``None`` where unknown."""
    if contents.no_macs:
        return None
    macs = {layer.name: layer.macs or 0 for layer in contents.layers}
    return sum(macs[x.tensor.layer] * x.elements_saved // x.tensor.elements for x in found)


def rank_of(tensor: Tensor) -> LowRank | None:
    """The rank that holds enough; ``None``: not a float matrix, or no rank worth trying does."""
    is_float = "float" in tensor.dtype or tensor.dtype == "double"
    known = tensor.role == "parameter" and tensor.output_axis is not None and tensor.size_bytes
    if not (known and is_float and len(tensor.shape) == 2 and tensor.elements >= _LEAST_ELEMENTS):
        return None
    matrix = tensor.values()
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    energies = _exact(matrix) if len(matrix) <= _EXACT_SIDE else _projected(matrix)
    if energies is None:
        return None
    reached = np.cumsum(energies)
    if reached.size == 0 or reached[-1] < ENERGY:
        return None
    rank = int(np.searchsorted(reached, ENERGY)) + 1
    return LowRank(tensor, rank, float(reached[rank - 1]))


def _exact(matrix: NDArray[np.generic]) -> NDArray[np.float64] | None:
    """Shares of the energy, largest first: the eigenvalues of the smaller Gram matrix."""
    gram = np.zeros((len(matrix), len(matrix)))
    for part in _column_parts(matrix):
        wide = part.astype(np.float64)
        if not np.isfinite(wide).all():
            return None
        gram += wide @ wide.T
    return _shares(np.linalg.eigvalsh(gram), float(np.trace(gram)))


def _projected(matrix: NDArray[np.generic]) -> NDArray[np.float64] | None:
    """The same of the part that a random subspace catches, one pass forth and one back."""
    rows, columns = matrix.shape
    worth = rows * columns // (rows + columns)
    rank = min(_MOST_RANK, worth, max(16, _MOST_WORK // (rows * columns)))
    chance = np.random.default_rng(0)
    sketch = np.zeros((rows, rank), np.float32)
    total = 0.0
    for part in _column_parts(matrix):
        taken = part.astype(np.float32, copy=False)
        if not np.isfinite(taken).all():
            return None
        sketch += taken @ chance.standard_normal((taken.shape[1], rank), dtype=np.float32)
        total += _squares(taken)
    basis = np.linalg.qr(sketch)[0]
    gram = np.zeros((rank, rank))
    for part in _column_parts(matrix):
        caught = (basis.T @ part.astype(np.float32, copy=False)).astype(np.float64)
        gram += caught @ caught.T
    return _shares(np.linalg.eigvalsh(gram), total)


def _squares(part: Matrix) -> float:
    return float(np.sum(np.square(part, dtype=np.float64)))


def _shares(energies: NDArray[np.floating], total: float) -> NDArray[np.float64] | None:
    """Of ``total`` what each direction holds, largest first."""
    if not np.isfinite(total) or total <= 0:
        return None
    return np.clip(energies[::-1].astype(np.float64), 0, None) / total


def _column_parts(matrix: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
    """Some columns at a time, so that a mapped matrix is never whole in memory."""
    step = max(1, _ROWS_ELEMENTS // len(matrix))
    for start in range(0, matrix.shape[1], step):
        yield matrix[:, start : start + step]
