"""Is it still right: agreement of a row's outputs with its fp32 torch module.

numpy only, because the measuring child imports it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from bench.case import Case
from bench.record import Parity
from export.recipes import RECIPES


@dataclass(frozen=True)
class Limit:
    """What a precision must keep: either bound may be absent.

    ``max_error`` is a share of the largest absolute reference output.
    """

    max_error: float = math.inf
    min_cosine: float = -math.inf


LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        "fp32": Limit(max_error=5e-4),
        "fp16": Limit(max_error=5e-3),
        "bf16": Limit(max_error=3e-2),
        "int8": Limit(min_cosine=0.9),
        "int4": Limit(min_cosine=0.9),
        "low-rank": Limit(min_cosine=0.9),
    }
)

Outputs = npt.NDArray[np.floating]


def parity_limit(case: Case) -> str:
    """The key of ``LIMITS`` for a row: its recipe's own, else its precision's."""
    recipe = RECIPES.get(case.recipe)
    return (recipe.parity if recipe else "") or judged_precision(case)


def judged_precision(case: Case) -> str:
    """The precision of a row: what its recipe stores, else what it computes in."""
    recipe = RECIPES.get(case.recipe)
    if recipe is None or recipe.precision == "fp32":
        return case.precision
    return recipe.precision


def agreement(outputs: Outputs, reference: Outputs, precision: str) -> Parity:
    """Compare two arrays of logits, both of shape (images, classes).

    NaN, infinity or another shape never passes: its error is infinite. Nor do
    outputs that are the same for every image, nor anything measured against a
    reference that is: they prove nothing. Raises ``ValueError`` for an unknown
    ``precision`` and for a reference without images.
    """
    if precision not in LIMITS:
        raise ValueError(f"no parity limit for {precision!r}; there are {', '.join(LIMITS)}")
    if reference.ndim != 2 or reference.size == 0:
        raise ValueError(f"a reference of shape {reference.shape} is not (images, classes)")
    comparable = outputs.shape == reference.shape
    if not (comparable and np.isfinite(outputs).all() and np.isfinite(reference).all()):
        return Parity(math.inf, 0.0, 0.0, len(reference), passed=False)
    ours, theirs = outputs.astype(np.float64), reference.astype(np.float64)
    error = _largest_error(ours, theirs)
    cosine = _centred_cosine(ours, theirs)
    limit = LIMITS[precision]
    return Parity(
        max_error=error,
        cosine=cosine,
        top1_agreement=float(np.mean(ours.argmax(axis=1) == theirs.argmax(axis=1))),
        images=len(theirs),
        passed=error <= limit.max_error
        and cosine >= limit.min_cosine
        and _depends_on_image(ours)
        and _depends_on_image(theirs),
    )


def _largest_error(ours: Outputs, theirs: Outputs) -> float:
    """Largest absolute difference over the largest absolute reference output."""
    scale = float(np.abs(theirs).max())
    difference = float(np.abs(ours - theirs).max())
    return difference / scale if scale > 0 else math.inf


def _centred_cosine(ours: Outputs, theirs: Outputs) -> float:
    """Cosine over all images at once, the mean reference output taken from both.

    What every image has in common would hide what sets them apart. For a
    constant answer it is exactly zero, since the centred reference sums to
    zero over the images.
    """
    mean = theirs.mean(axis=0)
    a, b = (ours - mean).ravel(), (theirs - mean).ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms > 0 else 0.0


def _depends_on_image(outputs: Outputs) -> bool:
    """Whether any two images were answered differently."""
    return bool((outputs != outputs[0]).any())
