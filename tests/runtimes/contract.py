"""The child of ``test_contract``: what one adapter does with one file, as JSON.

A process of its own, because some of these libraries don't share one with others.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.artifact import Artifact
from runtimes import Unsupported, adapter

WARM_UP_S = 0.3
BUSY_S = 0.5
"""How long the thread check computes, before it counts and while it does."""


def main() -> None:
    """Read the request from the first argument, answer on the descriptor of the second."""
    request = json.loads(sys.argv[1])
    answer = {"load": load, "cores": cores}[request["do"]](request)
    with os.fdopen(int(sys.argv[2]), "w") as sink:
        json.dump(answer, sink)
    os._exit(0)  # as bench.worker ends


def load(request: dict[str, Any]) -> dict[str, Any]:
    """What happens at each batch size."""
    return {str(size): load_for(request, size) for size in request["batch_sizes"]}


def load_for(request: dict[str, Any], size: int) -> dict[str, Any]:
    """Load twice, answer the parity images in batches, twice; compare on the way."""
    artifact = Artifact.from_plain(request["artifact"])
    images = np.load(Path(artifact.reference) / "inputs.npy")
    images = images[: len(images) // size * size]
    before = images.copy()
    opened = adapter(request["runtime"])
    setting = {"threads": 1, "precision": request["precision"], "batch_size": size}
    try:
        one = opened.load(artifact, **setting)
    except Unsupported as exc:
        return {"unsupported": str(exc)}
    parts = [np.ascontiguousarray(images[i : i + size]) for i in range(0, len(images), size)]
    first = [np.array(one.run(part)) for part in parts]
    again = [np.array(one.run(part)) for part in parts]
    other = opened.load(artifact, **setting)
    second = [np.array(other.run(part)) for part in parts]
    return {
        "outputs": packed(np.concatenate(first)),
        "repeats": all(np.array_equal(a, b) for a, b in zip(first, again, strict=True)),
        "second_load": packed(np.concatenate(second)),
        "input_unchanged": bool(np.array_equal(np.concatenate(parts), before)),
        "dtype": str(first[0].dtype),
        "shapes": sorted({tuple(part.shape) for part in first}),
        "precision": one.precision,
        "version": opened.version(),
        "instruction_sets": opened.instruction_sets(),
    }


def cores(request: dict[str, Any]) -> dict[str, Any]:
    """CPU seconds over wall seconds while one model computes without a pause."""
    artifact = Artifact.from_plain(request["artifact"])
    image = np.load(Path(artifact.reference) / "inputs.npy")[:1]
    model = adapter(request["runtime"]).load(
        artifact, threads=request["threads"], precision="fp32", batch_size=1
    )
    ready = time.perf_counter() + WARM_UP_S  # pools of other libraries still spin after an import
    while time.perf_counter() < ready:
        model.run(image)
    cpu, wall = time.process_time(), time.perf_counter()
    while time.perf_counter() - wall < BUSY_S:
        model.run(image)
    return {"cores": (time.process_time() - cpu) / (time.perf_counter() - wall)}


def packed(array: NDArray[np.float32]) -> str:
    """A .npy as text."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    main()
