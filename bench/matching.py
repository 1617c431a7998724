"""Which output of a model stands for which class folder, told from its answers. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest

ALPHA = 0.01
"""Above this p-value a model is taken for one that does not know the classes."""
_PAIR_ALPHA = 0.05
"""The same of a single pair, divided by how many it was chosen from (Bonferroni)."""


@dataclass(frozen=True)
class Pair:
    """Output number ``output`` stands for folder number ``folder``.

    ``hits`` of the folder's ``images`` were answered so, of ``answers`` such answers in all.
    ``sure``: more than answering so by chance, as often, would bring.
    """

    output: int
    folder: int
    hits: int
    images: int
    answers: int
    sure: bool


@dataclass(frozen=True)
class Matching:
    """The best assignment, and whether a model that knows nothing could have brought it about.

    ``tested`` images, which the assignment that is tested was not made from, were answered
    rightly ``hits`` times; ``chance`` is the share of the most frequent folder among them, which
    no guessing exceeds, and ``p_value`` that of an exact binomial test against it.
    """

    pairs: tuple[Pair, ...]
    hits: int
    tested: int
    chance: float
    p_value: float

    @property
    def better_than_chance(self) -> bool:
        """Whether the answers have anything to do with the folders."""
        return self.p_value <= ALPHA

    @property
    def surely_right(self) -> float:
        """The share of right answers that is exceeded beyond doubt (Clopper and Pearson, 99 %)."""
        if not self.tested:
            return 0.0
        interval = binomtest(self.hits, self.tested, alternative="greater").proportion_ci(1 - ALPHA)
        return float(interval.low)


def matched(answers: Sequence[int], labels: Sequence[int], outputs: int, folders: int) -> Matching:
    """The assignment of outputs to folders that makes most answers right.

    ``answers`` are numbers of outputs, ``labels`` numbers of folders, an image each. Every
    second image of a folder serves to test what the others were assigned by; the pairs that are
    returned are of all images. Fewer than two images are a ``ValueError``.
    """
    if len(answers) != len(labels) or len(labels) < 2:
        raise ValueError(f"{len(answers)} answers for {len(labels)} images: give two or more each")
    said, true = np.asarray(answers), np.asarray(labels)
    held_out = _second_of_each(true)
    learnt = _assigned(_counts(said[~held_out], true[~held_out], outputs, folders))
    hits = sum(learnt.get(int(o)) == f for o, f in zip(said[held_out], true[held_out], strict=True))
    tested = int(held_out.sum())
    chance = float(np.bincount(true[held_out]).max() / tested) if tested else 1.0
    p_value = binomtest(int(hits), tested, chance, "greater").pvalue if tested else 1.0
    counts = _counts(said, true, outputs, folders)
    return Matching(_pairs(counts), int(hits), tested, chance, float(p_value))


def _second_of_each(labels: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Every second image of each folder."""
    places = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        places[np.flatnonzero(labels == label)[1::2]] = True
    return places


def _counts(
    said: NDArray[np.int_], true: NDArray[np.int_], outputs: int, folders: int
) -> NDArray[np.int_]:
    """How often each output (row) was the answer to an image of each folder (column)."""
    counts = np.zeros((outputs, folders), int)
    np.add.at(counts, (said, true), 1)
    return counts


def _assigned(counts: NDArray[np.int_]) -> dict[int, int]:
    """Output -> folder, as many as there are of the fewer; each once, most answers right."""
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return dict(zip(map(int, rows), map(int, columns), strict=True))


def _pairs(counts: NDArray[np.int_]) -> tuple[Pair, ...]:
    assigned = _assigned(counts)
    total = int(counts.sum())
    # Any output could have been assigned to any folder: so many were looked at.
    limit = _PAIR_ALPHA / counts.size
    found = []
    for output, folder in assigned.items():
        hits, images = int(counts[output, folder]), int(counts[:, folder].sum())
        answers = int(counts[output].sum())
        share = answers / total
        sure = images > 0 and binomtest(hits, images, share, "greater").pvalue <= limit
        found.append(Pair(output, folder, hits, images, answers, bool(sure)))
    return tuple(found)
