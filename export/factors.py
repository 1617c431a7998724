"""A matrix as the product of two thin ones, so that its products with data stay nearly the same.

Which directions of the outputs are kept is decided in two ways, and the one that needs
fewer of them is taken: by the matrix alone, which is the truncated singular value
decomposition, and with each input scaled by the square root of its size, as in ASVD
(Yuan et al., arXiv:2312.05821). With V the eigenvectors of

    W' W    or    W' diag(root mean square of x) W

the factors are W V and V'. What all images have in common goes into the bias.

With m the mean input, the outputs for an input x are then off by (x - m) W (I - V V'), which
for no x is longer than x - m times the largest singular value of W (I - V V').

The whole second moments of the inputs, as SVD-LLM takes them (Wang et al.,
arXiv:2403.07378), want more samples than there are inputs; here some tens of images stand
against up to 266,240. With 32 images and second moments that are shrunk half-way to their
diagonal, layers of trained networks needed more directions to be off by 5 % on others:
73 for the head of xception-flatten (266,240 by 256; 82 by the matrix alone, 64 scaled),
572 for the first layer of VGG-19's (25,088 by 4,096; 131 by the matrix alone).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEAST_SAVING = 0.1
"""Of a layer's weights: for less, two products instead of one are not worth it."""
_CHECKED = 3  # every third image chooses the rank, the others choose the directions
_LEAST_WEIGHT = 1e-2  # of an input that no image uses, beside the mean of all
_BLOCK_BYTES = 1 << 26


@dataclass(frozen=True)
class Split:
    """A layer that was split: its size, the rank, and how far its outputs are off.

    ``error`` is a share, one for all outputs together, on as many ``images`` as stand here.
    They chose the rank by it, so that it is an estimate, and a little too good. The others
    are bounds, but for what float32 rounds: whatever the input, its outputs are off by no
    more than ``worst_gain`` times its distance from the mean of the other images' inputs, as
    lengths; ``worst_error`` is that as a share, for inputs as far from it as ``images`` are.
    """

    inputs: int
    outputs: int
    rank: int
    error: float
    images: int
    worst_gain: float
    worst_error: float


@dataclass(frozen=True)
class Factors:
    """``x @ matrix`` is nearly ``x @ first @ second + shift``."""

    first: NDArray[np.float32]
    second: NDArray[np.float32]
    shift: Array
    split: Split


def factorized(
    matrix: NDArray[np.float32], features: NDArray[np.float32], bound: float
) -> Factors | None:
    """``matrix`` (inputs, outputs) as two of the least rank that keeps to ``bound``.

    ``features`` is (images, inputs). The error is that of the products with images that
    had no part in choosing the directions, less the mean, as a share of those products,
    all outputs together. The same images choose the rank, and which of the two kinds of
    directions is taken: on others the error may be above ``bound``. What it can't be above
    stands in the :class:`Split`.
    ``None`` where the rank would not save enough, or where all images are answered alike.
    Besides the factors only blocks of the matrix are copied, and squares of its shorter
    side.
    """
    inputs, outputs = matrix.shape
    most = int((1 - LEAST_SAVING) * inputs * outputs / (inputs + outputs))
    held = np.arange(len(features)) % _CHECKED == 0
    answers = _times(features, matrix)
    mean = answers[~held].mean(axis=0)
    away = answers[held] - mean
    sizes, plain = _sizes(features[~held]), np.ones(inputs)
    own = _square(matrix, plain)
    found = [
        _least_rank(away, _directions(matrix, sizes, _square(matrix, sizes)), bound),
        _least_rank(away, _directions(matrix, plain, own.copy()), bound),
    ]
    kept, error = min(found, key=lambda pair: pair[0].shape[1])
    rank = kept.shape[1]
    if not 0 < rank <= most:
        return None
    worst = _most_left_out(matrix, own, kept)
    far = np.linalg.norm(features[held] - features[~held].mean(axis=0, dtype=np.float64))
    return Factors(
        first=np.concatenate([(block @ kept).astype(np.float32) for _, block in _blocks(matrix)]),
        second=np.ascontiguousarray(kept.T, np.float32),
        shift=mean - (mean @ kept) @ kept.T,
        split=Split(
            *(inputs, outputs, rank, error, int(held.sum())),
            worst_gain=worst,
            worst_error=float(worst * far / np.linalg.norm(away)),
        ),
    )


def _most_left_out(matrix: NDArray[np.float32], square: Array, kept: Array) -> float:
    """The largest singular value of what the directions ``kept`` leave out of ``matrix``.

    ``square`` is that of the matrix (``_square``), and is overwritten. What rounding may have
    taken from the value is added to it.
    """
    lost = len(square) * np.finfo(float).eps * float(np.trace(square))
    if len(square) == len(kept):  # of the outputs: the directions are taken out on both sides
        square -= kept @ (kept.T @ square)
        square -= (square @ kept) @ kept.T
    else:
        through = np.concatenate([block @ kept for _, block in _blocks(matrix)])
        square -= through @ through.T
    last = len(square) - 1
    (largest,) = scipy.linalg.eigh(
        square,
        eigvals_only=True,
        subset_by_index=(last, last),
        overwrite_a=True,
        check_finite=False,
    )
    return math.sqrt(max(0.0, float(largest)) + lost)


def _least_rank(answers: Array, directions: Array, bound: float) -> tuple[Array, float]:
    """The fewest directions that leave out no more than ``bound``, and what they do leave out.

    ``answers`` are those of images apart, less the mean; where they hold nothing, no
    direction is needed.
    """
    total = float(np.sum(answers**2))
    if total == 0:
        return directions[:, :0], 0.0
    kept = np.cumsum(np.sum((answers @ directions) ** 2, axis=0))
    errors = np.sqrt(np.maximum(0.0, 1 - kept / total))
    # All of a basis leave out nothing, but for rounding.
    rank = min(int(np.count_nonzero(errors > bound)) + 1, len(errors))
    return directions[:, :rank].copy(), float(errors[rank - 1])


def _sizes(features: NDArray[np.float32]) -> Array:
    """Root mean square of each input; never nothing: another image may need what these don't."""
    found: Array = np.sqrt(np.mean(np.square(features, dtype=np.float64), axis=0))
    found += _LEAST_WEIGHT * found.mean() + np.finfo(float).tiny
    return found


def _square(matrix: NDArray[np.float32], sizes: Array) -> Array:
    """The product of the matrix with itself over its longer side, its inputs weighed by ``sizes``.

    (outputs, outputs) of a layer with no more outputs than inputs, else (inputs, inputs).
    """
    inputs, outputs = matrix.shape
    if outputs > inputs:
        scaled = _scaled(matrix, sizes)
        return np.asarray(scaled @ scaled.T)
    square = np.zeros((outputs, outputs))
    for rows, block in _blocks(matrix):
        square += (block.T * sizes[rows]) @ block
    return square


def _directions(matrix: NDArray[np.float32], sizes: Array, square: Array) -> Array:
    """Orthonormal directions of the outputs in columns, the weightiest first.

    ``square`` is that of the matrix with ``sizes``, and is overwritten. Of a layer with more
    outputs than inputs the directions are found from the square of its inputs.
    """
    inputs, outputs = matrix.shape
    if outputs <= inputs:
        return _eigenvectors(square)
    turned = _scaled(matrix, sizes).T @ _eigenvectors(square)
    return np.asarray(scipy.linalg.qr(turned, mode="economic")[0])


def _scaled(matrix: NDArray[np.float32], sizes: Array) -> Array:
    """The matrix of a layer with few inputs, each by the square root of its size."""
    return np.asarray(matrix * np.sqrt(sizes)[:, None], np.float64)


def _eigenvectors(square: Array) -> Array:
    """Of a symmetric matrix, which is overwritten; those of the largest values first."""
    _, vectors = scipy.linalg.eigh(square, overwrite_a=True, check_finite=False)
    return np.asarray(vectors[:, ::-1])


def _times(features: NDArray[np.float32], matrix: NDArray[np.float32]) -> Array:
    """``features @ matrix`` in float64, a block of the matrix at a time."""
    answers = np.zeros((len(features), matrix.shape[1]))
    for rows, block in _blocks(matrix):
        answers += features[:, rows].astype(np.float64) @ block
    return answers


def _blocks(matrix: NDArray[np.float32]) -> Iterator[tuple[slice, Array]]:
    """Rows of a matrix in float64, some at a time, and which they are."""
    step = max(1, _BLOCK_BYTES // (8 * matrix.shape[1]))
    for start in range(0, len(matrix), step):
        rows = slice(start, start + step)
        yield rows, matrix[rows].astype(np.float64)
