"""Constants folded and operators fused by onnxslim, in ONNX's own operators.

Every runtime opens the result, unlike what ``export.optimize.optimize`` writes for
ONNX Runtime and one CPU.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from export.build import CannotShrink
from export.optimize import LARGEST_SINGLE_FILE, stored_bytes
from export.rewrite import save_rewritten


def slim(source: Path, target: Path) -> None:
    """Write what onnxslim makes of ``source``.

    It holds a network in memory more than once, as a whole: one over protobuf's 2 GB is
    a ``CannotShrink``.
    """
    if stored_bytes(source) > LARGEST_SINGLE_FILE:
        raise CannotShrink(f"onnxslim can't work on {source.name}: it is over protobuf's 2 GB")
    # Imported here: it sets up the logging of the whole process.
    import onnxslim

    slimmed = onnxslim.slim(onnx.load(source))
    save_rewritten(slimmed, source, target)
