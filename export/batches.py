"""One image handed to a graph, which may fix how many it takes at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def batch_of(image: NDArray[np.float32], shape: Sequence[object]) -> NDArray[np.float32]:
    """``image`` as often as an input of ``shape`` takes it: once where that is left open.

    ``shape`` is as ONNX Runtime tells it. Each row of the answers is that to the image.
    """
    count = shape[0] if shape and isinstance(shape[0], int) else 1
    return np.repeat(image[None], count, axis=0)
