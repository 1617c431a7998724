"""One round of one model on one picture: what a child is asked, and what is made of its answers.

The messages are those of ``bench.run``'s blocks but for the picture itself, the timed loop is
theirs (``bench.measure``), and what comes of it is a ``bench.record.Measurement`` like any other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import host, launch, stats
from bench.block import begun_block, filled, parity
from bench.dashboard.models import Model
from bench.dashboard.pool import Pool, Warm
from bench.dashboard.uploads import Picture
from bench.record import Canary, Measurement
from bench.worker import packed
from export.images import Preprocess

ROUNDS = stats.LEAST_BLOCKS
"""So many times each model is timed, in turns: fewer give no interval of a ratio."""
LIMIT_S = 120.0
"""For one answer of a child, besides what its inferences take."""

Outputs = NDArray[np.float32]


class Stopped(Exception):
    """Nobody wants the answer any more."""


class Unusable(Exception):
    """The child answered, but not with what a card can show; it is well."""


def prepared(picture: Picture, preprocess: str) -> NDArray[np.float32]:
    """What the network takes, float32 (1, *shape): by the two halves of ``Preprocess``."""
    return Preprocess.from_json(preprocess).normalised(picture.pixels[preprocess][None])


def runs_of_round(runs: int) -> int:
    """How many inferences a round times, so that all rounds make ``runs`` at least."""
    return math.ceil(runs / ROUNDS)


def answer(warm: Warm, picture: Picture) -> Outputs:
    """The outputs (classes,) for the picture, which the child is timed on from now on.

    Raises :class:`Unusable` and :class:`bench.launch.ChildDied`.
    """
    batch = prepared(picture, warm.model.artifact.preprocess)
    said = _asked(warm, {"do": "picture", "pixels": packed(batch)}, LIMIT_S)
    outputs = np.asarray(launch.unpacked(said["outputs"]))
    classes = len(warm.model.artifact.class_names)
    if outputs.shape != (1, classes):
        raise Unusable(f"outputs of shape {outputs.shape}, where (1, {classes}) was expected")
    if not np.isfinite(outputs).all():
        raise Unusable("outputs that are not finite: no class can be read from them")
    found: Outputs = outputs[0]
    return found


def timed(warm: Warm, number: int, runs: int, wanted: Callable[[], bool]) -> Measurement:
    """A block: warm-up until the latency has settled, then ``runs`` timed inferences.

    Nothing else may be measured beside it, or the canary means nothing. ``wanted`` is asked
    between the steps; :class:`Stopped` is raised where it says no.
    """
    draft = begun_block(warm.model.case, number, warm.model.artifact)
    before_s = host.canary_s(time.perf_counter)
    settled = warmed(warm)
    if not wanted():
        raise Stopped
    block = filled(draft, warm.loaded, settled, inferred(warm, runs))
    return replace(block, canary=Canary(before_s, host.canary_s(time.perf_counter)))


def warmed(warm: Warm) -> dict[str, Any]:
    """What the child says of its warm-up, when its latency has settled."""
    return _asked(warm, {"do": "warm"}, LIMIT_S)


def inferred(warm: Warm, least: int, seconds: float = 0.0) -> dict[str, Any]:
    """What the child says of ``least`` timed inferences, or more, until ``seconds`` are over."""
    message = {"do": "measure", "seconds": seconds, "least": least, "idle_s": 0.0}
    return _asked(warm, message, LIMIT_S + 3 * least * warm.loaded["first_s"])


def with_parity(warm: Warm, block: Measurement) -> Measurement:
    """``block`` with how the child answers the images of its file's reference, asked once."""
    if warm.parity is None:
        try:
            artifact, case = warm.model.artifact, warm.model.case
            warm.parity = parity(warm.child, artifact, case, LIMIT_S + 16 * warm.loaded["first_s"])
        except (OSError, ValueError) as exc:
            raise Unusable(f"the answers can't be checked against their reference: {exc}") from exc
    return replace(block, parity=warm.parity)


def _asked(warm: Warm, message: dict[str, Any], limit_s: float) -> dict[str, Any]:
    said = warm.child.ask(message, limit_s)
    if said["status"] != "ok":
        raise Unusable(said["reason"])
    return said


def lent(pool: Pool, model: Model, attempt: Callable[[Warm], None]) -> str:
    """``attempt`` with a warm model, and once more with a fresh child where that one died.

    Returns how it died; empty: it did not. Raises what the second attempt raises.
    """
    try:
        _once(pool, model, attempt)
    except launch.ChildDied as exc:
        _once(pool, model, attempt)
        return str(exc)
    return ""


def _once(pool: Pool, model: Model, attempt: Callable[[Warm], None]) -> None:
    warm = pool.take(model)
    try:
        attempt(warm)
    except (Stopped, Unusable):
        pool.give(warm)
        raise
    except BaseException:
        # It has died, or may still say what nobody will read.
        pool.discard(warm)
        raise
    pool.give(warm)
