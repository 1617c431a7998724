"""A matrix as the product of two thin ones, so that its products with data stay nearly the same.

Which directions of the outputs are kept is decided in two ways, and the one that needs
fewer of them is taken: by the matrix alone, which is the truncated singular value
decomposition, and with each input scaled by the square root of its size, as in ASVD
(Yuan et al., arXiv:2312.05821). With V the eigenvectors of

    W' W    or    W' diag(root mean square of x) W

the factors are W V and V'. What all images have in common goes into the bias.

The whole second moments of the inputs, as SVD-LLM takes them (Wang et al.,
arXiv:2403.07378), want more samples than there are inputs; here some tens of images stand
against up to 266,240. With 32 images and second moments that are shrunk half-way to their
diagonal, layers of trained networks needed more directions to be off by 5 % on others:
73 for the head of xception-flatten (266,240 by 256; 82 by the matrix alone, 64 scaled),
572 for the first layer of VGG-19's (25,088 by 4,096; 131 by the matrix alone).
"""

from __future__ import annotations

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
    """A layer that was split: its size, the rank, and the error of its outputs (a share).

    The error is one for all outputs together, on as many ``images`` as stand here. They
    chose the rank by it, so that it is an estimate, and a little too good: no bound.
    """

    inputs: int
    outputs: int
    rank: int
    error: float
    images: int


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
    directions is taken: on others the error may be above ``bound``.
    ``None`` where the rank would not save enough, or where all images are answered alike.
    Besides the factors only blocks of the matrix are copied, and a square of its shorter
    side.
    """
    inputs, outputs = matrix.shape
    most = int((1 - LEAST_SAVING) * inputs * outputs / (inputs + outputs))
    held = np.arange(len(features)) % _CHECKED == 0
    answers = _times(features, matrix)
    mean = answers[~held].mean(axis=0)
    found = [
        _least_rank(answers[held] - mean, _directions(matrix, sizes), bound)
        for sizes in (_sizes(features[~held]), np.ones(inputs))
    ]
    kept, error = min(found, key=lambda pair: pair[0].shape[1])
    rank = kept.shape[1]
    if not 0 < rank <= most:
        return None
    return Factors(
        first=np.concatenate([(block @ kept).astype(np.float32) for _, block in _blocks(matrix)]),
        second=np.ascontiguousarray(kept.T, np.float32),
        shift=mean - (mean @ kept) @ kept.T,
        split=Split(inputs, outputs, rank, error, int(held.sum())),
    )


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


def _directions(matrix: NDArray[np.float32], sizes: Array) -> Array:
    """Orthonormal directions of the outputs in columns, the weightiest first.

    Of a layer with more outputs than inputs they are found from the square of its inputs.
    """
    inputs, outputs = matrix.shape
    if outputs <= inputs:
        square = np.zeros((outputs, outputs))
        for rows, block in _blocks(matrix):
            square += (block.T * sizes[rows]) @ block
        return _eigenvectors(square)
    scaled = np.asarray(matrix * np.sqrt(sizes)[:, None], np.float64)
    turned = scaled.T @ _eigenvectors(np.asarray(scaled @ scaled.T, np.float64))
    return np.asarray(scipy.linalg.qr(turned, mode="economic")[0])


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
