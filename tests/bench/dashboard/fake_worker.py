"""A measuring child whose model looks at the picture: its mean colours are its outputs.

A black picture ends the process, and a white one takes a while: each test shows what it needs.
Whichever runtime is asked for, ``null`` loads the file, which nothing opens.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from bench import worker
from runtimes import Loaded, null

WORKER = ("tests.bench.dashboard.fake_worker",)
CLASSES = ("red", "green", "blue")
SLOW_S = 0.03
_SHARPER = 10.0


def outputs(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 3, H, W) between 0 and 1 -> (N, 3)."""
    means: NDArray[np.float32] = _SHARPER * images.mean(axis=(2, 3), dtype=np.float32)
    return means


def looking(loaded: Loaded) -> Loaded:
    """What was loaded, with eyes."""

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        if images.max() == 0:
            os._exit(3)
        if images.min() == 1:
            time.sleep(SLOW_S)
        return outputs(images)

    return replace(loaded, run=run)


if __name__ == "__main__":
    with mock.patch("runtimes.adapter", return_value=null):
        worker.main(looking)
